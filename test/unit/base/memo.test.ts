// Memoized results.
import { expect, it } from "vitest";
import { memo } from "../../../src/base/memo.ts";

it("computes once for each object, and again for an equal one", () => {
  const asked: object[] = [];
  const sizeOf = memo((value: ReadonlyMap<string, string>) => {
    asked.push(value);
    return value.size;
  });
  const [one, other] = [new Map([["a", "b"]]), new Map([["a", "b"]])];
  expect([sizeOf(one), sizeOf(one), sizeOf(other), sizeOf(one)]).toEqual([1, 1, 1, 1]);
  expect(asked).toHaveLength(2);
  expect(asked[0]).toBe(one);
});
