// What should become of a packet of the pod "both" when one peer may use one TCP port in both directions: a model of the
// whole life of a packet, in plain data, to hold the programs against.

import type { Direction } from "../../src/base/direction.ts";
import { addressBytes } from "../../src/engines/frame.ts";
import { hex, type Packet, readFrame, readQuoted } from "./parser.ts";
import { V4, V6 } from "./world.ts";

const bytesOf = (address: typeof V4.friend): string => hex(Uint8Array.from(addressBytes(address)));
const OWN = { 4: bytesOf(V4.pods.both), 6: bytesOf(V6.pods.both) } as const;
const FRIEND = { 4: bytesOf(V4.friend), 6: bytesOf(V6.friend) } as const;
const ALLOWED_PORT = 80;
const EPHEMERAL_FIRST = 32_768;
const [TCP, SYN, SYN_RST_ACK] = [6, 0x02, 0x16];

/** Everything that the programs remember. */
export interface Memory {
  /** Opener of each flow. */
  readonly flows: Map<string, Direction>;
  /** First fragments that passed, with what they were. */
  readonly firsts: Map<string, Packet>;
}

export const newMemory = (): Memory => ({ flows: new Map(), firsts: new Map() });

const isOwn = (family: 4 | 6, source: string): boolean =>
  source === OWN[family] || (family === 6 && /^fe[89ab]/.test(source));

/** The reason for the next packet; remembers what the programs should. */
export function judge(memory: Memory, direction: Direction, frame: Uint8Array): string {
  const read = readFrame(frame);
  const out = direction === "egress";
  if (read.kind === "arp")
    return out && read.source !== OWN[4] && read.source !== "00000000" ? "spoofed" : "neighbour";
  if (read.kind !== "ip") {
    const family = read.source?.length === 8 ? 4 : 6;
    return out && read.source !== undefined && !isOwn(family, read.source) ? "spoofed" : read.kind;
  }
  const neighbour = judgeNeighbour(read, out);
  if (neighbour !== undefined) return neighbour;
  if (out && !isOwn(read.family, read.source)) return "spoofed";
  return judgeIp(memory, direction, read);
}

/** RFC 4861; undefined where it is another message. */
function judgeNeighbour(packet: Packet, out: boolean): string | undefined {
  const { family, protocol, part, hopLimit, icmpType = 0, icmpCode } = packet;
  const isOne = family === 6 && protocol === 58 && part === "whole" && hopLimit === 255 && icmpCode === 0;
  if (isListener(packet) && !(out && icmpType === 130)) return "neighbour";
  if (!isOne || icmpType < 133 || icmpType > 137) return undefined;
  if (!out) return "neighbour";
  const target = hex(packet.body.subarray(8, 24));
  if (!mayPodSay(packet, icmpType, target)) return undefined;
  const isUnspecified = /^0*$/.test(packet.source);
  if (icmpType !== 136 && isUnspecified) return "neighbour";
  return isOwn(6, packet.source) && (icmpType !== 136 || isOwn(6, target)) ? "neighbour" : "spoofed";
}

/** RFC 3810, RFC 2710: on one link, from an address of that link or from none. */
function isListener({ family, protocol, part, hopLimit, icmpType, source, destination }: Packet): boolean {
  const isOne = family === 6 && protocol === 58 && part === "whole" && hopLimit === 1;
  const isType = icmpType !== undefined && [130, 131, 132, 143].includes(icmpType);
  return isOne && isType && /^(fe[89ab]|0{32})/.test(source) && destination.startsWith("ff");
}

/** Questions and answers on its own link, and short ones to single addresses. */
function mayPodSay({ destination, bodyLength }: Packet, icmpType: number, target: string): boolean {
  if (icmpType === 134 || icmpType === 137) return false;
  if (/^(fe[89ab]|ff02)/.test(destination)) return true;
  return bodyLength <= 32 && (icmpType === 136 || (icmpType === 135 && target === destination));
}

const flowOf = (packet: Packet, out: boolean): string => {
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
  // The friend may use one TCP port only, so that no ICMP makes a flow.
  const reason = isEcho
    ? "denied"
    : isIcmp
      ? judgeError(memory, packet, out)
      : judgeFlow(memory, direction, packet);
  if (packet.part === "first" && reason !== "denied") memory.firsts.set(fragment, packet);
  return reason;
}

function judgeError(
  memory: Memory,
  { family, protocol, part, icmpType, body, destination }: Packet,
  out: boolean,
): string {
  const isError = family === 4 ? [3, 11, 12].includes(icmpType ?? 0) : (icmpType ?? 128) < 128;
  if (protocol !== (family === 4 ? 1 : 58) || !isError || part !== "whole") return "denied";
  const quoted = readQuoted(body.subarray(8), family);
  const known = quoted !== undefined && memory.flows.has(flowOf(quoted, !out));
  return known && quoted.source === destination && quoted.protocol === TCP ? "related" : "denied";
}

function judgeFlow({ flows }: Memory, direction: Direction, packet: Packet): string {
  const { tcpFlags = 0, sourcePort = 0, destinationPort = 0 } = packet;
  const key = flowOf(packet, direction === "egress");
  const opener = flows.get(key);
  const isSyn = packet.protocol === TCP && (tcpFlags & SYN_RST_ACK) === SYN;
  if (opener !== undefined && !isSyn) return "established";
  const peer = direction === "egress" ? packet.destination : packet.source;
  if (packet.protocol !== TCP || peer !== FRIEND[packet.family]) return "denied";
  const other = direction === "egress" ? "ingress" : "egress";
  for (const side of openers(packet, isSyn)) {
    if ((side === "sender" ? destinationPort : sourcePort) !== ALLOWED_PORT) continue;
    flows.set(key, side === "sender" ? direction : other);
    return "policy";
  }
  return "denied";
}

/** docs/decisions/0003-segments-in-mid-connection.md */
function openers(
  { tcpFlags = 0, sourcePort = 0, destinationPort = 0 }: Packet,
  isSyn: boolean,
): ("sender" | "receiver")[] {
  if (isSyn) return ["sender"];
  if (tcpFlags & SYN) return ["receiver"];
  const [from, to] = [sourcePort >= EPHEMERAL_FIRST, destinationPort >= EPHEMERAL_FIRST];
  if (from === to) return ["sender", "receiver"];
  return from ? ["sender"] : ["receiver"];
}
