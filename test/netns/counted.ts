// What the programs counted, read by the product's own command, for tests that check why a packet passed or not.

import { expect } from "vitest";
import type { World } from "./world.ts";

interface CounterRow {
  readonly pod?: string;
  readonly direction: string;
  readonly reason: string;
  readonly packets: number;
}

/** Packets by "direction reason" of one pod, with a running agent; 0 for what was never counted. */
export async function countedOf(world: World, pod: string): Promise<(key: string) => number> {
  const { status, stdout, stderr } = await world.weir("maps", "dump", "counters", "-o", "json");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  const own = (JSON.parse(stdout) as readonly CounterRow[]).filter((row) => row.pod === pod);
  const counts = new Map(own.map((row) => [`${row.direction} ${row.reason}`, row.packets]));
  return (key) => counts.get(key) ?? 0;
}

/** How much each of these counters of a pod grew meanwhile. */
export async function growth(
  world: World,
  pod: string,
  keys: readonly string[],
  meanwhile: () => Promise<unknown>,
): Promise<Readonly<Record<string, number>>> {
  const before = await countedOf(world, pod);
  await meanwhile();
  const after = await countedOf(world, pod);
  return Object.fromEntries(keys.map((key) => [key, after(key) - before(key)]));
}
