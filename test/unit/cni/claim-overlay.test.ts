// Claims and the pods of the source: which count, and what the others wait for.

import { describe, expect, it } from "vitest";
import { parseAddress } from "../../../src/base/ip.ts";
import { type Claim, claimedInterfaces, matchClaims } from "../../../src/cni/cni-claims.ts";
import { EMPTY_CLUSTER, keyOf, type Pod } from "../../../src/model/cluster.ts";

const addresses = (...texts: readonly string[]) =>
  texts.map((text) => {
    const parsed = parseAddress(text);
    if (!parsed.ok) throw new Error(parsed.reason);
    return parsed.value;
  });

const pod = (name: string, more: Partial<Pod> = {}): Pod => ({
  namespace: "alpha",
  name,
  labels: new Map(),
  ips: [],
  hostNetwork: false,
  finished: false,
  ports: [],
  ...more,
});

const claim = (name: string, ifindex: number, more: Partial<Claim> = {}): Claim => ({
  containerId: `c-${name}-${ifindex}`,
  ifname: "eth0",
  network: "net",
  namespace: "alpha",
  name,
  ifindex,
  link: `veth${ifindex}`,
  addresses: addresses(`10.0.0.${ifindex}`),
  ...more,
});

const clusterOf = (...pods: readonly Pod[]) => ({
  ...EMPTY_CLUSTER,
  pods: new Map(pods.map((each) => [keyOf(each), each])),
});

describe("a claim", () => {
  it("waits for its pod, and states for what", () => {
    const cluster = clusterOf(pod("uid", { uid: "2" }), pod("host", { hostNetwork: true }));
    const claims = [claim("none", 1), claim("uid", 2, { uid: "1" }), claim("host", 3)];
    const { counts, waits } = matchClaims(cluster, claims);
    expect(counts.size).toBe(0);
    expect(claims.map((each) => waits.get(each))).toEqual([
      "pod alpha/none is not known yet",
      "pod alpha/uid is known with another uid (2, not 1)",
      "pod alpha/host is on the node's own network",
    ]);
  });

  it("of the same uid, or if one of them is missing, counts", () => {
    const cluster = clusterOf(pod("a", { uid: "1" }), pod("b", { uid: "1" }), pod("c"));
    const claims = [claim("a", 1, { uid: "1" }), claim("b", 2), claim("c", 3, { uid: "1" })];
    expect(matchClaims(cluster, claims).counts).toEqual(new Set(claims));
  });

  it("of a pod that has finished counts: its processes may run", () => {
    const claims = [claim("done", 1)];
    expect(matchClaims(clusterOf(pod("done", { finished: true })), claims).counts).toEqual(new Set(claims));
  });

  it("of each of two sandboxes of a pod counts, in whatever order they came", () => {
    const claims = [claim("a", 1), claim("a", 2)];
    for (const all of [claims, claims.toReversed()])
      expect(matchClaims(clusterOf(pod("a")), all).counts).toEqual(new Set(claims));
  });

  it("is reported as an interface, of no pod while that is not known", () => {
    const claims = [claim("a", 1, { birth: "77" }), claim("none", 2)];
    expect(claimedInterfaces(matchClaims(clusterOf(pod("a")), claims))).toEqual([
      { ifindex: 1, name: "veth1", birth: "77", pod: "alpha/a", addresses: addresses("10.0.0.1") },
      { ifindex: 2, name: "veth2", pod: undefined, addresses: addresses("10.0.0.2") },
    ]);
  });
});
