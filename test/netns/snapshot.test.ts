// `weir snapshot`: what is saved of real maps, and what it reports about a policy that changed meanwhile.

import { execFileSync } from "node:child_process";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import { TABLE_NAMES } from "../../src/observe/dump/map-tables.ts";
import { mismatchesOf } from "./reach.ts";
import { FRIENDS_AND_BLOCK, FRIENDS_ONLY, FRIENDS_ONLY_HOLDS, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

let world: World;
let agent: Agent;
let before: string;

const pathOf = (name: string): string => join(dirname(world.paths.socket), name);

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-snap", { "policy.yaml": FRIENDS_ONLY }));
  agent = await world.start();
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  before = pathOf("before.gz");
});

afterAll(() => world?.close());

it("saves every table, for its owner alone", async () => {
  expect(await world.weir("snapshot", "-o", before)).toEqual({
    status: 0,
    stdout: `${before}\n`,
    stderr: "",
  });
  expect(statSync(before).mode & 0o777).toBe(0o600);
  expect(existsSync(`${before}.partial`)).toBe(false);
  const lines = execFileSync("zcat", [before], { encoding: "utf8", maxBuffer: 2 ** 26 })
    .trimEnd()
    .split("\n");
  const [head, ...entries] = lines.map((line) => JSON.parse(line));
  expect(head).toMatchObject({ format: "weir-snapshot/1", generation: expect.any(Number) });
  const addresses = entries.filter(({ table }) => table === "addresses").map(({ entry }) => entry);
  const { stdout } = await world.weir("maps", "dump", "addresses", "-o", "json");
  expect(addresses).toEqual(JSON.parse(stdout));
  expect(TABLE_NAMES).toEqual(expect.arrayContaining([...new Set(entries.map(({ table }) => table))]));
});

it("against now: counters may have changed, and nothing else", async () => {
  const { status, stderr } = await world.weir("snapshot", "--compare", before);
  expect(status).toBe(0);
  expect(stderr).toMatch(/^weir: \d+ differences? between \S+ on \S+ and \S+ on \S+\n$/);
});

it("against a later one: reports what a policy changed", async () => {
  await agent.change(() => world.manifests.put("policy.yaml", FRIENDS_AND_BLOCK));
  const after = pathOf("after.gz");
  expect((await world.weir("snapshot", "-o", after)).status).toBe(0);
  const { status, stdout } = await world.weir("snapshot", "--compare", before, after);
  expect(status).toBe(5);
  expect(stdout).toMatch(/^TABLE +CHANGE +ENTRY +WHAT\n/);
  expect(stdout).toMatch(/^cidrs +added +198\.51\.100\.0\/24 +identity \d+$/m);
  const json = await world.weir("snapshot", "--compare", before, after, "-o", "json");
  expect(json.status).toBe(5);
  expect(JSON.parse(json.stdout)).toContainEqual({
    table: "cidrs",
    change: "added",
    key: "198.51.100.0/24",
    after: expect.objectContaining({ cidr: "198.51.100.0/24" }),
  });
});

it("refuses files that are missing or no snapshots", async () => {
  const other = pathOf("other");
  writeFileSync(other, "no gzip");
  expect(await world.weir("snapshot", "--compare", other)).toMatchObject({
    status: 1,
    stderr: expect.stringMatching(/^weir: \S+other is not a snapshot: .+\n$/),
  });
  writeFileSync(other, execFileSync("gzip", { input: "{}\n" }));
  expect((await world.weir("snapshot", "--compare", other)).stderr).toContain("line 1: expected a snapshot");
  expect(await world.weir("snapshot", "--compare", pathOf("none"))).toEqual({
    status: 4,
    stdout: "",
    stderr: `weir: ${pathOf("none")} does not exist\n`,
  });
});
