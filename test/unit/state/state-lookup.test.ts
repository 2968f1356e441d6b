// The compiled plan against the oracle on random worlds, and the transition from one plan to the next one write at a time.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { mostSpecific } from "../../../src/base/domain-name.ts";
import { type Address, cidrContains, cidrOf } from "../../../src/base/ip.ts";
import { isMapping } from "../../../src/base/versioned-map.ts";
import {
  type Cluster,
  EMPTY_CLUSTER,
  NO_SURROUNDINGS,
  type Surroundings,
} from "../../../src/model/cluster.ts";
import type { ClusterPolicy, ClusterRule } from "../../../src/model/cluster-network-policy.ts";
import { type Compiled, compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { placeOf } from "../../../src/policy/port-classes.ts";
import { domainsOf, NODE_SCOPE, type State } from "../../../src/state/desired-state.ts";
import { diff, settledState } from "../../../src/state/state-diff.ts";
import { type Answer, cidrFrom, planOf } from "../../../src/state/state-lookup.ts";
import { type KernelMemory, type Question, simulate } from "../../support/kernel-memory.ts";
import {
  block,
  cluster as clusterOf,
  clusterPolicy,
  clusterRule,
  domainRule,
  namespace,
  pod,
  ports,
} from "../../support/model.ts";
import { questions, questionText } from "../../support/questions.ts";
import { clusterWithServices, type ServiceQuestion, serviceQuestions } from "../../support/service-worlds.ts";
import { cluster, localsOf, NAMESPACES, v4, v6 } from "../../support/worlds.ts";

const RUNS = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 300);

/** Far more than it takes: a slow machine is no failure. */
const PATIENCE_MS = 60_000 + RUNS * 500;

const passes = (answer: Answer): boolean => ["allowed", "audited", "not isolated"].includes(answer);

describe("the compiled plan", { timeout: PATIENCE_MS }, () => {
  test("answers every question as the oracle does", () => {
    fc.assert(
      fc.property(cluster, (world) => {
        const { state } = compile(world, localsOf(world), NOTHING_NUMBERED);
        const plan = planOf(state);
        for (const question of questions(world)) {
          const answer = plan.judge(question);
          if (passes(answer) !== question.allowed) {
            throw new Error(`plan says ${answer}, oracle: ${question.why()} (${questionText(question)})`);
          }
        }
      }),
      { numRuns: RUNS },
    );
  });

  test("is the same for the same input, whatever the order of the input", () => {
    fc.assert(
      fc.property(cluster, (world) => {
        const reversed: Cluster = {
          ...world,
          namespaces: new Map([...world.namespaces].reverse()),
          pods: new Map([...world.pods].reverse()),
          policies: new Map([...world.policies].reverse()),
          clusterPolicies: new Map([...(world.clusterPolicies ?? [])].reverse()),
          nodes: new Map([...(world.nodes ?? [])].reverse()),
          services: new Map([...world.services].reverse()),
          slices: new Map([...world.slices].reverse()),
        };
        const sorted = (state: State) =>
          JSON.stringify(state, (_, value) =>
            isMapping(value) ? [...value].sort(([a], [b]) => (String(a) < String(b) ? -1 : 1)) : value,
          );
        const a = compile(world, localsOf(world), NOTHING_NUMBERED).state;
        const b = compile(reversed, localsOf(reversed), NOTHING_NUMBERED).state;
        expect(sorted(b)).toBe(sorted(a));
      }),
      { numRuns: RUNS },
    );
  });
});

/** Questions out of the many, the same ones for both worlds. */
function sample(before: Cluster, after: Cluster): Question[] {
  const all = [...questions(before), ...questions(after)];
  const step = Math.max(1, Math.floor(all.length / 400));
  return [
    ...all.filter((_, index) => index % step === 0),
    ...[before, after].flatMap((world) => serviceQuestions(world, localsOf(world)).map(frontendQuestion)),
  ];
}

const frontendQuestion = ({ ifindex, frontend, names }: ServiceQuestion): Question => ({
  ifindex,
  names,
  direction: "egress",
  remote: frontend.address,
  place: placeOf(frontend.protocol, frontend.port),
});

/** The next world: each object of the last one stays, is removed or is replaced, as the bits of `choice` determine. */
function edited(last: Cluster, other: Cluster, choice: number): Cluster {
  const mix = <T>(
    from: ReadonlyMap<string, T>,
    to: ReadonlyMap<string, T>,
    shift: number,
  ): Map<string, T> => {
    const keys = [...new Set([...from.keys(), ...to.keys()])];
    return new Map(
      keys.flatMap((key, index) => {
        const value = (choice >> ((index + shift) % 30)) & 1 ? to.get(key) : from.get(key);
        return value === undefined ? [] : [[key, value] as const];
      }),
    );
  };
  const pods = mix(last.pods, other.pods, 7);
  const taken = new Set<string>();
  for (const [key, { ips }] of pods) {
    if (ips.some(({ text }) => taken.has(text))) pods.delete(key);
    else for (const { text } of ips) taken.add(text);
  }
  return {
    namespaces: mix(last.namespaces, other.namespaces, 0),
    pods,
    policies: mix(last.policies, other.policies, 13),
    clusterPolicies: mix(last.clusterPolicies ?? new Map(), other.clusterPolicies ?? new Map(), 17),
    nodes: mix(last.nodes ?? new Map(), other.nodes ?? new Map(), 19),
    services: mix(last.services, other.services, 3),
    slices: mix(last.slices, other.slices, 5),
  };
}

/** Every address that pods of these worlds have, and one outside. */
const SENDERS = Array.from({ length: 17 }, (_, number) => [v4(number), v6(number)]).flat();

/** Nodes and bridges that may come and go around the pods. */
const surroundings: fc.Arbitrary<Surroundings> = fc
  .record({
    nodes: fc.subarray(SENDERS),
    length: fc.constantFrom(24, 30, 32),
    ports: fc.uniqueArray(fc.integer({ min: 1, max: 65_535 }), { maxLength: 3 }),
    onLink: fc.subarray(SENDERS),
  })
  .map(({ nodes, length, ports, onLink }) => {
    const prefix = ({ family, value }: Address) => cidrOf(family, value, family === 4 ? length : length * 4);
    return {
      nodeAddresses: nodes.map(prefix),
      onLink: new Map([[BRIDGE, onLink.map(prefix)]]),
      tunnelPorts: ports,
    };
  });

const BRIDGE = 7_000;
/** Every other pod is on it. */
const linked = (world: Cluster) =>
  localsOf(world).map((local, at) =>
    at % 2 === 0 ? local : { ...local, link: { hardware: ["02:00:00:00:00:01"], bridge: BRIDGE } },
  );

/** From SENDERS; computed once, because it is checked between any two writes. */
const inScopes = ({ scopes }: State) => membership((scope) => scopes.get(scope));
const sourcesOf = ({ endpoints }: State) => membership((ifindex) => endpoints.get(ifindex)?.sources);

function membership(prefixesOf: (of: number) => readonly string[] | undefined) {
  const members = new Map<number, ReadonlySet<Address>>();
  return (of: number, address: Address): boolean => {
    let known = members.get(of);
    if (known === undefined) {
      const prefixes = (prefixesOf(of) ?? []).map(cidrFrom);
      known = new Set(SENDERS.filter((sender) => prefixes.some((prefix) => cidrContains(prefix, sender))));
      members.set(of, known);
    }
    return known.has(address);
  };
}

/** Moves the memory from one world to the next, checking between any two writes. */
function update(
  run: { memory: KernelMemory; last: Cluster; compiled: Compiled },
  { world, around }: { world: Cluster; around: Surroundings },
  random: Iterable<number>,
): Compiled {
  const { memory, last, compiled: before } = run;
  const after = compile(world, linked(world), before.numbering, around);
  const changes = diff(settledState(before.state), after.state);
  const plans = { before: planOf(before.state), after: planOf(after.state) };
  const both = ({ ifindex }: Question) =>
    before.state.endpoints.has(ifindex) && after.state.endpoints.has(ifindex);
  const domains = { before: domainsOf(before.state.names), after: domainsOf(after.state.names) };
  /** Whether these names are known by the most specific ones of the next world's rules: a name that is added counts from the next answer. */
  const areKnown = (names: readonly string[]): boolean =>
    names.every((name) => {
      const known = mostSpecific(domains.before, name);
      return (known && mostSpecific(domains.after, known)) === mostSpecific(domains.after, name);
    });
  const asked = sample(last, world)
    .filter(both)
    .map((question) => ({
      question,
      before: passes(plans.before.judge(question)),
      after: passes(plans.after.judge(question)),
      isKnown: areKnown(question.names ?? []),
    }));
  memory.learn(asked.flatMap(({ question }) => question.names ?? []));
  const sources = { before: sourcesOf(before.state), after: sourcesOf(after.state) };
  const senders = [...before.state.endpoints.keys()].filter((ifindex) => after.state.endpoints.has(ifindex));
  const scopes = { before: inScopes(before.state), after: inScopes(after.state) };
  const ports = { before: before.state.tunnelPorts, after: after.state.tunnelPorts };
  const check = (which: "before" | "after", when: string) => {
    expect(memory.tunnelPorts(), when).toEqual(ports[which]);
    for (const scope of [NODE_SCOPE, BRIDGE]) {
      for (const address of SENDERS) {
        if (memory.inScope(scope, address) !== scopes[which](scope, address))
          throw new Error(`${when}: kernel and plan differ on ${address.text} in scope ${scope}`);
      }
    }
    for (const ifindex of senders) {
      for (const address of SENDERS) {
        if (memory.isSource(ifindex, address) !== sources[which](ifindex, address))
          throw new Error(`${when}: kernel and plan differ on ${address.text} as a source of ${ifindex}`);
      }
    }
    for (const each of asked) {
      const got = memory.allows(each.question);
      if (got !== each[which])
        throw new Error(`${when}: kernel ${got}, plan ${each[which]} for ${questionText(each.question)}`);
      if (which === "after" && !each.isKnown) continue;
      if (memory.allows(each.question, true) !== got)
        throw new Error(`${when}: not ${got} by what is known, for ${questionText(each.question)}`);
    }
  };
  for (const write of memory.writes(changes.prepare, random)) {
    write();
    check("before", "while preparing");
  }
  memory.flip();
  check("after", "after the flip");
  for (const write of memory.writes(changes.cleanup, random)) {
    write();
    check("after", "while cleaning up");
  }
  return after;
}

const NOTHING = EMPTY_CLUSTER;

/** A memory that holds the empty world. */
function begun(random: Iterable<number>): { readonly memory: KernelMemory; readonly compiled: Compiled } {
  const memory = simulate();
  const compiled = compile(NOTHING, [], NOTHING_NUMBERED);
  for (const write of memory.writes(diff(memory.read(), compiled.state).prepare, random)) write();
  memory.flip();
  for (const write of memory.writes(diff(memory.read(), compiled.state).cleanup, random)) write();
  return { memory, compiled };
}

describe("an update", { timeout: PATIENCE_MS }, () => {
  test("gives at every write the old or the new verdict, and in the end the new one", () => {
    const steps = fc.array(fc.tuple(fc.oneof(cluster, clusterWithServices), surroundings, fc.nat()), {
      minLength: 2,
      maxLength: 4,
    });
    fc.assert(
      fc.property(steps, fc.infiniteStream(fc.nat()), (worlds, random) => {
        const { memory, compiled: first } = begun(random);
        let compiled = first;
        let last = NOTHING;
        for (const [other, around, choice] of worlds) {
          const world = last === NOTHING ? other : edited(last, other, choice);
          compiled = update({ memory, last, compiled }, { world, around }, random);
          const held = memory.read();
          expect(normal(held.state)).toBe(normal(compiled.state));
          expect(held.unsettled).toEqual(settledState(compiled.state).unsettled);
          expect(diff(held, compiled.state).empty).toBe(true);
          last = world;
        }
      }),
      { numRuns: Math.ceil(RUNS / 5) },
    );
  });
});

describe("an update that removes a more specific name", { timeout: PATIENCE_MS }, () => {
  const rule = (name: string, only: ClusterRule["ports"]) =>
    clusterPolicy(name, { egress: [domainRule([name], only)] });
  const world = (...policies: readonly ClusterPolicy[]): Cluster => ({
    ...clusterOf({
      namespaces: NAMESPACES.map((each) => namespace(each)),
      pods: NAMESPACES.flatMap((each, at) =>
        ["a", "b"].map((name, index) => pod(`${each}/${name}`, [v4(2 * at + index).text])),
      ),
    }),
    clusterPolicies: new Map(
      [
        ...policies.map((each, at) => ({ ...each, priority: at })),
        clusterPolicy("others", { priority: 9, egress: [clusterRule("Deny", [block("0.0.0.0/0")])] }),
      ].map((each) => [each.name, each]),
    ),
  });
  const wild = rule("*.example.com", "all");
  const specific = rule("www.example.com", ports("UDP/53"));

  test("leaves what the next less specific one allows, at every write", () => {
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat()), (random) => {
        const { memory, compiled: first } = begun(random);
        let compiled = first;
        let last = NOTHING;
        for (const next of [world(wild), world(wild, specific), world(wild), world(specific), world()]) {
          compiled = update({ memory, last, compiled }, { world: next, around: NO_SURROUNDINGS }, random);
          last = next;
        }
      }),
      { numRuns: 5 },
    );
  });
});

const normal = (state: State): string =>
  JSON.stringify(Object.entries(state).sort(byKey), (_, value) =>
    isMapping(value) ? [...value].sort(byKey) : value,
  );

function byKey([a]: readonly [unknown, unknown], [b]: readonly [unknown, unknown]): number {
  return String(a) < String(b) ? -1 : 1;
}
