// Packets for the tests of this folder, of either family: extension headers, fragments, ICMP errors, ARP, neighbours.

import { type Address, addressBits, addressBytes, addressOf } from "../../src/base/ip.ts";
import {
  bytes,
  ECHO_REPLY,
  ECHO_REQUEST,
  ETHER_TYPE,
  ethernet,
  IP_PROTOCOL,
  type Ipv4Fields,
  type Ipv6Fields,
  icmp,
  ipv4,
  ipv6,
  type Part,
  SCTP_CHUNK,
  sctp,
  TCP_FLAG,
  tcp,
  u16,
  u32,
  udp,
} from "../../src/engines/frame-builder.ts";

/** What is behind the IP header, and its protocol number in the IP header. */
export interface Segment {
  readonly number: number;
  readonly payload: Part;
}

export const SYN_ACK = TCP_FLAG.SYN | TCP_FLAG.ACK;
export const FIN_ACK = TCP_FLAG.FIN | TCP_FLAG.ACK;
export const RST_ACK = TCP_FLAG.RST | TCP_FLAG.ACK;

export const tcpSegment = (from: number, to: number, flags: number = TCP_FLAG.SYN): Segment => ({
  number: IP_PROTOCOL.TCP,
  payload: tcp(from, to, flags),
});

export const udpSegment = (from: number, to: number, payload: Part = []): Segment => ({
  number: IP_PROTOCOL.UDP,
  payload: udp(from, to, payload),
});

export const sctpSegment = (from: number, to: number, chunk?: number): Segment => ({
  number: IP_PROTOCOL.SCTP,
  payload: sctp(from, to, chunk),
});

/** Of an association that exists. */
export const sctpData = (from: number, to: number): Segment => sctpSegment(from, to, SCTP_CHUNK.DATA);

export const icmpNumber = (family: 4 | 6): number => (family === 4 ? IP_PROTOCOL.ICMP : IP_PROTOCOL.ICMPV6);

export const echo = (family: 4 | 6, id: number): Segment => ({
  number: icmpNumber(family),
  payload: icmp(ECHO_REQUEST[family], 0, [...u16(id), ...u16(1)]),
});

export const echoReply = (family: 4 | 6, id: number): Segment => ({
  number: icmpNumber(family),
  payload: icmp(ECHO_REPLY[family], 0, [...u16(id), ...u16(1)]),
});

/** Any other ICMP message. */
export const icmpSegment = (family: 4 | 6, type: number, code = 0): Segment => ({
  number: icmpNumber(family),
  payload: icmp(type, code, u32(0)),
});

/** Eight bytes of a protocol that has no ports. */
export const otherSegment = (number: number): Segment => ({
  number,
  payload: u32(0x01020304).concat(u32(5)),
});

/** An IP packet without its Ethernet header. */
export function ip(
  source: Address,
  destination: Address,
  { number, payload }: Segment,
  fields: IpFields = {},
): Uint8Array {
  if (source.family === 4) return ipv4({ ...fields.v4, source, destination, protocol: number }, payload);
  return ipv6({ ...fields.v6, source, destination, next: number }, payload);
}

/** Fields of the IP header that differ from the default. */
export interface IpFields {
  readonly v4?: Partial<Ipv4Fields>;
  readonly v6?: Partial<Ipv6Fields>;
}

export const etherTypeOf = ({ family }: Address): number =>
  family === 4 ? ETHER_TYPE.IPV4 : ETHER_TYPE.IPV6;

/** A packet with its Ethernet header. */
export const frame = (
  source: Address,
  destination: Address,
  segment: Segment,
  fields: IpFields = {},
): Uint8Array => ethernet(etherTypeOf(source), ip(source, destination, segment, fields));

/** The tags' types take the place of the frame's type, which comes last. */
export function tagged(types: readonly number[], of: Uint8Array): Uint8Array {
  const tags = types.flatMap((type) => [...u16(type), ...u16(5)]);
  return bytes(of.subarray(0, 12), tags, of.subarray(12));
}

export interface FragmentFields {
  readonly id: number;
  /** In units of eight bytes. */
  readonly offset: number;
  readonly more: boolean;
}

/** A fragment that carries these bytes of a segment. */
export function fragment(
  source: Address,
  destination: Address,
  { number, payload }: Segment,
  fields: FragmentFields,
): Uint8Array {
  if (source.family === 4) {
    const v4 = { id: fields.id, fragmentOffset: fields.offset, moreFragments: fields.more };
    return frame(source, destination, { number, payload }, { v4 });
  }
  const head = fragmentHeader(number, fields);
  return frame(source, destination, { number: EXTENSION.FRAGMENT, payload: bytes(head, payload) });
}

export const EXTENSION = {
  HOP_BY_HOP: 0,
  ROUTING: 43,
  FRAGMENT: 44,
  ESP: 50,
  AUTHENTICATION: 51,
  NONE: 59,
  DESTINATION: 60,
  MOBILITY: 135,
  HIP: 139,
  SHIM6: 140,
} as const;

export const fragmentHeader = (next: number, { id, offset, more }: FragmentFields): Uint8Array =>
  bytes([next, 0], u16((offset << 3) | (more ? 1 : 0)), u32(id));

/** An extension header of `size` bytes, a multiple of eight (of four for authentication). */
export function extension(type: number, next: number, size = 8): Uint8Array {
  if (type === EXTENSION.FRAGMENT) return fragmentHeader(next, { id: 7, offset: 0, more: false });
  const units = type === EXTENSION.AUTHENTICATION ? size / 4 - 2 : size / 8 - 1;
  return bytes([next, units], new Uint8Array(size - 2));
}

/** A segment behind a chain of extension headers, of 8 bytes each, or behind ready-made ones. */
export function chained(types: readonly number[], { number, payload }: Segment, size?: number): Segment {
  const headers = types.map((type, at) =>
    extension(type, types[at + 1] ?? number, type === EXTENSION.FRAGMENT ? 8 : size),
  );
  return { number: types[0] ?? number, payload: bytes(...headers, payload) };
}

/** Types of ICMP errors by what they report, with a code. */
export const ICMP_ERROR = {
  unreachable: { 4: [3, 3], 6: [1, 4] },
  "too big": { 4: [3, 4], 6: [2, 0] },
  "time exceeded": { 4: [11, 0], 6: [3, 0] },
  "parameter problem": { 4: [12, 0], 6: [4, 1] },
} as const;
export type IcmpError = keyof typeof ICMP_ERROR;

/** An ICMP error that quotes the beginning of a packet. */
export function icmpError(source: Address, destination: Address, error: IcmpError, quote: Part): Uint8Array {
  const [type, code] = ICMP_ERROR[error][source.family];
  return frame(source, destination, {
    number: icmpNumber(source.family),
    payload: icmp(type, code, u32(1_280), quote),
  });
}

export interface ArpFields {
  readonly operation: number;
  readonly sender: Address;
  readonly target: Address;
  /** Types and lengths of the addresses, if they are not those of IPv4 over Ethernet. */
  readonly hardwareType?: number;
  readonly protocolType?: number;
  readonly lengths?: readonly [hardware: number, protocol: number];
  readonly etherType?: number;
  readonly senderHardware?: Part;
  readonly targetHardware?: Part;
  /** Behind the packet: so many zeros, or these bytes. */
  readonly padding?: number | readonly number[];
}

export const arp = ({ operation, sender, target, ...more }: ArpFields): Uint8Array =>
  ethernet(
    more.etherType ?? ETHER_TYPE.ARP,
    [...u16(more.hardwareType ?? 1), ...u16(more.protocolType ?? ETHER_TYPE.IPV4)],
    [...(more.lengths ?? [6, 4]), ...u16(operation)],
    [...(more.senderHardware ?? OWN_MAC), ...addressBytes(sender)],
    [...(more.targetHardware ?? [0, 0, 0, 0, 0, 0]), ...addressBytes(target)],
    typeof more.padding === "object" ? more.padding : new Uint8Array(more.padding ?? 0),
  );

/** Of the frames that ethernet() makes. */
export const OWN_MAC = [2, 0, 0, 0, 0, 1] as const;

export const NEIGHBOUR = {
  ROUTER_SOLICITATION: 133,
  ROUTER_ADVERTISEMENT: 134,
  SOLICITATION: 135,
  ADVERTISEMENT: 136,
  REDIRECT: 137,
} as const;

/** Options of neighbour discovery, each of eight bytes. */
export const OPTION = {
  source: [1, 1, ...OWN_MAC],
  target: [2, 1, ...OWN_MAC],
  nonce: [14, 1, 9, 8, 7, 6, 5, 4],
} as const;

/** The multicast address at which an address is solicited. */
export const solicitedNode = ({ value }: Address): Address =>
  addressOf(6, (0xff02n << 112n) | (0x1ffn << 24n) | (value & 0xffffffn));

/** A router solicitation, which is about no address. */
export const routerSolicitation = (
  source: Address,
  destination: Address,
  options: Part = [],
  hopLimit = 255,
): Uint8Array =>
  frame(
    source,
    destination,
    { number: IP_PROTOCOL.ICMPV6, payload: icmp(NEIGHBOUR.ROUTER_SOLICITATION, 0, u32(0), options) },
    { v6: { hopLimit } },
  );

/** The router alert of MLD (RFC 3810 5) and of IGMP (RFC 3376 4). */
export const ROUTER_ALERT = { 4: [0x94, 4, 0, 0], 6: [5, 2, 0, 0, 1, 0] } as const;

/** A message of MLD behind its hop-by-hop header. */
export const mld = (
  source: Address,
  destination: Address,
  body: Part,
  { hopLimit = 1, alert = ROUTER_ALERT[6] }: { readonly hopLimit?: number; readonly alert?: Part } = {},
): Uint8Array =>
  frame(
    source,
    destination,
    { number: EXTENSION.HOP_BY_HOP, payload: bytes([IP_PROTOCOL.ICMPV6, 0], alert, body) },
    { v6: { hopLimit } },
  );

/** A message of IGMP. */
export const igmp = (
  source: Address,
  destination: Address,
  body: Part,
  { ttl = 1, options = ROUTER_ALERT[4] }: { readonly ttl?: number; readonly options?: Part } = {},
): Uint8Array =>
  frame(source, destination, { number: 2, payload: body }, { v4: { ttl, options: bytes(options) } });

/** A report of these groups, of version 2 of MLD or version 3 of IGMP, each with so many sources. */
export const report = (groups: readonly Address[], sources = 0): number[] => {
  const family = groups[0]?.family ?? 6;
  const record = (group: Address) => [
    4,
    0,
    ...u16(sources),
    ...addressBytes(group),
    ...new Array<number>((sources * addressBits(family)) / 8).fill(0),
  ];
  return [family === 6 ? 143 : 0x22, 0, 0, 0, 0, 0, ...u16(groups.length), ...groups.flatMap(record)];
};

export interface NeighbourFields {
  readonly source: Address;
  readonly destination: Address;
  readonly type: number;
  /** The address that is solicited or advertised. */
  readonly target: Address;
  readonly code?: number;
  readonly hopLimit?: number;
  /** The four bytes in front of the target. */
  readonly reserved?: number;
  readonly options?: Part;
}

export const neighbour = ({ source, destination, type, target, ...more }: NeighbourFields): Uint8Array =>
  frame(
    source,
    destination,
    {
      number: IP_PROTOCOL.ICMPV6,
      payload: icmp(
        type,
        more.code ?? 0,
        u32(more.reserved ?? 0),
        bytes(addressBytes(target), more.options ?? []),
      ),
    },
    { v6: { hopLimit: more.hopLimit ?? 255 } },
  );
