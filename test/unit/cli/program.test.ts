// The command line itself: help, wrong usage, exit codes, and what a start loads.
import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Command } from "commander";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildProgram } from "../../../src/cli/program.ts";
import type { PolicyView } from "../../../src/observe/api-views.ts";
import { serve } from "../../../src/observe/socket-server.ts";
import { ENV_OF_NOTHING, ROOT, runIn } from "./world.ts";

const program = await buildProgram(ENV_OF_NOTHING, () => async () => undefined);

/** Every command by its words, groups included. */
function commandsBelow(command: Command, words: readonly string[] = []): string[][] {
  return command.commands.flatMap((each) => [
    [...words, each.name()],
    ...commandsBelow(each, [...words, each.name()]),
  ]);
}
const COMMANDS = [[], ...commandsBelow(program)];

describe("help", () => {
  it("lists the commands", () => {
    expect(COMMANDS.map((words) => words.join(" "))).toEqual([
      "",
      "run",
      "status",
      "get",
      "get endpoints",
      "get policies",
      "get reachability",
      "describe",
      "describe endpoint",
      "describe policy",
      "trace",
      "diff",
      "maps",
      "maps list",
      "maps dump",
      "conntrack",
      "conntrack list",
      "conntrack flush",
      "snapshot",
      "monitor",
      "drops",
      "top",
      "suggest",
      "ui",
      "check",
      "check node",
      "cni",
      "cni install",
      "cni uninstall",
      "cni status",
      "sysdump",
      "lint",
      "test",
      "bypass",
      "bypass pod",
      "bypass node",
      "bypass list",
      "bypass end",
      "resync",
      "log-level",
      "cleanup",
      "completion",
      "version",
    ]);
  });

  it.each(COMMANDS.map((words) => [words.join(" "), words]))(
    "of `weir %s` has examples",
    async (_, words) => {
      const { exitCode, stdout, stderr } = await runIn([...words, "--help"]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
      const called = ["weir", ...words].join(" ");
      expect(stdout).toContain(`Usage: ${called} `);
      expect(stdout.slice(stdout.indexOf("\nExamples:\n"))).toContain(`\n  ${called}`);
      expect(stdout).toContain("--bpffs <dir>");
      expect(stdout).toContain("--socket <path>");
      expect(stdout.split("\n").filter((line) => line.length > 120)).toEqual([]);
    },
  );

  it("is shown for the word too", async () => {
    expect((await runIn(["help", "status"])).stdout).toBe((await runIn(["status", "--help"])).stdout);
  });
});

describe("wrong usage is one line on stderr and exit code 2", () => {
  it.each([
    ["statu", /unknown command 'statu' \(Did you mean status\?\); see: weir --help/],
    ["maps dmp cidrs", /unknown command 'dmp' \(Did you mean dump\?\); see: weir maps --help/],
    ["status --frobnicate", /unknown option '--frobnicate'; see: weir status --help/],
    ["status extra", /too many arguments/],
    ["status -o xml", /Allowed choices are text, json, yaml; see: weir status --help/],
    ["get endpoints -o text", /Allowed choices are table, wide, json, ndjson, yaml, name/],
    ["get endpoints --pod nginx", /Write it as NAMESPACE\/NAME; see: weir get endpoints --help/],
    ["get endpoints --pod a/b/c", /Write it as NAMESPACE\/NAME/],
    ["get endpoints --pod /b", /Write it as NAMESPACE\/NAME/],
    ["get endpoints -n", /argument missing/],
    ["maps dump", /which table\? there are cidrs, .*; see: weir maps dump --help/],
    ["maps dump cidrs --raw --diff", /--diff does not go with --raw/],
    ["maps dump cidrs --raw --pod a/b", /--pod does not go with --raw or --diff/],
    ["maps dump conntrack --diff", /conntrack has no desired state/],
    ["maps dump cidrs addresses", /too many arguments/],
    ["trace --from a/x", /required option '--to <end>' not specified; see: weir trace --help/],
    ["trace --from a/x --to a/y --protocol GRE", /Allowed choices are TCP, UDP, SCTP, ICMP/],
    ["trace --from a/x --to a/y --protocol ICMP --port 1", /ICMP has no ports; leave out --port/],
    ["run", /name a source: --manifests DIR, --kubeconfig FILE or --in-cluster; see: weir run --help/],
    ["run --manifests . --metrics-listen 5", /Expected 127.0.0.1:9469, .* or off; see: weir run --help/],
    ["run --manifests . --node-condition", /--node-condition needs an API server, and excludes --manifests/],
    ["run --manifests . --log-level loud", /Allowed choices are debug, info, warn, error/],
    ["snapshot a b", /files go with --compare; see: weir snapshot --help/],
    ["snapshot --compare", /--compare takes one snapshot or two/],
    ["snapshot --compare a b c", /--compare takes one snapshot or two/],
    ["snapshot --compare a b -o wide", /-o wide: with --compare it is table, json or yaml/],
    ["conntrack flush", /select flows, or use --all; see: weir conntrack flush --help/],
    ["conntrack flush --all --port 80", /--all excludes filters/],
    ["conntrack list --port 65536", /Expected a number of 0 to 65535/],
    ["conntrack list --protocol IP", /Expected TCP, UDP, SCTP, ICMP, or a number of 0 to 255/],
    ["conntrack list --state gone", /Allowed choices are new, replied, confirmed,/],
    ["conntrack list --peer 10.0.0.0/33", /--peer 10.0.0.0\/33: expected an address, a prefix, or a pod/],
    ["run --manifests . --socket-group", /argument missing/],
    ["cleanup --wait-for weir-cleanup", /Write it as NAMESPACE\/DAEMONSET/],
    ["cleanup --wait-for a/b/../c", /Write it as NAMESPACE\/DAEMONSET/],
    ["cleanup --timeout 0", /Write a number from 1 to 9999/],
    ["log-level loud", /Allowed choices are debug, info, warn, error; see: weir log-level --help/],
    ["--socket", /argument missing; see: weir --help/],
  ])("weir %s", async (line, reason) => {
    const { exitCode, stdout, stderr } = await runIn(line.split(" "));
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toMatch(/^weir: [^\n]+\n$/);
    expect(stderr).toMatch(reason);
  });

  it.each([[[]], [["get"]], [["maps"]]])("weir %j shows the help instead", async (words) => {
    const { exitCode, stdout, stderr } = await runIn(words);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toContain("Commands:");
  });

  it("lets nothing of the command line control the terminal", async () => {
    const { stderr } = await runIn(["\u001b[2J"]);
    expect(stderr).toContain("\\u{1b}[2J");
    expect(stderr).not.toContain("\u001b");
  });
});

describe("as a process", () => {
  const run = promisify(execFile);
  let directory: string;

  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "wt-cli-"));
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  /** As built: what a bundle lacks shows nowhere else. */
  const main = join(ROOT, "bin/weir");
  const process_ = async (args: readonly string[], variables: Record<string, string> = {}) => {
    const env = { PATH: process.env["PATH"], ...variables };
    try {
      return { exitCode: 0, ...(await run(main, args, { env })) };
    } catch (thrown) {
      const { code, stdout, stderr } = thrown as { code: number; stdout: string; stderr: string };
      return { exitCode: code, stdout, stderr };
    }
  };

  it("prints, and ends with the exit code", async () => {
    const none = ["--socket", join(directory, "none.sock"), "--bpffs", join(directory, "none")];
    const [help, wrong, down] = await Promise.all([
      process_(["--help"]),
      process_(["nonsense"]),
      process_(["status", ...none]),
    ]);
    expect(help).toMatchObject({ exitCode: 0, stderr: "" });
    expect(wrong).toMatchObject({ exitCode: 2, stdout: "" });
    expect(down).toMatchObject({ exitCode: 8, stderr: "" });
    expect(down.stdout).toMatch(/^down: no agent answers, and nothing is enforced\n/);
  });

  it("takes the defaults of its options from the environment", async () => {
    const variables = { WEIR_SOCKET: join(directory, "there.sock"), WEIR_BPFFS: join(directory, "pins") };
    const [status, list, option] = await Promise.all([
      process_(["status"], variables),
      process_(["maps", "list"], variables),
      process_(["maps", "list", "--bpffs", join(directory, "other")], variables),
    ]);
    expect(status.stdout).toContain(join(directory, "there.sock"));
    expect(list).toMatchObject({ exitCode: 4, stdout: "" });
    expect(list.stderr).toContain(`nothing is pinned under ${join(directory, "pins")}`);
    expect(option.stderr).toContain(`nothing is pinned under ${join(directory, "other")}`);
  });

  it("shows an error's origin on request only", async () => {
    const file = join(directory, "file");
    writeFileSync(file, "");
    const args = ["maps", "list", "--bpffs", join(file, "below")];
    const [plain, debug] = await Promise.all([process_(args), process_(args, { WEIR_DEBUG: "1" })]);
    expect(plain).toMatchObject({ exitCode: 1, stdout: "" });
    expect(plain.stderr).toMatch(/^weir: list [^\n]*ENOTDIR[^\n]*\n$/);
    expect(debug.exitCode).toBe(1);
    expect(debug.stderr).toMatch(/\n {4}at .*pins\.ts/);
  });

  it("queries an agent, and writes the answer in every format", async () => {
    const nothing = {
      endpoints: {},
      addresses: {},
      services: {},
      identities: {},
      cidrs: {},
      policies: {},
      rows: {},
      classes: {},
    };
    const socket = join(directory, "agent.sock");
    const policy: PolicyView = {
      namespace: "alpha",
      name: "p",
      selector: "",
      types: ["Ingress"],
      rules: { ingress: 0, egress: 0 },
      selects: [],
      enforced: 0,
    };
    const api = await serve(socket, {
      status: () => {
        throw new Error("not asked here");
      },
      endpoints: () => [],
      policies: () => [policy],
      names: () => nothing,
      cluster: () => ({ generation: 0, cluster: {} }),
    });
    const outputs = await Promise.all(
      ["table", "wide", "json", "yaml", "name"].map((format) =>
        process_(["get", "policies", "-o", format, "--socket", socket]),
      ),
    );
    await api.close();
    expect(outputs.map(({ exitCode, stderr }) => ({ exitCode, stderr }))).toEqual(
      outputs.map(() => ({ exitCode: 0, stderr: "" })),
    );
    expect(outputs.map(({ stdout }) => stdout.split("\n")[0])).toEqual([
      expect.stringMatching(/^NAMESPACE +NAME .* STATE$/),
      expect.stringMatching(/^NAMESPACE +NAME .* UNREADABLE$/),
      "[",
      "- namespace: alpha",
      "alpha/p",
    ]);
  });

  it("ends without a message if its reader closes", async () => {
    const script = `"${main}" run --help | head -c 1; echo " \${PIPESTATUS[0]}"`;
    const { stdout, stderr } = await run("bash", ["-c", script]);
    expect({ stdout, stderr }).toEqual({ stdout: "U 0\n", stderr: "" });
  });
});

describe("a start", () => {
  it("loads neither the agent, nor the bindings, nor a parser that it may not need", async () => {
    const { metafile } = await build({
      absWorkingDir: ROOT,
      entryPoints: { weir: "src/cli/main.ts" },
      bundle: true,
      splitting: true,
      format: "esm",
      platform: "node",
      outdir: "dist",
      external: ["bpf-ts"],
      metafile: true,
      write: false,
    });
    const { outputs } = metafile;
    const loaded = new Set<string>();
    const visit = (path: string): void => {
      if (loaded.has(path)) return;
      loaded.add(path);
      for (const { path: next, kind } of outputs[path]?.imports ?? []) {
        if (kind === "import-statement") visit(next);
      }
    };
    visit("dist/weir.js");
    const inputs = [...loaded].flatMap((path) => Object.keys(outputs[path]?.inputs ?? {}));
    expect(inputs).toContain("src/cli/commands/status-command.ts");
    const heavy =
      /^src\/(?:agent|cli\/config|datapath|gen|policy|source|state|lab)|node_modules\/(?!commander)/;
    expect(inputs.filter((path) => heavy.test(path))).toEqual([]);
    expect([...loaded]).not.toContain("bpf-ts");
  });
});
