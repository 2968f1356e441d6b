// Filters of flows: each by itself, and all together.
import { expect, it } from "vitest";
import { type Cidr, parseCidr } from "../../../../src/base/ip.ts";
import { type FlowFilter, flowPasses } from "../../../../src/observe/dump/flow-filter.ts";
import type { FlowRecord } from "../../../../src/observe/dump/traffic-dumps.ts";

const FLOW: FlowRecord = {
  ifindex: 7,
  incarnation: 1,
  protocol: 6,
  local: "10.0.0.1",
  remote: "10.1.2.3",
  localPort: 80,
  remotePort: 40_000,
  opener: "ingress",
  state: ["replied"],
  generation: 4,
  expiresMs: 1_000,
};

const cidr = (text: string): Cidr => {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
};

const ALL: FlowFilter = {
  interfaces: new Set([7]),
  peers: [cidr("fd00::/8"), cidr("10.1.0.0/16")],
  port: 80,
  protocols: new Set([6]),
  state: "replied",
};

it.each<[string, Partial<FlowRecord>]>([
  ["the interface", { ifindex: 8 }],
  ["the peer", { remote: "10.2.2.3" }],
  ["the peer's family", { remote: "::ffff:10.1.2.3" }],
  ["the port", { localPort: 81 }],
  ["the protocol", { protocol: 17 }],
  ["the state", { state: [] }],
])("%s must fit", (_, change) => {
  expect(flowPasses(FLOW, ALL, 4)).toBe(true);
  expect(flowPasses({ ...FLOW, ...change }, ALL, 4)).toBe(false);
});

it("a port is that of either end, and an ICMP echo has none", () => {
  expect(flowPasses(FLOW, { port: 40_000 }, 4)).toBe(true);
  expect(flowPasses({ ...FLOW, protocol: 1, localPort: 80 }, { port: 80 }, 4)).toBe(false);
});

it.each<[FlowFilter["state"], Partial<FlowRecord>, boolean]>([
  ["new", {}, false],
  ["new", { state: ["node"] }, true],
  ["confirmed", {}, false],
  ["fin-other", { state: ["replied", "fin-other"] }, true],
  ["expired", {}, false],
  ["expired", { expiresMs: -1 }, true],
  [undefined, {}, true],
  [undefined, { expiresMs: -1 }, false],
  ["stale", {}, false],
  ["stale", { generation: 3 }, true],
])("%s of %j: %s", (state, change, passes) => {
  expect(flowPasses({ ...FLOW, ...change }, { ...(state && { state }) }, 4)).toBe(passes);
});
