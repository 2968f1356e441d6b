// Rules by domain names beyond a limit: all of them accept nothing, this is reported, and nothing else changes.

import { expect, it } from "vitest";
import { NO_SURROUNDINGS } from "../../../../src/model/cluster.ts";
import { compile } from "../../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../../src/policy/identity-allocation.ts";
import { CAPACITIES, type Capacities } from "../../../../src/policy/limits/capacity-fit.ts";
import { excessProblems } from "../../../../src/policy/limits/fair-shares.ts";
import { sideVerdict } from "../../../../src/policy/oracle.ts";
import { placeOf } from "../../../../src/policy/port-classes.ts";
import { planOf } from "../../../../src/state/state-lookup.ts";
import {
  address,
  block,
  cluster,
  clusterPolicy,
  clusterRule,
  domainRule,
  namespace,
  pod,
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

it("everything fits", () => {
  const { compiled, named, oracle, plain } = judged({});
  expect(compiled.excesses).toEqual([]);
  expect([named, oracle, plain]).toEqual(["allowed", "accepted", "allowed"]);
  expect([...compiled.state.names.keys()].map((key) => key.split(" ")[1]).sort()).toEqual(NAMES);
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
  expect(compiled.excesses.map(({ object, limit }) => [object, limit])).toEqual([
    ["ClusterNetworkPolicy names", text],
  ]);
  expect(excessProblems(compiled.excesses)[0]?.reason).toContain(text);
});
