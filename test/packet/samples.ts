// Well-formed packets of every kind, to be cut short and mutated: both directions, both families.

import type { Direction } from "../../src/base/direction.ts";
import { addressBytes } from "../../src/base/ip.ts";
import { bytes, ETHER_TYPE, TCP_FLAG, tcp } from "../../src/engines/frame-builder.ts";
import { address } from "../support/model.ts";
import {
  arp,
  chained,
  EXTENSION,
  echo,
  echoReply,
  fragment,
  frame,
  ICMP_ERROR,
  type IcmpError,
  icmpError,
  icmpSegment,
  igmp,
  ip,
  mld,
  NEIGHBOUR,
  neighbour,
  OPTION,
  otherSegment,
  report,
  routerSolicitation,
  type Segment,
  SYN_ACK,
  sctpSegment,
  solicitedNode,
  tagged,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { type Addresses, BOTH_FAMILIES, V4, V6 } from "./world.ts";

export interface Sample {
  readonly direction: Direction;
  readonly frame: Uint8Array;
}

const { VLAN, QINQ } = ETHER_TYPE;
const { HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION } = EXTENSION;

const segments = (family: 4 | 6): Segment[] => [
  tcpSegment(40_000, 80),
  tcpSegment(40_000, 80, TCP_FLAG.ACK),
  tcpSegment(80, 40_000, SYN_ACK),
  tcpSegment(80, 40_000, TCP_FLAG.ACK),
  tcpSegment(40_000, 443),
  { number: 6, payload: bytes(tcp(40_001, 80), new Uint8Array(40)) },
  udpSegment(40_000, 80, new Uint8Array(16)),
  sctpSegment(40_000, 80),
  echo(family, 1),
  echoReply(family, 1),
  icmpSegment(family, family === 4 ? 13 : 139),
  otherSegment(47),
];

const fragments = (a: Addresses): Uint8Array[] =>
  [tcpSegment(40_000, 80), tcpSegment(40_000, 81), udpSegment(40_000, 80)].flatMap((segment, id) => [
    fragment(
      a.friend,
      a.pods.both,
      { ...segment, payload: bytes(segment.payload, new Uint8Array(12)) },
      { id, offset: 0, more: true },
    ),
    fragment(a.friend, a.pods.both, { ...segment, payload: tcp(40_000, 80) }, { id, offset: 4, more: true }),
    fragment(a.friend, a.pods.both, { ...segment, payload: tcp(40_000, 80) }, { id, offset: 7, more: false }),
  ]);

const errors = (a: Addresses): Uint8Array[] => {
  const quotes = [tcpSegment(80, 40_000, SYN_ACK), tcpSegment(40_000, 80), udpSegment(1, 2)];
  return (Object.keys(ICMP_ERROR) as IcmpError[]).flatMap((error) =>
    quotes.map((segment) => icmpError(a.node, a.pods.both, error, ip(a.pods.both, a.friend, segment))),
  );
};

const extended = (a: Addresses): Uint8Array[] =>
  [
    [HOP_BY_HOP],
    [DESTINATION, DESTINATION],
    [HOP_BY_HOP, ROUTING, FRAGMENT, AUTHENTICATION, DESTINATION],
    new Array<number>(8).fill(DESTINATION),
    new Array<number>(9).fill(ROUTING),
  ].map((types) => frame(a.friend, a.pods.both, chained(types, tcpSegment(40_000, 80))));

const neighbours = (a: Addresses): Uint8Array[] =>
  Object.values(NEIGHBOUR).flatMap((type) =>
    [a.friend, address("fe80::1"), address("::")].map((source) =>
      neighbour({ source, destination: a.pods.both, type, target: a.pods.both }),
    ),
  );

/** What passes from a pod as it is, and what only routers send: the exact shapes, to be changed in every byte. */
const said = (): Uint8Array[] => {
  const [own, own4, ll] = [V6.pods.both, V4.pods.both, address("fe80::1")];
  const [group, group4] = [address("ff0e::9"), address("239.1.2.3")];
  const ask = {
    source: own,
    destination: solicitedNode(V6.node),
    type: NEIGHBOUR.SOLICITATION,
    target: V6.node,
  };
  const tell = { source: ll, destination: ll, type: NEIGHBOUR.ADVERTISEMENT, target: own };
  const [oldMld, oldIgmp] = [131, 0x16].map((type, at) => [
    ...[type, 0, 0, 0],
    ...(at === 0 ? [0, 0, 0, 0] : []),
    ...addressBytes(at === 0 ? group : group4),
  ]) as [number[], number[]];
  return [
    neighbour({ ...ask, options: OPTION.source }),
    neighbour({
      ...ask,
      source: address("::"),
      destination: solicitedNode(own),
      target: own,
      options: OPTION.nonce,
    }),
    neighbour({ ...ask, destination: ll, target: ll }),
    neighbour({ ...tell, options: OPTION.target, reserved: 0x60000000 }),
    neighbour({ ...tell, destination: address("ff02::1") }),
    routerSolicitation(ll, address("ff02::2"), OPTION.source),
    mld(ll, address("ff02::16"), report([group, address("ff02::1:ff00:9")], 1)),
    mld(ll, group, oldMld),
    mld(ll, address("ff02::2"), [132, ...oldMld.slice(1)]),
    igmp(own4, address("224.0.0.22"), report([group4, group4], 1)),
    igmp(own4, group4, oldIgmp),
    igmp(own4, address("224.0.0.2"), [0x17, ...oldIgmp.slice(1)], { options: [] }),
    igmp(own4, address("224.0.0.1"), [0x11, ...oldIgmp.slice(1)]),
    arp({ operation: 1, sender: own4, target: V4.node, padding: 18 }),
    arp({ operation: 2, sender: own4, target: V4.node }),
    arp({ operation: 1, sender: address("0.0.0.0"), target: own4 }),
    frame(own4, V4.friend, icmpSegment(4, 5)),
    frame(own4, V4.friend, tcpSegment(40_000, 80), {
      v4: { options: [0x94, 4, 0, 0, 131, 7, 4, 1, 2, 3, 4, 0] },
    }),
  ];
};

/** Multicast listener discovery, and a routing header with segments left. */
const onLink = (a: Addresses): Uint8Array[] => [
  ...[130, 132, 143].flatMap((type) =>
    [address("fe80::1"), address("::"), a.friend].map((source) =>
      frame(
        source,
        address("ff02::16"),
        chained([HOP_BY_HOP], {
          number: 58,
          payload: bytes([type, 0, 0, 0], new Uint8Array(20)),
        }),
        { v6: { hopLimit: 1 } },
      ),
    ),
  ),
  frame(a.friend, a.pods.both, {
    number: ROUTING,
    payload: bytes([6, 0, 4, 1, 0, 0, 0, 0], tcp(40_000, 80)),
  }),
];

const ofFamily = (a: Addresses): Uint8Array[] => [
  ...segments(a.family).map((segment) => frame(a.friend, a.pods.both, segment)),
  ...segments(a.family).map((segment) => frame(a.stranger, a.pods.both, segment)),
  ...fragments(a),
  ...errors(a),
  ...[[VLAN], [QINQ, VLAN], [QINQ, VLAN, VLAN]].map((tags) =>
    tagged(tags, frame(a.friend, a.pods.both, tcpSegment(40_000, 80))),
  ),
];

const inward: readonly Uint8Array[] = [
  ...BOTH_FAMILIES.flatMap(ofFamily),
  ...[4, 8, 40].map((length) =>
    frame(V4.friend, V4.pods.both, tcpSegment(40_000, 80), {
      v4: { options: new Uint8Array(length).fill(1) },
    }),
  ),
  ...extended(V6),
  ...neighbours(V6),
  ...onLink(V6),
  ...[V4.friend, V4.pods.both, address("0.0.0.0")].map((sender) =>
    arp({ operation: 1, sender, target: V4.node }),
  ),
];

/** The same packet in reverse: source and destination of the IP header swapped. */
function turned(of: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(of);
  const type = ((of[12] ?? 0) << 8) | (of[13] ?? 0);
  const [at, size] = type === ETHER_TYPE.IPV4 ? [26, 4] : [22, 16];
  if (type !== ETHER_TYPE.IPV4 && type !== ETHER_TYPE.IPV6) return copy;
  copy.set(of.subarray(at + size, at + 2 * size), at);
  copy.set(of.subarray(at, at + size), at + size);
  return copy;
}

/** All to and from the pod "both"; its friend's TCP/80 may be allowed. */
export const SAMPLES: readonly Sample[] = [
  ...inward.flatMap((each) => [
    { direction: "ingress" as const, frame: each },
    { direction: "egress" as const, frame: turned(each) },
  ]),
  ...said().flatMap((each) => [
    { direction: "egress" as const, frame: each },
    { direction: "egress" as const, frame: tagged([VLAN], each) },
    { direction: "ingress" as const, frame: each },
  ]),
];
