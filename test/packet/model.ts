// What should become of a packet of the pod "both" when one peer may use one TCP port in both directions: a model of the
// whole life of a packet, in plain data, to compare the programs with. What precedes policy is the same for every pod.

import type { Direction } from "../../src/base/direction.ts";
import { addressBytes } from "../../src/base/ip.ts";

import { type Arp, hex, type Packet, readFrame, readQuoted } from "./parser.ts";
import { type PodName, V4, V6 } from "./world.ts";

const bytesOf = (address: typeof V4.friend): string => hex(Uint8Array.from(addressBytes(address)));
export const FRIEND = { 4: bytesOf(V4.friend), 6: bytesOf(V6.friend) } as const;
export const ALLOWED_PORT = 80;
const [TCP, SYN, RST, SYN_RST_ACK] = [6, 0x02, 0x04, 0x16];

/** Everything that the programs remember. */
export interface Memory {
  /** Flows that have an entry. */
  readonly flows: Set<string>;
  /** First fragments that passed, with what they were. */
  readonly firsts: Map<string, Packet>;
}

export const newMemory = (): Memory => ({ flows: new Set(), firsts: new Map() });

/** What a pod may send from. */
interface Own {
  readonly 4: string;
  readonly 6: string;
  /** It is isolated for egress: without an address it does not even ask for one. */
  readonly closed: boolean;
}

const ownOf = (pod: PodName): Own => ({
  4: bytesOf(V4.pods[pod]),
  6: bytesOf(V6.pods[pod]),
  closed: pod === "out" || pod === "both",
});

const isOwn = (own: Own, family: 4 | 6, source: string): boolean =>
  source === own[family] || (family === 6 && /^fe[89ab]/.test(source));

/** The reason for the next packet; remembers what the programs should. */
export function judge(memory: Memory, direction: Direction, frame: Uint8Array): string {
  const read = readUntilPolicy("both", direction, frame);
  return typeof read === "string" ? read : judgeIp(memory, direction, read);
}

/** The reason for a packet that is decided about before policy; else the packet. */
export function readUntilPolicy(pod: PodName, direction: Direction, frame: Uint8Array): string | Packet {
  const own = ownOf(pod);
  const read = readFrame(frame);
  const out = direction === "egress";
  if (read.kind === "arp") return out ? judgeArp(own, read) : "neighbour";
  if (read.kind !== "ip") {
    const family = read.source?.length === 8 ? 4 : 6;
    return out && read.source !== undefined && !isOwn(own, family, read.source) ? "spoofed" : read.kind;
  }
  const ofLink = out ? judgeSaid(own, read) : isHeard(read) ? "neighbour" : undefined;
  if (ofLink !== undefined) return ofLink;
  if (out && !isOwn(own, read.family, read.source) && (own.closed || !isDhcpRequest(read))) return "spoofed";
  if (out && isTunnel(read) && isNodes(read.destination)) return "encapsulated";
  return read;
}

/** RFC 2131 4.1. */
const isDhcpRequest = ({
  protocol,
  part,
  source,
  destination,
  sourcePort,
  destinationPort,
}: Packet): boolean =>
  `${source} ${destination} ${protocol} ${part} ${sourcePort} ${destinationPort}` ===
  "00000000 ffffffff 17 whole 68 67";

/** The addresses that this world's nodes listen to: their own, loopback, link-local, multicast and broadcast. */
const isNodes = (address: string): boolean =>
  /^(0a010001$|0a01ffff$|7f[0-9a-f]{6}$|a9fe[0-9a-f]{4}$|e[0-9a-f]{7}$|f{8}$|fd010{27}1|0{31}1$|fe[89ab][0-9a-f]{29}$|ff[0-9a-f]{30}$)/.test(
    address,
  );

/** UDP to tunnel ports, and packets in packets. */
function isTunnel({ protocol, part, destinationPort = 0 }: Packet): boolean {
  if (protocol !== 17) return [4, 41, 47, 55, 94, 97, 98, 115, 137, 143].includes(protocol);
  return part !== "later" && [4754, 4789, 4790, 6080, 6081, 6635, 7777, 8285, 8472].includes(destinationPort);
}

const isNone = (address: string): boolean => /^0*$/.test(address);
const isLinkLocal = (address: string): boolean => /^fe[89ab]/.test(address);
/** With more than an Ethernet frame needs. What comes to a pod may be padded with anything, what it sends itself with zeros. */
const isPadded = ({ padding }: Packet | Arp, isOwn = true): boolean =>
  padding.bytes > 0 && (!padding.needed || (isOwn && !padding.zeros));

/** A host without an address requests the one that it is to have. */
function judgeArp(own: Own, arp: Arp): string {
  const subject = isNone(arp.source) ? arp.target : arp.source;
  if (subject !== own[4]) return "spoofed";
  return isPadded(arp) || (isNone(arp.source) && arp.operation !== 1) ? "malformed" : "neighbour";
}

/** What passes to every pod: RFC 4861 from the same link, RFC 3810 and RFC 3376 to groups. */
function isHeard(packet: Packet): boolean {
  const { family, protocol, part, hopLimit, icmpType = -1, icmpCode, source, destination } = packet;
  if (part !== "whole") return false;
  if (family === 4) return protocol === 2 && /^e/.test(destination) && isExactIgmp(packet, false);
  if (protocol !== 58) return false;
  if (icmpType >= 133 && icmpType <= 137) return hopLimit === 255 && icmpCode === 0;
  const isListener = [130, 131, 132, 143].includes(icmpType) && isExactListener(packet, icmpType, false);
  return isListener && (isLinkLocal(source) || isNone(source)) && /^ff/.test(destination);
}

/** Whether a query is of an older version, `bytes` long, or continues with as many sources as it names. */
function isExactQuery(body: Uint8Array, bytes: number, addressBytes: number): boolean {
  const sources = ((body[bytes + 2] ?? 0) << 8) | (body[bytes + 3] ?? 0);
  return body.length === bytes || body.length === bytes + 4 + sources * addressBytes;
}

/** Types of ICMPv6, ICMP and IGMP that only routers send. */
const OF_ROUTERS: Readonly<Record<string, readonly number[]>> = {
  "6 58": [130, 134, 137, 151, 153],
  "4 1": [5, 9],
  "4 2": [0x11, 0x30, 0x32],
};

/** What a pod sends to its link; undefined if it is another packet. */
function judgeSaid(own: Own, packet: Packet): string | undefined {
  const { family, protocol, part, body, icmpType = -1, source } = packet;
  if (part === "later") return undefined;
  const kind = `${family} ${protocol}`;
  const type = kind === "4 2" ? (body.length >= 8 ? (body[0] ?? -1) : -1) : icmpType;
  if (OF_ROUTERS[kind]?.includes(type) === true) return "router";
  if (kind === "4 2") {
    if (!isExactIgmp(packet)) return undefined;
    return isNone(source) || isOwn(own, 4, source) ? "neighbour" : "spoofed";
  }
  if ((kind === "4 1" || kind === "6 58") && isErrorType(family, type)) return judgeErrorSaid(own, packet);
  if (kind !== "6 58") return undefined;
  if (type >= 133 && type <= 136) return judgeDiscovery(own, packet, type);
  const isReport = [131, 132, 143].includes(type) && (isNone(source) || isLinkLocal(source));
  return isReport && isExactListener(packet, type) ? "neighbour" : undefined;
}

const isErrorType = (family: 4 | 6, type: number): boolean =>
  family === 4 ? [3, 11, 12].includes(type) : type >= 0 && type < 128;

/** It is about a packet to the pod: RFC 1812 4.3.2, RFC 4443 2.4. */
function judgeErrorSaid(own: Own, { family, part, between, body, bodyLength }: Packet): string | undefined {
  const [headers, most] = family === 4 ? [20, 576] : [40, 1_280];
  const isCut = Math.min(body.length, bodyLength) < 8 + headers;
  if (part !== "whole" || isCut || headers + between.length + bodyLength > most) return "malformed";
  const destination = family === 4 ? body.subarray(24, 28) : body.subarray(32, 48);
  return isOwn(own, family, hex(destination)) ? undefined : "router";
}

/** RFC 4861 4: solicitations and advertisements with at most one option, of eight bytes. */
function judgeDiscovery(own: Own, packet: Packet, type: number): string {
  const { source, destination, body, bodyLength } = packet;
  const [target, options] =
    type === 133 ? ["", body.subarray(8)] : [hex(body.subarray(8, 24)), body.subarray(24)];
  const nobody = isNone(source) && type !== 136;
  if (!nobody && !isOwn(own, 6, source)) return "spoofed";
  const reserved = type === 136 ? [(body[4] ?? 0) & 0x1f, ...body.subarray(5, 8)] : [...body.subarray(4, 8)];
  const isPlain = packet.part === "whole" && packet.hopLimit === 255 && packet.icmpCode === 0;
  const optionType = type === 136 ? 2 : nobody ? (type === 135 ? 14 : -1) : 1;
  const isExact =
    isPlain &&
    !isPadded(packet) &&
    packet.between.length === 0 &&
    body.length === bodyLength &&
    reserved.every((byte) => byte === 0) &&
    (options.length === 0 || (options.length === 8 && options[0] === optionType && options[1] === 1)) &&
    isMeant({ type, destination, target, nobody });
  if (!isExact) return "malformed";
  const tells = type === 136 || (type === 135 && nobody);
  return tells && !isOwn(own, 6, target) ? "spoofed" : "neighbour";
}

interface Meant {
  readonly type: number;
  readonly destination: string;
  readonly target: string;
  readonly nobody: boolean;
}

/** Whether it goes to the multicast address that is reserved for it, or, on the link, to its subject. */
function isMeant({ type, destination, target, nobody }: Meant): boolean {
  if (type === 133) return destination === `ff02${"0".repeat(26)}02`;
  const isHere = isLinkLocal(destination) || (isNodes(destination) && !/^ff/.test(destination));
  if (type === 136) return isHere || destination === `ff02${"0".repeat(26)}01`;
  if (/^ff/.test(target)) return false;
  if (destination === `ff02${"0".repeat(19)}1ff${target.slice(-6)}`) return true;
  return !nobody && destination === target && isHere;
}

/** Whether the records of a report (type, no auxiliary data, count of sources, addresses) fill these bytes. */
function areRecords(bytes: Uint8Array, count: number, addressBytes: number): boolean {
  let at = 0;
  for (let left = count; left > 0; left -= 1) {
    const [type = 0, auxiliary, high = 0, low = 0] = bytes.subarray(at, at + 4);
    if (at + 4 > bytes.length || type < 1 || type > 6 || auxiliary !== 0) return false;
    at += 4 + addressBytes * (1 + high * 256 + low);
  }
  return at === bytes.length && count <= RECORDS_MAX;
}

const RECORDS_MAX = 80;

const isShort = (packet: Packet, isOwn: boolean): boolean =>
  packet.part === "whole" &&
  packet.hopLimit === 1 &&
  packet.body.length === packet.bodyLength &&
  !isPadded(packet, isOwn);

/** RFC 3810 5, RFC 2710 3: behind a hop-by-hop header with the router alert. */
function isExactListener(packet: Packet, type: number, isOwn = true): boolean {
  const { between, body, destination } = packet;
  const isAlert = ["3a00050200000100", "3a00010005020000"].includes(hex(between));
  if (!isShort(packet, isOwn) || !isAlert || packet.icmpCode !== 0) return false;
  if (type === 130) return isExactQuery(body, 24, 16);
  if (hex(body.subarray(4, 6)) !== "0000") return false;
  const records = ((body[6] ?? 0) << 8) | (body[7] ?? 0);
  if (type === 143)
    return destination === `ff02${"0".repeat(26)}16` && areRecords(body.subarray(8), records, 16);
  const group = hex(body.subarray(8));
  const isOne = body.length === 24 && records === 0 && /^ff/.test(group);
  return isOne && destination === (type === 132 ? `ff02${"0".repeat(26)}02` : group);
}

/** RFC 3376 4, RFC 2236 2: with the router alert or without. */
function isExactIgmp(packet: Packet, isOwn = true): boolean {
  const { between, body, destination } = packet;
  if (!isShort(packet, isOwn) || body.length < 8 || !["", "94040000"].includes(hex(between))) return false;
  const type = body[0] ?? 0;
  if (OF_ROUTERS["4 2"]?.includes(type) === true) return isExactQuery(body, 8, 4);
  if (body[1] !== 0) return false;
  const group = hex(body.subarray(4, 8));
  if (type === 0x22) {
    const count = ((body[6] ?? 0) << 8) | (body[7] ?? 0);
    return destination === "e0000016" && group.startsWith("0000") && areRecords(body.subarray(8), count, 4);
  }
  if (body.length !== 8 || !/^e/.test(group)) return false;
  if (type === 0x17) return destination === "e0000002";
  return (type === 0x12 || type === 0x16) && destination === group;
}

const flowOf = (packet: Omit<Packet, "padding">, out: boolean): string => {
  const { family, protocol, source, destination, sourcePort = 0, destinationPort = 0 } = packet;
  const [here, there] = [`${source}.${sourcePort}`, `${destination}.${destinationPort}`];
  return `${family} ${protocol} ${out ? `${here} ${there}` : `${there} ${here}`}`;
};

function judgeIp(memory: Memory, direction: Direction, packet: Packet): string {
  const out = direction === "egress";
  const { family, source, destination, fragmentId } = packet;
  const fragment = `${direction} ${source} ${destination} ${fragmentId} ${family === 4 ? packet.protocol : ""}`;
  const first = memory.firsts.get(fragment);
  if (packet.part === "later") {
    return first === undefined ? "fragment" : judgeFlow(memory, direction, { ...first, tcpFlags: 0x10 });
  }
  const isIcmp = packet.protocol === 1 || packet.protocol === 58;
  const isEcho = isIcmp && packet.sourcePort !== undefined;
  // The friend may use one TCP port only, so that no ICMP creates a flow.
  const reason = isEcho
    ? "denied"
    : isIcmp
      ? judgeError(memory, packet, out)
      : judgeFlow(memory, direction, packet);
  if (packet.part === "first" && !["denied", "untracked"].includes(reason))
    memory.firsts.set(fragment, packet);
  return reason;
}

function judgeError(
  memory: Memory,
  { family, protocol, part, icmpType, body, destination }: Packet,
  out: boolean,
): string {
  const isError = isErrorType(family, icmpType ?? -1);
  if (protocol !== (family === 4 ? 1 : 58) || !isError || part !== "whole") return "denied";
  const quoted = readQuoted(body.subarray(8), family);
  const known = quoted !== undefined && memory.flows.has(flowOf(quoted, !out));
  return known && quoted.source === destination && quoted.protocol === TCP ? "related" : "denied";
}

function judgeFlow({ flows }: Memory, direction: Direction, packet: Packet): string {
  const { tcpFlags = 0, destinationPort = 0 } = packet;
  const key = flowOf(packet, direction === "egress");
  const isSyn = packet.protocol === TCP && (tcpFlags & SYN_RST_ACK) === SYN;
  if (flows.has(key) && !isSyn) return "established";
  // Whatever its ports and flags: they do not show who opened the connection (docs/decisions/0017-openers-by-evidence.md).
  const peer = direction === "egress" ? packet.destination : packet.source;
  const isAllowed =
    packet.protocol === TCP && peer === FRIEND[packet.family] && destinationPort === ALLOWED_PORT;
  if (!isAllowed) return packet.protocol === TCP && !isSyn ? "untracked" : "denied";
  if (!(tcpFlags & RST)) flows.add(key);
  return "policy";
}
