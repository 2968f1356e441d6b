// Packets from an attacker who has read the programs: they mean something different to each host on the path.

import { addressBytes } from "../../src/base/ip.ts";
import {
  ETHER_TYPE,
  ethernet,
  IP_PROTOCOL,
  ipv4,
  SCTP_CHUNK,
  TCP_FLAG,
  tcp,
  u16,
  udp,
} from "../../src/engines/frame-builder.ts";
import { address } from "../support/model.ts";
import {
  chained,
  EXTENSION,
  echo,
  echoReply,
  fragment,
  frame,
  icmpError,
  icmpNumber,
  ip,
  type Segment,
  sctpSegment,
  tagged,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { into, outOf, testTable, useWorld } from "./table.ts";
import { type Addresses, POD_NAMES, V4, V6 } from "./world.ts";

const world = useWorld();
const ALLOWED = tcpSegment(40_000, 80);

/** A routing header of a type, with one address in it, and this many segments left. */
const routed = (type: number, left: number, final: Addresses["friend"]): Segment => ({
  number: EXTENSION.ROUTING,
  payload: [
    IP_PROTOCOL.TCP,
    2,
    type,
    left,
    0,
    0,
    0,
    0,
    ...ip(final, final, ALLOWED).subarray(24, 40),
    ...tcp(40_000, 80),
  ],
});

testTable("a route of the sender's own", world, [
  {
    name: "that does not end where the packet says is not understood, whatever its type",
    families: [V6],
    steps: (a) =>
      [0, 2, 3, 4, 253].flatMap((type) => [
        outOf("both", frame(a.pods.both, a.friend, routed(type, 1, a.stranger)), "unsupported"),
        outOf("both", frame(a.pods.both, a.friend, routed(type, 255, a.stranger)), "unsupported"),
        into("both", frame(a.friend, a.pods.both, routed(type, 1, a.stranger)), "unsupported"),
        into("open", frame(a.friend, a.pods.open, routed(type, 1, a.stranger)), "not-isolated"),
        outOf("open", frame(a.pods.open, a.friend, routed(type, 1, a.stranger)), "unsupported"),
        outOf("open", frame(a.stranger, a.friend, routed(type, 1, a.stranger)), "spoofed"),
      ]),
  },
  {
    name: "in an option is not understood, strict or loose, wherever it stands among others",
    families: [V4],
    steps: (a) => {
      const hop = addressBytes(a.stranger);
      const routes = [131, 137].flatMap((type) => [
        [type, 7, 4, ...hop, 0],
        [1, type, 7, 4, ...hop],
        [type, 11, 4, ...hop, ...hop, 0],
        [type, 7, 8, ...hop, 1],
        [0x94, 4, 0, 0, type, 7, 4, ...hop, 0],
        [1, 1, 1, 1, 68, 4, 5, 0, type, 3, 4, 0],
        [7, 3, 4, type, 2, 0, 0, 0],
      ]);
      return routes.flatMap((options) => [
        outOf("both", frame(a.pods.both, a.friend, ALLOWED, { v4: { options } }), "unsupported"),
        outOf("open", frame(a.pods.open, a.friend, ALLOWED, { v4: { options } }), "unsupported"),
        into("both", frame(a.friend, a.pods.both, ALLOWED, { v4: { options } }), "unsupported"),
        into("open", frame(a.friend, a.pods.open, ALLOWED, { v4: { options } }), "not-isolated"),
      ]);
    },
  },
  {
    name: "is none behind the end of the options, or inside another",
    families: [V4],
    steps: (a) =>
      [
        [0, 131, 7, 4],
        [1, 0, 137, 3],
        [7, 7, 131, 7, 4, 0, 0, 0],
        [0x82, 11, 131, 3, 4, 0, 0, 0, 0, 0, 0, 0],
      ].map((options) => outOf("both", frame(a.pods.both, a.friend, ALLOWED, { v4: { options } }), "policy")),
  },
  {
    name: "that has come to its end is judged by what is behind it",
    families: [V6],
    steps: (a) => [
      outOf("both", frame(a.pods.both, a.friend, routed(4, 0, a.stranger)), "policy"),
      outOf("both", frame(a.pods.both, a.stranger, routed(4, 0, a.friend)), "denied"),
    ],
  },
]);

/**
 * Ethernet types that carry IP or Ethernet in ways of their own: MPLS, PPPoE, providers' tags, MACsec, HSR and PRP, switches' own tags,
 * batman, TRILL, NSH; 802.2 by its length, which is the frame's type up to 1,500.
 */
const CARRIERS = [
  0x8847, 0x8848, 0x8863, 0x8864, 0x9100, 0x9200, 0x88e7, 0x88e5, 0x892f, 0x88fb, 0xdada, 0x001b, 0x4305,
  0x22f3, 0x894f, 0x6558, 0, 46, 1_500,
];

testTable("an IPv4 option", world, [
  {
    name: "that does not say how long it is, or too much, never leaves a pod",
    families: [V4],
    steps: (a) =>
      [
        [7, 0, 0, 0],
        [7, 1, 0, 0],
        [7, 5, 0, 0],
        [1, 1, 1, 7],
        [68, 255, 0, 0],
        [0x94, 4, 0, 0, 0x94, 5, 0, 0],
      ].flatMap((options) => [
        outOf("both", frame(a.pods.both, a.friend, ALLOWED, { v4: { options } }), "malformed"),
        outOf("open", frame(a.pods.open, a.friend, ALLOWED, { v4: { options } }), "malformed"),
        into("both", frame(a.friend, a.pods.both, ALLOWED, { v4: { options } }), "malformed"),
      ]),
  },
]);

testTable("IP inside of something else", world, [
  {
    name: "from a pod, or to an isolated one, is not understood",
    steps: (a) =>
      CARRIERS.flatMap((type) => {
        const carried = ethernet(type, ip(a.pods.both, a.friend, ALLOWED));
        const tags = tagged([ETHER_TYPE.VLAN], ethernet(type, ip(a.pods.both, a.friend, ALLOWED)));
        return [
          outOf("both", carried, "unsupported"),
          outOf("both", tags, "unsupported"),
          ...POD_NAMES.map((name) =>
            outOf(name, ethernet(type, ip(a.pods[name], a.friend, ALLOWED)), "unsupported"),
          ),
          into("both", carried, "unsupported"),
          into("open", carried, "not-isolated"),
        ];
      }),
  },
  {
    name: "is not understood in either family's clothes, nor behind more headers than are read",
    steps: (a) =>
      POD_NAMES.flatMap((name) => {
        const packet = ip(a.pods[name], a.friend, ALLOWED);
        const other = a.family === 4 ? ETHER_TYPE.IPV6 : ETHER_TYPE.IPV4;
        const deep = (count: number) =>
          chained(new Array<number>(count).fill(EXTENSION.DESTINATION), udpSegment(1, 2));
        const carried = ethernet(other, packet, new Uint8Array(40));
        return [
          // Read as the other family's, its source is another's, if it is long enough to hold one.
          outOf(name, carried, "spoofed"),
          ...(a.family === 6
            ? [9, 12, 40].map((count) =>
                outOf(name, frame(a.pods[name], a.friend, deep(count)), "unsupported"),
              )
            : []),
        ];
      }),
  },
  {
    name: "is judged by the packet around it, which names no port",
    steps: (a) =>
      [4, 41, 47, 50, 115, 137].flatMap((number) => {
        const inner: Segment = { number, payload: ip(a.pods.both, a.friend, ALLOWED) };
        return [
          outOf("both", frame(a.pods.both, a.friend, inner), "denied"),
          outOf("both", frame(a.pods.both, a.trusted, inner), "policy"),
          outOf("both", frame(a.stranger, a.trusted, inner), "spoofed"),
        ];
      }),
  },
]);

testTable("a name that means another", world, [
  {
    name: "is no pod's: IPv4 addresses in IPv6 ones, and none at all",
    steps: (a) => {
      const mapped = {
        4: address("0.0.0.0"),
        6: { ...a.pods.both, value: 0xffffn << 32n, text: "::ffff:0:0" },
      };
      return [
        outOf("both", frame(mapped[a.family], a.friend, ALLOWED), "spoofed"),
        outOf("open", frame(mapped[a.family], a.friend, udpSegment(68, 67)), "spoofed"),
      ];
    },
  },
  {
    name: "is judged as it stands: everyone on the link, and the pod itself",
    families: [V4],
    steps: (a) => [
      outOf("both", frame(a.pods.both, address("255.255.255.255"), udpSegment(68, 67)), "denied"),
      outOf("both", frame(a.pods.both, a.pods.both, tcpSegment(40_000, 80)), "denied"),
      outOf("both", frame(a.pods.both, address("127.0.0.1"), tcpSegment(40_000, 80)), "denied"),
    ],
  },
]);

testTable("DHCP's first question", world, [
  {
    name: "passes from a pod that is not isolated, to all of its link and in no other form",
    families: [V4],
    steps: () => {
      const [none, all] = [address("0.0.0.0"), address("255.255.255.255")];
      const question = udpSegment(68, 67, new Uint8Array(240));
      return [
        outOf("open", frame(none, all, question), "not-isolated"),
        outOf("in", frame(none, all, question), "not-isolated"),
        outOf("open", tagged([ETHER_TYPE.VLAN], frame(none, all, question)), "not-isolated"),
        ...(["out", "both"] as const).map((name) => outOf(name, frame(none, all, question), "spoofed")),
        ...[
          frame(none, all, udpSegment(67, 68)),
          frame(none, all, udpSegment(68, 68)),
          frame(none, all, udpSegment(69, 67)),
          frame(none, all, tcpSegment(68, 67)),
          frame(none, address("10.1.0.255"), question),
          frame(none, address("224.0.0.1"), question),
          frame(address("0.0.0.1"), all, question),
          fragment(none, all, question, { id: 1, offset: 0, more: true }),
        ].map((each) => outOf("open", each, "spoofed")),
      ];
    },
  },
]);

testTable("a flow", world, [
  {
    name: "of echoes is that of one side's identifier: the other's does not open it",
    steps: (a) => [
      outOf("in", frame(a.pods.in, a.stranger, echo(a.family, 7)), "not-isolated"),
      into("in", frame(a.stranger, a.pods.in, echoReply(a.family, 7)), "established"),
      into("in", frame(a.stranger, a.pods.in, echo(a.family, 7)), "denied"),
      into(
        "in",
        frame(a.stranger, a.pods.in, {
          number: icmpNumber(a.family),
          payload: [13, 0, 0, 0, ...u16(7), 0, 0],
        }),
        "denied",
      ),
      into("in", frame(a.stranger, a.pods.in, echoReply(a.family, 7 << 8)), "denied"),
    ],
  },
  {
    name: "of SCTP is opened by an INIT, whatever was before, and by what its own direction allows",
    steps: (a) => {
      const { friend, stranger, pods } = a;
      const { INIT, INIT_ACK, DATA, HEARTBEAT, ABORT } = SCTP_CHUNK;
      return [
        into("both", frame(friend, pods.both, sctpSegment(40_000, 5_000, INIT)), "policy"),
        outOf("both", frame(pods.both, friend, sctpSegment(5_000, 40_000, INIT_ACK)), "established"),
        into("both", frame(friend, pods.both, sctpSegment(40_000, 5_000, DATA)), "established"),
        // Opened again, and once more by the other side, which may not.
        into("both", frame(friend, pods.both, sctpSegment(40_000, 5_000, INIT)), "policy"),
        outOf("both", frame(pods.both, friend, sctpSegment(5_000, 40_000, INIT)), "denied"),
        outOf("both", frame(pods.both, friend, sctpSegment(5_000, 40_000, DATA)), "established"),
        into("both", frame(friend, pods.both, sctpSegment(40_000, 5_000, ABORT)), "established"),
        outOf("both", frame(pods.both, friend, sctpSegment(5_001, 40_000, INIT)), "denied"),
        // Into an association of the pod's own.
        outOf("in", frame(pods.in, stranger, sctpSegment(40_000, 5_000, INIT)), "not-isolated"),
        into("in", frame(stranger, pods.in, sctpSegment(5_000, 40_000, INIT)), "denied"),
        into("in", frame(stranger, pods.in, sctpSegment(5_000, 40_000, HEARTBEAT)), "established"),
        // Of no association: as a packet of any protocol but TCP.
        ...[INIT_ACK, DATA, HEARTBEAT, ABORT].flatMap((chunk) => [
          into("in", frame(stranger, pods.in, sctpSegment(40_000, 5_001, chunk)), "denied"),
          outOf("out", frame(pods.out, stranger, sctpSegment(40_000, 5_001, chunk)), "denied"),
          into("both", frame(stranger, pods.both, sctpSegment(5_001, 40_000, chunk)), "denied"),
        ]),
      ];
    },
  },
  {
    name: "that both sides open at once is each one's to be allowed",
    steps: (a) => [
      outOf("both", frame(a.pods.both, a.friend, tcpSegment(80, 80)), "policy"),
      into("both", frame(a.friend, a.pods.both, tcpSegment(80, 80)), "policy"),
      outOf(
        "both",
        frame(a.pods.both, a.friend, tcpSegment(80, 80, TCP_FLAG.SYN | TCP_FLAG.ACK)),
        "established",
      ),
      outOf("in", frame(a.pods.in, a.stranger, tcpSegment(90, 90)), "not-isolated"),
      into("in", frame(a.stranger, a.pods.in, tcpSegment(90, 90)), "denied"),
    ],
  },
  {
    name: "is not found by what a header says of the packet's length beyond the frame",
    families: [V4],
    steps: (a) => {
      const long = ipv4(
        { source: a.stranger, destination: a.pods.both, protocol: IP_PROTOCOL.UDP, totalLength: 65_535 },
        udp(53, 40_000),
      );
      return [into("both", ethernet(ETHER_TYPE.IPV4, long), "denied")];
    },
  },
]);

testTable("an ICMP error about a flow of the pod's", world, [
  {
    name: "in fragments is none: what follows could say anything",
    steps: (a) => {
      const quote = ip(a.pods.in, a.stranger, tcpSegment(40_000, 443));
      const whole = icmpError(a.node, a.pods.in, "too big", quote);
      const message = { number: icmpNumber(a.family), payload: whole.subarray(a.family === 4 ? 34 : 54) };
      const first = { id: 9, offset: 0, more: true };
      return [
        outOf("in", frame(a.pods.in, a.stranger, tcpSegment(40_000, 443)), "not-isolated"),
        into("in", whole, "related"),
        into("in", fragment(a.node, a.pods.in, message, first), "denied"),
        into("in", fragment(a.node, a.pods.in, message, { ...first, offset: 1 }), "fragment"),
      ];
    },
  },
]);
