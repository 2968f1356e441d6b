// What somebody may send who knows the programs: packets that mean something else to whom they pass on the way.

import {
  ETHER_TYPE,
  ethernet,
  IP_PROTOCOL,
  ipv4,
  TCP_FLAG,
  tcp,
  u16,
  u32,
  udp,
} from "../../src/engines/frame.ts";
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

/** A routing header of a type, with one address in it, and so many of its segments still to come. */
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
        outOf("open", frame(a.pods.open, a.friend, routed(type, 1, a.stranger)), "not-isolated"),
        outOf("open", frame(a.stranger, a.friend, routed(type, 1, a.stranger)), "spoofed"),
      ]),
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

const LISTENER = { QUERY: 130, REPORT: 131, DONE: 132, REPORT_V2: 143 } as const;
const ALL_NODES = address("ff02::1");
const LISTENERS = address("ff02::16");
const SOLICITED = address("ff02::1:ff00:9");
const WIDE = address("ff0e::9");
const LINK_LOCAL = address("fe80::1");
const UNSPECIFIED = address("::");

/** Multicast listener discovery, behind a hop-by-hop header as RFC 3810 asks. */
const listener = (
  source: Addresses["friend"],
  destination: Addresses["friend"],
  type: number,
  hopLimit = 1,
) =>
  frame(
    source,
    destination,
    chained([EXTENSION.HOP_BY_HOP], {
      number: IP_PROTOCOL.ICMPV6,
      payload: [type, 0, 0, 0, ...u32(0), ...new Uint8Array(20)],
    }),
    { v6: { hopLimit } },
  );

testTable("multicast listener discovery, on which neighbour discovery over bridges depends", world, [
  {
    name: "passes on its link, to and from every pod",
    families: [V6],
    steps: () =>
      POD_NAMES.flatMap((name) => [
        into(name, listener(LINK_LOCAL, ALL_NODES, LISTENER.QUERY), "neighbour"),
        outOf(name, listener(LINK_LOCAL, LISTENERS, LISTENER.REPORT_V2), "neighbour"),
        outOf(name, listener(UNSPECIFIED, LISTENERS, LISTENER.REPORT_V2), "neighbour"),
        outOf(name, listener(LINK_LOCAL, SOLICITED, LISTENER.REPORT), "neighbour"),
        outOf(name, listener(LINK_LOCAL, WIDE, LISTENER.REPORT), "neighbour"),
        outOf(name, listener(LINK_LOCAL, address("ff02::2"), LISTENER.DONE), "neighbour"),
      ]),
  },
  {
    name: "that could leave its link, or goes to one, or is something else, is judged by policy",
    families: [V6],
    steps: (a) => [
      outOf("both", listener(LINK_LOCAL, LISTENERS, LISTENER.REPORT_V2, 2), "denied"),
      outOf("both", listener(LINK_LOCAL, LISTENERS, LISTENER.REPORT_V2, 255), "denied"),
      outOf("both", listener(LINK_LOCAL, a.stranger, LISTENER.REPORT_V2), "denied"),
      outOf("both", listener(a.pods.both, LISTENERS, LISTENER.REPORT_V2), "denied"),
      outOf("both", listener(LINK_LOCAL, LISTENERS, 129), "denied"),
      outOf("both", listener(LINK_LOCAL, ALL_NODES, LISTENER.QUERY), "denied"),
      outOf("open", listener(LINK_LOCAL, ALL_NODES, LISTENER.QUERY), "not-isolated"),
      outOf("both", listener(LINK_LOCAL, LISTENERS, 144), "denied"),
      outOf("both", listener(a.stranger, LISTENERS, LISTENER.REPORT_V2), "spoofed"),
      into("both", listener(a.stranger, ALL_NODES, LISTENER.QUERY), "denied"),
      into("both", listener(LINK_LOCAL, a.pods.both, LISTENER.QUERY), "denied"),
    ],
  },
  {
    name: "is judged by policy in IPv4, where nothing depends on it",
    families: [V4],
    steps: (a) => {
      const report: Segment = { number: 2, payload: [0x22, 0, 0, 0, 0, 0, 0, 0] };
      return [
        outOf("both", frame(a.pods.both, address("224.0.0.22"), report), "denied"),
        outOf("open", frame(a.pods.open, address("224.0.0.22"), report), "not-isolated"),
        into("both", frame(a.stranger, address("224.0.0.1"), report), "denied"),
      ];
    },
  },
]);

/** Ethernet types that carry IP in ways of their own: MPLS, PPPoE, a provider's tag of old, and 802.2 by its length. */
const CARRIERS = [0x8847, 0x8848, 0x8864, 0x9100, 0x88e5, 46];

testTable("IP inside of something else", world, [
  {
    name: "from or to an isolated pod is not understood",
    steps: (a) =>
      CARRIERS.flatMap((type) => {
        const carried = ethernet(type, ip(a.pods.both, a.friend, ALLOWED));
        const tags = tagged([ETHER_TYPE.VLAN], ethernet(type, ip(a.pods.both, a.friend, ALLOWED)));
        return [
          outOf("both", carried, "unsupported"),
          outOf("both", tags, "unsupported"),
          into("both", carried, "unsupported"),
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
    name: "is no pod's: IPv4 addresses in IPv6 ones, and what DHCP says before it has any",
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
    name: "of SCTP takes its start and its end as any packet, and neither opens the other way",
    steps: (a) => {
      const chunk = (from: number, to: number, type: number): Segment => ({
        number: IP_PROTOCOL.SCTP,
        payload: [...sctpSegment(from, to).payload, type, 0, 0, 4],
      });
      return [
        into("both", frame(a.friend, a.pods.both, chunk(40_000, 5_000, 1)), "policy"),
        outOf("both", frame(a.pods.both, a.friend, chunk(5_000, 40_000, 2)), "established"),
        into("both", frame(a.friend, a.pods.both, chunk(40_000, 5_000, 6)), "established"),
        outOf("both", frame(a.pods.both, a.friend, chunk(5_000, 40_000, 0)), "established"),
        outOf("both", frame(a.pods.both, a.friend, chunk(5_001, 40_000, 1)), "denied"),
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
