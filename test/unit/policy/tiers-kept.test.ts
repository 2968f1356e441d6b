// Cluster policies, the compiled state against the oracle: what is kept from one compilation to the next follows what rules depend on; names of ports.

import { expect, test } from "vitest";
import { type Cluster, type ClusterNode, NAMESPACE_NAME_LABEL } from "../../../src/model/cluster.ts";
import type { ClusterRule } from "../../../src/model/cluster-network-policy.ts";
import { EVERYTHING } from "../../../src/model/selector.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { type Party, permits, sideVerdict } from "../../../src/policy/oracle.ts";
import { placeOf } from "../../../src/policy/port-classes.ts";
import { planOf } from "../../../src/state/state-lookup.ts";
import {
  address,
  cluster,
  clusterPolicy,
  clusterRule,
  domainRule,
  namespace,
  outside,
  party,
  pod,
  pods,
  ports,
  selector,
} from "../../support/model.ts";

const SELF = pod("x/self", ["10.0.0.1"]);
const NODE: ClusterNode = { name: "n1", labels: new Map(), podCidrs: [], addresses: [] };
const red = pods({ tenant: "red" });

/** Whether SELF reaches this port of the other end, by the compiled state and by the oracle. */
function reaches(world: Cluster, to: Party, port: number): boolean {
  const { state } = compile(world, [{ pod: SELF, ifindex: 7 }], NOTHING_NUMBERED);
  const question = {
    ifindex: 7,
    direction: "egress",
    remote: to.address,
    place: placeOf("TCP", port),
  } as const;
  const compiled = ["allowed", "not isolated"].includes(planOf(state).judge(question));
  expect(compiled).toBe(
    permits(sideVerdict(world, { from: party(SELF, 4), to, protocol: "TCP", port }, "egress")),
  );
  return compiled;
}

test("the number of a port's name in a rule of egress is the one that the other pods have now", () => {
  const policy = clusterPolicy("c", { egress: [clusterRule("Deny", [red], ports("TCP/http"))] });
  for (const port of [80, 81, 80]) {
    const other = pod("y/other", ["10.0.0.2"], {
      labels: { tenant: "red" },
      ports: [{ name: "http", port, protocol: "TCP" }],
    });
    const world = cluster({ pods: [SELF, other], clusterPolicies: [policy] });
    for (const asked of [80, 81]) expect(reaches(world, party(other, 4), asked)).toBe(asked !== port);
  }
});

test("nodes in a rule have the addresses that they have now", () => {
  const egress = [
    { ...clusterRule("Deny", []), peers: [{ kind: "nodes", nodes: { requirements: [] } }] } as const,
  ];
  const policy = clusterPolicy("c", { egress });
  const addresses = ["192.0.2.1", "192.0.2.2"];
  for (const own of ["192.0.2.1", "192.0.2.2", "192.0.2.1"]) {
    const node = { ...NODE, addresses: [address(own)] };
    const world = {
      ...cluster({ pods: [SELF], clusterPolicies: [policy] }),
      nodes: new Map([[node.name, node]]),
    };
    for (const asked of addresses) expect(reaches(world, outside(asked), 80)).toBe(asked !== own);
  }
});

test("a port's name is none of what a domain name leads to, also where that is a pod which has the port", () => {
  const other = pod("y/other", ["10.0.0.2"], { ports: [{ name: "http", port: 80, protocol: "TCP" }] });
  const told = (port: string) => {
    const rules = [
      domainRule(["www.example.com"], ports(port)),
      { ...clusterRule("Deny", []), peers: "anyone" } as const,
    ];
    const world = cluster({
      pods: [SELF, other],
      clusterPolicies: [clusterPolicy("c", { egress: rules })],
    });
    const names = ["www.example.com"];
    const probe = { from: party(SELF, 4), to: party(other, 4), protocol: "TCP", port: 80, names } as const;
    return permits(sideVerdict(world, probe, "egress"));
  };
  expect([told("TCP/80"), told("TCP/http")]).toEqual([true, false]);
});

test("a rule without peers but domain names has no term, which tables would hold", () => {
  const terms = (...rules: readonly ClusterRule[]) => {
    const world = cluster({ pods: [SELF], clusterPolicies: [clusterPolicy("c", { egress: rules })] });
    return compile(world, [{ pod: SELF, ifindex: 7 }], NOTHING_NUMBERED).meaning.terms.size;
  };
  const accept = clusterRule("Accept", [red]);
  expect(terms(accept)).toBe(1);
  // The second one is what is left of an Accept whose peers cannot be read.
  expect(terms(domainRule(["www.example.com"]), clusterRule("Accept", []), accept)).toBe(1);
});

test("pods with the same rules of one priority share a policy, whatever the policies' names", () => {
  const [one, other] = [pod("x/one", ["10.0.0.1"]), pod("y/other", ["10.0.0.2"])];
  const of = (name: string, space: string, rule: ClusterRule) =>
    clusterPolicy(name, {
      subject: { namespaces: selector({ [NAMESPACE_NAME_LABEL]: space }), pods: EVERYTHING },
      egress: [rule],
    });
  const deny = clusterRule("Deny", [red], ports("TCP/80"));
  const accept = clusterRule("Accept", [red]);
  const world = cluster({
    namespaces: [namespace("x"), namespace("y")],
    pods: [one, other],
    clusterPolicies: [of("a", "x", deny), of("b", "x", accept), of("c", "y", accept), of("d", "y", deny)],
  });
  const { state } = compile(
    world,
    [one, other].map((each, index) => ({ pod: each, ifindex: 7 + index })),
    NOTHING_NUMBERED,
  );
  const numbers = [7, 8].map((ifindex) => state.endpoints.get(ifindex)?.policy.egress);
  expect(numbers[0]).toBeGreaterThan(0);
  expect(numbers[1]).toBe(numbers[0]);
});
