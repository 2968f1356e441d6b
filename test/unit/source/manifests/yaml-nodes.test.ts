// Nodes: their addresses, and the ranges of their pods.

import { describe, expect, test } from "vitest";
import { present } from "../../../../src/base/assert.ts";
import type { ClusterNode } from "../../../../src/model/cluster.ts";
import { linesOf, outcomeOf, problemsIn, readingOf } from "../support.ts";

/** The first object of a text. */
const nodeOf = (text: string): ClusterNode =>
  present(readingOf(text).objects[0], "a node").value as ClusterNode;

const nodeYaml = (rest: string): string =>
  `apiVersion: v1\nkind: Node\nmetadata: { name: worker-1 }\n${rest}\n`;

function cleanNode(rest: string) {
  const reading = readingOf(nodeYaml(rest));
  expect(linesOf(problemsIn(reading))).toEqual([]);
  const { name, addresses, podCidrs } = nodeOf(nodeYaml(rest));
  return { name, addresses: addresses.map(({ text }) => text), podCidrs: podCidrs.map(({ text }) => text) };
}

describe("nodes", () => {
  test("have the addresses of their status that are valid, each once", () => {
    const status = `
status:
  addresses:
  - { type: InternalIP, address: 192.0.2.1 }
  - { type: InternalIP, address: 2001:DB8::1 }
  - { type: ExternalIP, address: 198.51.100.7 }
  - { type: InternalIP, address: 192.0.2.1 }
  - { type: Hostname, address: worker-1 }
  - { type: InternalDNS, address: worker-1.example }
  nodeInfo: { kubeletVersion: v1.30.0 }`;
    expect(cleanNode(status).addresses).toEqual(["192.0.2.1", "2001:db8::1", "198.51.100.7"]);
  });

  test("have the ranges of their pods, in either form", () => {
    const list = "spec: { podCIDR: 10.244.1.0/24, podCIDRs: [10.244.1.0/24, fd00:1::/64] }";
    expect(cleanNode(list).podCidrs).toEqual(["10.244.1.0/24", "fd00:1::/64"]);
    expect(cleanNode("spec: { podCIDR: 10.244.1.0/24 }").podCidrs).toEqual(["10.244.1.0/24"]);
    expect(cleanNode('spec: { podCIDR: "" }').podCidrs).toEqual([]);
  });

  test("may have neither", () => {
    expect(cleanNode("")).toEqual({ name: "worker-1", addresses: [], podCidrs: [] });
    expect(cleanNode("spec: {}\nstatus: {}").addresses).toEqual([]);
  });

  test("are read as far as possible; the rest is reported", () => {
    const { lines } = outcomeOf(
      nodeYaml(`
spec: { podCIDRs: [10.244.1.0/33, fd00:1::/64] }
status: { addresses: [{ type: InternalIP, address: 192.0.2.256 }, { type: InternalIP, address: 192.0.2.9 }] }`),
    );
    expect(lines.join("\n")).toMatch(/Node worker-1: spec\.podCIDRs\[0\]: "10\.244\.1\.0\/33" is not a CIDR/);
    expect(lines.join("\n")).toMatch(
      /Node worker-1: status\.addresses\[0\]\.address: "192\.0\.2\.256" is not an address/,
    );
    const none = nodeYaml("status: { addresses: [{ type: InternalIP, address: nonsense }] }");
    expect(nodeOf(none).addresses).toEqual([]);
  });
});
