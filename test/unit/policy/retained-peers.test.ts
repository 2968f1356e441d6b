// A peer whose object is gone while its interface lives, on this node: what its last labels allow is lost, and what they deny is not.

import { expect, test } from "vitest";
import type { Cluster, Pod } from "../../../src/model/cluster.ts";
import type { ClusterPolicy } from "../../../src/model/cluster-network-policy.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { permits, sideVerdict } from "../../../src/policy/oracle.ts";
import { placeOf } from "../../../src/policy/port-classes.ts";
import { planOf } from "../../../src/state/state-lookup.ts";
import { block, cluster, clusterPolicy, clusterRule, party, pod, pods } from "../../support/model.ts";

const SERVER = pod("x/server", ["10.0.0.1"]);
const CLIENT = pod("y/client", ["10.0.0.2"], { labels: { tenant: "red" } });
const red = pods({ tenant: "red" });
const rest = clusterRule("Deny", [block("0.0.0.0/0")]);

test.each<[string, ClusterPolicy["rules"]["ingress"], running: boolean, gone: boolean]>([
  ["a Deny of its labels", [clusterRule("Deny", [red])], false, false],
  ["a Deny of other labels", [clusterRule("Deny", [pods({ tenant: "blue" })])], true, true],
  ["an Accept of its labels before a Deny of all", [clusterRule("Accept", [red]), rest], true, false],
])("%s", (_, ingress, running, gone) => {
  const retained = { isolated: { ingress: false, egress: false }, since: "then", why: "it was deleted" };
  const whole = cluster({ pods: [SERVER, CLIENT], clusterPolicies: [clusterPolicy("c", { ingress })] });
  const passes = (world: Cluster, client: Pod): boolean => {
    const { state } = compile(world, [{ pod: SERVER, ifindex: 7 }], NOTHING_NUMBERED);
    const from = party(client);
    const question = {
      ifindex: 7,
      direction: "ingress",
      remote: from.address,
      place: placeOf("TCP", 80),
    } as const;
    const answer = ["allowed", "not isolated"].includes(planOf(state).judge(question));
    const probe = { from, to: party(SERVER), protocol: "TCP", port: 80 } as const;
    expect(permits(sideVerdict(world, probe, "ingress"))).toBe(answer);
    return answer;
  };
  const lost: Pod = { ...CLIENT, retained };
  const [address] = CLIENT.ips;
  const held = new Map(address === undefined ? [] : [[address.text, { address, holders: [lost] }]]);
  const without: Cluster = {
    ...whole,
    pods: new Map([["x/server", SERVER]]),
    ownership: { held, appeared: new Map() },
  };
  expect([passes(whole, CLIENT), passes(without, lost)]).toEqual([running, gone]);
});
