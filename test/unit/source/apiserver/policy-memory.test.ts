// Policies beyond their namespace's share of the agent's memory: which are kept without their rules, and that this follows from the objects
// alone.

import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { keyOf } from "../../../../src/model/cluster.ts";
import type { Policy } from "../../../../src/model/network-policy.ts";
import { problemText } from "../../../../src/model/problem.ts";
import { EVERYTHING } from "../../../../src/model/selector.ts";
import { openStore, type Store } from "../../../../src/source/apiserver/object-store.ts";
import {
  policyMemory,
  sharesOf,
  weightOf,
  withoutRules,
} from "../../../../src/source/apiserver/policy-memory.ts";
import type { Item } from "../../../../src/source/apiserver/resource-kinds.ts";
import { block, policy as policyWith } from "../../../support/model.ts";
import { questions, questionText } from "../../../support/questions.ts";
import { cluster as clusters } from "../../../support/worlds.ts";
import { openWorld, policy as rawPolicy } from "./world.ts";

/** A policy with one rule of as many prefixes. */
const blockOf = (key: string, count: number): Policy =>
  policyWith(key, {
    ingress: [
      { peers: Array.from({ length: count }, (_, index) => block(`10.9.${index}.0/24`)), ports: "all" },
    ],
  });

const weights = (all: Readonly<Record<string, number>>) => new Map(Object.entries(all));

describe("shares of the memory for policies", () => {
  test.each([
    ["all fit", { "a/x": 50, "b/y": 50 }, 100, []],
    ["one namespace is beyond its share", { "a/x": 90, "b/y": 20 }, 100, ["a/x"]],
    ["what others leave is shared", { "a/x": 80, "b/y": 20 }, 100, []],
    ["the smallest stay", { "a/1": 60, "a/2": 5, "a/3": 40, "b/y": 50 }, 100, ["a/1"]],
    ["of equal ones the first by name", { "a/3": 30, "a/1": 30, "a/2": 30 }, 70, ["a/3"]],
    ["all are beyond theirs", { "a/x": 60, "b/y": 60, "c/z": 60 }, 100, ["a/x", "b/y", "c/z"]],
    [
      "many small ones in one namespace",
      { "a/1": 30, "a/2": 30, "a/3": 30, "b/y": 60 },
      100,
      ["a/2", "a/3", "b/y"],
    ],
    ["cluster policies take it all", { "a/x": 1 }, -5, ["a/x"]],
  ] as const)("%s", (_, all, capacity, beyond) => {
    expect([...sharesOf(weights(all), capacity).beyond].sort()).toEqual(beyond);
  });

  test("the problem has the policy, its size, its namespace's share and who shares", () => {
    const shares = sharesOf(weights({ "a/x": 30 << 20, "b/y": 3 << 20 }), 16 << 20);
    expect(shares.problems().map(problemText)).toEqual([
      "NetworkPolicy a/x: takes 30.0 MiB of the agent's memory; namespace a needs 30.0 MiB for its policies, and 13.0 MiB fit (the agent has 16.0 MiB for policies, which 2 namespaces share); name fewer prefixes, ports or labels, or give the agent more memory; the policy isolates its pods and allows nothing",
    ]);
  });

  test("follow from the limit of the heap", () => {
    expect(policyMemory(256 << 20)).toBeLessThan(160 << 20);
    expect(policyMemory(256 << 20)).toBeGreaterThan(100 << 20);
    expect(policyMemory()).toBeGreaterThan(0);
  });
});

test("a reduced policy keeps its pods and directions; a selector with very many values becomes that of every pod", () => {
  const whole = blockOf("a/x", 3);
  expect(withoutRules(whole)).toMatchObject({
    ...{ namespace: "a", name: "x", subject: whole.subject, isolates: whole.isolates },
    ...{ rules: { ingress: [], egress: [] }, exceeds: true },
  });
  const values = Array.from({ length: 1_000 }, (_, index) => `v${index}`);
  const wide = { ...whole, subject: { requirements: [{ operator: "NotIn", key: "k", values }] } } as const;
  expect(withoutRules(wide).subject).toBe(EVERYTHING);
});

const itemOf = (policy: Policy, version: number): Item => ({
  ...{ key: keyOf(policy), uid: keyOf(policy), version: String(version), value: policy },
  ...{ complete: true, problems: [] },
});

/** What is to be in the store, by the objects alone. */
function expected(objects: ReadonlyMap<string, Policy>, capacity: number): Record<string, Policy> {
  const { beyond } = sharesOf(
    new Map([...objects].map(([key, policy]) => [key, weightOf(policy)])),
    capacity,
  );
  const all = [...objects].map(
    ([key, policy]) => [key, beyond.has(key) ? withoutRules(policy) : policy] as const,
  );
  return Object.fromEntries(all);
}

const inStore = (store: Store): unknown => Object.fromEntries(store.values());

const changes = fc.array(
  fc.record({
    key: fc.constantFrom("a/1", "a/2", "a/3", "b/1", "b/2", "c/1"),
    /** None: it is deleted. */
    blocks: fc.option(fc.integer({ min: 0, max: 40 }), { freq: 3 }),
    relists: fc.boolean(),
  }),
  { maxLength: 30 },
);

test("events and lists in any order: never more than fits, and what the objects alone give after at most one list", () => {
  const capacity = weightOf(blockOf("a/1", 40));
  const seen = { reduced: 0, relisted: 0 };
  fc.assert(
    fc.property(changes, (all) => {
      const objects = new Map<string, Policy>();
      const store = openStore(
        true,
        () => undefined,
        () => capacity,
      );
      let version = 0;
      let writer = store.writer();
      const relist = (): void => {
        writer = store.writer();
        const listing = writer.list(() => true);
        for (const policy of objects.values()) listing.put(itemOf(policy, version));
        expect(listing.commit(String(version)).missed).toBe(0);
      };
      relist();
      for (const { key, blocks, relists } of all) {
        version += 1;
        if (blocks === null) {
          objects.delete(key);
          writer.remove(key);
        } else {
          objects.set(key, blockOf(key, blocks));
          writer.put(itemOf(blockOf(key, blocks), version));
        }
        const kept = [...store.values().values()].reduce((sum, policy) => {
          const { exceeds } = policy as Policy;
          return sum + (exceeds === true ? 0 : weightOf(policy as Policy));
        }, 0);
        expect(kept).toBeLessThanOrEqual(capacity);
        seen.relisted += store.isToBeRelisted() ? 1 : 0;
        if (relists && store.isToBeRelisted()) relist();
        if (!store.isToBeRelisted()) expect(inStore(store)).toEqual(expected(objects, capacity));
        const before = store.values();
        if (!store.isToBeRelisted()) {
          relist();
          expect(store.values()).toBe(before);
        }
      }
      relist();
      expect(store.isToBeRelisted()).toBe(false);
      expect(inStore(store)).toEqual(expected(objects, capacity));
      seen.reduced += store.problems().length;
    }),
    { numRuns: 300 },
  );
  console.info(JSON.stringify(seen));
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(0);
});

test("verdicts are those of the cluster without the rules of the reduced policies", () => {
  const seen = { reduced: 0, whole: 0 };
  fc.assert(
    fc.property(clusters, fc.integer({ min: 0, max: 40 }), (world, share) => {
      const own = new Map([...world.policies].map(([key, policy]) => [key, weightOf(policy)]));
      const total = own.values().reduce((sum, weight) => sum + weight, 0);
      const { beyond } = sharesOf(own, (total * share) / 40);
      seen.reduced += beyond.size;
      seen.whole += own.size - beyond.size;
      const mapped = (change: (policy: Policy) => Policy) => ({
        ...world,
        policies: new Map(
          [...world.policies].map(([key, policy]) => [key, beyond.has(key) ? change(policy) : policy]),
        ),
      });
      const emptied = mapped((policy) => ({ ...policy, rules: { ingress: [], egress: [] } }));
      const answers = [...questions(mapped(withoutRules), 7)];
      const references = [...questions(emptied, 7)];
      const originals = [...questions(world, 7)];
      for (const [index, answer] of answers.entries()) {
        expect(answer.allowed, questionText(answer)).toBe(references[index]?.allowed);
        if (answer.allowed) expect(originals[index]?.allowed, `opened: ${questionText(answer)}`).toBe(true);
      }
    }),
    { numRuns: 60 },
  );
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(0);
});

const WAIT = { timeout: 60_000, interval: 10 };

const large = (name: string, blocks: number) => ({
  metadata: { name, namespace: "shop" },
  spec: {
    podSelector: { matchLabels: { app: name } },
    ingress: [
      { from: Array.from({ length: blocks }, (_, index) => ({ ipBlock: { cidr: `10.9.${index}.0/24` } })) },
    ],
  },
});

test.each([true, false])("what fits again comes with one list (streams: %s)", async (streams) => {
  const policyMemory = weightOf(blockOf("shop/x", 100));
  const timing = { earlyMs: [10, 20] as const };
  const world = await openWorld({ streams, timing, policyMemory });
  const reduced = () => {
    const policies = [...(world.last()?.cluster.policies.values() ?? [])];
    return policies.flatMap(({ name, exceeds }) => (exceeds === true ? name : [])).sort();
  };
  const lists = () => Object.values(world.kind("NetworkPolicy").lists).reduce((sum, count) => sum + count, 0);
  await world.converged("the first list");
  const first = lists();
  world.server.put("NetworkPolicy", large("one", 60));
  world.server.put("NetworkPolicy", large("two", 70));
  await vi.waitFor(() => expect(reduced()).toEqual(["two"]), WAIT);
  await world.converged("pods and selectors stay");
  const problems = () => (world.last()?.problems ?? []).filter(({ topic }) => topic === "capacity");
  expect(problems().map(({ object }) => object)).toEqual(["NetworkPolicy shop/two"]);
  expect(lists()).toBe(first);
  world.server.remove("NetworkPolicy", "shop/one");
  await vi.waitFor(() => expect(reduced()).toEqual([]), WAIT);
  expect(problems()).toEqual([]);
  expect(lists()).toBe(first + 1);
  // No further list, whatever else happens.
  await vi.waitFor(() => expect(world.server.watches("NetworkPolicy")).toBe(1), WAIT);
  for (const name of ["three", "four"]) {
    world.server.put("NetworkPolicy", rawPolicy(name, "web-2"));
    world.server.bookmark("NetworkPolicy");
    await world.converged(name);
  }
  expect(lists()).toBe(first + 1);
  expect(world.log.filter((line) => line.includes("no event brought"))).toEqual([]);
});

test("cluster policies count first, and are never reduced", async () => {
  const policyMemory = weightOf(blockOf("shop/x", 100));
  const world = await openWorld({ timing: { earlyMs: [10, 20] }, policyMemory });
  const isReduced = () => world.last()?.cluster.policies.get("shop/one")?.exceeds === true;
  await world.converged("the first list");
  world.server.put("NetworkPolicy", large("one", 60));
  await vi.waitFor(() => expect(world.last()?.cluster.policies.has("shop/one")).toBe(true), WAIT);
  expect(isReduced()).toBe(false);
  const to = Array.from({ length: 25 }, (_, peer) => ({
    networks: Array.from({ length: 4 }, (_, index) => `10.${peer}.${index}.0/24`),
  }));
  world.server.put("ClusterNetworkPolicy", {
    metadata: { name: "admin" },
    spec: {
      tier: "Admin",
      priority: 1,
      subject: { namespaces: {} },
      egress: [{ action: "Deny", to }],
    },
  });
  await vi.waitFor(() => expect(isReduced()).toBe(true), WAIT);
  expect(world.last()?.cluster.clusterPolicies?.get("admin")?.rules.egress[0]?.peers).toHaveLength(100);
  world.server.remove("ClusterNetworkPolicy", "admin");
  // The next event of the policies' own watch, as a bookmark.
  await vi.waitFor(() => {
    world.server.bookmark("NetworkPolicy");
    expect(isReduced()).toBe(false);
  }, WAIT);
});
