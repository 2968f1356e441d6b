// Versions of maps: each keeps its content whatever comes after it, and differences and indexes are those of plain maps.

import fc from "fast-check";
import { expect, test } from "vitest";
import { randomFrom } from "../../../bench/common/random.ts";
import {
  changesBetween,
  compactVersion,
  follow,
  openLayers,
  overlaid,
  patched,
} from "../../../src/base/versioned-map.ts";

const patch = fc
  .array(fc.tuple(fc.nat({ max: 6 }), fc.option(fc.nat({ max: 3 }), { nil: undefined })), { maxLength: 4 })
  .map((entries) => new Map(entries));

/** A step takes any version made so far and makes the next one of it, or one beside it. */
const steps = fc.array(fc.record({ of: fc.nat(), and: fc.nat(), patch, beside: fc.boolean() }), {
  minLength: 1,
  maxLength: 30,
});

function plain(
  map: ReadonlyMap<number, number>,
  by: ReadonlyMap<number, number | undefined>,
): Map<number, number> {
  const next = new Map(map);
  for (const [key, value] of by)
    if (value === undefined) next.delete(key);
    else next.set(key, value);
  return next;
}

const inOrder = (map: ReadonlyMap<number, number>): [number, number][] => [...map].sort(([a], [b]) => a - b);

test("every version reads as a plain map with the same changes, in any order of use", () => {
  fc.assert(
    fc.property(steps, (all) => {
      const sumOf = follow<number, number, { sum: number }>(
        () => ({ sum: 0 }),
        (state, { before = 0, after = 0 }) => {
          state.sum += after - before;
        },
      );
      const versions: [ReadonlyMap<number, number>, Map<number, number>][] = [[new Map(), new Map()]];
      const at = (number: number) => versions[number % versions.length] as (typeof versions)[number];
      for (const { of, and, patch: by, beside } of all) {
        const [map, model] = at(of);
        if (and % 3 === 0) compactVersion(at(and)[0]);
        versions.push([beside ? overlaid(map, by) : patched(map, by), plain(model, by)]);
        const [[a, modelA], [b, modelB]] = [at(and), at(of + and)];
        const keys = [...new Set([...modelA.keys(), ...modelB.keys()])];
        const differing = keys.filter((key) => modelA.get(key) !== modelB.get(key)).sort();
        expect([...changesBetween(a, b)].map(({ key }) => key).sort()).toEqual(differing);
        expect(sumOf(a).sum).toBe(modelA.values().reduce((sum, value) => sum + value, 0));
      }
      for (const [map, model] of versions) {
        expect(inOrder(map)).toEqual(inOrder(model));
        expect([map.size, map.has(3), map.get(5)]).toEqual([model.size, model.has(3), model.get(5)]);
      }
    }),
    { numRuns: 500 },
  );
});

test("nothing that changes gives the same map", () => {
  const map = patched(new Map([[1, 1]]), new Map([[2, 2]]));
  expect(patched(map, new Map([[1, 1]]))).toBe(map);
  expect(overlaid(map, new Map([[3, undefined]]))).toBe(map);
});

test("an index is right after a step of it that threw", () => {
  let fails = false;
  const sumOf = follow<string, number, { sum: number }>(
    () => ({ sum: 0 }),
    (state, { before = 0, after = 0 }) => {
      state.sum += after - before;
      if (fails) throw new Error("half-way");
    },
  );
  const first = patched(new Map([["a", 1]]), new Map([["b", 2]]));
  expect(sumOf(first).sum).toBe(3);
  const second = patched(first, new Map([["c", 4]]));
  fails = true;
  expect(() => sumOf(second)).toThrow("half-way");
  fails = false;
  expect(sumOf(second).sum).toBe(7);
});

test("layers are the values of the one before those of the other, whatever changes", () => {
  const random = randomFrom(7);
  const layers = openLayers<number, number>();
  let base: ReadonlyMap<number, number> = new Map();
  let over: ReadonlyMap<number, number> = new Map();
  for (let step = 0; step < 500; step += 1) {
    const patch = new Map([[random.below(8), random.below(3) === 0 ? undefined : random.below(5)]]);
    if (random.below(2) === 0) base = patched(base, patch);
    else over = random.below(20) === 0 ? new Map() : patched(over, patch);
    expect(new Map([...layers(base, over)].sort()), `step ${step}`).toEqual(
      new Map([...new Map([...base, ...over])].sort()),
    );
  }
});
