// Which pod has an address: one table of cases, and the result is independent of order.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { holdersOf } from "../../../src/model/address-ownership.ts";
import type { Cluster, ClusterNode, Holder, Pod } from "../../../src/model/cluster.ts";
import { keyOf } from "../../../src/model/cluster.ts";
import { address, cidr, cluster, pod } from "../../support/model.ts";

const X = "10.0.1.7";

const of = (key: string, more: Partial<Pod> = {}): Pod => ({ ...pod(key, [X]), ...more });

const node = (name: string, ...ranges: readonly string[]): ClusterNode => ({
  name,
  addresses: [],
  labels: new Map(),
  podCidrs: ranges.map(cidr),
});

interface Facts {
  readonly held?: readonly Holder[];
  /** By pod key. */
  readonly appeared?: Readonly<Record<string, number>>;
  readonly nodes?: readonly ClusterNode[];
}

function world(pods: readonly Pod[], { held, appeared, nodes = [] }: Facts): Cluster {
  return {
    ...cluster({ pods }),
    nodes: new Map(nodes.map((each) => [each.name, each])),
    ownership: {
      held: new Map(held === undefined ? [] : [[X, { address: address(X), holders: held }]]),
      appeared: new Map(appeared === undefined ? [] : [[X, new Map(Object.entries(appeared))]]),
    },
  };
}

const RETAINED: Pod = of("t/gone", {
  uid: "1",
  retained: { isolated: { ingress: true, egress: true }, since: "2026-01-01T00:00:00Z", why: "deleted" },
});

const [A, B] = ["a/one", "b/two"];

/** Each with the remaining pods, in key order; an empty list if there is none. */
const CASES: readonly (readonly [string, readonly Pod[], Facts, readonly string[]])[] = [
  ["one pod has its own address", [of(A)], {}, [A]],
  ["a finished pod has none", [of(A, { finished: true })], {}, []],
  ["a pod on the node's network has none", [of(A, { hostNetwork: true })], {}, []],
  ["equal words are ambiguous", [of(A), of(B)], {}, [A, B]],
  ["a finished pod does not count beside another", [of(A, { finished: true }), of(B)], {}, [B]],
  ["one that is being deleted comes after one that is not", [of(A, { deleting: true }), of(B)], {}, [B]],
  [
    "two that are being deleted are equal",
    [of(A, { deleting: true }), of(B, { deleting: true })],
    {},
    [A, B],
  ],
  ["first-hand knowledge before any word", [of(A), of(B)], { held: [B] }, [B]],
  ["also of a pod that is being deleted", [of(A), of(B, { deleting: true })], { held: [B] }, [B]],
  ["also of an address that no object says", [pod(A, []), of(B)], { held: [A] }, [A]],
  ["several that are known first-hand are ambiguous", [of(A), of(B)], { held: [A, B] }, [A, B]],
  ["a retained pod has its address until another is known to", [of(A)], { held: [RETAINED] }, ["t/gone"]],
  ["a holder whose object has finished is none", [of(A), of(B, { finished: true })], { held: [B] }, [A]],
  ["a holder without an object is none", [of(A)], { held: ["c/none"] }, [A]],
  [
    "of one node's pods, the one whose object got it last",
    [of(A, { node: "n1" }), of(B, { node: "n1" })],
    { appeared: { [A]: 4, [B]: 2 } },
    [A],
  ],
  [
    "newer says nothing between nodes",
    [of(A, { node: "n1" }), of(B, { node: "n2" })],
    { appeared: { [A]: 4, [B]: 2 } },
    [A, B],
  ],
  ["nor between a node and none", [of(A, { node: "n1" }), of(B)], { appeared: { [A]: 4, [B]: 2 } }, [A, B]],
  [
    "newer only after not being deleted",
    [of(A, { node: "n1", deleting: true }), of(B, { node: "n1" })],
    { appeared: { [A]: 4, [B]: 2 } },
    [B],
  ],
  [
    "the node whose ranges hold it before one whose ranges do not",
    [of(A, { node: "n1" }), of(B, { node: "n2" })],
    { nodes: [node("n1", "10.0.0.0/24"), node("n2", "10.0.1.0/24")] },
    [B],
  ],
  [
    "also where that one's pod is being deleted: no node has another's addresses",
    [of(A, { node: "n1" }), of(B, { node: "n2", deleting: true })],
    { nodes: [node("n1", "10.0.0.0/24"), node("n2", "10.0.1.0/24")] },
    [B],
  ],
  [
    "a node without ranges stays equal to one that has it",
    [of(A, { node: "n1" }), of(B, { node: "n2" })],
    { nodes: [node("n1"), node("n2", "10.0.1.0/24")] },
    [A, B],
  ],
  [
    "ranges of the other family say nothing",
    [of(A, { node: "n1" }), of(B, { node: "n2" })],
    { nodes: [node("n1", "fd00::/64"), node("n2", "10.0.1.0/24")] },
    [A, B],
  ],
  [
    "where no range holds it, ranges say nothing",
    [of(A, { node: "n1" }), of(B, { node: "n2" })],
    { nodes: [node("n1", "10.0.8.0/24"), node("n2", "10.0.9.0/24")] },
    [A, B],
  ],
  [
    "what a node says of itself first-hand comes before ranges",
    [of(A, { node: "n1" }), of(B, { node: "n2" })],
    { held: [A], nodes: [node("n1", "10.0.0.0/24"), node("n2", "10.0.1.0/24")] },
    [A],
  ],
];

const holdersIn = (of: Cluster): readonly string[] => holdersOf(of).get(X)?.pods.map(keyOf) ?? [];

describe("who has an address", () => {
  it.each(CASES)("%s", (_, pods, facts, expected) => {
    expect(holdersIn(world(pods, facts))).toEqual(expected);
    expect(holdersIn(world(pods.toReversed(), facts))).toEqual(expected);
  });

  it.each(CASES)("%s: whatever the names are", (_, pods, facts, expected) => {
    // The same in reverse alphabetical order.
    const renamed = new Map([
      [A, "z/one"],
      [B, "y/two"],
    ]);
    const to = (key: string): string => renamed.get(key) ?? key;
    const other = (each: Pod): Pod => ({ ...each, namespace: to(keyOf(each)).slice(0, 1) });
    const appeared = facts.appeared && {
      appeared: Object.fromEntries(Object.entries(facts.appeared).map(([key, at]) => [to(key), at])),
    };
    const held = facts.held && {
      held: facts.held.map((each) => (typeof each === "string" ? to(each) : each)),
    };
    const found = holdersIn(world(pods.map(other), { ...facts, ...appeared, ...held }));
    expect(found.toSorted()).toEqual(expected.map(to).toSorted());
  });
});

it("the same pods in any order have the same addresses", () => {
  const some = fc.record({
    name: fc.constantFrom("a", "b", "c", "d", "e"),
    ips: fc.uniqueArray(fc.constantFrom("10.0.0.1", "10.0.0.2", "fd00::1"), { minLength: 1 }),
    node: fc.constantFrom("n1", "n2", undefined),
    deleting: fc.boolean(),
    finished: fc.boolean(),
    at: fc.nat({ max: 2 }),
  });
  const worlds = fc
    .uniqueArray(some, { selector: ({ name }) => name, minLength: 1 })
    .chain((pods) => fc.tuple(fc.constant(pods), fc.shuffledSubarray(pods, { minLength: pods.length })));
  fc.assert(
    fc.property(worlds, ([one, other]) => {
      const textOf = (pods: typeof one): string => {
        const all = pods.map(
          ({ name, ips, node: at, deleting, finished }): Pod => ({
            ...pod(`x/${name}`, ips, { finished }),
            ...(at === undefined ? {} : { node: at }),
            ...(deleting ? { deleting } : {}),
          }),
        );
        const since = new Map(pods.map(({ name, at }) => [`x/${name}`, at]));
        const found = holdersOf({
          ...cluster({ pods: all }),
          ownership: {
            held: new Map(),
            appeared: new Map(["10.0.0.1", "10.0.0.2", "fd00::1"].map((text) => [text, since])),
          },
        });
        return JSON.stringify(
          [...found.keys()].map((text) => [text, found.get(text)?.pods.map(keyOf)]).sort(),
        );
      };
      expect(textOf(other)).toBe(textOf(one));
    }),
  );
});
