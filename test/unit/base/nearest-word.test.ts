// What a misspelt word probably means, and when nothing is suggested.
import { expect, it } from "vitest";
import { hintText, mostSimilar, nearestWord } from "../../../src/base/nearest-word.ts";

const PODS = ["shop/web-1", "shop/cache-0", "bank/teller", "ops/db"];

it.each([
  ["shop/wbe-1", "shop/web-1"],
  ["shpo/web-1", "shop/web-1"],
  ["bank/tellr", "bank/teller"],
  ["shop/cache", "shop/cache-0"],
  ["ops/bd", undefined],
  ["shop/db-0", undefined],
  ["shop/nonsense", undefined],
  ["", undefined],
])("%s means %s", (word, meant) => {
  expect(nearestWord(word, PODS)).toBe(meant);
  expect(hintText(word, PODS)).toBe(meant === undefined ? "" : `; did you mean ${meant}?`);
});

it("the most similar word may be very different", () => {
  expect(mostSimilar("xyz", ["abc", "xbc"])).toBe("xbc");
  expect(mostSimilar("xyz", [])).toBeUndefined();
});
