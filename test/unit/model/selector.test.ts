// Label selectors: large ones match what small ones match, in the time of the labels.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { matches, type Requirement } from "../../../src/model/selector.ts";

const RUNS = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2_000);
const KEYS = ["a", "b", "c", "d", "constructor"];
const VALUES = ["", "x", "y", "z"];

const requirement: fc.Arbitrary<Requirement> = fc.oneof(
  fc.record({
    operator: fc.constantFrom("In" as const, "NotIn" as const),
    key: fc.constantFrom(...KEYS),
    values: fc.array(fc.constantFrom(...VALUES), { maxLength: 12 }),
  }),
  fc.record({
    operator: fc.constantFrom("Exists" as const, "DoesNotExist" as const),
    key: fc.constantFrom(...KEYS),
  }),
);
const labels = fc
  .dictionary(fc.constantFrom(...KEYS), fc.constantFrom(...VALUES))
  .map((each) => new Map(Object.entries(each)));

/** labels.Requirement.Matches of apimachinery, word by word. */
function holds(each: Requirement, value: string | undefined): boolean {
  switch (each.operator) {
    case "In":
      return value !== undefined && each.values.includes(value);
    case "NotIn":
      return value === undefined || !each.values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    default:
      throw new Error("no such operator");
  }
}

describe("a selector", () => {
  it("of any size matches where each of its requirements does", () => {
    const seen = { large: 0, matched: 0 };
    const worlds = fc.property(fc.array(requirement, { maxLength: 14 }), labels, (requirements, own) => {
      const expected = requirements.every((each) => holds(each, own.get(each.key)));
      expect(matches({ requirements }, own)).toBe(expected);
      if (requirements.length <= 8) return;
      seen.large += 1;
      if (expected) seen.matched += 1;
    });
    fc.assert(worlds, { numRuns: RUNS });
    expect(seen.large).toBeGreaterThan(0);
    // All of a large one hold: where none contradicts another.
    const many = Array.from(
      { length: 20 },
      (_, at): Requirement => ({ operator: "NotIn", key: "a", values: [`${at}`] }),
    );
    expect(matches({ requirements: many }, new Map([["a", "x"]]))).toBe(true);
    expect(matches({ requirements: many }, new Map([["a", "7"]]))).toBe(false);
  });

  it.each<[string, Requirement[]]>([
    [
      "of ten thousand requirements",
      Array.from({ length: 10_000 }, (_, at) => ({ operator: "NotIn", key: `k${at}`, values: ["x"] })),
    ],
    [
      "of ten thousand keys that are needed",
      Array.from({ length: 10_000 }, (_, at) => ({ operator: "Exists", key: `k${at}` })),
    ],
  ])("%s is compared with a pod by the pod's labels alone", (_, requirements) => {
    let looked = 0;
    const own = new (class extends Map<string, string> {
      override get(key: string): string | undefined {
        looked += 1;
        return super.get(key);
      }
    })([
      ["app", "web"],
      ["tier", "b"],
    ]);
    matches({ requirements }, own);
    expect(looked).toBeLessThan(10);
  });

  it("of ten thousand values searches none of them one by one", () => {
    let searched = 0;
    const values = new (class extends Array<string> {
      override includes(value: string): boolean {
        searched += 1;
        return super.includes(value);
      }
    })();
    for (let at = 0; at < 10_000; at += 1) values.push(`v${at}`);
    const selector = { requirements: [{ operator: "NotIn", key: "app", values }] as const };
    expect(matches(selector, new Map([["app", "v9999"]]))).toBe(false);
    expect(matches(selector, new Map([["app", "web"]]))).toBe(true);
    expect(searched).toBe(0);
  });
});
