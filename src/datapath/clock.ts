// The kernel's clock: the rate of jiffies, and the unit of flow time.

import { setTimeout as sleep } from "node:timers/promises";
import type { BpfMap, BpfObject } from "bpf-ts";
import { tableOf } from "./typed-maps.ts";

export interface Clock {
  readonly ticksPerSecond: number;
  /** A unit of flow time is two to this power of ticks. */
  readonly unitShift: number;
}

/** The kernel runs programs on no frame without an Ethernet header. */
export const FRAME_MIN = 14;

/** 25 ticks of the slowest rate: less than a tenth off by one tick. */
const MEASURE_MS = 250;

/** Kernels are built with one of these (CONFIG_HZ); a program cannot read it. */
const USUAL_RATES = [100, 250, 300, 1000];

/** Between a reading of the one clock and of the other, this process may be off the CPU. */
const READING_NS_MAX = 1_000_000n;
const READINGS_MAX = 1_000;

/**
 * As an earlier agent has left it in the map `node`, whose flow tables are in these units: the rate cannot change while the kernel runs. Else
 * measured. Errors: BpfError, Error if no two readings are close enough.
 */
export async function clockOf(node: BpfMap, object: BpfObject): Promise<Clock> {
  const held = tableOf("node", node).get(0);
  if (held !== undefined && held.ticksPerSecond !== 0)
    return { ticksPerSecond: held.ticksPerSecond, unitShift: held.unitShift };
  using program = object.program("clock");
  const frame = new Uint8Array(FRAME_MIN);
  const ticksPerSecond = await measureTicks(() => program.testRun({ data: frame }).result >>> 0);
  return { ticksPerSecond, unitShift: unitShiftOf(ticksPerSecond) };
}

/** The power of two of ticks that is nearest to a second. */
const unitShiftOf = (ticksPerSecond: number): number => Math.round(Math.log2(ticksPerSecond));

/** The rate of jiffies: the change of the kernel's counter in some time, rounded to the nearest usual rate. */
export async function measureTicks(
  readTicks: () => number,
  nanoseconds: () => bigint = process.hrtime.bigint,
): Promise<number> {
  const start = readBoth(readTicks, nanoseconds);
  await sleep(MEASURE_MS);
  const end = readBoth(readTicks, nanoseconds);
  const rate = (((end.ticks - start.ticks) >>> 0) * 1e9) / Number(end.ns - start.ns);
  const usual = USUAL_RATES.find((candidate) => Math.abs(rate - candidate) <= candidate * 0.09);
  return usual ?? Math.max(1, Math.round(rate));
}

/** Both clocks at one moment. */
function readBoth(readTicks: () => number, nanoseconds: () => bigint) {
  for (let reading = 0; reading < READINGS_MAX; reading++) {
    const before = nanoseconds();
    const ticks = readTicks();
    const ns = nanoseconds();
    if (ns - before <= READING_NS_MAX) return { ticks, ns };
  }
  throw new Error(`the kernel's clock could not be read within a millisecond, ${READINGS_MAX} times`);
}
