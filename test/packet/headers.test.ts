// Headers through the loaded programs: tags, options, extension headers, and lengths that contradict each other.

import { ETHER_TYPE, ethernet, type Part, TCP_FLAG, tcp, u16, udp } from "../../src/engines/frame-builder.ts";
import {
  chained,
  EXTENSION,
  echo,
  etherTypeOf,
  extension,
  frame,
  ip,
  otherSegment,
  type Segment,
  sctpSegment,
  tagged,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { into, outOf, testTable, useWorld } from "./table.ts";
import { type Addresses, V4, V6 } from "./world.ts";

const world = useWorld();
const { VLAN, QINQ } = ETHER_TYPE;
const { HOP_BY_HOP, ROUTING, FRAGMENT, ESP, AUTHENTICATION, NONE, DESTINATION, MOBILITY, HIP, SHIM6 } =
  EXTENSION;

const WEB = tcpSegment(40_000, 80);
const OTHER = tcpSegment(40_000, 81);
const from = (a: Addresses, segment: Segment, fields = {}) => frame(a.friend, a.pods.both, segment, fields);

testTable("Ethernet", world, [
  {
    name: "has up to two VLAN tags, of either type",
    steps: (a) =>
      [[VLAN], [QINQ], [QINQ, VLAN], [VLAN, VLAN]].flatMap((tags, at) => [
        into("both", tagged(tags, from(a, tcpSegment(41_000 + at, 80))), "policy"),
        into("both", tagged(tags, from(a, tcpSegment(41_000 + at, 81))), "denied"),
        outOf(
          "both",
          tagged(tags, frame(a.pods.both, a.friend, tcpSegment(80, 41_000 + at, TCP_FLAG.ACK))),
          "established",
        ),
        outOf("both", tagged(tags, frame(a.pods.both, a.stranger, udpSegment(1, 53))), "denied"),
      ]),
  },
  {
    name: "with a third tag is not understood",
    steps: (a) => [
      into("both", tagged([QINQ, VLAN, VLAN], from(a, WEB)), "unsupported"),
      into("out", tagged([QINQ, VLAN, VLAN], frame(a.friend, a.pods.out, WEB)), "not-isolated"),
    ],
  },
  {
    name: "of other types is not understood, and passes to pods only that nothing isolates",
    steps: (a) => {
      const payload = ip(a.friend, a.pods.both, WEB);
      // A length, Wake-on-LAN, RARP, MPLS, PPPoE, 802.1X, LLDP, MACsec and IPX.
      return [46, 0x0842, 0x8035, 0x8847, 0x8864, 0x888e, 0x88cc, 0x88e5, 0x8137].flatMap((type) => [
        into("both", ethernet(type, payload), "unsupported"),
        outOf("both", ethernet(type, payload), "unsupported"),
        into("in", ethernet(type, payload), "unsupported"),
        outOf("in", ethernet(type, payload), "unsupported"),
        into("open", ethernet(type, payload), "not-isolated"),
      ]);
    },
  },
  {
    name: "whose type is the other family's is malformed",
    steps: (a) => {
      const type = a.family === 4 ? ETHER_TYPE.IPV6 : ETHER_TYPE.IPV4;
      const payload = ip(a.friend, a.pods.both, tcpSegment(1, 80), {});
      return [into("both", ethernet(type, payload, new Uint8Array(40)), "malformed")];
    },
  },
  {
    name: "that ends within the tags or the IP header is malformed",
    steps: (a) => {
      const whole = tagged([QINQ, VLAN], from(a, WEB));
      const header = a.family === 4 ? 20 : 40;
      return [14, 15, 17, 18, 21, 22, 23, 22 + header - 1, 22 + header, 22 + header + 19].map((length) =>
        into("both", whole.subarray(0, length), "malformed"),
      );
    },
  },
]);

/** Options whose bytes look like the ports of an allowed flow. */
const mimic = (length: number): Part => [
  EXPERIMENT,
  length,
  ...u16(80),
  ...Array.from({ length: length / 4 - 1 }, () => [...u16(40_000), ...u16(80)]).flat(),
];

/** RFC 4727 3.2: an option for experiments. */
const EXPERIMENT = 30;

testTable("IPv4", world, [
  {
    name: "options of every length move the ports, whatever they look like",
    families: [V4],
    steps: (a) =>
      [4, 8, 12, 16, 20, 24, 28, 32, 36, 40].flatMap((length) => [
        into(
          "both",
          from(a, tcpSegment(42_000 + length, 80), { v4: { options: new Uint8Array(length).fill(1) } }),
          "policy",
        ),
        into("both", from(a, tcpSegment(42_000 + length, 81), { v4: { options: mimic(length) } }), "denied"),
        into("both", from(a, udpSegment(42_000 + length, 53), { v4: { options: mimic(length) } }), "policy"),
      ]),
  },
  {
    name: "header lengths that cannot be are malformed",
    families: [V4],
    steps: (a) => [
      ...[0, 1, 2, 3, 4].map((headerWords) =>
        into("both", from(a, WEB, { v4: { headerWords } }), "malformed"),
      ),
      ...[6, 11, 15].map((headerWords) => into("both", from(a, WEB, { v4: { headerWords } }), "malformed")),
      ...[0, 5, 6, 15].map((version) => into("both", from(a, WEB, { v4: { version } }), "malformed")),
    ],
  },
  {
    name: "total lengths are the packet's: what lies beyond is padding",
    families: [V4],
    steps: (a) => [
      ...[0, 1, 19, 20, 24, 39].map((totalLength) =>
        into("both", from(a, WEB, { v4: { totalLength } }), "malformed"),
      ),
      into("both", from(a, WEB, { v4: { totalLength: 40 } }), "policy"),
      into(
        "both",
        from(a, { number: 6, payload: [...tcp(1, 81), 0, 80] }, { v4: { totalLength: 40 } }),
        "denied",
      ),
      into("both", from(a, OTHER, { v4: { totalLength: 65_535 } }), "denied"),
      into(
        "both",
        from(a, { number: 17, payload: udp(40_000, 53) }, { v4: { totalLength: 27 } }),
        "malformed",
      ),
      into("both", from(a, { number: 17, payload: udp(40_000, 53) }, { v4: { totalLength: 28 } }), "policy"),
    ],
  },
  {
    name: "protocols of IPv6 are others",
    families: [V4],
    steps: (a) =>
      [
        HOP_BY_HOP,
        ROUTING,
        FRAGMENT,
        ESP,
        AUTHENTICATION,
        58,
        NONE,
        DESTINATION,
        MOBILITY,
        HIP,
        SHIM6,
      ].flatMap((number) => [
        into("both", from(a, { number, payload: [6, 0, 0, 0, 0, 0, 0, 0, ...tcp(40_000, 80)] }), "denied"),
        into("both", frame(a.trusted, a.pods.both, otherSegment(number)), "policy"),
      ]),
  },
]);

testTable("IPv6", world, [
  {
    name: "extension headers of each type are stepped over",
    families: [V6],
    steps: (a) =>
      [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION, MOBILITY, HIP, SHIM6].flatMap((type, at) =>
        [8, 16, 64, 256].flatMap((size) => [
          into("both", from(a, chained([type], tcpSegment(43_000 + at * 300 + size, 80), size)), "policy"),
          into("both", from(a, chained([type], tcpSegment(43_000 + at * 300 + size, 81), size)), "denied"),
          into(
            "both",
            from(a, chained([type, DESTINATION], udpSegment(43_000 + at * 300 + size, 54), size)),
            "denied",
          ),
        ]),
      ),
  },
  {
    name: "eight extension headers are stepped over, nine are not understood",
    families: [V6],
    steps: (a) => {
      const destinations = (count: number) => new Array<number>(count).fill(DESTINATION);
      return [
        into("both", from(a, chained(destinations(8), WEB)), "policy"),
        into("both", from(a, chained(destinations(8), OTHER)), "denied"),
        into("both", from(a, chained(destinations(9), WEB)), "unsupported"),
        into("both", from(a, chained(destinations(20), WEB)), "unsupported"),
        into("out", frame(a.friend, a.pods.out, chained(destinations(9), WEB)), "not-isolated"),
      ];
    },
  },
  {
    name: "extension headers that are longer than the packet are malformed",
    families: [V6],
    steps: (a) =>
      [HOP_BY_HOP, ROUTING, AUTHENTICATION, DESTINATION, MOBILITY].flatMap((type) => [
        into("both", from(a, { number: type, payload: [6, 255, ...new Uint8Array(30)] }), "malformed"),
        into(
          "both",
          from(a, { number: type, payload: [6, 8, ...new Uint8Array(6), ...tcp(40_000, 80)] }),
          "malformed",
        ),
        into("both", from(a, { number: type, payload: [6, 0, 0, 0] }), "malformed"),
        into("both", from(a, { number: type, payload: [6] }), "malformed"),
      ]),
  },
  {
    name: "what no extension header is ends the chain: unknown protocols, encryption, nothing",
    families: [V6],
    steps: (a) =>
      [ESP, NONE, 253, 254, 255, 1, 4, 41, 47].flatMap((number) => [
        into("both", from(a, { number, payload: [6, 0, 0, 0, 0, 0, 0, 0, ...tcp(40_000, 80)] }), "denied"),
        into("both", from(a, chained([DESTINATION], { number, payload: tcp(40_000, 80) })), "denied"),
        into("both", frame(a.trusted, a.pods.both, chained([DESTINATION], otherSegment(number))), "policy"),
      ]),
  },
  {
    name: "payload lengths are the packet's: what lies beyond is padding",
    families: [V6],
    steps: (a) => [
      ...[1, 8, 19].map((payloadLength) =>
        into("both", from(a, WEB, { v6: { payloadLength } }), "malformed"),
      ),
      into("both", from(a, WEB, { v6: { payloadLength: 20 } }), "policy"),
      into("both", from(a, OTHER, { v6: { payloadLength: 65_535 } }), "denied"),
      ...[0, 4, 5, 15].map((version) => into("both", from(a, WEB, { v6: { version } }), "malformed")),
      into("both", from(a, chained([DESTINATION], WEB), { v6: { payloadLength: 27 } }), "malformed"),
      into(
        "both",
        from(a, chained([DESTINATION], tcpSegment(40_001, 80)), { v6: { payloadLength: 28 } }),
        "policy",
      ),
    ],
  },
  {
    name: "jumbograms are malformed",
    families: [V6],
    steps: (a) => {
      const jumbo: Segment = { number: HOP_BY_HOP, payload: [6, 0, 0xc2, 4, 0, 1, 0, 0, ...tcp(40_000, 80)] };
      return [
        into("both", from(a, jumbo, { v6: { payloadLength: 0 } }), "malformed"),
        into("both", from(a, WEB, { v6: { payloadLength: 0 } }), "malformed"),
        into("both", from(a, { number: NONE, payload: [] }), "denied"),
        into("both", frame(a.trusted, a.pods.both, { number: NONE, payload: [] }), "policy"),
      ];
    },
  },
]);

testTable("transport headers", world, [
  {
    name: "that cannot be are malformed",
    steps: (a) => [
      ...[0, 1, 4].map((words) => {
        const payload = Uint8Array.from(tcp(40_000, 80), (byte, at) => (at === 12 ? words << 4 : byte));
        return into("both", from(a, { number: 6, payload }), "malformed");
      }),
      into("both", from(a, { number: 6, payload: tcp(40_000, 80).subarray(0, 19) }), "malformed"),
      into("both", from(a, { number: 17, payload: udp(40_000, 53).subarray(0, 7) }), "malformed"),
      into(
        "both",
        from(a, { number: 132, payload: sctpSegment(40_000, 5_000).payload.slice(0, 11) }),
        "malformed",
      ),
      into(
        "both",
        from(a, { number: 132, payload: sctpSegment(40_000, 5_000).payload.slice(0, 12) }),
        "policy",
      ),
      into(
        "both",
        from(a, { number: echo(a.family, 1).number, payload: echo(a.family, 1).payload.slice(0, 7) }),
        "malformed",
      ),
      into("both", from(a, { number: 6, payload: [] }), "malformed"),
    ],
  },
  {
    name: "of tunnels are not looked behind",
    steps: (a) => {
      const inner = ip(a.friend, a.pods.both, WEB);
      return [4, 41].map((number) => into("both", from(a, { number, payload: inner }), "denied"));
    },
  },
  {
    name: "that are cut short never leave a pod, and pass to it where it is not isolated",
    steps: (a) => [
      into("out", frame(a.friend, a.pods.out, { number: 6, payload: [0, 1] }), "not-isolated"),
      outOf("in", frame(a.pods.in, a.friend, { number: 6, payload: [0, 1] }), "malformed"),
      into(
        "open",
        ethernet(etherTypeOf(a.friend), ip(a.friend, a.pods.open, WEB).subarray(0, a.family === 4 ? 24 : 44)),
        "not-isolated",
      ),
    ],
  },
  {
    name: "behind a chain that only an authentication header could be",
    families: [V6],
    steps: (a) => [
      into(
        "both",
        from(a, {
          number: AUTHENTICATION,
          payload: [...extension(AUTHENTICATION, 6, 12), ...tcp(44_000, 80)],
        }),
        "policy",
      ),
      into(
        "both",
        from(a, {
          number: AUTHENTICATION,
          payload: [...extension(AUTHENTICATION, 6, 12), ...tcp(44_000, 81)],
        }),
        "denied",
      ),
    ],
  },
]);
