// Scopes: which addresses count as nodes', and what is on a bridge's link.

import { expect, test } from "vitest";
import { cidrContains } from "../../../src/base/ip.ts";
import { type ClusterNode, NO_SURROUNDINGS } from "../../../src/model/cluster.ts";
import { openScopes, tunnelPortsOf } from "../../../src/policy/prefix-scopes.ts";
import { LIMITS, NODE_SCOPE, TUNNEL_PORTS_MAX } from "../../../src/state/desired-state.ts";
import { address, cidr, cluster, pod } from "../../support/model.ts";

const node = (name: string, addresses: readonly string[], podCidrs: readonly string[] = []): ClusterNode => ({
  name,
  addresses: addresses.map(address),
  labels: new Map(),
  podCidrs: podCidrs.map(cidr),
});

const nodesIn = (nodes: readonly ClusterNode[], pods: Parameters<typeof pod>[] = []) => {
  const world = {
    ...cluster({ pods: pods.map((facts) => pod(...facts)) }),
    nodes: new Map(nodes.map((each) => [each.name, each])),
  };
  return openScopes()(world, [], NO_SURROUNDINGS).get(NODE_SCOPE) ?? [];
};

const EVERYWHERE = [
  "127.0.0.0/8",
  "169.254.0.0/16",
  "224.0.0.0/4",
  "255.255.255.255/32",
  "::1/128",
  "fe80::/10",
  "ff00::/8",
];

test("every node listens to loopback, its link, groups and broadcasts", () => {
  expect([...nodesIn([])].sort()).toEqual([...EVERYWHERE].sort());
});

test("a node's addresses are its own, and the first two of its pods' range unless a pod has them", () => {
  const nodes = [
    node("a", ["192.0.2.1", "2001:db8::1"], ["10.244.1.0/24", "fd00:1::/64"]),
    node("b", ["192.0.2.2"], ["10.244.2.0/24"]),
    node("c", [], ["10.244.3.7/32", "10.244.3.8/31"]),
  ];
  const own = (pods: Parameters<typeof pod>[]) =>
    nodesIn(nodes, pods).filter((text) => !EVERYWHERE.includes(text));
  const all = [
    "192.0.2.1/32",
    "192.0.2.2/32",
    "10.244.1.0/32",
    "10.244.1.1/32",
    "10.244.2.0/32",
    "10.244.2.1/32",
  ];
  const v6 = ["2001:db8::1/128", "fd00:1::/128", "fd00:1::1/128"];
  expect([...own([])].sort()).toEqual([...all, ...v6].sort());
  expect(own([["x/web", ["10.244.1.1"]]])).not.toContain("10.244.1.1/32");
  expect(own([["x/host", ["10.244.1.1"], { hostNetwork: true }]])).toContain("10.244.1.1/32");
});

test("if there are too many addresses, wider prefixes cover all", () => {
  const texts = Array.from(
    { length: 20_000 },
    (_, at) => `10.${at >> 14}.${(at >> 6) & 255}.${(at & 63) * 4}`,
  );
  const found = nodesIn([node("many", [...texts, "2001:db8::1"])]).filter(
    (text) => !EVERYWHERE.includes(text),
  );
  expect(found).toContain("2001:db8::1/128");
  const v4 = found.filter((text) => text !== "2001:db8::1/128").map(cidr);
  expect(v4.length).toBeLessThanOrEqual(LIMITS.sources / 2);
  const some = texts.filter((_, at) => at % 97 === 0).map(address);
  expect(some.filter((each) => !v4.some((prefix) => cidrContains(prefix, each)))).toEqual([]);
});

test("a change of pods without effect here gives the very same list", () => {
  const nodes = new Map([["a", node("a", ["192.0.2.1"], ["10.244.1.0/24"])]]);
  const scopes = openScopes();
  const listOf = (ips: readonly string[]) =>
    scopes({ ...cluster({ pods: [pod("x/web", ips)] }), nodes }, [], NO_SURROUNDINGS).get(NODE_SCOPE);
  const first = listOf(["10.244.1.7"]);
  expect(listOf(["10.244.1.8"])).toBe(first);
  expect(listOf(["10.244.1.1"])).not.toEqual(first);
});

test("what is on a bridge's link is what the node routes there, else its pods' addresses", () => {
  const local = (ifindex: number, ips: readonly string[], bridge?: number) => ({
    ifindex,
    pod: pod(`x/${ifindex}`, ips),
    link: { hardware: [], ...(bridge === undefined ? {} : { bridge }) },
  });
  const onLink = new Map([[7, [cidr("10.1.0.0/24"), cidr("fd01::/80")]]]);
  const locals = [
    local(1, ["10.1.0.2", "fd01::2"], 7),
    local(2, ["10.2.0.2", "fd02::1:2"], 8),
    local(3, ["fd03::1"]),
  ];
  const scopes = openScopes()(cluster({}), locals, { ...NO_SURROUNDINGS, onLink });
  expect(scopes.get(7)).toEqual(["fd01::/80"]);
  expect(scopes.get(8)).toEqual(["fd02::/64"]);
  expect([...scopes.keys()].sort()).toEqual([NODE_SCOPE, 7, 8]);
});

test("tunnel ports are the well-known ones and those of the node's own tunnels, up to the limit", () => {
  const portsWith = (tunnelPorts: readonly number[]) => tunnelPortsOf({ ...NO_SURROUNDINGS, tunnelPorts });
  expect(portsWith([])).toEqual([4754, 4789, 4790, 6080, 6081, 6635, 8285, 8472]);
  expect(portsWith([5555, 4789])).toContain(5555);
  const many = Array.from({ length: 100 }, (_, at) => 20_000 + at);
  expect(portsWith(many)).toHaveLength(TUNNEL_PORTS_MAX);
  expect(portsWith(many)).toContain(4789);
});
