// The reasoning behind lint rules: selectors that imply each other, prefixes that add up, words and labels that come near.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { addressOf, type Cidr, cidrContains, cidrOf } from "../../../../src/base/ip.ts";
import { distance, nearestWord } from "../../../../src/base/nearest-word.ts";
import type { Pod } from "../../../../src/model/cluster.ts";
import { type Labels, matches, type Requirement, type Selector } from "../../../../src/model/selector.ts";
import {
  contradiction,
  mayOverlap,
  prefixesCover,
  selectorCovers,
} from "../../../../src/policy/lint/rule-coverage.ts";
import { lint } from "../../../support/lint.ts";
import { cluster, pod, policy, selector } from "../../../support/model.ts";

const VALUES = ["a", "b", "c"];
const OTHER = "z";
const KEYS = ["k", "l"];

/** Every set of labels that selectors over these keys and values can distinguish. */
const LABELS: readonly Labels[] = [undefined, ...VALUES, OTHER].flatMap((k) =>
  [undefined, ...VALUES, OTHER].map(
    (l) =>
      new Map([
        ...(k === undefined ? [] : [["k", k] as const]),
        ...(l === undefined ? [] : [["l", l] as const]),
      ]),
  ),
);

const requirement: fc.Arbitrary<Requirement> = fc.oneof(
  fc.record({
    operator: fc.constantFrom("In" as const, "NotIn" as const),
    key: fc.constantFrom(...KEYS),
    values: fc.uniqueArray(fc.constantFrom(...VALUES), { minLength: 1 }),
  }),
  fc.record({
    operator: fc.constantFrom("Exists" as const, "DoesNotExist" as const),
    key: fc.constantFrom(...KEYS),
  }),
);
const anySelector: fc.Arbitrary<Selector> = fc
  .array(requirement, { maxLength: 3 })
  .map((requirements) => ({ requirements }));

const RUNS = { numRuns: 3_000 };

describe("selectors", () => {
  it("that cover others match all that those match", () => {
    fc.assert(
      fc.property(anySelector, anySelector, (outer, inner) => {
        if (!selectorCovers(outer, inner)) return;
        for (const labels of LABELS) if (matches(inner, labels)) expect(matches(outer, labels)).toBe(true);
      }),
      RUNS,
    );
  });

  it("of one requirement are recognized as covering wherever they do", () => {
    fc.assert(
      fc.property(requirement, requirement, (a, b) => {
        const [outer, inner] = [{ requirements: [a] }, { requirements: [b] }];
        const covers = LABELS.every((labels) => !matches(inner, labels) || matches(outer, labels));
        expect(selectorCovers(outer, inner)).toBe(covers);
      }),
      RUNS,
    );
  });

  it("contradict themselves exactly if nothing matches, and overlap if something matches both", () => {
    fc.assert(
      fc.property(anySelector, anySelector, (a, b) => {
        expect(contradiction(a) === undefined).toBe(LABELS.some((labels) => matches(a, labels)));
        expect(mayOverlap(a, b)).toBe(LABELS.some((labels) => matches(a, labels) && matches(b, labels)));
      }),
      RUNS,
    );
  });
});

describe("prefixes", () => {
  const prefix: fc.Arbitrary<Cidr> = fc
    .tuple(fc.boolean(), fc.integer({ min: 0, max: 15 }), fc.integer({ min: 0, max: 4 }))
    .map(([six, number, bits]) => cidrOf(six ? 6 : 4, BigInt(number), (six ? 128 : 32) - bits));

  it("cover another one exactly if each of its addresses is in one of them", () => {
    fc.assert(
      fc.property(fc.array(prefix, { maxLength: 8 }), prefix, (prefixes, whole) => {
        const numbers = Array.from({ length: 16 }, (_, number) => addressOf(whole.family, BigInt(number)));
        const inside = numbers.filter((address) => cidrContains(whole, address));
        const covered = inside.every((address) => prefixes.some((each) => cidrContains(each, address)));
        expect(prefixesCover(prefixes, whole)).toBe(covered);
      }),
      RUNS,
    );
  });
});

const WEB = pod("shop/web", ["10.0.0.1"], { labels: { app: "web" } });
const DB = pod("shop/db", ["10.0.0.2"], { labels: { app: "db" } });

describe("what is nearest", () => {
  const reasonFor = (labels: Readonly<Record<string, string>>, given: readonly Pod[]) =>
    lint({
      cluster: cluster({ pods: given, policies: [policy("shop/web", { subject: selector(labels) })] }),
    }).map(({ reason, fix }) => [reason.replace("selects no pod: ", ""), fix]);
  const CORRECT = "correct the selector or the labels";

  it.each<[string, Readonly<Record<string, string>>, readonly Pod[], readonly [string, string]]>([
    [
      "a misspelt value",
      { app: "wbe" },
      [WEB, DB],
      [
        "no pod in namespace shop has the label app=wbe; the nearest is app=web (shop/web)",
        "write app: web, or correct the labels",
      ],
    ],
    [
      "the value under another key",
      { name: "web" },
      [WEB, DB],
      [
        "no pod in namespace shop has the label name=web; the nearest is app=web (shop/web)",
        "write app: web, or correct the labels",
      ],
    ],
    [
      "a misspelt key",
      { ap: "front" },
      [WEB],
      [
        "no pod in namespace shop has the label ap=front; the nearest is app=web (shop/web)",
        "write app: web, or correct the labels",
      ],
    ],
    [
      "nothing near",
      { tier: "front" },
      [WEB],
      ["no pod in namespace shop has the label tier=front; there are labels app", CORRECT],
    ],
    [
      "no labels",
      { tier: "front" },
      [pod("shop/x", [])],
      ["no pod in namespace shop has the label tier=front; there are no labels", CORRECT],
    ],
    [
      "labels of two pods",
      { app: "web", tier: "front" },
      [WEB, pod("shop/proxy", [], { labels: { tier: "front", app: "proxy" } })],
      [
        "no pod in namespace shop has all of app=web,tier=front; the nearest, shop/web, lacks tier=front",
        CORRECT,
      ],
    ],
    [
      "pods of another namespace",
      { app: "web" },
      [pod("store/web", [], { labels: { app: "web" } })],
      [
        "there is no pod in namespace shop; pods that it would select are in store",
        "a policy selects pods of its own namespace only: correct metadata.namespace",
      ],
    ],
    [
      "pods on the host's network",
      { app: "web" },
      [pod("shop/web", [], { labels: { app: "web" }, hostNetwork: true }), DB],
      [
        "selects only pods that are on the host's network or have finished (shop/web)",
        "policies do not apply to such pods; select others",
      ],
    ],
  ])("%s", (_, labels, given, expected) => expect(reasonFor(labels, given)).toEqual([expected]));

  it("reports nothing without pods", () => expect(reasonFor({ app: "wbe" }, [])).toEqual([]));

  it("counts letters", () => {
    expect([distance("", ""), distance("web", "wbe"), distance("web", "webs"), distance("", "abc")]).toEqual([
      0, 2, 1, 3,
    ]);
    expect(nearestWord("dns-mising", ["and-or", "dns-missing"])).toBe("dns-missing");
    expect(nearestWord("x", [])).toBeUndefined();
  });
});
