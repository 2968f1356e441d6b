// Objects beyond their namespace's share of the agent's memory: which are kept in a reduced form, and that this follows from the objects
// alone.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import fc from "fast-check";
import { describe, expect, test, vi } from "vitest";
import { addressHash } from "../../../../src/base/address-filter.ts";
import { waterLevel } from "../../../../src/base/water-level.ts";
import { clusterFromWire, keyOf, type Pod, toWire } from "../../../../src/model/cluster.ts";
import type { Policy } from "../../../../src/model/network-policy.ts";
import { problemText } from "../../../../src/model/problem.ts";
import { EVERYTHING } from "../../../../src/model/selector.ts";
import { addressesOfService, type Service } from "../../../../src/model/service.ts";
import { openInterner } from "../../../../src/source/apiserver/interning.ts";
import { openAccounts } from "../../../../src/source/apiserver/memory-accounts.ts";
import {
  isReduced,
  LIMITED_KINDS,
  type LimitedKind,
  MEMORY,
  type Memory,
  memoryFor,
  policyWeight as weightOf,
} from "../../../../src/source/apiserver/object-memory.ts";
import { openStore, type Store } from "../../../../src/source/apiserver/object-store.ts";
import type { Item, Value } from "../../../../src/source/apiserver/resource-kinds.ts";
import { address, block, pod as podWith, policy as policyWith } from "../../../support/model.ts";
import { questions, questionText } from "../../../support/questions.ts";
import { cluster as clusters } from "../../../support/worlds.ts";
import { openWorld, policy as rawPolicy } from "./world.ts";

const withoutRules = (policy: Policy): Policy => MEMORY.NetworkPolicy.reduced(policy);

/** A policy with one rule of as many prefixes. */
const blockOf = (key: string, count: number): Policy =>
  policyWith(key, {
    ingress: [
      { peers: Array.from({ length: count }, (_, index) => block(`10.9.${index}.0/24`)), ports: "all" },
    ],
  });

const ordered = (a: string, b: string): number => (a < b ? -1 : 1);
const namespaceIn = (key: string): string => key.slice(0, key.indexOf("/"));

/** By the weights alone, with nothing kept from before. */
function beyondBy(weights: ReadonlyMap<string, number>, ordinary: number, capacity: number): string[] {
  const namespaces = [...Map.groupBy(weights, ([key]) => namespaceIn(key)).values()];
  const total = (own: readonly (readonly [string, number])[]) => own.reduce((sum, [, each]) => sum + each, 0);
  const level = waterLevel(namespaces.map(total), Math.max(0, capacity));
  return namespaces
    .flatMap((own) => {
      let left = level;
      return own
        .toSorted(([a, x], [b, y]) => x - y || ordered(a, b))
        .filter(([, weight]) => {
          left -= weight;
          return left < 0 && weight > ordinary;
        })
        .map(([key]) => key);
    })
    .sort(ordered);
}

const termsOf = (ordinary: number) => ({ ...MEMORY.NetworkPolicy, ordinary });

function accountsOf(all: Readonly<Record<string, number>>, capacity: number, ordinary = 0) {
  const accounts = openAccounts(termsOf(ordinary));
  for (const [key, weight] of Object.entries(all)) accounts.set(key, weight, false);
  accounts.settle(capacity);
  return accounts;
}

describe("shares of the memory", () => {
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
    const accounts = accountsOf(all, capacity);
    expect(Object.keys(all).filter(accounts.isBeyond).sort(ordered)).toEqual(beyond);
    expect(beyondBy(new Map(Object.entries(all)), 0, capacity)).toEqual(beyond);
  });

  test("ordinary objects count, and always stay", () => {
    const all = { "a/1": 10, "a/2": 10, "a/3": 11, "b/1": 30 };
    const accounts = accountsOf(all, 40, 10);
    expect(Object.keys(all).filter(accounts.isBeyond)).toEqual(["a/3", "b/1"]);
    expect(accounts.fitting()).toBe(20);
  });

  test("the problem has the object, its size, its namespace's share and who shares", () => {
    const accounts = accountsOf({ "a/x": 30 << 20, "b/y": 3 << 20 }, 16 << 20);
    expect(accounts.problems().map(problemText)).toEqual([
      "NetworkPolicy a/x: takes 30.0 MiB of the agent's memory; namespace a needs 30.0 MiB for its policies, and 13.0 MiB fit (the agent has 16.0 MiB for policies, which 2 namespaces share); name fewer prefixes, ports or labels, or give the agent more memory; the policy isolates its pods and allows nothing",
    ]);
  });

  test("very many problems of one namespace do not hide those of others", () => {
    const many = Array.from({ length: 1_500 }, (_, index) => [`a/${index}`, 100] as const);
    const problems = accountsOf({ ...Object.fromEntries(many), "b/x": 300 }, 200).problems();
    expect(problems).toHaveLength(102);
    expect(problems.slice(-2).map(({ object }) => object)).toEqual(["Namespace a", "NetworkPolicy b/x"]);
    expect(problems.at(-2)?.reason).toMatch(/^1399 more policies do not fit/);
  });

  test("follow from the limit of the heap", () => {
    expect(memoryFor("NetworkPolicy", 256 << 20)).toBeLessThan(160 << 20);
    expect(memoryFor("NetworkPolicy", 256 << 20)).toBeGreaterThan(100 << 20);
    expect(Math.min(...LIMITED_KINDS.map((kind) => memoryFor(kind)))).toBeGreaterThan(0);
    expect(LIMITED_KINDS.reduce((sum, kind) => sum + MEMORY[kind].part, 0)).toBeLessThanOrEqual(1);
  });
});

test("whatever comes and goes: what the weights alone give", () => {
  const steps = fc.array(
    fc.record({
      key: fc.constantFrom("a/1", "a/2", "a/3", "a/4", "b/1", "b/2", "c/1", "d/1"),
      weight: fc.option(fc.integer({ min: 10, max: 60 }), { freq: 4, nil: undefined }),
      capacity: fc.integer({ min: -5, max: 250 }),
      settles: fc.boolean(),
    }),
    { maxLength: 60 },
  );
  const seen = { beyond: 0, crossed: 0 };
  fc.assert(
    fc.property(steps, fc.constantFrom(0, 10, 25), (all, ordinary) => {
      const weights = new Map<string, number>();
      const accounts = openAccounts(termsOf(ordinary));
      for (const { key, weight, capacity, settles } of all) {
        const counted = weight === undefined ? undefined : Math.max(weight, ordinary);
        accounts.set(key, counted, weights.has(key));
        if (counted === undefined) weights.delete(key);
        else weights.set(key, counted);
        if (!settles) continue;
        const crossed = accounts.settle(capacity);
        const now = beyondBy(weights, ordinary, capacity);
        expect([...weights.keys()].filter(accounts.isBeyond).sort(ordered)).toEqual(now);
        // Those that were not put meanwhile: of others the caller asks itself.
        expect(crossed.every((each) => now.includes(each))).toBe(true);
        const fits = [...weights].filter(([each]) => !now.includes(each));
        expect(accounts.fitting()).toBe(fits.reduce((sum, [, each]) => sum + each, 0));
        seen.beyond += now.length;
        seen.crossed += crossed.length;
      }
    }),
    { numRuns: 500 },
  );
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(0);
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

interface Sized {
  readonly kind: LimitedKind;
  /** The object with as many parts, none at least. */
  readonly make: (key: string, parts: number) => Value;
}

const nameOf = (key: string) => {
  const [namespace = "", name = ""] = key.split("/");
  return { namespace, name };
};
const range = <T>(length: number, of: (index: number) => T): T[] =>
  Array.from({ length }, (_, index) => of(index));

/** A pod with as many labels. */
const labelled = (key: string, labels: number): Pod => ({
  ...podWith(key, ["10.0.0.1"]),
  labels: new Map(range(labels, (index) => [`key-${index}`, `${key}-${index}`] as const)),
});

const SIZED: readonly Sized[] = [
  { kind: "NetworkPolicy", make: blockOf },
  { kind: "Pod", make: (key, parts) => labelled(key, parts * 20) },
  {
    kind: "Service",
    make: (key, parts) => ({
      ...{ ...nameOf(key), clusterIps: [address("10.96.0.1")], externalIps: [], loadBalancerIps: [] },
      ...{ selector: undefined, onlyLocal: false },
      ports: range(parts * 5, (index) => ({
        ...{ name: `p${index}`, protocol: "TCP" as const, port: 1 + index, target: 80 },
      })),
    }),
  },
  {
    kind: "EndpointSlice",
    make: (key, parts) => ({
      ...{ ...nameOf(key), service: "s", family: 4 as const },
      ports: [{ name: "", protocol: "TCP" as const, port: 80 }],
      endpoints: range(parts * 5, (index) => ({
        ...{ address: address(`10.0.${parts}.${index}`), ready: true, serving: true, terminating: false },
      })),
    }),
  },
];

const itemOf = (key: string, value: Value, version: number): Item => ({
  ...{ key, uid: key, version: String(version), value },
  ...{ complete: true, problems: [] },
});

/** What is to be in the store, by the objects alone. */
function expected(
  objects: ReadonlyMap<string, Value>,
  memory: Memory,
  capacity: number,
): Record<string, Value> {
  const weights = new Map([...objects].map(([key, value]) => [key, memory.weightOf(value)]));
  const beyond = new Set(beyondBy(weights, memory.ordinary, capacity));
  const all = [...objects].map(
    ([key, value]) => [key, beyond.has(key) ? memory.reduced(value) : value] as const,
  );
  return Object.fromEntries(all);
}

const inStore = (store: Store): unknown => Object.fromEntries(store.values());

const changes = fc.array(
  fc.record({
    key: fc.constantFrom("a/1", "a/2", "a/3", "b/1", "b/2", "c/1"),
    /** None: it is deleted. */
    parts: fc.option(fc.integer({ min: 0, max: 40 }), { freq: 3 }),
    relists: fc.boolean(),
  }),
  { maxLength: 30 },
);

test.each(SIZED)(
  "$kind: events and lists in any order: never more than fits, and what the objects alone give after at most one list",
  ({ kind, make }) => {
    const memory = MEMORY[kind] as Memory;
    const capacity = memory.weightOf(make("a/1", 40));
    const seen = { reduced: 0, relisted: 0 };
    fc.assert(
      fc.property(changes, (all) => {
        const objects = new Map<string, Value>();
        const store = openStore(kind === "NetworkPolicy", () => undefined, {
          memory,
          capacity: () => capacity,
        });
        let version = 0;
        let writer = store.writer();
        const relist = (): void => {
          writer = store.writer();
          const listing = writer.list(() => true);
          for (const [key, value] of objects) listing.put(itemOf(key, value, version));
          expect(listing.commit(String(version)).missed).toBe(0);
        };
        relist();
        for (const { key, parts, relists } of all) {
          version += 1;
          if (parts === null) {
            objects.delete(key);
            writer.remove(key);
          } else {
            objects.set(key, make(key, parts));
            writer.put(itemOf(key, make(key, parts), version));
          }
          const kept = [...store.values().values()].reduce(
            (sum, value) => sum + (isReduced(value) ? 0 : memory.weightOf(value)),
            0,
          );
          expect(kept).toBeLessThanOrEqual(capacity);
          seen.relisted += store.isToBeRelisted() ? 1 : 0;
          if (relists && store.isToBeRelisted()) relist();
          if (!store.isToBeRelisted()) expect(inStore(store)).toEqual(expected(objects, memory, capacity));
          const before = store.values();
          if (!store.isToBeRelisted()) {
            relist();
            expect(store.values()).toBe(before);
          }
        }
        relist();
        expect(store.isToBeRelisted()).toBe(false);
        expect(inStore(store)).toEqual(expected(objects, memory, capacity));
        seen.reduced += store.problems().length;
      }),
      { numRuns: 150 },
    );
    console.info(JSON.stringify(seen));
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(0);
  },
);

test("reduced forms: a pod keeps its addresses, a Service its own, a slice its Service", () => {
  const reducedOf = ({ kind, make }: Sized): Value => (MEMORY[kind] as Memory).reduced(make("a/x", 9));
  const [, pod, service, slice] = SIZED.map(reducedOf);
  const whole = SIZED.find(({ kind }) => kind === "Service")?.make("a/x", 9);
  expect(pod).toMatchObject({ name: "x", ips: [{ text: "10.0.0.1" }], ports: [], exceeds: true });
  expect((pod as Pod).labels.size).toBe(0);
  expect(service).toMatchObject({ clusterIps: [{ text: "10.96.0.1" }], externalIps: [], ports: [] });
  expect([...((service as Service).exceeds?.hashes ?? [])]).toEqual(
    addressesOfService(whole as Service).map(addressHash),
  );
  expect(clusterFromWire(JSON.parse(JSON.stringify(toWire(service))))).toEqual(service);
  expect(slice).toMatchObject({ service: "s", ports: [], endpoints: [], exceeds: true });
});

test("a list of 100 MB of labels is never all in memory, and what is reduced leaves nothing behind", () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const heap = (): number => {
    for (let times = 0; times < 3; times += 1) collect();
    return process.memoryUsage().heapUsed;
  };
  const capacity = 10 << 20;
  const memory = MEMORY.Pod as Memory;
  const store = openStore(false, () => undefined, { memory, capacity: () => capacity });
  const interner = openInterner();
  const before = heap();
  const listing = store.writer().list(() => true);
  let most = 0;
  let text = 0;
  for (let index = 0; index < 100; index += 1) {
    const labels = range(
      25_000,
      (each) => [`key-${each}-abcdefghijklm`, `v${index}-${each}-opqrst`] as const,
    );
    text += labels.reduce((sum, [key, value]) => sum + key.length + value.length + 6, 0);
    const pod = { ...labelled(`a/${index}`, 0), labels: interner.labels(new Map(labels)) };
    listing.put(itemOf(keyOf(pod), pod, index));
    if (index % 20 === 19) most = Math.max(most, heap() - before);
  }
  listing.commit("100");
  console.info(
    `at most ${most >> 20} MiB for ${text >> 20} MiB of text, of a capacity of ${capacity >> 20} MiB`,
  );
  expect(most).toBeLessThan(2 * capacity);
  const kept = [...store.values().values()].filter((value) => !isReduced(value));
  expect(kept.length).toBeGreaterThan(0);
  expect(heap() - before).toBeLessThan(capacity);
});

test("verdicts are those of the cluster without the rules of the reduced policies", () => {
  const seen = { reduced: 0, whole: 0 };
  fc.assert(
    fc.property(clusters, fc.integer({ min: 0, max: 40 }), (world, share) => {
      const own = new Map([...world.policies].map(([key, policy]) => [key, weightOf(policy)]));
      const total = own.values().reduce((sum, weight) => sum + weight, 0);
      const beyond = new Set(beyondBy(own, 0, (total * share) / 40));
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
  const NetworkPolicy = weightOf(blockOf("shop/x", 100));
  const timing = { earlyMs: [10, 20] as const };
  const world = await openWorld({ streams, timing, memory: { NetworkPolicy } });
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
  const NetworkPolicy = weightOf(blockOf("shop/x", 100));
  const world = await openWorld({ timing: { earlyMs: [10, 20] }, memory: { NetworkPolicy } });
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
