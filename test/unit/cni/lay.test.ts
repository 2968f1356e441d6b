// Claims over a cluster: which count, what they change, and what stays the same object.

import { describe, expect, it } from "vitest";
import { parseAddress } from "../../../src/base/ip.ts";
import type { Claim } from "../../../src/cni/claim.ts";
import { claimLayer } from "../../../src/cni/lay.ts";
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
const textsOf = (each: Pod | undefined): string[] | undefined => each?.ips.map(({ text }) => text);

describe("a claim", () => {
  it("gives a pod its interface and its addresses, those of its status too", () => {
    const cluster = clusterOf(pod("a"), pod("b", { ips: addresses("10.0.0.99") }), pod("c"));
    const laid = claimLayer()(cluster, [claim("a", 7), claim("b", 8)]).cluster;
    expect(laid.pods.get("alpha/a")?.attachment).toEqual({ kind: "claim", ifindex: 7, name: "veth7" });
    expect(["a", "b", "c"].map((name) => textsOf(laid.pods.get(`alpha/${name}`)))).toEqual([
      ["10.0.0.7"],
      ["10.0.0.8"],
      [],
    ]);
    expect(laid.pods.get("alpha/c")).toBe(cluster.pods.get("alpha/c"));
  });

  it("waits for its pod, and says for what", () => {
    const cluster = clusterOf(
      pod("uid", { uid: "2" }),
      pod("host", { hostNetwork: true }),
      pod("done", { finished: true }),
    );
    const claims = [claim("none", 1), claim("uid", 2, { uid: "1" }), claim("host", 3), claim("done", 4)];
    const laid = claimLayer()(cluster, claims);
    expect(laid.cluster).toBe(cluster);
    expect(claims.map((each) => laid.waits.get(each))).toEqual([
      "pod alpha/none is not known yet",
      "pod alpha/uid is known with another uid (2, not 1)",
      "pod alpha/host is on the node's own network",
      "pod alpha/done has finished",
    ]);
  });

  it("of the same uid, or where one of them is not told, counts", () => {
    const cluster = clusterOf(pod("a", { uid: "1" }), pod("b", { uid: "1" }), pod("c"));
    const claims = [claim("a", 1, { uid: "1" }), claim("b", 2), claim("c", 3, { uid: "1" })];
    expect(claimLayer()(cluster, claims).counts).toEqual(new Set(claims));
  });

  it("that is newer goes before one of an earlier sandbox", () => {
    const [before, after] = [claim("a", 1), claim("a", 2)];
    const laid = claimLayer()(clusterOf(pod("a")), [before, after]);
    expect(textsOf(laid.cluster.pods.get("alpha/a"))).toEqual(["10.0.0.2"]);
    expect(laid.waits.get(before)).toBe("the pod has a later sandbox");
  });

  it("takes its address from whoever is said to have it", () => {
    const old = pod("a", { ips: addresses("10.0.0.7", "fd00::7") });
    const laid = claimLayer()(clusterOf(old, pod("z")), [claim("z", 7)]).cluster;
    expect(["a", "z"].map((name) => textsOf(laid.pods.get(`alpha/${name}`)))).toEqual([
      ["fd00::7"],
      ["10.0.0.7"],
    ]);
  });
});

it("what does not change stays the same object", () => {
  const layer = claimLayer();
  const claims = [claim("a", 7)];
  const cluster = clusterOf(pod("a"), pod("b"));
  const first = layer(cluster, claims).cluster;
  expect(layer({ ...cluster }, claims).cluster.pods).toBe(first.pods);
  const more = layer({ ...cluster, pods: new Map([...cluster.pods, ["alpha/c", pod("c")]]) }, claims).cluster;
  expect(more.pods.get("alpha/a")).toBe(first.pods.get("alpha/a"));
});
