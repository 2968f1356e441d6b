// What this node itself sends to a pod, what only claims to be from it, and interfaces and maps with missing entries.

import { describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import { ethernet, TCP_FLAG } from "../../src/engines/frame-builder.ts";
import { ENDPOINT_PROBES, ENDPOINTS_PLACES } from "../../src/gen/layout.ts";
import {
  arp,
  echo,
  echoReply,
  FIN_ACK,
  frame,
  otherSegment,
  SYN_ACK,
  sctpData,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { expectSteps, into, outOf, testTable, useWorld } from "./table.ts";
import { BOTH_FAMILIES, THIS_NODE, V4, V6 } from "./world.ts";

const { ACK } = TCP_FLAG;
const world = useWorld();

/** A SYN if it opens a flow, the answer to one if it comes back. */
const tcpAnswer = (from: number, to: number) => tcpSegment(from, to, from >= 40_000 ? TCP_FLAG.SYN : SYN_ACK);

testTable("what this node sends", world, [
  {
    name: "passes, and so do the answers to it",
    steps: (a) =>
      [
        { segment: tcpAnswer, reason: "untracked" },
        { segment: udpSegment, reason: "denied" },
        { segment: sctpData, reason: "denied" },
      ].flatMap(({ segment, reason }) => [
        into("both", frame(a.node, a.pods.both, segment(40_000, 8_080)), "node", THIS_NODE),
        outOf("both", frame(a.pods.both, a.node, segment(8_080, 40_000)), "established"),
        outOf("both", frame(a.pods.both, a.node, segment(8_080, 40_001)), reason),
        outOf("both", frame(a.pods.both, a.stranger, segment(8_080, 40_000)), reason),
      ]),
  },
  {
    name: "passes as echo, as any protocol, and to pods that are isolated otherwise",
    steps: (a) => [
      into("both", frame(a.node, a.pods.both, echo(a.family, 3)), "node", THIS_NODE),
      outOf("both", frame(a.pods.both, a.node, echoReply(a.family, 3)), "established"),
      outOf("both", frame(a.pods.both, a.node, echoReply(a.family, 4)), "denied"),
      into("both", frame(a.node, a.pods.both, otherSegment(47)), "node", THIS_NODE),
      into("open", frame(a.node, a.pods.open, tcpSegment(40_000, 80)), "node", THIS_NODE),
      into("in", frame(a.node, a.pods.in, tcpSegment(40_000, 80)), "node", THIS_NODE),
      into("out", frame(a.node, a.pods.out, tcpSegment(40_000, 80)), "node", THIS_NODE),
      outOf("out", frame(a.pods.out, a.node, tcpSegment(80, 40_000, SYN_ACK)), "established"),
      outOf("out", frame(a.pods.out, a.node, tcpSegment(80, 40_000)), "denied"),
    ],
  },
  {
    name: "passes from any address: a Service's, too",
    steps: (a) => [into("both", frame(a.stranger, a.pods.both, tcpSegment(40_000, 80)), "node", THIS_NODE)],
  },
  {
    name: "passes where it cannot be read",
    steps: (a) => {
      const whole = frame(a.node, a.pods.both, tcpSegment(40_000, 80));
      return [
        into("both", whole.subarray(0, whole.length - 10), "node", THIS_NODE),
        into("both", ethernet(0x88cc, new Uint8Array(46)), "node", THIS_NODE),
        into("both", arp({ operation: 1, sender: V4.node, target: V4.pods.both }), "neighbour", THIS_NODE),
      ];
    },
  },
  {
    name: "as an answer to the pod makes no flow of the node's own",
    steps: (a) => [
      outOf("in", frame(a.pods.in, a.node, tcpSegment(40_000, 443)), "not-isolated"),
      into("in", frame(a.node, a.pods.in, tcpSegment(443, 40_000, SYN_ACK)), "node", THIS_NODE),
      outOf("in", frame(a.pods.in, a.node, tcpSegment(40_000, 443, ACK)), "established"),
      into("both", frame(a.node, a.pods.both, tcpSegment(443, 40_000, SYN_ACK)), "node", THIS_NODE),
      outOf("both", frame(a.pods.both, a.node, tcpSegment(40_000, 443, ACK)), "untracked"),
      into("both", frame(a.node, a.pods.both, tcpSegment(443, 40_000, ACK)), "node", THIS_NODE),
      outOf("both", frame(a.pods.both, a.node, tcpSegment(40_000, 443, ACK)), "untracked"),
    ],
  },
]);

testTable("what claims to be from this node", world, [
  {
    name: "is judged by policy, beside the node's own flow too",
    steps: (a) => [
      into("both", frame(a.node, a.pods.both, tcpSegment(40_000, 8_080)), "denied"),
      into("both", frame(a.node, a.pods.both, tcpSegment(40_000, 8_080)), "node", THIS_NODE),
      outOf("both", frame(a.pods.both, a.node, tcpSegment(8_080, 40_000, SYN_ACK)), "established"),
      into("both", frame(a.node, a.pods.both, tcpSegment(40_000, 8_080, ACK)), "untracked"),
      into("both", frame(a.node, a.pods.both, tcpSegment(40_000, 8_080)), "denied"),
      into("both", frame(a.node, a.pods.both, udpSegment(40_000, 8_080)), "denied"),
      into("both", frame(a.node, a.pods.both, echo(a.family, 1)), "denied"),
      outOf("both", frame(a.pods.both, a.node, tcpSegment(8_080, 40_000, FIN_ACK)), "established"),
    ],
  },
]);

describe("flows of the node", () => {
  it.each(BOTH_FAMILIES)("outlive policies, IPv$family", async (a) => {
    expectSteps(world(), [
      into("both", frame(a.node, a.pods.both, tcpSegment(40_000, 8_080)), "node", THIS_NODE),
    ]);
    await world().enforce([]);
    expectSteps(world(), [
      outOf("both", frame(a.pods.both, a.node, tcpSegment(8_080, 40_000, SYN_ACK)), "established"),
    ]);
    await world().enforce();
  });

  it.each(BOTH_FAMILIES)(
    "take the place of a flow of the pod between the same ports, IPv$family",
    async (a) => {
      expectSteps(world(), [
        outOf("both", frame(a.pods.both, a.friend, tcpSegment(8_080, 40_000)), "policy"),
      ]);
      await world().enforce([]);
      expectSteps(world(), [
        outOf("both", frame(a.pods.both, a.friend, tcpSegment(8_080, 40_000, ACK)), "revoked"),
        into("both", frame(a.friend, a.pods.both, tcpSegment(40_000, 8_080)), "node", THIS_NODE),
        outOf("both", frame(a.pods.both, a.friend, tcpSegment(8_080, 40_000, SYN_ACK)), "established"),
      ]);
      await world().enforce();
    },
  );
});

describe("an interface without endpoint", () => {
  it.each(BOTH_FAMILIES)("lets nothing through, IPv$family", (a) => {
    const { bench } = world();
    const ifindex = bench.devices.at(12);
    const unknown = () => world().countedAs(0, "unknown");
    const before = unknown();
    const [there, back] = [
      frame(a.friend, a.pods.both, tcpSegment(40_000, 80)),
      frame(a.pods.both, a.friend, udpSegment(1, 53)),
    ];
    expect(bench.run({ direction: "ingress", ifindex, ingressIfindex: 1, frame: there })).toBe("drop");
    expect(bench.run({ direction: "ingress", ifindex, ingressIfindex: THIS_NODE, frame: there })).toBe(
      "drop",
    );
    expect(bench.run({ direction: "egress", ifindex, ingressIfindex: 1, frame: back })).toBe("drop");
    const request = arp({ operation: 1, sender: V4.node, target: V4.pods.both });
    expect(bench.run({ direction: "ingress", ifindex, ingressIfindex: 1, frame: request })).toBe("drop");
    const lengths = [there, there, back, request].reduce((total, { length }) => total + length, 0);
    expect(unknown()).toEqual({ packets: before.packets + 4, bytes: before.bytes + lengths });
  });
});

describe("a map with a missing entry", () => {
  const policyOf = (pod: "both") => {
    const { tables } = world().bench.maps;
    const generation = present(tables.node.get(0), "node").generation;
    const ifindex = world().ifindexOf(pod);
    const found = Array.from({ length: ENDPOINT_PROBES }, (_, probe) =>
      tables.endpoints.get((ifindex + probe) % ENDPOINTS_PLACES),
    ).find((each) => each?.ifindex === ifindex);
    return present(found?.policy[(generation & 1) as 0 | 1][0], `policy of ${pod}`);
  };

  it("denies and reports: a row that is out of range, then the whole policy", async () => {
    const { policy } = world().bench.maps.tables;
    const number = policyOf("both");
    // Each time another port: a CPU keeps an answer of the policy for the generation, which this does not advance.
    const expectPackets = (port: number, reason: "denied" | "incomplete") =>
      expectSteps(
        world(),
        [V4, V6].map((a) => into("both", frame(a.stranger, a.pods.both, tcpSegment(40_000, port)), reason)),
      );
    using rows = present(policy.open(number), "rows");
    const denied = rows.get(0) ?? 0;
    await rows.writeBatch([[0, 4_096]]);
    expectPackets(80, "incomplete");
    await rows.writeBatch([[0, denied]]);
    // What was incomplete is not kept.
    expectPackets(80, "denied");
    await policy.deleteBatch([number]);
    expectPackets(80, "denied");
    expectPackets(81, "incomplete");
  });
});
