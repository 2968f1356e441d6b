// Link-local and multicast addresses as peers: whose they are is in no object, so they are denied what any pod or node is denied. The oracle and
// the compiled state agree.

import { expect, test } from "vitest";
import type { Direction } from "../../../src/base/direction.ts";
import type { ClusterRule } from "../../../src/model/cluster-network-policy.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { evaluate, type Party, permits, sideVerdict } from "../../../src/policy/oracle.ts";
import { placeOf } from "../../../src/policy/port-classes.ts";
import { verdictText } from "../../../src/policy/verdict-text.ts";
import { planOf } from "../../../src/state/state-lookup.ts";
import {
  block,
  cluster,
  clusterPolicy,
  clusterRule,
  outside,
  party,
  pod,
  pods,
  policy,
  ports,
} from "../../support/model.ts";

const SELF = pod("x/self", ["10.0.0.1", "fd00::1"]);
const OTHER = pod("y/other", ["10.0.0.2", "fd00::2"], { labels: { tenant: "red" } });
const LINK_LOCAL = outside("fe80::ff:fe00:2");
const red = pods({ tenant: "red" });
const nodes: ClusterRule = {
  ...clusterRule("Deny", []),
  peers: [{ kind: "nodes", nodes: { requirements: [] } }],
};

/** Whether TCP/80 of a link-local address passes. */
type Row = [name: string, rules: readonly ClusterRule[], passes: boolean];

const ROWS: readonly Row[] = [
  ["without rules", [], true],
  ["Deny by labels", [clusterRule("Deny", [red])], false],
  ["Deny of nodes, none of them known", [nodes], false],
  ["Deny of a network of IPv6", [clusterRule("Deny", [block("fd00::/64")])], false],
  ["Deny of a network of IPv4", [clusterRule("Deny", [block("10.0.0.0/8")])], true],
  ["Deny of other ports", [clusterRule("Deny", [red], ports("TCP/81"))], true],
  ["Deny of the port", [clusterRule("Deny", [red], ports("TCP/80"))], false],
  ["Deny of another link-local address", [clusterRule("Deny", [block("fe80::1/128")])], true],
  ["Accept by labels before a Deny", [clusterRule("Accept", [red]), clusterRule("Deny", [red])], false],
  ["Accept of the address before a Deny", [clusterRule("Accept", [block("fe80::/10")]), nodes], true],
  [
    "Pass by labels before an Accept of all",
    [clusterRule("Pass", [red]), clusterRule("Accept", [block("::/0")])],
    false,
  ],
  ["Pass of all before a Deny by labels", [clusterRule("Pass", [block("::/0"), red]), nodes], true],
];

const DIRECTIONS: readonly Direction[] = ["ingress", "egress"];

function passes(
  world: Parameters<typeof compile>[0],
  direction: Direction,
  other: Party = LINK_LOCAL,
): boolean {
  const { state } = compile(world, [{ pod: SELF, ifindex: 7 }], NOTHING_NUMBERED);
  const question = { ifindex: 7, direction, remote: other.address, place: placeOf("TCP", 80) };
  const compiled = ["allowed", "not isolated"].includes(planOf(state).judge(question));
  const self = party(SELF, other.address.family);
  const ends = direction === "ingress" ? { from: other, to: self } : { from: self, to: other };
  const told = permits(sideVerdict(world, { ...ends, protocol: "TCP", port: 80 }, direction));
  expect(compiled).toBe(told);
  return told;
}

for (const direction of DIRECTIONS) {
  test.each(ROWS)(`${direction}: %s`, (_, rules, expected) => {
    for (const tier of ["Admin", "Baseline"] as const) {
      const clusterPolicies = [clusterPolicy("c", { tier, [direction]: rules })];
      expect(passes(cluster({ pods: [SELF, OTHER], clusterPolicies }), direction)).toBe(expected);
    }
  });

  test.each<[string, ReturnType<typeof block>[], boolean]>([
    ["everything", [block("::/0")], true],
    ["everything but some", [block("::/0", "fd00::2/128")], false],
    ["a half but some", [block("8000::/1", "fd00::2/128")], false],
    ["link-local addresses but one", [block("fe80::/10", "fe80::1/128")], true],
    [
      "everything but some, and link-local addresses",
      [block("::/0", "fd00::2/128"), block("fe80::/64")],
      true,
    ],
    ["IPv4 but some", [block("0.0.0.0/0", "10.0.0.2/32")], false],
  ])(`${direction}: a NetworkPolicy that allows %s`, (_, peers, expected) => {
    const policies = [policy("x/p", { [direction]: [{ peers, ports: "all" }] })];
    expect(passes(cluster({ pods: [SELF, OTHER], policies }), direction)).toBe(expected);
  });
}

/** Whether TCP/80 from a host without an address passes. */
const NO_ADDRESS = outside("0.0.0.0");

test.each<Row>([
  ["without rules", [], true],
  ["Deny by labels", [clusterRule("Deny", [red])], false],
  ["Deny of nodes, none of them known", [nodes], false],
  ["Deny of a network of IPv4", [clusterRule("Deny", [block("10.0.0.0/8")])], false],
  ["Deny of a network of IPv6", [clusterRule("Deny", [block("fd00::/64")])], true],
  ["Deny of other ports", [clusterRule("Deny", [red], ports("TCP/81"))], true],
  ["Accept by labels before a Deny", [clusterRule("Accept", [red]), clusterRule("Deny", [red])], false],
  ["Accept of the address before a Deny", [clusterRule("Accept", [block("0.0.0.0/32")]), nodes], true],
  ["Pass of all before a Deny by labels", [clusterRule("Pass", [block("0.0.0.0/0"), red]), nodes], true],
])("from 0.0.0.0: %s", (_, rules, expected) => {
  for (const tier of ["Admin", "Baseline"] as const) {
    const clusterPolicies = [clusterPolicy("c", { tier, ingress: rules })];
    expect(passes(cluster({ pods: [SELF, OTHER], clusterPolicies }), "ingress", NO_ADDRESS)).toBe(expected);
  }
});

test.each<[string, ReturnType<typeof block>[], boolean]>([
  ["everything", [block("0.0.0.0/0")], true],
  ["everything but some", [block("0.0.0.0/0", "10.0.0.2/32")], false],
  ["everything but some, and the address", [block("0.0.0.0/0", "10.0.0.2/32"), block("0.0.0.0/32")], true],
])("from 0.0.0.0: a NetworkPolicy that allows %s", (_, peers, expected) => {
  const policies = [policy("x/p", { ingress: [{ peers, ports: "all" }] })];
  expect(passes(cluster({ pods: [SELF, OTHER], policies }), "ingress", NO_ADDRESS)).toBe(expected);
});

test("a Deny of a port's name on others denies the protocol: which number the name has there is not known", () => {
  const egress = [clusterRule("Deny", [red], ports("TCP/http"))];
  const world = cluster({ pods: [SELF, OTHER], clusterPolicies: [clusterPolicy("c", { egress })] });
  expect(passes(world, "egress")).toBe(false);
});

test("the verdict says why", () => {
  const ingress = [clusterRule("Deny", [red])];
  const world = cluster({ pods: [SELF, OTHER], clusterPolicies: [clusterPolicy("c", { ingress })] });
  const verdict = evaluate(world, { from: LINK_LOCAL, to: party(SELF, 6), protocol: "TCP", port: 80 });
  expect(verdictText(verdict)).toBe(
    "denied: ingress of x/self: TCP/80 from fe80::ff:fe00:2 is denied by c (Admin, priority 10) ingress[0], as the link-local address may be that of a peer that it names",
  );
});

const GROUPS = ["224.0.0.251", "239.255.255.255", "255.255.255.255", "ff02::1", "ff05::2"];
const NEIGHBOURS_OF_GROUPS = ["223.255.255.255", "240.0.0.1", "255.255.255.254", "feff::1"];

/** The rules of a pod for egress, and whether TCP/80 to a multicast address passes. */
const GROUP_ROWS: readonly Row[] = [
  ["without rules", [], true],
  ["Deny by labels", [clusterRule("Deny", [red])], false],
  ["Deny of nodes, none of them known", [nodes], false],
  ["Deny of networks", [clusterRule("Deny", [block("fd00::/64"), block("10.0.0.0/8")])], true],
  ["Deny of other ports", [clusterRule("Deny", [red], ports("TCP/81"))], true],
  ["Deny of the port", [clusterRule("Deny", [red], ports("TCP/80"))], false],
  ["Deny of a port's name", [clusterRule("Deny", [red], ports("TCP/http"))], false],
  ["Accept by labels before a Deny", [clusterRule("Accept", [red]), clusterRule("Deny", [red])], false],
  [
    "Accept of the addresses before a Deny",
    [clusterRule("Accept", [block("224.0.0.0/3"), block("ff00::/8")]), nodes],
    true,
  ],
  [
    "Pass by labels before an Accept of all",
    [clusterRule("Pass", [red]), clusterRule("Accept", [block("::/0"), block("0.0.0.0/0")])],
    false,
  ],
  [
    "Pass of all before a Deny by labels",
    [clusterRule("Pass", [block("::/0"), block("0.0.0.0/0")]), nodes],
    true,
  ],
];

test.each(GROUP_ROWS)("multicast: %s", (_, egress, expected) => {
  for (const tier of ["Admin", "Baseline"] as const) {
    const clusterPolicies = [clusterPolicy("c", { tier, egress })];
    const world = cluster({ pods: [SELF, OTHER], clusterPolicies });
    for (const text of GROUPS) expect(passes(world, "egress", outside(text)), text).toBe(expected);
    for (const text of NEIGHBOURS_OF_GROUPS) expect(passes(world, "egress", outside(text)), text).toBe(true);
  }
});

test("multicast: rules for ingress say nothing about it, and an ipBlock allows it", () => {
  const policies = [policy("x/p", { egress: [{ peers: [block("224.0.0.0/4")], ports: "all" }] })];
  const clusterPolicies = [clusterPolicy("c", { ingress: [clusterRule("Deny", [red])] })];
  const world = cluster({ pods: [SELF, OTHER], policies, clusterPolicies });
  expect(passes(world, "egress", outside("224.0.0.251"))).toBe(true);
  expect(passes(world, "egress", outside("255.255.255.255"))).toBe(false);
});

test("multicast: the verdict says why", () => {
  const egress = [clusterRule("Deny", [red])];
  const world = cluster({ pods: [SELF, OTHER], clusterPolicies: [clusterPolicy("c", { egress })] });
  const to = outside("ff02::fb");
  const verdict = evaluate(world, { from: party(SELF, 6), to, protocol: "UDP", port: 5353 });
  expect(verdictText(verdict)).toBe(
    "denied: egress of x/self: UDP/5353 to ff02::fb is denied by c (Admin, priority 10) egress[0], as peers that it names may receive what is sent to the multicast address",
  );
});
