// Long lists worked through without keeping everything else waiting.

import { setImmediate } from "node:timers/promises";

/** How long the event loop may be kept at one go. */
const SLICE_MS = 20;
/** Looking at the clock costs something, too. */
const STEP = 256;

/** As Array.map, with room for others in between. */
export async function mapInSlices<T, R>(
  items: readonly T[],
  map: (item: T, index: number) => R,
): Promise<R[]> {
  const results: R[] = [];
  let until = performance.now() + SLICE_MS;
  for (const [index, item] of items.entries()) {
    results.push(map(item, index));
    if (index % STEP !== 0 || performance.now() < until) continue;
    await setImmediate();
    until = performance.now() + SLICE_MS;
  }
  return results;
}
