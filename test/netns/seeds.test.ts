// The nine seed policies, all enforced at once, over real TCP, UDP and ICMP echo of both families.

import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { linesOf, mismatches, mismatchesOf } from "./reach.ts";
import { EXPECTED, NAMESPACES, PODS, WORLD } from "./seeds-world.ts";
import { openWorld, type World } from "./world.ts";

const SEEDS = fileURLToPath(new URL("../fixtures/seeds/", import.meta.url));
const seedFiles = readdirSync(SEEDS).sort();
const allLines = Object.values(EXPECTED).flatMap(linesOf);
const openLines = allLines.map((line) => line.replace(/: \S+$/, ": 46"));

let world: World;
let open: string[] = [];
let enforced = new Map<string, string[]>();

beforeAll(async () => {
  world = await openWorld({ prefix: "wt-seeds", namespaces: NAMESPACES, pods: PODS, machines: [WORLD] });
  const agent = await world.start();
  // First without any policy: a server that does not run would look like a policy that denies.
  open = await mismatchesOf(world.lab, openLines.join("\n"));
  await agent.change(() => {
    for (const file of seedFiles) world.manifests.put(file, readFileSync(SEEDS + file, "utf8"));
  });
  enforced = await mismatches(world.lab, allLines);
}, 120_000);

afterAll(() => world?.close());

it("has expectations for every seed policy", () => {
  expect(Object.keys(EXPECTED)).toEqual(seedFiles);
});

it("before any policy everyone reaches everyone, with every probe of this file", () => {
  expect(open).toEqual([]);
});

describe.each(Object.entries(EXPECTED))("%s", (_file, table) => {
  it.each(linesOf(table))("%s", (line) => {
    expect(enforced.get(line)).toEqual([]);
  });
});

it("the agent reports no problem", async () => {
  const status = JSON.parse((await world.weir("status", "-o", "json")).stdout) as { problems: unknown[] };
  expect(status.problems).toEqual([]);
});

it("maps dump cidrs shows every prefix of the blocks with exceptions", async () => {
  const { stdout, stderr, status } = await world.weir("maps", "dump", "cidrs");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  for (const prefix of [
    "10.63.48.0/22",
    "10.63.48.4/32",
    "172.17.0.0/16",
    "172.17.1.0/24",
    "10.0.0.0/8",
    "10.0.0.0/24",
  ]) {
    expect(stdout).toContain(prefix);
  }
});
