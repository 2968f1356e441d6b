// Unplugging: what `weir run --once` and `weir cleanup` leave in the kernel, as reported by bpftool, tc and ls.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { hasTcx, queryTc } from "bpf-ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { mismatchesOf } from "./reach.ts";
import {
  BYSTANDER,
  EVERYTHING_OPEN,
  FRIEND,
  FRIENDS_ONLY,
  FRIENDS_ONLY_HOLDS,
  SERVER,
  STRANGER,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

/** The kernel frees programs and maps shortly after the last reference is gone. */
const FREED_MS_MAX = 3000;
const ATTEMPTS_MAX = 20;

let world: World;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-cleanup", { "friends-only.yaml": FRIENDS_ONLY }));
});

afterAll(() => world?.close());

function run(command: string, ...args: string[]): string {
  const done = spawnSync(command, args, { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.stderr}`);
  return done.stdout;
}

/** A list of bpftool's. It walks the kernel's ids and fails if one is removed meanwhile, here or elsewhere: then it is run again. */
function bpftool<T>(...args: string[]): readonly T[] {
  for (let attempts = 1; ; attempts += 1) {
    const done = spawnSync("bpftool", ["-j", ...args], { encoding: "utf8" });
    if (done.status === 0) return JSON.parse(done.stdout) as T[];
    if (attempts === ATTEMPTS_MAX)
      throw new Error(`bpftool ${args.join(" ")}: ${done.stdout} ${done.stderr}`);
  }
}

interface LinkInfo {
  readonly id: number;
  readonly prog_id: number;
}

interface ProgramInfo {
  readonly id: number;
  readonly map_ids?: readonly number[];
}

/** What the kernel holds for our links: the tcx links on them, their programs, and those programs' maps. */
interface Held {
  readonly links: readonly number[];
  readonly programs: readonly number[];
  readonly maps: readonly number[];
}

const hostLinks = (): string[] =>
  [SERVER, FRIEND, STRANGER, BYSTANDER].map((name) => world.lab.wire(name).link);

/** Programs on our interfaces, by whichever hook: tcx, which Debian's bpftool does not list by device yet, or clsact. */
function programsOnLinks(): number[] {
  const ids = hostLinks().flatMap((link) => {
    const [net] = bpftool<{ tc: { id?: number }[] }>("net", "show", "dev", link);
    const filters = (net?.tc ?? []).flatMap(({ id }) => (id === undefined ? [] : [id]));
    if (!hasTcx()) return filters;
    const ifindex = Number(readFileSync(`/sys/class/net/${link}/ifindex`, "utf8"));
    const tcx = (["ingress", "egress"] as const).flatMap(
      (direction) => queryTc(ifindex, direction).programIds,
    );
    return [...filters, ...tcx];
  });
  return [...new Set(ids)];
}

function held(): Held {
  const programs = programsOnLinks();
  const infos = bpftool<ProgramInfo>("prog", "show").filter(({ id }) => programs.includes(id));
  const links = bpftool<LinkInfo>("link", "show").filter(({ prog_id }) => programs.includes(prog_id));
  return {
    links: links.map(({ id }) => id),
    programs: infos.map(({ id }) => id),
    maps: [...new Set(infos.flatMap(({ map_ids }) => map_ids ?? []))],
  };
}

/** Those of `before` that the kernel still has. */
function stillThere(before: Held): Held {
  const idsOf = (kind: string): number[] => bpftool<{ id: number }>(kind, "show").map(({ id }) => id);
  const [links, programs, maps] = [idsOf("link"), idsOf("prog"), idsOf("map")];
  return {
    links: before.links.filter((id) => links.includes(id)),
    programs: before.programs.filter((id) => programs.includes(id)),
    maps: before.maps.filter((id) => maps.includes(id)),
  };
}

/** Queueing disciplines and filters on our links that the kernel did not add by itself. */
const qdiscsAndFilters = (): string[] =>
  hostLinks().flatMap((link) =>
    [
      run("tc", "qdisc", "show", "dev", link),
      run("tc", "filter", "show", "dev", link, "ingress"),
      run("tc", "filter", "show", "dev", link, "egress"),
    ]
      .flatMap((text) => text.split("\n"))
      .filter((line) => line !== "" && !line.startsWith("qdisc noqueue")),
  );

async function expectNothingHeld(before: Held): Promise<void> {
  const nothing: Held = { links: [], programs: [], maps: [] };
  const deadline = Date.now() + FREED_MS_MAX;
  while (Date.now() < deadline && stillThere(before).maps.length > 0) await sleep(50);
  expect(stillThere(before)).toEqual(nothing);
  expect(programsOnLinks()).toEqual([]);
  expect(qdiscsAndFilters()).toEqual([]);
  expect(existsSync(world.paths.bpffs)).toBe(false);
}

it("weir run --once applies, ends with status 0, and enforcement stays", async () => {
  const once = await world.weir("run", "--manifests", world.manifests.path, "--once");
  expect(once.status, once.stderr).toBe(0);
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  expect(readdirSync(world.paths.bpffs)).not.toEqual([]);
  expect(existsSync(world.paths.socket)).toBe(false);
});

it("weir cleanup --dry-run names what it would remove and removes nothing", async () => {
  const before = held();
  expect(before.programs).not.toEqual([]);
  expect(before.maps).not.toEqual([]);
  const dry = await world.weir("cleanup", "--dry-run");
  expect(dry.status, dry.stderr).toBe(0);
  expect(dry.stdout).toContain(world.paths.bpffs);
  expect(stillThere(before)).toEqual(before);
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
});

it("weir cleanup leaves no pin, filter, qdisc, link, program or map of ours", async () => {
  const before = held();
  expect(before.programs).not.toEqual([]);
  const cleanup = await world.weir("cleanup");
  expect(cleanup.status, cleanup.stderr).toBe(0);
  await expectNothingHeld(before);
  expect(await mismatchesOf(world.lab, EVERYTHING_OPEN)).toEqual([]);
});

it("weir cleanup with nothing to remove succeeds", async () => {
  const cleanup = await world.weir("cleanup");
  expect(cleanup.status, cleanup.stderr).toBe(0);
});

it("neither does it leave anything after an agent that was killed", async () => {
  const agent = await world.start();
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  await agent.kill();
  const before = held();
  expect(before.programs).not.toEqual([]);
  const cleanup = await world.weir("cleanup");
  expect(cleanup.status, cleanup.stderr).toBe(0);
  await expectNothingHeld(before);
});

it("removes the files that agents keep beside their socket, and nothing else there", async () => {
  const directory = dirname(world.paths.socket);
  const agent = await world.start("--cni-conf-dir", directory, "--cni-bin-dir", directory);
  // It has a claim's file, and a killed agent's sockets.
  await agent.kill();
  const [claims, foreign] = [join(directory, "claims.json"), join(directory, "notes.txt")];
  writeFileSync(claims, '{"version":1,"claims":[]}\n');
  writeFileSync(foreign, "");
  const ours = [world.paths.socket, join(directory, "cni.sock"), claims];
  expect(ours.filter((path) => existsSync(path))).toEqual(ours);
  const dry = await world.weir("cleanup", "--dry-run");
  for (const path of ours) expect(dry.stdout).toMatch(new RegExp(`^file +${path} +would be removed$`, "m"));
  expect(ours.filter((path) => existsSync(path))).toEqual(ours);
  const cleanup = await world.weir("cleanup");
  expect(cleanup.status, cleanup.stderr).toBe(0);
  expect([...ours, foreign].filter((path) => existsSync(path))).toEqual([foreign]);
});

it("nor does it change what others have on the same interface", async () => {
  const link = world.lab.wire(SERVER).link;
  run("tc", "qdisc", "add", "dev", link, "clsact");
  // One classic BPF instruction: return TC_ACT_OK. Needs no classifier that a small kernel may lack.
  const pass = ["bpf", "da", "bytecode", "1,6 0 0 0"];
  run("tc", "filter", "add", "dev", link, "ingress", "prio", "7", "handle", "77", ...pass);
  const agent = await world.start();
  await agent.stop();
  const cleanup = await world.weir("cleanup");
  expect(cleanup.status, cleanup.stderr).toBe(0);
  expect(run("tc", "qdisc", "show", "dev", link)).toContain("clsact");
  expect(run("tc", "filter", "show", "dev", link, "ingress")).toContain("0x4d");
  run("tc", "qdisc", "del", "dev", link, "clsact");
});

it("nor does it remove an empty qdisc that was there before", async () => {
  const link = world.lab.wire(SERVER).link;
  run("tc", "qdisc", "add", "dev", link, "clsact");
  const agent = await world.start();
  await agent.stop();
  const cleanup = await world.weir("cleanup");
  expect(cleanup.status, cleanup.stderr).toBe(0);
  expect(qdiscsAndFilters()).toEqual([expect.stringContaining(`qdisc clsact ffff: `)]);
  run("tc", "qdisc", "del", "dev", link, "clsact");
});
