// The other commands against an agent's real socket, and without one: their output and exit codes.
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { viewsWith } from "./views.ts";
import { type CommandWorld, openCommandWorld, runIn } from "./world.ts";

let world: CommandWorld;

beforeEach(() => {
  world = openCommandWorld();
});
afterEach(() => world.close());

describe("status", () => {
  it("is 0 when all is enforced", async () => {
    await world.serve(viewsWith());
    const { exitCode, stdout, stderr } = await world.weir("status");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toMatch(/^ok: 1 endpoint, 2 policies, all enforced \(tcx\)\n/);
  });

  it.each([
    ["there is a problem", { problems: [{ severity: "warning", reason: "odd" }] } as const],
    ["the kernel lags behind", { generation: { wanted: 8, applied: 7 } }],
  ])("is 7 when %s", async (_, change) => {
    await world.serve(viewsWith(change));
    const { exitCode, stdout } = await world.weir("status");
    expect(exitCode).toBe(7);
    expect(stdout).toMatch(/^degraded: /);
  });

  it("is 8 without an agent", async () => {
    const { exitCode, stdout, stderr } = await world.weir("status");
    expect({ exitCode, stderr }).toEqual({ exitCode: 8, stderr: "" });
    expect(stdout).toMatch(/^down: no agent answers, and nothing is enforced\n/);
  });

  it("--brief is the first line, and its numbers for programs", async () => {
    const line = "down: no agent answers, and nothing is enforced\n";
    expect(await world.weir("status", "--brief")).toEqual({ exitCode: 8, stdout: line, stderr: "" });
    await world.serve(viewsWith({ problems: [{ severity: "warning", reason: "odd" }] }));
    const brief = await world.weir("status", "--brief");
    expect(brief).toEqual({
      exitCode: 7,
      stdout: "degraded: 1 problem; the rest is enforced: 1 endpoint, 2 policies\n",
      stderr: "",
    });
    expect(JSON.parse((await world.weir("status", "--brief", "-o", "json")).stdout)).toEqual({
      health: "degraded",
      generation: { wanted: 7, applied: 7 },
      endpoints: 1,
      policies: 2,
      problems: 1,
    });
  });

  it("is 8 when the agent hangs, and reports that", async () => {
    const server = createServer(() => undefined);
    await new Promise<void>((resolve) => server.listen(world.socket, resolve));
    const { exitCode, stdout } = await world.weir("status");
    server.close();
    expect(exitCode).toBe(8);
    expect(stdout).toContain("no answer within 3000 ms");
  });

  it("has stable fields for programs", async () => {
    const problem = { severity: "error", file: "a.yaml", line: 3, reason: "bad" } as const;
    await world.serve(viewsWith({ problems: [problem] }));
    expect(JSON.parse((await world.weir("status", "-o", "json")).stdout)).toEqual({
      health: "degraded",
      agent: {
        running: true,
        socket: world.socket,
        pid: 4711,
        version: "9.9.9",
        startedAt: "2025-06-01T12:00:00.000Z",
        hook: "tcx",
        fromPodHook: "tc",
        source: "/etc/weir",
      },
      appliedAt: "2025-06-01T12:04:30.000Z",
      generation: { wanted: 7, applied: 7 },
      endpoints: 1,
      policies: 2,
      audited: 0,
      repairs: { attached: 0, pinned: 0 },
      problems: [{ ...problem, text: "a.yaml:3: bad" }],
      capacity: [],
    });
  });

  it("has colours on a terminal only, and not with NO_COLOR", async () => {
    await world.serve(viewsWith());
    const args = ["status", "--socket", world.socket, "--bpffs", world.bpffs];
    const green = "\u001b[32m";
    expect((await runIn(args)).stdout).not.toContain("\u001b");
    expect((await runIn(args, { terminal: true })).stdout).toContain(green);
    expect((await runIn(args, { terminal: true, variables: { NO_COLOR: "1" } })).stdout).not.toContain(
      "\u001b",
    );
    expect((await runIn(args, { terminal: true, variables: { NO_COLOR: "" } })).stdout).toContain(green);
  });
});

describe("maps", () => {
  it.each([["list"], ["dump", "cidrs"], ["dump", "cidrs", "--raw"]].map((words) => [words.join(" "), words]))(
    "%s reports that nothing is there",
    async (_, words) => {
      const { exitCode, stdout, stderr } = await world.weir("maps", ...words);
      expect({ exitCode, stdout }).toEqual({ exitCode: 4, stdout: "" });
      expect(stderr).toBe(
        `weir: nothing is pinned under ${world.bpffs}: ${dirname(world.bpffs)} is not on a BPF filesystem; mount one with: mount -t bpf bpf /sys/fs/bpf\n`,
      );
    },
  );

  it("dump lists the tables if the given one does not exist", async () => {
    expect(await world.weir("maps", "dump", "cidrs_v4")).toEqual({
      exitCode: 4,
      stdout: "",
      stderr:
        "weir: no table cidrs_v4; there are cidrs, addresses, services, endpoints, sources, policy, domains, ports, rows, names, conntrack, statistics, counters, fragments, events, known, index, denied, uplinks, node\n",
    });
  });
});

describe("cleanup", () => {
  it("does not take another directory for its own", async () => {
    const there = join(world.bpffs, "0123456789abcdef", "maps", "precious");
    mkdirSync(dirname(there), { recursive: true });
    writeFileSync(there, "");
    for (const words of [[], ["--force"], ["--dry-run"]]) {
      const { exitCode, stdout, stderr } = await world.weir("cleanup", ...words);
      expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
      expect(stderr).toContain(`${world.bpffs} is not on a BPF filesystem`);
    }
    expect(existsSync(there)).toBe(true);
  });

  it("--dry-run reports that it is refused while an agent runs", async () => {
    await world.serve(viewsWith());
    const note = "weir: an agent runs: `weir cleanup` fails until it is stopped (or with --force)\n";
    const { exitCode, stderr } = await world.weir("cleanup", "--dry-run");
    expect({ exitCode, stderr: stderr.slice(0, note.length) }).toEqual({ exitCode: 0, stderr: note });
  });

  it("refuses while an agent runs", async () => {
    await world.serve(viewsWith());
    expect(await world.weir("cleanup")).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: "weir: an agent runs (pid 4711) and would restore everything; stop it first, or use --force\n",
    });
  });

  it.each([[[]], [["--dry-run"]]])("%j finds nothing to remove", async (words) => {
    expect(await world.weir("cleanup", ...words)).toEqual({
      exitCode: 0,
      stdout: "",
      stderr: `weir: nothing of Weir is under ${world.bpffs}, on an interface or in ${dirname(world.socket)}\n`,
    });
  });

  it("does not refuse with --force", async () => {
    await world.serve(viewsWith());
    expect((await world.weir("cleanup", "--force")).exitCode).toBe(0);
    // The agent can be queried afterwards.
    expect((await world.weir("status")).exitCode).toBe(0);
  });
});

describe("version", () => {
  it("names every part, and the agent's if it runs", async () => {
    const without = await world.weir("version");
    expect(without).toMatchObject({ exitCode: 0, stderr: "" });
    expect(without.stdout).toMatch(
      /^weir: +\d+\.\d+\.\d+\nagent: +not running\nlibbpf: +\d\S+\nlayout: +[0-9a-f]{16}\nkernel: +\S+\nnode: +\S+\n$/,
    );
    await world.serve(viewsWith());
    expect(JSON.parse((await world.weir("version", "-o", "json")).stdout)).toMatchObject({ agent: "9.9.9" });
  });

  it("distinguishes an agent that hangs from none", async () => {
    const server = createServer(() => undefined);
    await new Promise<void>((resolve) => server.listen(world.socket, resolve));
    const { exitCode, stdout } = await world.weir("version");
    server.close();
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^agent: +unknown \(the agent at \S+ hangs: no answer within 3000 ms\)$/m);
  });
});

describe("the history", () => {
  it("is not waited for as long as a large answer takes, if the agent hangs", async () => {
    const server = createServer(() => undefined);
    await new Promise<void>((resolve) => server.listen(world.socket, resolve));
    const done = await Promise.all(
      [["drops"], ["top"], ["monitor", "--since", "1h"]].map((line) => world.weir(...line)),
    );
    server.close();
    for (const { exitCode, stderr } of done) {
      expect(exitCode).toBe(1);
      expect(stderr).toMatch(/ hangs: no answer within 3000 ms; only it has the history\n$/);
    }
  });
});

describe("cni", () => {
  it.each(["install", "status"])("%s names the missing directory", async (command) => {
    const none = `${world.bpffs}/none`;
    for (const [confDir, binDir, flag] of [
      [none, "/", "--conf-dir"],
      ["/", none, "--bin-dir"],
    ] as const) {
      expect(await world.weir("cni", command, "--conf-dir", confDir, "--bin-dir", binDir)).toEqual({
        exitCode: 4,
        stdout: "",
        stderr: `weir: ${flag}: there is no directory ${none}\n`,
      });
    }
  });

  it("uses the variables that the chart sets, and options override these", async () => {
    const directory = mkdtempSync(join(tmpdir(), "wt-cni-"));
    try {
      const variables = {
        WEIR_IN_CLUSTER: "true",
        WEIR_CNI_CONF_DIR: directory,
        WEIR_CNI_BIN_DIR: directory,
      };
      expect(await runIn(["cni", "status"], { variables })).toMatchObject({
        exitCode: 5,
        stdout: expect.stringContaining(`binary:  not in ${directory}\n`),
      });
      const other = await runIn(["cni", "status", "--bin-dir", `${directory}/none`], { variables });
      expect(other).toMatchObject({
        exitCode: 4,
        stderr: `weir: --bin-dir: there is no directory ${directory}/none\n`,
      });
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it("reports what the agent's pod lacks if the chart gives it no CNI directories", async () => {
    const { stderr, exitCode } = await runIn(["cni", "status"], {
      variables: { WEIR_IN_CLUSTER: "true", WEIR_CNI_BIN_DIR: "/", WEIR_CNI_CONF_DIR: "" },
    });
    // A machine with a CNI of its own has the default directory.
    if (exitCode === 4) expect(stderr).toContain("only with cni.enabled (Helm)");
    else expect(exitCode).toBe(5);
  });
});

describe("sysdump", () => {
  it("fails before it has done anything if its file cannot be written", async () => {
    let asked = 0;
    const status = () => {
      asked += 1;
      return viewsWith().status();
    };
    await world.serve({ ...viewsWith(), status });
    const directory = dirname(world.bpffs);
    expect(await world.weir("sysdump", "-o", directory)).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `weir: ${directory} is a directory; write a file in it: -o ${directory}/dump.tar.gz\n`,
    });
    const file = join(directory, "none", "dump.tar.gz");
    const { exitCode, stderr } = await world.weir("sysdump", "-o", file);
    expect({ exitCode, asked }).toEqual({ exitCode: 1, asked: 0 });
    expect(stderr).toMatch(/^weir: \S+\/none\/dump\.tar\.gz: ENOENT/);
  });

  it("writes no archive to a terminal", async () => {
    expect(await runIn(["sysdump", "-o", "-"], { terminal: true })).toEqual({
      exitCode: 2,
      stdout: "",
      stderr: "weir: an archive is not for a terminal: write it to a file (-o FILE, or > FILE)\n",
    });
  });
});

describe("run", () => {
  it("does not start if the directory does not exist", async () => {
    expect(await world.weir("run", "--manifests", `${world.bpffs}/none`)).toEqual({
      exitCode: 4,
      stdout: "",
      stderr: `weir: ${world.bpffs}/none does not exist\n`,
    });
  });

  it("does not start beside another agent", async () => {
    await world.serve(viewsWith());
    expect(await world.weir("run", "--manifests", ".")).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `weir: another agent runs (pid 4711, at ${world.socket}); one node has one\n`,
    });
  });
});
