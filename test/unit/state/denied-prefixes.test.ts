// Numbers of denied prefixes: those of a prefix's counter.

import fc from "fast-check";
import { expect, it } from "vitest";
import { isSameList, NUMBER_SHARED, numberDenied } from "../../../src/state/denied-prefixes.ts";

const numbered = (before: Record<string, number>, prefixes: readonly string[], counters = 8) => {
  const { numbers, fresh } = numberDenied(new Map(Object.entries(before)), prefixes, counters);
  return { numbers: Object.fromEntries(numbers), fresh };
};

it("a prefix that stays keeps its number, and new ones get free ones", () => {
  expect(numbered({ a: 1, b: 2, c: 3 }, ["d", "b", "e"])).toEqual({
    numbers: { d: 4, b: 2, e: 5 },
    fresh: [4, 5],
  });
});

it("the number of a removed prefix is free only for the list after", () => {
  expect(numbered({ a: 1 }, ["b"])).toEqual({ numbers: { b: 2 }, fresh: [2] });
  expect(numbered({ b: 2 }, ["c"])).toEqual({ numbers: { c: 1 }, fresh: [1] });
});

it("prefixes without a slot of their own share a number until there is one", () => {
  expect(numbered({}, ["a", "b", "c"], 3)).toEqual({
    numbers: { a: 1, b: 2, c: NUMBER_SHARED },
    fresh: [1, 2],
  });
  expect(numbered({ a: 1, c: NUMBER_SHARED }, ["a", "c"], 3)).toEqual({
    numbers: { a: 1, c: 2 },
    fresh: [2],
  });
});

const prefixes = fc.uniqueArray(fc.constantFrom(..."abcdefghijkl"), { maxLength: 12 });

it("no number of its own has two meanings, within a list or from one to the next", () => {
  fc.assert(
    fc.property(fc.array(prefixes, { maxLength: 8 }), fc.integer({ min: 1, max: 10 }), (lists, counters) => {
      let before: ReadonlyMap<string, number> = new Map();
      for (const list of lists) {
        const { numbers, fresh } = numberDenied(before, list, counters);
        const meaning = new Map([...before].map(([prefix, number]) => [number, prefix]));
        const own = [...numbers].filter(([, number]) => number !== NUMBER_SHARED);
        expect([...numbers.keys()]).toEqual(list);
        expect(new Set(own.map(([, number]) => number)).size).toBe(own.length);
        for (const [prefix, number] of own) {
          expect(number).toBeLessThan(counters);
          expect(meaning.get(number) ?? prefix).toBe(prefix);
          expect(fresh.includes(number)).toBe(before.get(prefix) !== number);
        }
        before = numbers;
      }
    }),
  );
});

it("lists are equal if they have the same prefixes", () => {
  const before = new Map([
    ["a", 1],
    ["b", 2],
  ]);
  expect(isSameList(before, ["b", "a", "a"])).toBe(true);
  expect(isSameList(before, ["a"])).toBe(false);
  expect(isSameList(before, ["a", "c"])).toBe(false);
  expect(isSameList(new Map(), [])).toBe(true);
});
