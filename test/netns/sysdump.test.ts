// `weir sysdump` and `weir check node` on a node that enforces, and the archive if no agent answers.

import { execFileSync, spawnSync } from "node:child_process";
import { statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import { FRIENDS_ONLY, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

let world: World;
let agent: Agent;

const pathOf = (name: string): string => join(dirname(world.paths.socket), name);
const tar = (...args: readonly string[]): string =>
  execFileSync("tar", args, { encoding: "utf8", maxBuffer: 2 ** 26 });

/** The content of one file of an archive. */
const fileIn = (archive: string, name: string): string => tar("xzOf", archive, "--wildcards", `*/${name}`);
const namesIn = (archive: string): string[] =>
  tar("tzf", archive)
    .trimEnd()
    .split("\n")
    .map((path) => path.slice(path.indexOf("/") + 1));

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-dump2", { "policy.yaml": FRIENDS_ONLY }));
  agent = await world.start();
});

afterAll(() => world?.close());

describe("sysdump", () => {
  it("has the files in its list of contents, readable by its owner alone", async () => {
    const archive = pathOf("dump.tar.gz");
    const done = await world.weir("sysdump", "-o", archive);
    expect(done).toEqual({ status: 0, stdout: `${archive}\n`, stderr: "" });
    expect(statSync(archive).mode & 0o777).toBe(0o600);
    const listed = fileIn(archive, "contents.txt")
      .trimEnd()
      .split("\n")
      .map((line) => line.split(" ")[0]);
    expect(namesIn(archive)).toEqual(["contents.txt", ...listed]);
    expect(listed).toEqual(
      expect.arrayContaining(["agent/log.txt", "kernel/maps.ndjson.gz", "node/attached.txt"]),
    );
  });

  it("holds what the commands show, and the log", async () => {
    const archive = pathOf("dump.tar.gz");
    expect(JSON.parse(fileIn(archive, "agent/status.json"))).toMatchObject({ pid: agent.pid, endpoints: 4 });
    expect(fileIn(archive, "agent/log.txt")).toMatch(
      /^\S+Z info {2}enforcing generation=\d+ endpoints=4 policies=1$/m,
    );
    expect(JSON.parse(fileIn(archive, "kernel/differences.json"))).toMatchObject({ found: [] });
    expect(JSON.parse(fileIn(archive, "check-node.json"))).toContainEqual(
      expect.objectContaining({ check: "programs", state: "ok" }),
    );
    expect(fileIn(archive, "kernel/pins.txt")).toContain("/maps/cidrs_v4\n");
    tar(
      "xzf",
      archive,
      "-C",
      dirname(archive),
      "--strip-components=2",
      "--wildcards",
      "*/kernel/maps.ndjson.gz",
    );
    expect((await world.weir("snapshot", "--compare", pathOf("maps.ndjson.gz"))).status).toBe(0);
  });

  it("goes to the standard output by -o -, byte for byte, if no path is writable", () => {
    const { bin, bpffs, socket } = world.paths;
    // As in the agent's pod, whose root is read-only.
    const script = `cd /proc && exec "${bin}" "$@" --bpffs "${bpffs}" --socket "${socket}"`;
    const run = (...args: readonly string[]) =>
      spawnSync("sh", ["-c", script, "sh", "sysdump", ...args], { maxBuffer: 2 ** 26 });
    const unwritable = run();
    expect(unwritable.status).toBe(1);
    expect(unwritable.stderr.toString()).toMatch(
      /^weir: weir-sysdump-\S+\.tar\.gz: .*; -o FILE writes another file, -o - to the standard output\n$/,
    );
    const { status, stdout } = run("-o", "-");
    expect(status).toBe(0);
    const archive = pathOf("piped.tar.gz");
    writeFileSync(archive, stdout);
    expect(namesIn(archive)).toContain("kernel/maps.ndjson.gz");
    expect(JSON.parse(fileIn(archive, "agent/status.json"))).toMatchObject({ pid: agent.pid });
  });

  it("without an agent has the rest, and reports what is missing", async () => {
    const socketLine = async () =>
      (await world.weir("check", "node")).stdout.split("\n").find((line) => line.startsWith("socket "));
    expect(await socketLine()).toMatch(new RegExp(`ok +an agent \\(pid ${agent.pid}\\) answers at `));
    await agent.kill();
    // The dead agent's socket is still there as a file.
    expect(await socketLine()).toMatch(/ok +no agent listens at \S+; one can$/);
    const archive = pathOf("down.tar.gz");
    const { status, stderr } = await world.weir("sysdump", "-o", archive);
    expect(status).toBe(0);
    expect(stderr).toMatch(
      /^weir: without agent\/status\.json: no agent answers at \S+; this needs the agent$/m,
    );
    expect(fileIn(archive, "contents.txt")).toMatch(/^agent\/names\.json +missing: no agent answers/m);
    expect(namesIn(archive)).toContain("kernel/maps.ndjson.gz");
  });
});

describe("check node", () => {
  it("reports by which means Weir enforces here", async () => {
    const { status, stdout, stderr } = await world.weir("check", "node");
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringMatching(/^weir: Weir can enforce here: \d+ ok(, \d+ fallback)?\n$/),
    });
    expect(stdout).toMatch(/^CHECK +STATE +DETAIL\n/);
    expect(stdout).toMatch(
      /^programs +(ok|fallback) +to_pod \(\d+ instructions\) and from_pod \(\d+ instructions\)/m,
    );
  });

  it("reports an invalid place for pins", async () => {
    const done = execFileSync(
      "sh",
      ["-c", `"${world.paths.bin}" check node --bpffs /tmp/pins -o json; echo $?`],
      {
        encoding: "utf8",
        stdio: ["ignore", "pipe", "ignore"],
      },
    );
    const end = done.lastIndexOf("]") + 1;
    expect(done.slice(end).trim()).toBe("1");
    expect(JSON.parse(done.slice(0, end))).toContainEqual({
      check: "bpf filesystem",
      state: "missing",
      detail: expect.stringContaining(
        "is not on a BPF filesystem; mount one with: mount -t bpf bpf /sys/fs/bpf",
      ),
    });
  });

  it("reports what needs root", async () => {
    const script = `setpriv --bounding-set -all "${world.paths.bin}" check node --no-headers; echo $?`;
    const done = execFileSync("sh", ["-c", script], {
      encoding: "utf8",
      stdio: ["ignore", "pipe", "ignore"],
    });
    const all = "this process lacks CAP_BPF, CAP_NET_ADMIN, CAP_PERFMON";
    expect(done).toMatch(new RegExp(`^privilege +missing +${all}; run it as root$`, "m"));
    expect(done).toMatch(new RegExp(`^programs +missing +object.load filter: EPERM: .*: ${all}$`, "m"));
    expect(done).toMatch(/^links +unknown +not tried: it needs pins$/m);
    expect(done).toMatch(/\n1\n$/);
  });
});
