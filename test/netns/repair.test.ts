// An entry that is changed externally: `maps dump --diff` finds it, a resync repairs it.

import { execFileSync } from "node:child_process";
import { readFileSync, renameSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Direction } from "../../src/base/direction.ts";
import { linkPath } from "../../src/datapath/pins.ts";
import { LAYOUT_DIGEST } from "../../src/gen/layout.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { mismatchesOf } from "./reach.ts";
import { FRIENDS_AND_BLOCK, FRIENDS_ONLY_HOLDS, SERVER, STRANGER, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

interface RawMaps {
  readonly map: string;
  readonly entries: readonly { readonly key: string; readonly value: string }[];
}

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-repair", { "policy.yaml": FRIENDS_AND_BLOCK }));
  agent = await world.start();
});

afterAll(() => world?.close());

const bytes = (hex: string): string[] => hex.match(/../g) ?? [];

/** The digits of the number in the bytes of a little-endian one. */
const reversed = (hex: string): string => bytes(hex).reverse().join("");

/** Changes the bytes of an entry with bpftool: `change` returns the new value, in hexadecimal. */
function tamper(map: string, key: string, value: string): void {
  const path = join(world.paths.bpffs, LAYOUT_DIGEST, "maps", map);
  execFileSync("bpftool", [
    ...["map", "update", "pinned", path],
    ...["key", "hex", ...bytes(key)],
    ...["value", "hex", ...bytes(value)],
  ]);
}

async function firstEntry(table: string, map: string): Promise<{ key: string; value: string }> {
  const { stdout } = await world.weir("maps", "dump", table, "--raw", "-o", "json");
  const entry = (JSON.parse(stdout) as RawMaps[]).find((each) => each.map === map)?.entries[0];
  if (entry === undefined) throw new Error(`nothing in ${map}`);
  return entry;
}

async function differences(
  ...args: readonly string[]
): Promise<{ status: number; rows: Record<string, unknown>[] }> {
  const { status, stdout } = await world.weir("maps", "dump", ...args, "--diff", "-o", "json");
  return { status, rows: JSON.parse(stdout) };
}

beforeEach(async () => {
  expect((await world.weir("resync")).status).toBe(0);
});

describe("an entry changed with bpftool", () => {
  it("did not differ before", async () => {
    expect(await differences()).toEqual({ status: 0, rows: [] });
    const { status, stdout, stderr } = await world.weir("maps", "dump", "--diff");
    expect({ status, stdout }).toEqual({ status: 0, stdout: "" });
    expect(stderr).toMatch(/^weir: no difference: the kernel holds generation \d+ as desired\n$/);
  });

  it.each([
    ["cidrs", "cidrs_v4", "198.51.100.0/24", /friends-only ingress\[0\]\.from\[1\]: in the block/],
    ["addresses", "addresses_v4", /^10\.63\.61\.\d$/, /^shop\//],
    ["endpoints", "endpoints", /^\d+$/, /^shop\//],
  ])("of %s is found by --diff, named, and repaired on demand", async (table, map, key, about) => {
    const { key: at, value } = await firstEntry(table, map);
    // Whatever it was, its first word and its third are now different: a version, an interface, a policy.
    const wrong = `${value.slice(0, 16) === "4d0000004d000000" ? "4e0000004e000000" : "4d0000004d000000"}${value.slice(16)}`;
    tamper(map, at, wrong);
    for (const args of [[table], []]) {
      const { status, rows } = await differences(...args);
      expect(status).toBe(5);
      expect(rows[0]).toMatchObject({
        table,
        key: typeof key === "string" ? key : expect.stringMatching(key),
        about: [expect.stringMatching(about)],
      });
    }
    const { stdout } = await world.weir("resync");
    expect(stdout).toMatch(/^\d+ (entry|entries) repaired; generation \d+ is in force\n/);
    expect(stdout).toContain(table);
    expect(await differences()).toEqual({ status: 0, rows: [] });
    expect(agent.stderr).toContain("maps were modified externally");
    expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  });

  it.each([
    ["0", "00000000"],
    ["beyond any interface", "ffffffff"],
  ])("of endpoints is repaired without an error: its interface is %s", async (_, ifindex) => {
    const { key, value } = await firstEntry("endpoints", "endpoints");
    tamper("endpoints", key, `${ifindex}${value.slice(8)}`);
    const { status, stdout, stderr } = await world.weir("resync");
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(stdout).toMatch(/^\d+ (entry|entries) repaired; /);
    expect(await differences()).toEqual({ status: 0, rows: [] });
    expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  });

  it("of node is found, named, and repaired: a timeout", async () => {
    const { key, value } = await firstEntry("node", "node");
    tamper("node", key, value.replace(/^(.{16})......../, "$100000001"));
    expect(await differences("node")).toMatchObject({
      status: 5,
      rows: [{ table: "node", key: "timeout tcp-new", held: String(0x01000000) }],
    });
    expect((await world.weir("resync")).stdout).toContain("timeout tcp-new");
    expect(await differences()).toEqual({ status: 0, rows: [] });
  });

  it.each([
    ["back", "01000000"],
    ["ahead", "ffff0000"],
  ])("of node is repaired at once: the active generation, set %s", async (_, generation) => {
    const applied = async (): Promise<number> =>
      JSON.parse((await world.weir("status", "-o", "json")).stdout).generation.applied;
    const before = await applied();
    const { key, value } = await firstEntry("node", "node");
    tamper("node", key, `${generation}${value.slice(8)}`);
    // Flows that were judged in a generation never meet it again.
    const deadline = Date.now() + 60_000;
    while ((await applied()) <= before || (await world.weir("status")).status !== 0) {
      expect(Date.now()).toBeLessThan(deadline);
      await sleep(50);
    }
    const found = Number(`0x${reversed(generation)}`);
    expect(agent.stderr).toContain(
      `the active generation was modified externally; repaired found=${found} expected=${before}`,
    );
    expect(await differences()).toEqual({ status: 0, rows: [] });
    expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  });

  it("of a table that the programs write cannot be compared", async () => {
    const { status, stderr } = await world.weir("maps", "dump", "conntrack", "--diff");
    expect(status).toBe(2);
    expect(stderr).toMatch(/^weir: --diff: conntrack has no desired state; there are cidrs, /);
  });

  it("is repaired by the agent itself, within a resync", async () => {
    const { key, value } = await firstEntry("addresses", "addresses_v4");
    tamper("addresses_v4", key, value.replace(/^......../, "4d000000"));
    expect((await differences("addresses")).status).toBe(5);
    const deadline = Date.now() + 150_000;
    while ((await differences("addresses")).status !== 0) {
      expect(Date.now()).toBeLessThan(deadline);
      await sleep(1_000);
    }
  });
});

it.each([
  ["of one interface", SERVER, "ingress", SERVER, "egress"],
  ["of two interfaces", SERVER, "ingress", STRANGER, "ingress"],
] as const)(
  "pins of links %s, exchanged while no agent runs, are replaced",
  async (_, one, at, other, there) => {
    await agent.kill();
    const pinOf = (pod: string, place: Direction): string => {
      const ifindex = Number(readFileSync(`/sys/class/net/${world.lab.wire(pod).link}/ifindex`, "utf8"));
      return linkPath(world.paths.bpffs, ifindex, place);
    };
    const [first, second] = [pinOf(one, at), pinOf(other, there)];
    renameSync(first, `${first}-renamed`);
    renameSync(second, first);
    renameSync(`${first}-renamed`, second);
    agent = await world.start();
    expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
    expect((await world.weir("status")).status).toBe(0);
  },
);

it("--diff needs the agent, which alone has the desired state", async () => {
  await agent.kill();
  const { status, stderr } = await world.weir("maps", "dump", "--diff");
  expect(status).toBe(1);
  expect(stderr).toMatch(/^weir: no agent answers at \S+; only it has the desired state\n$/);
});
