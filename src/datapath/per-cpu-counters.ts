// Reads maps for metrics: sums over all CPUs, without decoding each cell, and how full a map is.

import type { BpfMap } from "bpf-ts";
import { assert } from "../base/assert.ts";
import { COUNTERS_SIZE, decodeCounters } from "../gen/layout.ts";
import { countsByFamily, type SummedCounts } from "./codec.ts";

export interface EndpointCounts {
  /** The endpoint's id; 0 counts what no endpoint owns. */
  readonly id: number;
  /** By enum counted_family. */
  readonly families: readonly [v4: SummedCounts, v6: SummedCounts];
}

const WORD = 2 ** 32;

/** Of every endpoint that has ever counted a packet, including removed ones until their id is reused. */
export async function readCounts(counters: BpfMap): Promise<EndpointCounts[]> {
  const { count, keys, values } = await counters.entries();
  const ids = new DataView(keys.buffer, keys.byteOffset, keys.byteLength);
  const stride = values.byteLength / Math.max(1, count);
  assert(stride % COUNTERS_SIZE === 0, `${stride} bytes are no counters`);
  const found: EndpointCounts[] = [];
  // Most of the table has never been used: comparing bytes is many times as fast as adding words.
  const unused = Buffer.alloc(count === 0 ? 0 : stride);
  for (let at = 0; at < count; at++) {
    const perCpu = values.subarray(at * stride, (at + 1) * stride);
    if (unused.equals(perCpu)) continue;
    const sum = sumOf(new DataView(perCpu.buffer, perCpu.byteOffset, stride));
    found.push({ id: ids.getUint32(at * 4, true), families: countsByFamily([decodeCounters(sum, 0)]) });
  }
  return found;
}

/** The sum of all CPUs' counters. Halves of words add up exactly in a double. */
function sumOf(perCpu: DataView): DataView {
  const sum = new DataView(new ArrayBuffer(COUNTERS_SIZE));
  for (let at = 0; at < COUNTERS_SIZE; at += 8) {
    let [low, high] = [0, 0];
    for (let cpu = at; cpu < perCpu.byteLength; cpu += COUNTERS_SIZE) {
      low += perCpu.getUint32(cpu, true);
      high += perCpu.getUint32(cpu + 4, true);
    }
    if (low === 0 && high === 0) continue;
    sum.setUint32(at, low % WORD, true);
    sum.setUint32(at + 4, (high + Math.floor(low / WORD)) % WORD, true);
  }
  return sum;
}

/** Entries in use, for maps other than arrays. */
export const entriesIn = async (map: BpfMap): Promise<number> => (await map.entries()).count;
