// Cluster policies through the loaded programs: a pod that nothing isolates stays one, but for the peers that a rule denies.

import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { bytes, IP_PROTOCOL, packet, TCP_FLAG, tcp } from "../../src/engines/frame-builder.ts";
import { block, clusterPolicy, clusterRule, ports } from "../support/model.ts";
import { fragment, type Segment } from "./frames.ts";
import { type Addresses, BOTH_FAMILIES, openWorld, RULES, V4, type World } from "./world.ts";

const STRANGER = [block("10.7.0.0/24"), block("fd07::/64")];
const TRUSTED = [block("10.8.0.0/24"), block("fd08::/64")];
const FRIEND = [block("10.9.0.0/24"), block("fd09::/64")];

let world: World;
beforeAll(async () => {
  world = await openWorld();
});
beforeEach(() => world.forget());
afterAll(() => world.close());

const LATER = { id: 7, offset: 10, more: false };
const anything: Segment = {
  number: IP_PROTOCOL.UDP,
  payload: bytes(tcp(40_000, 80), new Uint8Array(20)),
};

const syn = (from: keyof Addresses, a: Addresses, to: "open" | "in" | "both", port: number) =>
  packet({
    source: a[from] as Addresses["friend"],
    destination: a.pods[to],
    protocol: "TCP",
    sourcePort: 40_500,
    destinationPort: port,
  });

const into = (pod: "open" | "in" | "both", frame: Uint8Array) =>
  world.ask({ pod, direction: "ingress", frame });

describe.each(BOTH_FAMILIES)("IPv$family, with an Admin policy that denies one peer some ports", (a) => {
  beforeEach(async () => {
    const deny = clusterRule("Deny", STRANGER, ports("TCP/80"));
    await world.enforce(RULES, [], { clusterPolicies: [clusterPolicy("deny", { ingress: [deny] })] });
  });

  it("denies those and nothing else", () => {
    expect(into("open", syn("stranger", a, "open", 80))).toBe("denied");
    expect(into("open", syn("stranger", a, "open", 81))).toBe("policy");
    expect(into("open", syn("friend", a, "open", 80))).toBe("policy");
    expect(into("in", syn("friend", a, "in", 80))).toBe("policy");
    expect(into("in", syn("friend", a, "in", 81))).toBe("denied");
  });

  it("lets fragments of an unknown packet pass that no rule can deny, and no others", () => {
    const later = (from: Addresses["friend"]) => fragment(from, a.pods.open, anything, LATER);
    expect(into("open", later(a.friend))).toBe("policy");
    expect(into("open", later(a.stranger))).toBe("fragment");
    // An isolated pod stays as it was.
    expect(into("in", fragment(a.trusted, a.pods.in, anything, LATER))).toBe("fragment");
  });

  it("lets a segment in mid-connection pass that no rule denies", () => {
    const segment = (from: Addresses["friend"]) =>
      packet({
        ...{ source: from, destination: a.pods.open, protocol: "TCP" },
        ...{ sourcePort: 40_600, destinationPort: 80, tcpFlags: TCP_FLAG.ACK },
      });
    expect(into("open", segment(a.friend))).toBe("policy");
    expect(into("open", segment(a.stranger))).toBe("untracked");
  });

  it("lets no segment in mid-connection open a flow, by which the other side would come in", async () => {
    const deny = clusterRule("Deny", TRUSTED, ports("TCP/80"));
    await world.enforce(RULES, [], { clusterPolicies: [clusterPolicy("deny", { egress: [deny] })] });
    const ends = { ours: a.pods.in, theirs: a.stranger };
    const segment = (
      from: Addresses["friend"],
      to: Addresses["friend"],
      [sourcePort, destinationPort]: [number, number],
    ) =>
      packet({
        ...{ source: from, destination: to, protocol: "TCP" },
        ...{ sourcePort, destinationPort, tcpFlags: TCP_FLAG.ACK },
      });
    const leaving = segment(ends.ours, ends.theirs, [80, 40_700]);
    const coming = segment(ends.theirs, ends.ours, [40_700, 80]);
    for (let time = 0; time < 3; time += 1) {
      expect(world.ask({ pod: "in", direction: "egress", frame: leaving })).toBe("policy");
      expect(into("in", coming)).toBe("untracked");
    }
  });
});

it("decides by tiers: Admin, then NetworkPolicies, then Baseline", async () => {
  const a = V4;
  await world.enforce(RULES, [], {
    clusterPolicies: [
      clusterPolicy("pass", { priority: 1, ingress: [clusterRule("Pass", FRIEND, ports("TCP/80"))] }),
      clusterPolicy("deny", { priority: 2, ingress: [clusterRule("Deny", FRIEND)] }),
      clusterPolicy("accept", { priority: 3, ingress: [clusterRule("Accept", STRANGER, ports("TCP/81"))] }),
      clusterPolicy("last", { tier: "Baseline", ingress: [clusterRule("Deny", TRUSTED)] }),
    ],
  });
  // Passed, and then allowed by the NetworkPolicy, or by nothing that denies it.
  expect(into("in", syn("friend", a, "in", 80))).toBe("policy");
  expect(into("open", syn("friend", a, "open", 80))).toBe("policy");
  expect(into("in", syn("friend", a, "in", 40_005))).toBe("denied");
  // Accepted, whatever isolates the pod.
  expect(into("in", syn("stranger", a, "in", 81))).toBe("policy");
  expect(into("in", syn("stranger", a, "in", 80))).toBe("denied");
  // The Baseline tier is for pods that no NetworkPolicy isolates.
  expect(into("in", syn("trusted", a, "in", 80))).toBe("policy");
  expect(into("open", syn("trusted", a, "open", 80))).toBe("denied");
});

it("evaluates policies of equal priority together: Deny before Pass before Accept", async () => {
  const a = V4;
  const of = (action: "Accept" | "Deny" | "Pass", name: string, port: string) =>
    clusterPolicy(name, { ingress: [clusterRule(action, STRANGER, ports(port))] });
  await world.enforce(RULES, [], {
    clusterPolicies: [
      of("Accept", "a", "TCP/80-90"),
      of("Pass", "b", "TCP/80-85"),
      of("Deny", "c", "TCP/80"),
    ],
  });
  expect(into("in", syn("stranger", a, "in", 80))).toBe("denied");
  expect(into("in", syn("stranger", a, "in", 82))).toBe("denied");
  expect(into("open", syn("stranger", a, "open", 82))).toBe("policy");
  expect(into("in", syn("stranger", a, "in", 88))).toBe("policy");
});

it("drops nothing on a node in audit mode", async () => {
  await world.enforce(RULES, [], {
    mode: "audit",
    clusterPolicies: [clusterPolicy("deny", { ingress: [clusterRule("Deny", STRANGER)] })],
  });
  expect(into("open", syn("stranger", V4, "open", 80))).toBe("audit");
  expect(into("open", syn("friend", V4, "open", 80))).toBe("policy");
});
