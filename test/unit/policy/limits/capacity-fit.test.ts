// Rules and objects that exceed a table's capacity: which are left out, that this can only close, and that no other namespace is affected.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { numberingOver } from "../../../../src/agent/reserved-numbers.ts";
import { DIRECTIONS } from "../../../../src/base/direction.ts";
import { addressOf, cidrOf } from "../../../../src/base/ip.ts";
import { waterLevel } from "../../../../src/base/water-level.ts";
import {
  type Cluster,
  EMPTY_CLUSTER,
  keyOf,
  NO_SURROUNDINGS,
  type Pod,
} from "../../../../src/model/cluster.ts";
import type { ClusterPolicy, ClusterRule } from "../../../../src/model/cluster-network-policy.ts";
import type { Policy, Rule } from "../../../../src/model/network-policy.ts";
import { EVERYTHING } from "../../../../src/model/selector.ts";
import {
  type Compiled,
  compile as compileAmong,
  type LocalEndpoint,
  openCompiler,
} from "../../../../src/policy/compile.ts";
import { NOTHING_NUMBERED, type Numbering } from "../../../../src/policy/identity-allocation.ts";
import { CAPACITIES, type Capacities } from "../../../../src/policy/limits/capacity-fit.ts";
import { excessProblems } from "../../../../src/policy/limits/fair-shares.ts";
import { weightOf } from "../../../../src/policy/limits/rule-limits.ts";
import { permits } from "../../../../src/policy/oracle.ts";
import { classesOf, type PortSet, placeOf, rangeOf, union } from "../../../../src/policy/port-classes.ts";
import { isItself, partyAt } from "../../../../src/policy/service-oracle.ts";
import { identityIn, LIMITS, policyNumber, type State } from "../../../../src/state/desired-state.ts";
import { settledState } from "../../../../src/state/state-diff.ts";
import { planOf } from "../../../../src/state/state-lookup.ts";
import {
  localsFor,
  named,
  pod,
  policyOf,
  portRule,
  service,
  world,
} from "../../../support/limited-worlds.ts";
import { block, clusterPolicy, clusterRule, pods } from "../../../support/model.ts";
import { type AnsweredQuestion, questions, questionText } from "../../../support/questions.ts";
import { clusterWithServices, serviceQuestions } from "../../../support/service-worlds.ts";
import { cluster, localsOf } from "../../../support/worlds.ts";

const RUNS = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 200);
const PATIENCE_MS = 60_000 + RUNS * 500;

const compile = (
  world: Cluster,
  locals: readonly LocalEndpoint[],
  previous: Numbering,
  room: Capacities = CAPACITIES,
): Compiled => compileAmong(world, locals, previous, NO_SURROUNDINGS, room);

const passes = (answer: string): boolean => ["allowed", "audited", "not isolated"].includes(answer);
const isV6 = (text: string): boolean => text.includes(":");

/** Small enough that the random worlds exceed them. */
const capacities: fc.Arbitrary<Capacities> = fc
  .record({
    rows: fc.nat({ max: 6 }),
    classes: fc.nat({ max: 8 }),
    identities: fc.nat({ max: 8 }),
    cidrs: fc.nat({ max: 5 }),
    clauses: fc.oneof(fc.constant(1_000), fc.nat({ max: 40 })),
    matches: fc.oneof(fc.constant(1_000), fc.nat({ max: 60 })),
    ranges: fc.oneof(fc.constant(1_000), fc.nat({ max: 20 })),
    bits: fc.oneof(fc.constant(1_000), fc.nat({ max: 20 })),
  })
  .map((few) => ({ ...CAPACITIES, ...few }));

/** Services that do not fit, with their addresses as a whole or by their backends, and addresses. */
const fewServices = fc.record({
  services: fc.oneof(fc.constant(CAPACITIES.services), fc.nat({ max: 4 })),
  serviceGroups: fc.oneof(fc.constant(CAPACITIES.serviceGroups), fc.nat({ max: 3 })),
  addresses: fc.oneof(fc.constant(CAPACITIES.addresses), fc.nat({ max: 8 })),
  backends: fc.oneof(fc.constant(CAPACITIES.backends), fc.nat({ max: 8 })),
});

/** The limited parts of a state. */
function usedBy(state: State) {
  const ofFamily = (six: boolean) => [...state.cidrs.keys()].filter((text) => isV6(text) === six).length;
  const addresses = [...state.addresses.values()].map(identityIn);
  return {
    rows: state.rows.size,
    classes: new Set(state.ports.map((span) => span.class)).size,
    cidrs: Math.max(ofFamily(false), ofFamily(true)),
    identities: new Set([...addresses, ...state.cidrs.values()].filter((number) => number !== 0)).size,
  };
}

/** The cluster without the rules that are reported as left out, by nothing but their names. */
function without(world: Cluster, { excesses }: Compiled): Cluster {
  const policies = new Map(world.policies);
  const clusterPolicies = new Map(world.clusterPolicies);
  for (const { object, rules } of excesses) {
    const denying = clusterPolicies.get(object.replace("ClusterNetworkPolicy ", ""));
    if (denying !== undefined && object.startsWith("Cluster")) {
      const closed = (direction: "ingress" | "egress"): ClusterRule[] =>
        denying.rules[direction].map(() => ({ action: "Deny", peers: "anyone", ports: "all" }));
      const own = { ingress: closed("ingress"), egress: closed("egress") };
      clusterPolicies.set(denying.name, { ...denying, rules: own });
    }
    if (rules === undefined) continue;
    const key = object.replace("NetworkPolicy ", "");
    const policy = policies.get(key) as Policy;
    const left = (direction: "ingress" | "egress"): Rule[] =>
      policy.rules[direction].map((rule, index) =>
        rules.includes(`spec.${direction}[${index}]`) ? { peers: [], ports: [] } : rule,
      );
    policies.set(key, { ...policy, rules: { ingress: left("ingress"), egress: left("egress") } });
  }
  const nameless = excesses.flatMap(({ namespace, effect }) =>
    effect.startsWith("rules of cluster policies accept nothing by domain names") ? [namespace] : [],
  );
  return { ...world, policies, clusterPolicies, nameless };
}

describe("rules beyond a namespace's share", { timeout: PATIENCE_MS }, () => {
  test("are left out as named, can only close, and what is left fits", () => {
    const seen = { cut: 0, whole: 0, closed: 0 };
    fc.assert(
      fc.property(cluster, capacities, (world, room) => {
        const locals = localsOf(world);
        const compiled = compile(world, locals, NOTHING_NUMBERED, room);
        const used = usedBy(compiled.state);
        for (const limit of ["rows", "classes", "cidrs", "identities"] as const)
          expect(used[limit], limit).toBeLessThanOrEqual(room[limit]);
        seen[compiled.excesses.length > 0 ? "cut" : "whole"] += 1;
        const plan = planOf(compiled.state);
        const isAllowed = (question: AnsweredQuestion): boolean => passes(plan.judge(question));
        for (const question of questions(without(world, compiled), 7)) {
          if (isAllowed(question) !== question.allowed)
            throw new Error(
              `with the surplus removed, oracle: ${question.why()} (${questionText(question)})`,
            );
        }
        for (const question of questions(world, 7)) {
          if (isAllowed(question) && !question.allowed) throw new Error(`opened: ${questionText(question)}`);
          if (!isAllowed(question) && question.allowed) seen.closed += 1;
        }
        // Isolation is the same as without limits.
        const whole = compile(world, locals, NOTHING_NUMBERED);
        for (const [ifindex, { policy }] of whole.state.endpoints) {
          const own = compiled.state.endpoints.get(ifindex)?.policy ?? { ingress: 0, egress: 0 };
          for (const direction of DIRECTIONS)
            expect(policyNumber(own[direction]) !== 0).toBe(policyNumber(policy[direction]) !== 0);
        }
      }),
      { numRuns: RUNS },
    );
    expect(Math.min(seen.cut, seen.whole, seen.closed)).toBeGreaterThan(0);
  });

  test("depend on nothing but the cluster: not on its order, nor on what was before", () => {
    fc.assert(
      fc.property(cluster, cluster, capacities, (world, before, room) => {
        const one = compile(world, localsOf(world), NOTHING_NUMBERED, room);
        const reversed: Cluster = {
          ...world,
          namespaces: new Map([...world.namespaces].reverse()),
          pods: new Map([...world.pods].reverse()),
          policies: new Map([...world.policies].reverse()),
          clusterPolicies: new Map([...(world.clusterPolicies ?? [])].reverse()),
          nodes: new Map([...(world.nodes ?? [])].reverse()),
        };
        const other = compile(reversed, localsOf(reversed).reverse(), NOTHING_NUMBERED, room);
        const { numbering } = compile(before, localsOf(before), NOTHING_NUMBERED, room);
        const later = compile(world, localsOf(world), numbering, room);
        const texts = ({ excesses }: Compiled): string[] =>
          excessProblems(excesses)
            .map((each) => JSON.stringify(each))
            .sort();
        expect(texts(other)).toEqual(texts(one));
        expect(texts(later)).toEqual(texts(one));
      }),
      { numRuns: RUNS },
    );
  });

  test("of Services, addresses and endpoints, too: whatever the order, the history or a restart", () => {
    const tables: fc.Arbitrary<Capacities> = fc
      .record({
        services: fc.nat({ max: 4 }),
        serviceGroups: fc.nat({ max: 3 }),
        addresses: fc.nat({ max: 8 }),
        identities: fc.nat({ max: 8 }),
        matches: fc.oneof(fc.constant(1_000), fc.nat({ max: 60 })),
      })
      .map((few) => ({ ...CAPACITIES, ...few }));
    let cut = 0;
    fc.assert(
      fc.property(clusterWithServices, clusterWithServices, tables, (world, before, room) => {
        const locals = localsOf(world);
        const one = compile(world, locals, NOTHING_NUMBERED, room);
        const reversed: Cluster = {
          ...world,
          pods: new Map([...world.pods].reverse()),
          policies: new Map([...world.policies].reverse()),
          services: new Map([...world.services].reverse()),
          slices: new Map([...world.slices].reverse()),
        };
        const other = compile(reversed, [...locals].reverse(), NOTHING_NUMBERED, room);
        // A compiler that has followed another cluster, and one that starts on what its agent has left.
        const compiler = openCompiler();
        const of = (cluster: Cluster, previous: Numbering) =>
          compiler.compile({ cluster, locals: localsOf(cluster), previous, capacities: room });
        const { numbering } = of(before, NOTHING_NUMBERED);
        const texts = ({ excesses }: Compiled): string[] =>
          excessProblems(excesses)
            .map((each) => JSON.stringify(each))
            .sort();
        expect(texts(other)).toEqual(texts(one));
        expect(texts(of(world, numbering))).toEqual(texts(one));
        expect(texts(compile(world, locals, numbering, room))).toEqual(texts(one));
        if (one.excesses.length > 0) cut += 1;
      }),
      { numRuns: RUNS },
    );
    expect(cut).toBeGreaterThan(0);
  });

  test("belong only to those that exceed their share, which is never less than an equal part", () => {
    fc.assert(
      fc.property(cluster, capacities, (world, room) => {
        const locals = localsOf(world);
        for (const { wanted, share, capacity, askers, namespace } of compile(
          world,
          locals,
          NOTHING_NUMBERED,
          room,
        ).excesses) {
          expect(wanted).toBeGreaterThan(share);
          // Cluster policies may take half.
          const left = (world.clusterPolicies?.size ?? 0) > 0 ? capacity / 2 : capacity;
          if (namespace === "") continue;
          expect(share).toBeGreaterThanOrEqual(Math.floor(left / askers));
          expect([...world.pods.values()].map((pod) => pod.namespace)).toContain(namespace);
        }
      }),
      { numRuns: RUNS },
    );
  });

  test("open no Service, and no backend to which it is denied", () => {
    fc.assert(
      fc.property(clusterWithServices, capacities, fewServices, (world, rules, services) => {
        const room = { ...rules, ...services };
        const locals = localsOf(world);
        const here = new Map(locals.map((local) => [keyOf(local.pod), local.ifindex]));
        const whole = planOf(compile(world, locals, NOTHING_NUMBERED).state);
        const plan = planOf(compile(world, locals, NOTHING_NUMBERED, room).state);
        const frontends = new Set<string>();
        for (const { from, frontend, names, backends, ifindex, text } of serviceQuestions(world, locals)) {
          const { protocol, address: remote } = frontend;
          frontends.add(remote.text);
          const question = {
            ifindex,
            direction: "egress",
            remote,
            place: placeOf(protocol, frontend.port),
            names,
          } as const;
          const leaves = passes(plan.judge(question));
          if (leaves && !passes(whole.judge(question))) throw new Error(`opened: ${text}`);
          for (const { backend, verdict } of leaves ? backends : []) {
            const { address, port } = backend;
            const to = partyAt(world, address);
            if (isItself(from, to) || permits(verdict)) continue;
            const guard = to.kind === "pod" ? here.get(keyOf(to.pod)) : undefined;
            const place = placeOf(protocol, port);
            const arrives =
              guard === undefined ||
              passes(plan.judge({ ifindex: guard, direction: "ingress", remote: from.address, place }));
            if (arrives) throw new Error(`denied, and arrives at ${address.text}:${port}: ${text}`);
          }
        }
        for (const question of questions(world, 11)) {
          if (question.direction === "egress" && frontends.has(question.remote.text)) continue;
          if (passes(plan.judge(question)) && !question.allowed)
            throw new Error(`opened: ${questionText(question)}`);
        }
      }),
      { numRuns: RUNS },
    );
  });
});

describe("addresses beyond the table", () => {
  const peer = addressOf(4, 0x0a000005n);
  const other = addressOf(4, 0x0a000006n);
  const labelled = (app: string) => pods({ app }, EVERYTHING);
  const deny = (...rules: ClusterRule[]) => clusterPolicy("deny", { ingress: rules });
  const members = [
    pod("here", 1),
    { ...pod("a", 5), labels: new Map([["app", "web"]]) },
    { ...pod("b", 6), labels: new Map([["app", "db"]]) },
  ];
  // Everyone is allowed who is not denied; what is not in the table is nobody's address.
  test.each<[string, ClusterPolicy, full: boolean[], limited: boolean[], loser: RegExp]>([
    ["Deny", deny(clusterRule("Deny", [labelled("web")])), [false, true], [false, false], /^Clu.*deny$/],
    [
      "Pass before Deny",
      deny(clusterRule("Pass", [labelled("web")]), clusterRule("Deny", [block("0.0.0.0/0")])),
      [true, false],
      [false, false],
      /^Clu.*deny$/,
    ],
    [
      "Accept before Deny",
      deny(clusterRule("Accept", [labelled("web")]), clusterRule("Deny", [block("0.0.0.0/0")])),
      [true, false],
      [false, false],
      /^Pod /,
    ],
  ])("%s by labels never opens", (_, policy, full, limited, loser) => {
    const of = (room: Capacities) => {
      const limits = { ...world(members, []), clusterPolicies: new Map([["deny", policy]]) };
      const compiled = compile(limits, localsFor(members.slice(0, 1)), NOTHING_NUMBERED, room);
      const plan = planOf(compiled.state);
      const ask = (remote: typeof peer) =>
        passes(plan.judge({ ifindex: 10, direction: "ingress", remote, place: placeOf("TCP", 80) }));
      return { answers: [ask(peer), ask(other)], excesses: compiled.excesses };
    };
    expect(of(CAPACITIES)).toEqual({ answers: full, excesses: [] });
    const cut = of({ ...CAPACITIES, addresses: 0 });
    expect(cut.answers).toEqual(limited);
    expect(cut.excesses.length).toBeGreaterThan(0);
    for (const { object } of cut.excesses) expect(object).toMatch(loser);
  });
});

describe("the measures", () => {
  test("a level gives each at least an equal part, and what some leave to the others", () => {
    expect(waterLevel([1, 2, 3], 6)).toBe(Number.POSITIVE_INFINITY);
    expect(waterLevel([10, 10], 7)).toBe(3);
    expect(waterLevel([1, 100, 100], 21)).toBe(10);
    expect(waterLevel([5], 0)).toBe(0);
    fc.assert(
      fc.property(
        fc.array(fc.nat({ max: 50 }), { minLength: 1 }),
        fc.nat({ max: 200 }),
        (demands, capacity) => {
          const level = waterLevel(demands, capacity);
          const given = demands.reduce((sum, demand) => sum + Math.min(demand, level), 0);
          expect(given).toBeLessThanOrEqual(capacity);
          if (level === Number.POSITIVE_INFINITY) return;
          expect(level).toBeGreaterThanOrEqual(Math.floor(capacity / demands.length));
          const more = demands.reduce((sum, demand) => sum + Math.min(demand, level + 1), 0);
          expect(more).toBeGreaterThan(capacity);
        },
      ),
    );
  });

  test("the weights of several families of sets are never less than the classes that they make together", () => {
    const span = fc
      .tuple(fc.nat({ max: 30 }), fc.constantFrom(0, 0, 0, 1, 5, 20))
      .map(([first, more]) => rangeOf("TCP", first, first + more));
    const set: fc.Arbitrary<PortSet> = fc.array(span, { minLength: 1, maxLength: 5 }).map(union);
    const family = fc.array(set, { maxLength: 4 });
    fc.assert(
      fc.property(fc.array(family, { maxLength: 4 }), (families) => {
        const sum = families.reduce((total, each) => total + weightOf(each), 0);
        expect(classesOf(families.flat()).length).toBeLessThanOrEqual(sum);
      }),
      { numRuns: 5_000 },
    );
  });
});

const PORTS = 65_536;

describe("at the real limits", () => {
  const pods = ["greedy", "modest", "closed"].map(pod);
  const locals = localsFor(pods);
  const modest = policyOf("modest", [portRule(1, 80), portRule(2, 443)]);
  const closed = policyOf("closed", []);
  const greedy = (count: number, first = 1_000): Policy =>
    policyOf(
      "greedy",
      Array.from({ length: count }, (_, index) => portRule(index, first + 2 * index)),
    );
  const compiled = (policy: Policy, numbering = NOTHING_NUMBERED) =>
    compile(world(pods, [policy, modest, closed]), locals, numbering);

  test("4,200 ports of one namespace cost it the last rules, and others nothing", () => {
    const { state, excesses } = compiled(greedy(4_200));
    expect(
      excesses.map(({ object, limit, wanted, share, rules }) => [
        object,
        limit,
        wanted,
        share,
        rules?.length,
      ]),
    ).toEqual([["NetworkPolicy greedy/policy", "port sets", 4_200, 4_091, 109]]);
    expect(excesses[0]?.rules?.[0]).toBe("spec.ingress[4091]");
    const plan = planOf(state);
    const from = (number: number) => addressOf(4, 0x1e000000n + BigInt(number));
    const ask = (ifindex: number, number: number, port: number) =>
      plan.judge({ ifindex, direction: "ingress", remote: from(number), place: placeOf("TCP", port) });
    expect([ask(10, 0, 1_000), ask(10, 4_090, 1_000 + 2 * 4_090)]).toEqual(["allowed", "allowed"]);
    expect([ask(10, 4_091, 1_000 + 2 * 4_091), ask(10, 0, 1_002)]).toEqual(["denied", "denied"]);
    expect([ask(11, 1, 80), ask(11, 2, 443), ask(11, 1, 443), ask(12, 1, 80)]).toEqual([
      "allowed",
      "allowed",
      "denied",
      "denied",
    ]);
    expect(excessProblems(excesses)[0]).toMatchObject({
      severity: "error",
      topic: "capacity",
      object: "NetworkPolicy greedy/policy",
      path: "spec.ingress[4091] and 108 more",
      reason:
        "namespace greedy needs 4200 port sets on this node; 4091 fit (the node has 4093, which 2 namespaces share)",
    });
  });

  test("if the old numbers leave no space for the new ones, the rest comes with the next compile", () => {
    const before = compiled(greedy(4_000));
    expect([before.excesses, before.isTransitional]).toEqual([[], false]);
    const between = compiled(greedy(4_000, 20_000), before.numbering);
    expect([between.excesses, between.isTransitional]).toEqual([[], true]);
    // The others are not affected.
    const row = (state: State, ifindex: number) =>
      state.policies.get(state.endpoints.get(ifindex)?.policy.ingress ?? 0)?.size;
    expect([row(between.state, 11), row(between.state, 12)]).toEqual([2, 0]);
    const after = compiled(greedy(4_000, 20_000), between.numbering);
    expect([after.excesses, after.isTransitional]).toEqual([[], false]);
    expect(row(after.state, 10)).toBe(4_000);
  });

  test("a new agent over full tables keeps what is in them", () => {
    const before = compiled(greedy(4_500));
    const numbering = numberingOver(settledState(before.state));
    const after = compiled(greedy(4_500), numbering);
    expect([after.isTransitional, after.state.rows]).toEqual([false, before.state.rows]);
    const other = compiled(greedy(4_500, 20_001), numbering);
    expect([other.isTransitional, other.excesses]).toEqual([true, before.excesses]);
    expect(compiled(greedy(4_500, 20_001), other.numbering).isTransitional).toBe(false);
  });

  test("a rule of many ports is kept before many of one port", () => {
    const many: Rule = {
      peers: "anyone",
      ports: Array.from({ length: 5_000 }, (_, index) => ({
        kind: "range",
        protocol: "UDP",
        first: 2 * index,
        last: 2 * index,
      })),
    };
    const { excesses } = compiled(policyOf("greedy", [many, portRule(1, 80), portRule(2, 81)]));
    // As one set of ports it needs one row and one class.
    expect(excesses).toEqual([]);
    const apart = Array.from({ length: 4_500 }, (_, index) => portRule(index, 2 * index));
    const both = compiled(policyOf("greedy", [many, ...apart]));
    expect(both.excesses.flatMap(({ rules }) => rules ?? [])).toContain("spec.ingress[0]");
  });

  test("prefixes: the smallest rules stay", () => {
    const blocks = (count: number, first: bigint): Rule => ({
      peers: Array.from({ length: count }, (_, index) => ({
        kind: "block",
        cidr: cidrOf(4, first + BigInt(index), 32),
        except: [],
      })),
      ports: "all",
    });
    const { excesses, state } = compiled(
      policyOf("greedy", [blocks(270_000, 0x32000000n), blocks(10, 0x3c000000n)]),
    );
    expect(excesses.map(({ limit, rules, share }) => [limit, rules, share])).toEqual([
      ["IPv4 prefixes", ["spec.ingress[0]"], LIMITS.cidrs - 2],
    ]);
    expect(state.cidrs.size).toBe(12);
  });
});

describe("objects beyond a namespace's share", () => {
  const room = (few: Partial<Capacities>): Capacities => ({ ...CAPACITIES, ...few });
  const fromAll = policyOf("a", [
    { peers: [{ kind: "pods", namespaces: { requirements: [] }, pods: { requirements: [] } }], ports: "all" },
  ]);

  test("endpoints: the interfaces of its last pods are isolated", () => {
    const pods = [
      named("a", "1", 1),
      ...Array.from({ length: 5 }, (_, index) => named("b", `p${index}`, 10 + index)),
    ];
    const { state, shut, excesses } = compile(
      world(pods, [fromAll]),
      localsFor(pods),
      NOTHING_NUMBERED,
      room({ endpoints: 4 }),
    );
    expect([...state.endpoints.keys()]).toEqual([10, 11, 12, 13]);
    expect(shut.map(({ pod: each }) => keyOf(each))).toEqual(["b/p3", "b/p4"]);
    expect(excesses.map(({ object, wanted, share }) => [object, wanted, share])).toEqual([
      ["Pod b/p3", 5, 3],
      ["Pod b/p4", 5, 3],
    ]);
  });

  test("sources: what does not fit is dropped as spoofed", () => {
    const prefix = (number: number) => cidrOf(4, 0x0b000000n + BigInt(number * 256), 24);
    const pods = [
      { ...named("a", "1", 1), sources: [prefix(0)] },
      { ...named("b", "1", 2), sources: [1, 2, 3, 4].map(prefix) },
    ];
    const none = compile(EMPTY_CLUSTER, [], NOTHING_NUMBERED).state;
    const addressesOfNodes = [...none.scopes.values()].flat().filter((text) => !isV6(text)).length;
    const { state, excesses } = compile(
      world(pods, []),
      localsFor(pods),
      NOTHING_NUMBERED,
      room({ sources: addressesOfNodes + 3 }),
    );
    expect([...state.endpoints.values()].map(({ sources }) => sources)).toEqual([
      ["11.0.0.0/24"],
      ["11.0.1.0/24", "11.0.2.0/24"],
    ]);
    expect(excessProblems(excesses)[0]).toMatchObject({
      object: "Pod b/1",
      effect: "what it sends from 11.0.3.0/24 and 1 more is dropped",
    });
  });

  test("addresses: those that no selector matches take none; then a namespace's last pods that are not of this node", () => {
    const own = [named("a", "1", 1)];
    const others = [
      ...Array.from({ length: 4 }, (_, index) => named("b", `p${index}`, 10 + index)),
      named("c", "1", 20),
    ];
    const all = world([...own, ...others], [fromAll]);
    const { state, excesses } = compile(all, localsFor(own), NOTHING_NUMBERED, room({ addresses: 4 }));
    expect([...state.addresses.keys()].sort()).toEqual(["10.0.0.1", "10.0.0.10", "10.0.0.11", "10.0.0.20"]);
    expect(excesses.map(({ object }) => object)).toEqual(["Pod b/p2", "Pod b/p3"]);
    // If no selector matches them there is nothing to lose: unknown peers are judged alike.
    const idle = compile(
      world([...own, ...others], [policyOf("a", [])]),
      localsFor(own),
      NOTHING_NUMBERED,
      room({ addresses: 4 }),
    );
    expect([[...idle.state.addresses.keys()], idle.excesses]).toEqual([[], []]);
  });

  const backend = (name: string, number: number): Pod => ({
    ...named("b", name, number),
    labels: new Map([["app", name]]),
  });

  test("Services: their addresses are denied to pods that are isolated for egress, whatever blocks allow", () => {
    const client = named("a", "1", 1);
    const backends = ["x", "y", "z"].map((name, index) => backend(name, 10 + index));
    const anywhere: Rule = { peers: [{ kind: "block", cidr: cidrOf(4, 0n, 0), except: [] }], ports: "all" };
    const services = [service("b", "x", 1, 2), service("b", "y", 2, 2), service("c", "w", 3, 1)];
    const all = world([client, ...backends], [policyOf("a", [anywhere], "egress")], services);
    const { state, excesses } = compile(all, localsFor([client]), NOTHING_NUMBERED, room({ services: 3 }));
    expect(excesses.map(({ object, limit }) => [object, limit])).toEqual([
      ["Service b/y", "IPv4 ports of Services"],
    ]);
    const plan = planOf(state);
    const ask = (number: number, port: number) =>
      plan.judge({
        ifindex: 10,
        direction: "egress",
        remote: addressOf(4, 0x0a600000n + BigInt(number)),
        place: placeOf("TCP", port),
      });
    expect([ask(1, 80), ask(1, 81), ask(2, 80), ask(2, 81)]).toEqual([
      "allowed",
      "allowed",
      "denied",
      "denied",
    ]);
  });

  test("sets of backends: the last ones of a namespace lead nowhere", () => {
    const client = named("a", "1", 1);
    const backends = ["x", "y", "z"].map((name, index) => backend(name, 10 + index));
    const toEach = ["x", "y", "z"].map(
      (name): Rule => ({
        peers: [
          {
            kind: "pods",
            namespaces: { requirements: [] },
            pods: { requirements: [{ operator: "In", key: "app", values: [name] }] },
          },
        ],
        ports: "all",
      }),
    );
    const services = ["x", "y", "z"].map((name, index) => service("b", name, 1 + index, 1));
    const all = world([client, ...backends], [policyOf("a", toEach, "egress")], services);
    const { state, excesses } = compile(
      all,
      localsFor([client]),
      NOTHING_NUMBERED,
      room({ serviceGroups: 2 }),
    );
    const plan = planOf(state);
    const ask = (number: number) =>
      plan.judge({
        ifindex: 10,
        direction: "egress",
        remote: addressOf(4, 0x0a600000n + BigInt(number)),
        place: placeOf("TCP", 80),
      });
    expect([ask(1), ask(2), ask(3)]).toEqual(["allowed", "allowed", "denied"]);
    expect(excesses.map(({ object }) => object)).toEqual(["Service b/z"]);
  });
});

test("ports of the tests above are ports", () => expect(20_000 + 2 * 4_000).toBeLessThan(PORTS));
