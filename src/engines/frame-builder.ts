// Ethernet frames built byte by byte, for programs under test: IPv4 and IPv6, TCP, UDP, SCTP and ICMP.

import { type Address, addressBytes } from "../base/ip.ts";
import type { Protocol } from "../model/protocol.ts";
import { IP_PROTOCOL } from "../model/protocol.ts";

/** IP protocol numbers (IANA). */
export { IP_PROTOCOL };
export const ETHER_TYPE = { IPV4: 0x0800, ARP: 0x0806, VLAN: 0x8100, QINQ: 0x88a8, IPV6: 0x86dd } as const;
export const TCP_FLAG = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16, URG: 32 } as const;

/** Parts of a frame: bytes, or numbers that are one byte each. */
export type Part = Uint8Array | readonly number[];

export function bytes(...parts: readonly Part[]): Uint8Array {
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

export const u16 = (value: number): number[] => [(value >> 8) & 0xff, value & 0xff];
export const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value & 0xffff)];

const MAC = [0x02, 0, 0, 0, 0, 1];

/** The same frame between other stations. */
export const between = (
  frame: Uint8Array,
  { source = MAC, destination = MAC }: { readonly source?: Part; readonly destination?: Part },
): Uint8Array => bytes(destination, source, frame.subarray(12));

export const ethernet = (type: number, ...payload: readonly Part[]): Uint8Array =>
  bytes(MAC, MAC, u16(type), ...payload);

export interface Ipv4Fields {
  readonly source: Address;
  readonly destination: Address;
  readonly protocol: number;
  /** Header options, a multiple of four bytes. */
  readonly options?: Part;
  readonly ttl?: number;
  readonly id?: number;
  /** In units of eight bytes. */
  readonly fragmentOffset?: number;
  readonly moreFragments?: boolean;
  /** For a wrong length in the header. */
  readonly totalLength?: number;
  readonly headerWords?: number;
  readonly version?: number;
}

export function ipv4(fields: Ipv4Fields, payload: Part): Uint8Array {
  const options = fields.options ?? [];
  const words = fields.headerWords ?? 5 + options.length / 4;
  const fragment = (fields.moreFragments ? 0x2000 : 0) | (fields.fragmentOffset ?? 0);
  return bytes(
    [((fields.version ?? 4) << 4) | words, 0],
    u16(fields.totalLength ?? 20 + options.length + payload.length),
    u16(fields.id ?? 0),
    u16(fragment),
    [fields.ttl ?? 64, fields.protocol, 0, 0],
    addressBytes(fields.source),
    addressBytes(fields.destination),
    options,
    payload,
  );
}

export interface Ipv6Fields {
  readonly source: Address;
  readonly destination: Address;
  /** Of the first header in the payload. */
  readonly next: number;
  readonly hopLimit?: number;
  readonly payloadLength?: number;
  readonly version?: number;
}

export function ipv6(fields: Ipv6Fields, payload: Part): Uint8Array {
  return bytes(
    [(fields.version ?? 6) << 4, 0, 0, 0],
    u16(fields.payloadLength ?? payload.length),
    [fields.next, fields.hopLimit ?? 64],
    addressBytes(fields.source),
    addressBytes(fields.destination),
    payload,
  );
}

export const tcp = (
  source: number,
  destination: number,
  flags: number = TCP_FLAG.SYN,
  payload: Part = [],
  { sequence = 1, acknowledged = flags & TCP_FLAG.ACK ? 1 : 0 } = {},
): Uint8Array =>
  bytes(
    u16(source),
    u16(destination),
    u32(sequence),
    u32(acknowledged),
    [0x50, flags],
    u16(65_535),
    u16(0),
    u16(0),
    payload,
  );

export const udp = (source: number, destination: number, payload: Part = []): Uint8Array =>
  bytes(u16(source), u16(destination), u16(8 + payload.length), u16(0), payload);

/** Types of the first chunk of an SCTP packet (RFC 9260, 3.2). */
export const SCTP_CHUNK = { DATA: 0, INIT: 1, INIT_ACK: 2, HEARTBEAT: 4, ABORT: 6, SHUTDOWN: 7 } as const;

/** A common header and a chunk with the fields of an INIT. */
export const sctp = (source: number, destination: number, chunk: number = SCTP_CHUNK.INIT): Uint8Array =>
  bytes(
    u16(source),
    u16(destination),
    u32(0),
    u32(0),
    [chunk, 0],
    u16(20),
    u32(1),
    u32(65_535),
    u16(1),
    u16(1),
    u32(1),
  );

/** ICMP and ICMPv6 messages have the same head: type, code, checksum, four more bytes. */
export const icmp = (type: number, code: number, rest: Part, payload: Part = []): Uint8Array =>
  bytes([type, code, 0, 0], rest, payload);

export const ECHO_REQUEST = { 4: 8, 6: 128 } as const;
export const ECHO_REPLY = { 4: 0, 6: 129 } as const;

/** What a packet is, in the terms of a probe. */
export interface PacketFields {
  readonly source: Address;
  readonly destination: Address;
  readonly protocol: Protocol | "ICMP" | "ICMP reply";
  readonly sourcePort: number;
  /** ICMP: unused; the source port is the identifier. */
  readonly destinationPort: number;
  readonly tcpFlags?: number;
}

/** A well-formed packet with its Ethernet header. */
export function packet(fields: PacketFields): Uint8Array {
  const { source, destination } = fields;
  const { number, payload } = transport(fields);
  if (source.family === 4)
    return ethernet(ETHER_TYPE.IPV4, ipv4({ source, destination, protocol: number }, payload));
  return ethernet(ETHER_TYPE.IPV6, ipv6({ source, destination, next: number }, payload));
}

/** The transport header of a probe and its IP protocol number. */
export function transport(fields: PacketFields): { readonly number: number; readonly payload: Uint8Array } {
  const { family } = fields.source;
  switch (fields.protocol) {
    case "TCP":
      return {
        number: IP_PROTOCOL.TCP,
        payload: tcp(fields.sourcePort, fields.destinationPort, fields.tcpFlags),
      };
    case "UDP":
      return { number: IP_PROTOCOL.UDP, payload: udp(fields.sourcePort, fields.destinationPort) };
    case "SCTP":
      return { number: IP_PROTOCOL.SCTP, payload: sctp(fields.sourcePort, fields.destinationPort) };
    case "ICMP":
    case "ICMP reply": {
      const type = (fields.protocol === "ICMP" ? ECHO_REQUEST : ECHO_REPLY)[family];
      return {
        number: family === 4 ? IP_PROTOCOL.ICMP : IP_PROTOCOL.ICMPV6,
        payload: icmp(type, 0, [...u16(fields.sourcePort), ...u16(1)]),
      };
    }
  }
}
