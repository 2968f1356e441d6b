// What a pod sends to itself by way of the node, as through its own Service: it leaves by the interface that it came in on. No policy can
// block a pod from itself, and no other pod gains access by it.

import { describe, expect, it } from "vitest";
import { TCP_FLAG } from "../../src/engines/frame-builder.ts";
import {
  echo,
  echoReply,
  fragment,
  frame,
  otherSegment,
  SYN_ACK,
  sctpData,
  sctpSegment,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { expectSteps, into, outOf, testTable, useWorld } from "./table.ts";
import { BOTH_FAMILIES, ITSELF, POD_NAMES, type PodName, THIS_NODE } from "./world.ts";

const { ACK } = TCP_FLAG;
const world = useWorld();
const ISOLATED = ["in", "out", "both"] as const;
/** Isolated for egress. */
const SENDS: ReadonlySet<PodName> = new Set(["out", "both"]);
const FIRST = { offset: 0, more: true } as const;
const LAST = { offset: 2, more: false } as const;

testTable("what a pod has sent and gets back", world, [
  {
    name: "passes whatever its source has become, and so do the answers to it",
    steps: (a) =>
      ISOLATED.flatMap((name) =>
        // The node's address, if kube-proxy masquerades; the pod's own, if it does not; a Service's.
        [a.node, a.pods[name], a.stranger].flatMap((source) => [
          into(name, frame(source, a.pods[name], tcpSegment(41_000, 8_080)), "own", ITSELF),
          outOf(name, frame(a.pods[name], source, tcpSegment(8_080, 41_000, SYN_ACK)), "established"),
          into(name, frame(source, a.pods[name], tcpSegment(41_000, 8_080, ACK)), "own", ITSELF),
          outOf(name, frame(a.pods[name], source, tcpSegment(8_080, 41_000, ACK)), "established"),
          into(name, frame(source, a.pods[name], udpSegment(41_000, 8_080)), "own", ITSELF),
          outOf(name, frame(a.pods[name], source, udpSegment(8_080, 41_000)), "established"),
          into(name, frame(source, a.pods[name], sctpSegment(41_000, 8_080)), "own", ITSELF),
          outOf(name, frame(a.pods[name], source, sctpData(8_080, 41_000)), "established"),
        ]),
      ),
  },
  {
    name: "passes as echo, as any protocol, and in fragments",
    steps: (a) => [
      into("both", frame(a.node, a.pods.both, echo(a.family, 3)), "own", ITSELF),
      outOf("both", frame(a.pods.both, a.node, echoReply(a.family, 3)), "established"),
      into("both", frame(a.node, a.pods.both, otherSegment(99)), "own", ITSELF),
      into("both", fragment(a.node, a.pods.both, udpSegment(1, 2), { id: 9, ...FIRST }), "own", ITSELF),
      into("both", fragment(a.node, a.pods.both, udpSegment(1, 2), { id: 9, ...LAST }), "own", ITSELF),
      into("both", fragment(a.node, a.pods.both, udpSegment(1, 2), { id: 9, ...LAST }), "fragment"),
    ],
  },
  {
    name: "passes on both halves of a connection by a Service's address",
    steps: (a) =>
      (["in"] as const).flatMap((name) => [
        outOf(name, frame(a.pods[name], a.stranger, tcpSegment(40_000, 80)), "not-isolated"),
        into(name, frame(a.node, a.pods[name], tcpSegment(40_000, 8_080)), "own", ITSELF),
        outOf(name, frame(a.pods[name], a.node, tcpSegment(8_080, 40_000, SYN_ACK)), "established"),
        into(name, frame(a.stranger, a.pods[name], tcpSegment(80, 40_000, SYN_ACK)), "own", ITSELF),
        outOf(name, frame(a.pods[name], a.stranger, tcpSegment(40_000, 80, ACK)), "established"),
        into(name, frame(a.node, a.pods[name], tcpSegment(40_000, 8_080, ACK)), "own", ITSELF),
      ]),
  },
  {
    name: "is nobody else's: from another interface, or forged from outside, it is judged by policy",
    steps: (a) => [
      into("both", frame(a.node, a.pods.both, tcpSegment(41_000, 8_080)), "own", ITSELF),
      outOf("both", frame(a.pods.both, a.node, tcpSegment(8_080, 41_000, SYN_ACK)), "established"),
      into("both", frame(a.node, a.pods.both, tcpSegment(41_000, 8_080, ACK)), "untracked"),
      into("both", frame(a.node, a.pods.both, tcpSegment(41_000, 8_080)), "denied"),
      into("both", frame(a.pods.both, a.pods.both, tcpSegment(41_000, 8_080)), "denied"),
      into("both", frame(a.node, a.pods.both, udpSegment(41_000, 8_080)), "denied"),
      into("both", frame(a.node, a.pods.both, tcpSegment(41_000, 8_080)), "node", THIS_NODE),
    ],
  },
  {
    name: "lets nothing out but the answers, and no connection to where it seems to come from",
    steps: (a) =>
      POD_NAMES.filter((name) => SENDS.has(name)).flatMap((name) => [
        into(name, frame(a.node, a.pods[name], tcpSegment(22, 8_080)), "own", ITSELF),
        outOf(name, frame(a.pods[name], a.node, tcpSegment(8_080, 22)), "denied"),
        outOf(name, frame(a.pods[name], a.node, tcpSegment(8_081, 22, ACK)), "untracked"),
        outOf(name, frame(a.pods[name], a.node, udpSegment(8_080, 22)), "denied"),
        outOf(name, frame(a.pods[name], a.stranger, tcpSegment(8_080, 22, ACK)), "untracked"),
        into(name, frame(a.stranger, a.pods[name], tcpSegment(9, 9, ACK)), "own", ITSELF),
        outOf(name, frame(a.pods[name], a.stranger, tcpSegment(9, 9, ACK)), "untracked"),
      ]),
  },
  {
    name: "is not asked about where no policy isolates the pod",
    steps: (a) => [into("open", frame(a.node, a.pods.open, tcpSegment(1, 2)), "not-isolated", ITSELF)],
  },
]);

describe("flows of a pod with itself", () => {
  it.each(BOTH_FAMILIES)("outlive policies, IPv$family", async (a) => {
    expectSteps(world(), [
      into("both", frame(a.node, a.pods.both, tcpSegment(40_000, 8_080)), "own", ITSELF),
    ]);
    await world().enforce([]);
    expectSteps(world(), [
      outOf("both", frame(a.pods.both, a.node, tcpSegment(8_080, 40_000, SYN_ACK)), "established"),
      into("both", frame(a.node, a.pods.both, tcpSegment(40_000, 8_080, ACK)), "own", ITSELF),
    ]);
    await world().enforce();
  });

  it.each(BOTH_FAMILIES)("end with what comes back, whatever the pod sends, IPv$family", async (a) => {
    const short = 300;
    await world().setTimeouts({ UDP_NEW: short, UDP_STREAM: short * 100 });
    try {
      const answer = outOf("both", frame(a.pods.both, a.node, udpSegment(53, 40_000)), "established");
      expectSteps(world(), [
        into("both", frame(a.node, a.pods.both, udpSegment(40_000, 53)), "own", ITSELF),
        answer,
      ]);
      await expect
        .poll(() => world().ask({ pod: "both", direction: "egress", frame: answer.frame }), {
          timeout: 30_000,
        })
        .toBe("denied");
    } finally {
      await world().setTimeouts({});
    }
  });
});
