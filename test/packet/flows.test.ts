// Flows through the loaded programs: what a rule allows, the replies to it, and packets that only resemble either.

import { describe, expect, it } from "vitest";
import type { Address } from "../../src/base/ip.ts";
import { bytes, TCP_FLAG } from "../../src/engines/frame-builder.ts";
import { address } from "../support/model.ts";
import {
  echo,
  echoReply,
  FIN_ACK,
  fragment,
  frame,
  icmpSegment,
  otherSegment,
  RST_ACK,
  type Segment,
  SYN_ACK,
  sctpData,
  sctpSegment,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { into, outOf, testTable, useWorld } from "./table.ts";
import { type Addresses, BOTH_FAMILIES, type PodName } from "./world.ts";

const { SYN, ACK, FIN, RST, PSH, URG } = TCP_FLAG;
const GRE = 47;

const world = useWorld();

/** Packets between a peer and a pod, by what they carry. */
const between = (addresses: Addresses, peer: "friend" | "trusted" | "stranger", pod: PodName) => ({
  to: (segment: Segment) => frame(addresses[peer], addresses.pods[pod], segment),
  from: (segment: Segment) => frame(addresses.pods[pod], addresses[peer], segment),
});

testTable("new flows into a pod", world, [
  {
    name: "that nothing isolates pass, and are not tracked",
    steps: (a) => {
      const { to, from } = between(a, "stranger", "open");
      return [
        into("open", to(tcpSegment(40_000, 80)), "not-isolated"),
        outOf("open", from(tcpSegment(80, 40_000, SYN_ACK)), "not-isolated"),
        outOf("open", from(udpSegment(40_000, 53)), "not-isolated"),
        into("open", to(udpSegment(53, 40_000)), "not-isolated"),
        into("open", to(echo(a.family, 5)), "not-isolated"),
      ];
    },
  },
  {
    name: "need a rule for their protocol and port",
    steps: (a) => {
      const { to } = between(a, "friend", "both");
      return [
        into("both", to(tcpSegment(40_000, 80)), "policy"),
        into("both", to(tcpSegment(40_000, 81)), "denied"),
        into("both", to(tcpSegment(40_000, 53)), "denied"),
        into("both", to(tcpSegment(80, 79)), "denied"),
        into("both", to(udpSegment(40_000, 53)), "policy"),
        into("both", to(udpSegment(40_000, 80)), "denied"),
        into("both", to(udpSegment(53, 54)), "denied"),
        into("both", to(sctpSegment(40_000, 5_000)), "policy"),
        into("both", to(sctpSegment(40_000, 80)), "denied"),
        into("both", to(tcpSegment(40_000, 40_009)), "policy"),
        into("both", to(tcpSegment(40_000, 40_010)), "denied"),
        into("both", to(tcpSegment(0, 0)), "denied"),
        into("both", to(udpSegment(0, 0)), "denied"),
        into("both", to(echo(a.family, 5)), "denied"),
        into("both", to(otherSegment(GRE)), "denied"),
      ];
    },
  },
  {
    name: "of every protocol pass where a rule names no ports",
    steps: (a) => {
      const { to, from } = between(a, "trusted", "both");
      return [
        into("both", to(tcpSegment(40_000, 1)), "policy"),
        into("both", to(tcpSegment(0, 0)), "policy"),
        into("both", to(udpSegment(0, 0)), "policy"),
        into("both", to(echo(a.family, 5)), "policy"),
        outOf("both", from(echoReply(a.family, 5)), "established"),
        into("both", to(otherSegment(GRE)), "policy"),
        outOf("both", from(otherSegment(GRE)), "established"),
        into("both", to(otherSegment(253)), "policy"),
      ];
    },
  },
  {
    name: "from strangers are denied, whatever they carry",
    steps: (a) => {
      const { to } = between(a, "stranger", "both");
      const segments = [
        tcpSegment(80, 80),
        udpSegment(53, 53),
        sctpSegment(5_000, 5_000),
        echo(a.family, 1),
        otherSegment(0),
      ];
      // Behind an IPv6 header, number 0 is an extension header, whose length here is beyond the packet.
      const reasonOf = ({ number }: Segment) => (number === 0 && a.family === 6 ? "malformed" : "denied");
      return segments.map((segment) => into("both", to(segment), reasonOf(segment)));
    },
  },
]);

testTable("replies", world, [
  {
    name: "to flows into the pod pass under default-deny egress",
    steps: (a) => {
      const { to, from } = between(a, "friend", "both");
      return [
        into("both", to(tcpSegment(40_000, 80)), "policy"),
        outOf("both", from(tcpSegment(80, 40_000, SYN_ACK)), "established"),
        into("both", to(tcpSegment(40_000, 80, ACK)), "established"),
        outOf("both", from(tcpSegment(80, 40_000, PSH | ACK)), "established"),
        outOf("both", from(tcpSegment(80, 41_001, SYN_ACK)), "untracked"),
        outOf("both", from(tcpSegment(79, 41_000, SYN_ACK)), "untracked"),
        into("both", to(udpSegment(40_000, 53)), "policy"),
        outOf("both", from(udpSegment(53, 40_000)), "established"),
        outOf("both", from(udpSegment(54, 40_000)), "denied"),
        into("both", to(sctpSegment(40_000, 5_000)), "policy"),
        outOf("both", from(sctpData(5_000, 40_000)), "established"),
        outOf("both", from(sctpSegment(5_001, 40_000)), "denied"),
      ];
    },
  },
  {
    name: "to flows out of the pod pass under default-deny ingress",
    steps: (a) => {
      const { to, from } = between(a, "stranger", "in");
      return [
        outOf("in", from(tcpSegment(40_000, 443)), "not-isolated"),
        into("in", to(tcpSegment(443, 40_000, SYN_ACK)), "established"),
        outOf("in", from(udpSegment(40_000, 53)), "not-isolated"),
        into("in", to(udpSegment(53, 40_000)), "established"),
        into("in", to(udpSegment(54, 40_000)), "denied"),
        into("in", to(udpSegment(53, 40_001)), "denied"),
        outOf("in", from(sctpSegment(40_000, 5_000)), "not-isolated"),
        into("in", to(sctpData(5_000, 40_000)), "established"),
        outOf("in", from(echo(a.family, 7)), "not-isolated"),
        into("in", to(echoReply(a.family, 7)), "established"),
        into("in", to(echoReply(a.family, 8)), "denied"),
        into("in", to(echo(a.family, 7)), "denied"),
      ];
    },
  },
  {
    name: "open nothing: an echo reply of no known flow lets nobody ask",
    steps: (a) => {
      const { to, from } = between(a, "stranger", "in");
      const trusted = between(a, "trusted", "both");
      return [
        outOf("in", from(echoReply(a.family, 7)), "not-isolated"),
        into("in", to(echo(a.family, 7)), "denied"),
        into("in", to(echoReply(a.family, 7)), "denied"),
        into("both", trusted.to(echoReply(a.family, 7)), "policy"),
        outOf("both", trusted.from(echo(a.family, 7)), "policy"),
        outOf("both", trusted.from(echoReply(a.family, 7)), "policy"),
      ];
    },
  },
  {
    name: "come from whom the pod spoke to, by the protocol that it spoke",
    steps: (a) => {
      const { from } = between(a, "stranger", "in");
      const other = between(a, "friend", "in");
      return [
        outOf("in", from(udpSegment(40_000, 5_353)), "not-isolated"),
        into("in", other.to(udpSegment(5_353, 40_000)), "denied"),
        into("in", between(a, "stranger", "in").to(sctpSegment(5_353, 40_000)), "denied"),
        into("in", frame(a.stranger, a.pods.both, udpSegment(5_353, 40_000)), "denied"),
      ];
    },
  },
  {
    name: "that nobody asked for are denied",
    steps: (a) => {
      const { to, from } = between(a, "stranger", "both");
      return [
        into("both", to(tcpSegment(443, 40_000, SYN_ACK)), "untracked"),
        into("both", to(udpSegment(53, 40_000)), "denied"),
        into("both", to(echoReply(a.family, 7)), "denied"),
        outOf("both", from(tcpSegment(80, 40_000, SYN_ACK)), "untracked"),
        outOf("both", from(udpSegment(53, 40_000)), "denied"),
        outOf("both", from(echoReply(a.family, 7)), "denied"),
      ];
    },
  },
  {
    name: "of the pod pass to where it may not open flows itself",
    steps: (a) => {
      const { to, from } = between(a, "stranger", "out");
      return [
        outOf("out", from(udpSegment(53, 40_000)), "denied"),
        into("out", to(udpSegment(40_000, 53)), "not-isolated"),
        outOf("out", from(udpSegment(53, 40_000)), "established"),
        into("out", to(tcpSegment(40_000, 9)), "not-isolated"),
        outOf("out", from(tcpSegment(9, 40_000, SYN_ACK)), "established"),
        outOf("out", from(tcpSegment(9, 40_000, FIN_ACK)), "established"),
        outOf("out", from(tcpSegment(10, 40_000)), "denied"),
      ];
    },
  },
]);

testTable("a SYN", world, [
  {
    name: "against its flow's direction opens nothing, and ends nothing",
    steps: (a) => {
      const { to, from } = between(a, "friend", "both");
      return [
        into("both", to(tcpSegment(41_000, 80)), "policy"),
        outOf("both", from(tcpSegment(80, 41_000, SYN)), "denied"),
        outOf("both", from(tcpSegment(80, 41_000, SYN | PSH)), "denied"),
        outOf("both", from(tcpSegment(80, 41_000, SYN | FIN)), "denied"),
        outOf("both", from(tcpSegment(80, 41_000, SYN_ACK)), "established"),
        into("both", to(tcpSegment(41_000, 80, ACK)), "established"),
      ];
    },
  },
  {
    name: "into an answered connection of the pod is judged as the peer's own",
    steps: (a) => {
      const { to, from } = between(a, "stranger", "in");
      return [
        outOf("in", from(tcpSegment(40_000, 443)), "not-isolated"),
        into("in", to(tcpSegment(443, 40_000, SYN)), "denied"),
        into("in", to(tcpSegment(443, 40_000, ACK)), "established"),
      ];
    },
  },
  {
    name: "with the flags of an answer is one",
    steps: (a) => {
      const { to } = between(a, "stranger", "both");
      return [SYN_ACK, SYN | RST, SYN | ACK | FIN, 0, 0xff, FIN, RST, RST_ACK].map((flags) =>
        into("both", to(tcpSegment(443, 80, flags)), "untracked"),
      );
    },
  },
]);

/** All but those of a SYN. The last three are what a scanner sends, and every flag at once. */
const MIDSTREAM = [
  ACK,
  ACK | PSH,
  FIN_ACK,
  RST_ACK,
  SYN_ACK,
  SYN | RST,
  FIN,
  RST,
  0,
  PSH | URG,
  FIN | PSH | URG,
  0xff,
];
/** SYNs to the programs and to the receiver's TCP, whatever else is set. */
const SYNS = [SYN, SYN | FIN, SYN | PSH, SYN | URG];
/** An answer's, a request's, of services, of clients, and none: from the ephemeral ports, below them, at their border. */
const PORTS = [
  [1_000, 40_000],
  [443, 40_001],
  [40_000, 1_000],
  [40_000, 443],
  [80, 443],
  [53, 53],
  [32_767, 32_768],
  [32_768, 32_767],
  [40_000, 50_000],
  [0, 0],
] as const;

const segments = (flags: readonly number[]) =>
  PORTS.flatMap(([from, to]) => flags.map((each) => tcpSegment(from, to, each)));

testTable("a TCP segment of no known flow", world, [
  {
    name: "is denied where its own direction's policy denies it, whatever its flags and ports",
    steps: (a) =>
      [
        ...segments(MIDSTREAM).map((segment) => ({ segment, reason: "untracked" })),
        ...segments(SYNS).map((segment) => ({ segment, reason: "denied" })),
      ].flatMap(({ segment, reason }) => [
        into("in", between(a, "stranger", "in").to(segment), reason),
        into("both", between(a, "stranger", "both").to(segment), reason),
        outOf("out", between(a, "stranger", "out").from(segment), reason),
        outOf("both", between(a, "stranger", "both").from(segment), reason),
      ]),
  },
  {
    name: "passes where its own direction is free, and its answers do not",
    steps: (a) =>
      PORTS.flatMap(([from, to]) =>
        MIDSTREAM.flatMap((flags) => [
          outOf("in", between(a, "stranger", "in").from(tcpSegment(from, to, flags)), "not-isolated"),
          into("in", between(a, "stranger", "in").to(tcpSegment(to, from, ACK)), "untracked"),
          into("out", between(a, "stranger", "out").to(tcpSegment(from, to, flags)), "not-isolated"),
          outOf("out", between(a, "stranger", "out").from(tcpSegment(to, from, ACK)), "untracked"),
        ]),
      ),
  },
  {
    name: "passes where a rule of its own direction allows it, and its answers pass",
    steps: (a) =>
      MIDSTREAM.filter((flags) => !(flags & RST)).flatMap((flags, at) => {
        const { to, from } = between(a, "friend", "both");
        const port = 41_000 + at;
        return [
          into("both", to(tcpSegment(port, 80, flags)), "policy"),
          outOf("both", from(tcpSegment(80, port, ACK)), "established"),
          into("both", to(tcpSegment(port, 80, ACK)), "established"),
          outOf("both", from(tcpSegment(port, 80, flags)), "policy"),
          into("both", to(tcpSegment(80, port, ACK)), "established"),
          outOf("both", from(tcpSegment(port, 80, ACK)), "established"),
        ];
      }),
  },
  {
    name: "that is a reset passes where a rule allows it, and leaves nothing for an answer to pass by",
    steps: (a) => {
      const { to, from } = between(a, "friend", "both");
      return [RST, RST_ACK, SYN | RST].flatMap((flags) => [
        into("both", to(tcpSegment(42_000, 80, flags)), "policy"),
        outOf("both", from(tcpSegment(80, 42_000, ACK)), "untracked"),
        outOf("both", from(tcpSegment(42_000, 80, flags)), "policy"),
        into("both", to(tcpSegment(80, 42_000, ACK)), "untracked"),
      ]);
    },
  },
  {
    name: "is never judged by the other direction's policy",
    steps: (a) => {
      const { to, from } = between(a, "friend", "both");
      return [
        // What would be an answer of the friend's port 80, and to it.
        into("both", to(tcpSegment(80, 41_100, ACK)), "untracked"),
        into("both", to(tcpSegment(80, 41_100, SYN_ACK)), "untracked"),
        outOf("both", from(tcpSegment(80, 41_100, ACK)), "untracked"),
        outOf("both", from(tcpSegment(80, 41_100, SYN_ACK)), "untracked"),
        outOf("both", from(tcpSegment(80, 1_000, FIN_ACK)), "untracked"),
      ];
    },
  },
  {
    name: "opens no way for a SYN, or for another protocol, of the other side",
    steps: (a) => {
      const { to, from } = between(a, "stranger", "in");
      return [
        outOf("in", from(tcpSegment(443, 40_000, ACK)), "not-isolated"),
        into("in", to(tcpSegment(40_000, 443, SYN)), "denied"),
        into("in", to(udpSegment(40_000, 443)), "denied"),
        into("in", to(tcpSegment(40_000, 443, SYN_ACK)), "untracked"),
      ];
    },
  },
  {
    name: "is looked for in the flow of its ports' order alone",
    steps: (a) => {
      const { to, from } = between(a, "stranger", "in");
      return [
        outOf("in", from(tcpSegment(40_000, 443)), "not-isolated"),
        into("in", to(tcpSegment(40_000, 443, ACK)), "untracked"),
        into("in", to(tcpSegment(443, 40_001, ACK)), "untracked"),
        into("in", to(tcpSegment(443, 40_000, ACK)), "established"),
      ];
    },
  },
  {
    name: "in fragments is judged as a whole one",
    steps: (a) =>
      (["stranger", "friend"] as const).flatMap((peer, at) => {
        const segment = tcpSegment(40_000, 80, ACK);
        const long = { ...segment, payload: bytes(segment.payload, new Uint8Array(12)) };
        const parts = (source: Address, destination: Address, id: number) =>
          [0, 3].map((offset) => {
            const payload = bytes(long.payload).subarray(offset * 8, offset * 8 + 24);
            return fragment(source, destination, { ...long, payload }, { id, offset, more: offset === 0 });
          });
        const [first, last] = parts(a[peer], a.pods.both, 21 + at);
        const [sent, end] = parts(a.pods.both, a[peer], 31 + at);
        const known = peer === "friend";
        return [
          into("both", first as Uint8Array, known ? "policy" : "untracked"),
          into("both", last as Uint8Array, known ? "established" : "fragment"),
          outOf("both", sent as Uint8Array, known ? "policy" : "untracked"),
          outOf("both", end as Uint8Array, known ? "established" : "fragment"),
        ];
      }),
  },
]);

testTable("packets to many", world, [
  {
    name: "are judged by their destination on the way out, by their source on the way in",
    steps: ({ family, friend, stranger, pods }) => {
      const groups = (
        family === 4 ? ["224.0.0.251", "255.255.255.255", "10.255.255.255"] : ["ff02::fb", "ff0e::1"]
      ).map(address);
      return groups.flatMap((group) => [
        outOf("both", frame(pods.both, group, udpSegment(5_353, 53)), "denied"),
        into("both", frame(stranger, group, udpSegment(5_353, 53)), "denied"),
        into("both", frame(friend, group, udpSegment(5_353, 53)), "policy"),
        into("both", frame(stranger, group, udpSegment(53, 5_353)), "denied"),
      ]);
    },
  },
]);

testTable("ICMP messages that are neither echo nor error", world, [
  {
    name: "answer nothing that the pod sent: they are judged each",
    steps: (a) => {
      const { to, from } = between(a, "stranger", "in");
      const [request, redirect] = a.family === 4 ? [13, 5] : [139, 132];
      return [
        outOf("in", from(icmpSegment(a.family, request)), "not-isolated"),
        into("in", to(icmpSegment(a.family, redirect)), "denied"),
        into("in", to(icmpSegment(a.family, request + 1)), "denied"),
      ];
    },
  },
]);

describe("the flows' table", () => {
  it("holds nothing of denied packets nor of pods that are not isolated", async () => {
    for (const { stranger, pods } of BOTH_FAMILIES) {
      world().ask({
        pod: "both",
        direction: "ingress",
        frame: frame(stranger, pods.both, tcpSegment(40_000, 80)),
      });
      world().ask({
        pod: "both",
        direction: "egress",
        frame: frame(pods.both, stranger, udpSegment(40_000, 80)),
      });
      world().ask({
        pod: "open",
        direction: "ingress",
        frame: frame(stranger, pods.open, tcpSegment(40_000, 80)),
      });
    }
    expect(world().flows()).toEqual([]);
  });

  it("has one entry for both directions, as the pod sees it", async () => {
    for (const { friend, pods } of BOTH_FAMILIES) {
      world().ask({ pod: "in", direction: "ingress", frame: frame(friend, pods.in, tcpSegment(40_000, 80)) });
      world().ask({
        pod: "in",
        direction: "egress",
        frame: frame(pods.in, friend, tcpSegment(80, 40_000, SYN_ACK)),
      });
    }
    const keys = world()
      .flows()
      .map(({ key }) => key);
    const place = { localPort: 80, remotePort: 40_000, owner: (world().incarnationOf("in") << 8) | 6 };
    expect(keys).toMatchObject([place, place]);
  });
});
