// Processes long lists without blocking the event loop.

import { setImmediate } from "node:timers/promises";

/** How long the event loop may be blocked at a time. */
const SLICE_MS = 20;
/** Reading the clock has a cost, too. */
const STEP = 256;

/** Like Array.map, but lets other work run in between. */
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

/** The texts in the same order, so many at a time in one. */
export function* joined(texts: Iterable<string>, count: number): Iterable<string> {
  let held: string[] = [];
  for (const text of texts) {
    if (held.push(text) < count) continue;
    yield held.join("");
    held = [];
  }
  yield held.join("");
}
