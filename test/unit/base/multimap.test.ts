import { expect, test } from "vitest";
import { openMultimap } from "../../../src/base/multimap.ts";

test("keeps each value of a key once, in the order in which they came", () => {
  const map = openMultimap<string, string>();
  for (const value of ["b", "b", "a", "b"]) map.add("x", value);
  map.add("y", "c");
  expect([map.get("x"), map.get("y"), map.get("z"), map.size()]).toEqual([["b", "a"], ["c"], [], 2]);
});

test("a key without values is not there", () => {
  const map = openMultimap<string, number>();
  for (const value of [1, 2, 3]) map.add("x", value);
  map.delete("x", 2);
  map.delete("x", 4);
  expect(map.get("x")).toEqual([1, 3]);
  map.delete("x", 1);
  map.delete("x", 1);
  expect([map.get("x"), map.size()]).toEqual([[3], 1]);
  map.delete("x", 3);
  expect([map.get("x"), map.size()]).toEqual([[], 0]);
});
