// Domain names beyond a limit: those of the namespaces beyond their share accept nothing, this is reported, and nothing else changes.

import { expect, it } from "vitest";
import { NO_SURROUNDINGS } from "../../../../src/model/cluster.ts";
import { compile } from "../../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../../src/policy/identity-allocation.ts";
import { CAPACITIES, type Capacities } from "../../../../src/policy/limits/capacity-fit.ts";
import { excessProblems } from "../../../../src/policy/limits/fair-shares.ts";
import { sideVerdict } from "../../../../src/policy/oracle.ts";
import { placeOf } from "../../../../src/policy/port-classes.ts";
import { NO_NAME, nameKey, policyNumber } from "../../../../src/state/desired-state.ts";
import { planOf } from "../../../../src/state/state-lookup.ts";
import {
  localsFor,
  named,
  policyOf,
  portRule,
  service,
  pod as tenantPod,
  world,
} from "../../../support/limited-worlds.ts";
import {
  address,
  block,
  cluster,
  clusterPolicy,
  clusterRule,
  domainRule,
  namespace,
  pod,
  policy,
  ports,
} from "../../../support/model.ts";

const CLIENT = pod("shop/client", ["10.0.0.1"]);
const NAMES = Array.from({ length: 6 }, (_, index) => `n${index}.example.com`);
const WORLD = {
  ...cluster({ namespaces: [namespace("shop")], pods: [CLIENT], policies: [] }),
  clusterPolicies: new Map(
    [
      clusterPolicy("names", {
        egress: [
          ...NAMES.map((name, index) => domainRule([name], ports(`TCP/${80 + 2 * index}`))),
          clusterRule("Accept", [block("192.0.2.0/24")], ports("TCP/80")),
          clusterRule("Deny", [block("0.0.0.0/0")]),
        ],
      }),
    ].map((each) => [each.name, each]),
  ),
};
const REMOTE = address("198.51.100.1");

function judged(limits: Partial<Capacities>) {
  const compiled = compile(WORLD, [{ pod: CLIENT, ifindex: 7 }], NOTHING_NUMBERED, NO_SURROUNDINGS, {
    ...CAPACITIES,
    ...limits,
  });
  const plan = planOf(compiled.state);
  const ask = (remote: typeof REMOTE, port: number, names: readonly string[]) =>
    plan.judge({ ifindex: 7, direction: "egress", remote, place: placeOf("TCP", port), names });
  const of = (port: number, name: string) => {
    const to = { kind: "address", address: REMOTE } as const;
    const from = { kind: "pod", pod: CLIENT, address: address("10.0.0.1") } as const;
    return sideVerdict(compiled.enforced, { from, to, protocol: "TCP", port, names: [name] }, "egress").kind;
  };
  return {
    compiled,
    named: ask(REMOTE, 82, ["n1.example.com"]),
    oracle: of(82, "n1.example.com"),
    plain: ask(address("192.0.2.1"), 80, []),
  };
}

const TENANT_NAMES = ["n0.example.com", "n1.example.com"];

/** A namespace with one pod, and one with many, each with a policy of its own, so that each needs policies for each name. */
function tenants(limits: Partial<Capacities>, { count = 12, isReversed = false } = {}) {
  const greedy = Array.from({ length: count }, (_, at) => ({
    ...named("greedy", `p${at}`, 100 + at),
    labels: new Map([["n", String(at)]]),
  }));
  const pods = [tenantPod("modest", 1), ...greedy];
  const policies = [
    policyOf("modest", [], "egress"),
    ...greedy.map((_, at) => ({
      ...policyOf("greedy", [portRule(10 + at, 2_000 + 2 * at)], "egress"),
      name: `np${at}`,
      subject: { requirements: [{ operator: "In" as const, key: "n", values: [String(at)] }] },
    })),
  ];
  const order = <T>(all: readonly T[]): readonly T[] => (isReversed ? all.toReversed() : all);
  const shared = clusterPolicy("names", {
    egress: TENANT_NAMES.map((name, at) => domainRule([name], ports(`TCP/${1_000 + 2 * at}`))),
  });
  const whole = {
    ...world(order(pods), order(policies)),
    clusterPolicies: new Map([["names", shared]]),
  };
  const compiled = compile(whole, localsFor(order(pods)), NOTHING_NUMBERED, NO_SURROUNDINGS, {
    ...CAPACITIES,
    ...limits,
  });
  const plan = planOf(compiled.state);
  const ifindexOf = new Map(
    localsFor(order(pods)).map(({ pod: { namespace, name }, ifindex }) => [`${namespace}/${name}`, ifindex]),
  );
  const ask = (key: string, remote: typeof REMOTE, port: number, names: readonly string[]) =>
    plan.judge({
      ...{ ifindex: ifindexOf.get(key) as number, direction: "egress" as const },
      ...{ remote, place: placeOf("TCP", port), names },
    });
  return {
    compiled,
    modest: ask("modest/pod", REMOTE, 1_000, ["n0.example.com"]),
    greedy: ask("greedy/p0", REMOTE, 1_000, ["n0.example.com"]),
    rule: ask("greedy/p0", address("30.0.0.10"), 2_000, []),
    oracle: (["modest", "greedy"] as const).map((namespace) => {
      const from = pods.find((each) => each.namespace === namespace) as (typeof pods)[number];
      const probe = {
        from: { kind: "pod", pod: from, address: from.ips[0] as typeof REMOTE },
        to: { kind: "address", address: REMOTE },
        protocol: "TCP",
        port: 1_000,
        names: ["n0.example.com"],
      } as const;
      return sideVerdict(compiled.enforced, probe, "egress").kind;
    }),
  };
}

it("tenants that fit have their names", () => {
  const { compiled, modest, greedy, oracle } = tenants({});
  expect(compiled.excesses).toEqual([]);
  expect([modest, greedy, ...oracle]).toEqual(["allowed", "allowed", "accepted", "accepted"]);
});

/** The greedy namespace needs 12 policies, 36 others by name and for resolvers, 36 pairs; the modest one 1, 3 and 3. */
it.each<[Partial<Capacities>, string, number]>([
  [{ policies: 13 + 16 }, "policies", 36],
  [{ names: 16 }, "domain names for policies", 36],
  [{ rows: 16 }, "port sets", 0],
  [{ bits: 40 }, "port classes in port sets", 0],
])("%o: only the greedy tenant's names accept nothing", (limits, text, wanted) => {
  const result = tenants(limits);
  const { compiled, modest, greedy, rule, oracle } = result;
  expect([modest, greedy, rule]).toEqual(["allowed", "denied", "allowed"]);
  expect(oracle).toEqual(["accepted", "denied"]);
  expect(compiled.excesses).toHaveLength(1);
  const [excess] = compiled.excesses;
  expect(excess).toMatchObject({ namespace: "greedy", object: "Namespace greedy", limit: text });
  if (wanted > 0) expect(excess?.wanted).toBe(wanted);
  expect(excess?.wanted).toBeGreaterThan(excess?.share as number);
  expect(excessProblems(compiled.excesses)[0]?.reason).toContain(`namespace greedy needs ${excess?.wanted}`);
  expect(tenants(limits, { isReversed: true }).compiled.excesses).toEqual(compiled.excesses);
});

it("at the real capacity one tenant with 60 policies and 40 names does not switch off another's", () => {
  const greedy = Array.from({ length: 60 }, (_, at) => ({
    ...named("greedy", `p${at}`, 100 + at),
    labels: new Map([["n", String(at)]]),
  }));
  const pods = [tenantPod("modest", 1), ...greedy];
  const policies = [
    policyOf("modest", [], "egress"),
    ...greedy.map((_, at) => ({
      ...policyOf("greedy", [portRule(10 + at, 2_000 + at)], "egress"),
      name: `np${at}`,
      subject: { requirements: [{ operator: "In" as const, key: "n", values: [String(at)] }] },
    })),
  ];
  const big = clusterPolicy("names", {
    egress: Array.from({ length: 40 }, (_, at) =>
      domainRule([`n${at}.example.com`], ports(`TCP/${1_000 + at}`)),
    ),
  });
  const whole = { ...world(pods, policies), clusterPolicies: new Map([["names", big]]) };
  const { state, excesses } = compile(whole, localsFor(pods), NOTHING_NUMBERED, NO_SURROUNDINGS);
  expect(excesses).toMatchObject([{ namespace: "greedy", limit: "policies", wanted: 60 * 41 }]);
  expect(state.names.size).toBe(41);
});

it("a pod behind its own Service reaches itself, and is not its own resolver", () => {
  const me = { ...tenantPod("shop", 1), labels: new Map([["app", "web"]]) };
  const own = address("10.0.0.1");
  const shared = clusterPolicy("names", {
    egress: [domainRule(["www.example.com"], ports("TCP/443")), clusterRule("Deny", [block("0.0.0.0/0")])],
  });
  const compiled = (services: Parameters<typeof world>[2]) =>
    compile(
      {
        ...world([me], [policyOf("shop", [], "egress")], services),
        clusterPolicies: new Map([["names", shared]]),
      },
      localsFor([me]),
      NOTHING_NUMBERED,
      NO_SURROUNDINGS,
    ).state;
  const without = compiled([]);
  const state = compiled([service("shop", "web", 9, 1)]);
  const place = placeOf("UDP", 53);
  const at = { ifindex: 10, direction: "egress", remote: own, place } as const;
  expect([planOf(without).judge(at), planOf(state).judge(at)]).toEqual(["denied", "allowed"]);
  // What judges resolvers is the policy as it would be without the Service.
  const policyOfPod = policyNumber(state.endpoints.get(10)?.policy.egress ?? 0);
  const resolvers = state.names.get(nameKey(policyOfPod, NO_NAME)) as number;
  const endpoint = state.endpoints.get(10) as NonNullable<ReturnType<typeof state.endpoints.get>>;
  const asResolver = {
    ...state,
    endpoints: new Map([[10, { ...endpoint, policy: { ...endpoint.policy, egress: resolvers } }]]),
  };
  expect(planOf(asResolver).judge(at)).toBe("denied");
});

it("an interface that pods of two namespaces may have: without names one of them loses rules", () => {
  const [one, other] = [pod("a/x", ["10.0.0.1"]), pod("b/y", ["10.0.0.1"])];
  const egress = [1, 3, 5, 7].map((port) => ({
    peers: [block(`192.0.2.${port}/32`)],
    ports: ports(`TCP/${port}`),
  }));
  const contested = {
    ...cluster({
      namespaces: [namespace("a"), namespace("b")],
      pods: [one, other],
      policies: [policy("a/p", { isolates: { ingress: false, egress: true }, egress })],
    }),
    clusterPolicies: new Map([
      ["names", clusterPolicy("names", { egress: [domainRule(NAMES, ports("TCP/443"))] })],
    ]),
  };
  const local = { pod: one, rivals: [other], ifindex: 7 };
  const { excesses } = compile(contested, [local], NOTHING_NUMBERED, NO_SURROUNDINGS, {
    ...CAPACITIES,
    rows: 2,
  });
  expect(excesses.map(({ object }) => object)).toEqual(["Namespace a", "Namespace b", "NetworkPolicy a/p"]);
});

it("everything fits", () => {
  const { compiled, named, oracle, plain } = judged({});
  expect(compiled.excesses).toEqual([]);
  expect([named, oracle, plain]).toEqual(["allowed", "accepted", "allowed"]);
  expect([...compiled.state.names.keys()].map((key) => key.split(" ")[1]).sort()).toEqual([
    NO_NAME,
    ...NAMES,
  ]);
});

it.each<[Partial<Capacities>, string]>([
  [{ domains: 5 }, "domain names"],
  [{ names: 5 }, "domain names for policies"],
  [{ policies: 4 }, "policies"],
  [{ rows: 2 }, "port sets"],
])("%o", (limits, text) => {
  const { compiled, named, oracle, plain } = judged(limits);
  expect(compiled.state.names.size).toBe(0);
  expect([named, oracle, plain]).toEqual(["denied", "denied", "allowed"]);
  expect(compiled.excesses.map(({ object, limit }) => [object, limit])).toEqual([["Namespace shop", text]]);
  expect(excessProblems(compiled.excesses)[0]?.reason).toContain(text);
});
