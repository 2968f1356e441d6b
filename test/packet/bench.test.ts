// bench/packet with tiny counts: whether the rows measure what they state. The counters prove it, and no time is asserted.

import { spawnSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Driver, openDriver } from "../../bench/packet/driver.ts";
import { floorPeers, measure, type Rig } from "../../bench/packet/measure.ts";
import { openMeter } from "../../bench/packet/meter.ts";
import type { ProgramRow } from "../../bench/packet/row.ts";
import { ROWS } from "../../bench/packet/rows.ts";
import { openStage, type Stage } from "../../bench/packet/stage.ts";
import type { WorldName } from "../../bench/packet/worlds.ts";
import { present } from "../../src/base/assert.ts";
import { OBJECT } from "../support/object.ts";

/** The others are the same with larger numbers; setting them up takes half a minute. */
const WORLDS: readonly WorldName[] = ["cidrs-10", "cidrs-1k", "rules-10"];
const PACKETS = 500;

const stages = new Map<WorldName, Stage>();
let driver: Driver | undefined;

beforeAll(async () => {
  driver = await openDriver();
  for (const world of WORLDS)
    stages.set(
      world,
      await openStage({ world, object: OBJECT, bpffs: "/sys/fs/bpf", xdp: true, primitives: true }),
    );
});

afterAll(() => {
  driver?.close();
  for (const stage of stages.values()) stage.close();
});

const ofFloors = floorPeers();
const rig = (): Rig => ({ driver: present(driver, "the driver"), stages, floorPeers: ofFloors });
const stageOf = (world: WorldName): Stage => present(stages.get(world), world);
const rowById = (id: string): ProgramRow => {
  const row = ROWS.find((each) => each.id === id);
  if (row?.kind !== "program") throw new Error(`no row ${id} of a program`);
  return row;
};

/** What a run adds to the counters, warming up included. */
async function moved(row: ProgramRow): Promise<ReadonlyMap<string, number>> {
  const stage = stageOf(row.world);
  const before = stage.counted(row);
  await measure(rig(), row, PACKETS);
  const differences = [...stage.counted(row)].map(
    ([name, count]) => [name, count - (before.get(name) ?? 0)] as const,
  );
  return new Map(differences.filter(([, count]) => count !== 0));
}

/** Rows whose table of flows is checked below, after the same run. */
const FILLING = ["new-v4-filling", "new-v4-udp-filling", "new-v6-filling", "new-xdp-filling"];
const EVICTING = ["new-v4-evicting", "new-v6-evicting"];
const DRAWN = { "established-v4-16k": 16_384, "established-v4-128k": 131_072, "established-v6-16k": 16_384 };
const UNTRACKED = [
  "denied-v4-hot",
  "untracked-v4-hot",
  "denied-v4-random-1k",
  "denied-xdp-hot",
  "spoofed-v4-hot",
  "not-isolated-v4",
];
const below: ReadonlySet<string> = new Set([...FILLING, ...EVICTING, ...Object.keys(DRAWN), ...UNTRACKED]);

const others = ROWS.filter(
  (row) =>
    (row.kind === "floor" || (WORLDS.includes(row.world) && !/^new-.*-1k-/.test(row.id))) &&
    !below.has(row.id),
);

describe("every row of a small world", () => {
  it.each(others.map((row) => [row.id, row] as const))("%s is counted as it states", async (_id, row) => {
    // measure() itself throws if the counters differ for a packet. Cold rows are differences, which may be nothing.
    const ns = await measure(rig(), row, PACKETS);
    if (row.cold === undefined) expect(ns).toBeGreaterThan(0);
    else expect(ns).toEqual(expect.any(Number));
  });

  it("is refused if a primitive does not find the flow", async () => {
    const row: ProgramRow = { ...rowById("primitive-find-hot"), transport: "SYN", peer: "unknown" };
    await stageOf(row.world).forget(4);
    await expect(measure(rig(), row, PACKETS)).rejects.toThrow("did not have, or take, the packet's flow");
  });

  it("is refused if the packets are something else", async () => {
    const row = { ...rowById("denied-v4-hot"), reason: "policy" };
    await expect(measure(rig(), row, PACKETS)).rejects.toThrow(
      `measure denied-v4-hot: 500 packets were to be counted as "ingress policy", but were as [["ingress denied",500]]`,
    );
  });
});

describe("the table of flows", () => {
  const flows = (row: ProgramRow) => stageOf(row.world).flows(row.family);

  it.each(FILLING)("has one more for every packet of %s", async (id) => {
    const row = rowById(id);
    await measure(rig(), row, PACKETS);
    expect(await flows(row)).toBe(PACKETS);
  });

  it.each(EVICTING)("is full for %s", async (id) => {
    const row = rowById(id);
    await measure(rig(), row, PACKETS);
    expect(await flows(row)).toBeGreaterThan(0.9 * stageOf(row.world).flowsMax[row.family]);
  });

  it.each(Object.entries(DRAWN))(
    "holds no more than the flows of %s, and most of them",
    async (id, drawnFrom) => {
      const row = rowById(id);
      await measure(rig(), row, PACKETS);
      expect(await flows(row)).toBeLessThanOrEqual(drawnFrom);
      expect(await flows(row)).toBeGreaterThan(0.8 * drawnFrom);
    },
  );

  it.each(UNTRACKED)("has nothing of %s", async (id) => {
    const row = rowById(id);
    await stageOf(row.world).forget(row.family);
    expect([...(await moved(row)).keys()]).toEqual([`${row.direction} ${row.reason}`]);
    expect(await flows(row)).toBe(0);
  });
});

describe("the whole command", () => {
  const ROOT = fileURLToPath(new URL("../..", import.meta.url));

  it("writes JSON alone to stdout, and leaves no pin and no device", () => {
    const rows = "established-v4-hot,denied-v4-random-1k,denied-xdp-hot";
    const args = ["bench/main.ts", "packet", "-o", "json", "--runs", "2", "--packets", "300", "--rows", rows];
    const { status, stdout, stderr, pid } = spawnSync(process.execPath, args, {
      cwd: ROOT,
      encoding: "utf8",
    });
    expect({ status, stderr }).toEqual({ status: 0, stderr: expect.stringContaining("bench: run 2 of 2\n") });
    const { rows: found, ...about } = JSON.parse(stdout);
    expect(about).toEqual({ machine: expect.any(String), kernel: expect.any(String) });
    expect(found.map(({ id }: { id: string }) => id)).toEqual([
      ...[
        "floor",
        "floor-driver-v4",
        "floor-xdp",
        "established-v4-hot",
        "denied-v4-random-1k",
        "denied-xdp-hot",
      ],
    ]);
    for (const { ns, min_ns, max_ns, verified_instructions } of found) {
      expect(min_ns).toBeLessThanOrEqual(ns);
      expect(ns).toBeLessThanOrEqual(max_ns);
      expect(verified_instructions).toBeGreaterThan(0);
    }
    expect(readdirSync("/sys/fs/bpf").filter((name) => name.includes(`-${pid}-`))).toEqual([]);
    const prefix = `wk${pid.toString(36).padStart(5, "0")}`;
    expect(readdirSync("/sys/class/net").filter((name) => name.startsWith(prefix))).toEqual([]);
  });

  it("measures another revision in the same run, and leaves no worktree of it", () => {
    const worktrees = () => spawnSync("git", ["worktree", "list"], { cwd: ROOT, encoding: "utf8" }).stdout;
    const before = worktrees();
    const args = ["bench/main.ts", "packet", "-o", "json", "--runs", "1", "--packets", "300", "--rows"];
    const { status, stdout, stderr } = spawnSync(
      process.execPath,
      [...args, "established-v4-hot", "--baseline", "HEAD"],
      { cwd: ROOT, encoding: "utf8" },
    );
    expect({ status, stderr }).toEqual({
      status: 0,
      stderr: expect.stringContaining("bench: building HEAD\n"),
    });
    const { rows, baseline } = JSON.parse(stdout);
    expect(baseline).toMatch(/^HEAD \([0-9a-f]{10}\)$/);
    expect(rows.map(({ id }: { id: string }) => id)).toEqual(["floor", "established-v4-hot"]);
    for (const row of rows) expect(row.baseline_min_above_floor_ns).toEqual(expect.any(Number));
    expect(worktrees()).toBe(before);
  }, 600_000);

  it("counts with perf the events between start and stop", async () => {
    const meter = await openMeter("page-faults");
    await meter.start();
    const pages = Buffer.alloc(4096 * 4096, 1);
    await meter.stop();
    Buffer.alloc(pages.length, 1);
    const count = present(await meter.end(), "page faults");
    expect(count).toBeGreaterThan(4_000);
    expect(count).toBeLessThan(8_000);
  });
});
