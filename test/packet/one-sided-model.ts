// What should become of a packet of the pod "in", which is isolated for ingress only, where the kernel's conntrack has seen packets, so
// that TCP connections into the pod need no entry (docs/decisions/0034): one peer may use one TCP port.

import type { Direction } from "../../src/base/direction.ts";
import { ALLOWED_PORT, FRIEND, readUntilPolicy } from "./model.ts";
import { type Packet, readQuoted } from "./parser.ts";

/** What conntrack and the pod's sockets say of one packet. */
export interface Evidence {
  readonly assigned: "none" | "opening" | "open" | "ended" | "error";
  readonly hasSocket: boolean;
}

interface Entry {
  readonly opener: Direction;
  /** A side has ended the connection. */
  readonly ending: boolean;
}

export interface OneSidedMemory {
  readonly flows: Map<string, Entry>;
  readonly firsts: Map<string, Packet>;
  /** Families whose sockets at the allowed port have been seen. */
  readonly sockets: Set<4 | 6>;
}

export const newOneSidedMemory = (): OneSidedMemory => ({
  flows: new Map(),
  firsts: new Map(),
  sockets: new Set(),
});

const TCP = 6;
const [FIN, SYN, RST, ACK] = [0x01, 0x02, 0x04, 0x10];

type Quoted = Omit<Packet, "padding">;

const isIcmp = ({ protocol }: Quoted): boolean => protocol === 1 || protocol === 58;
const isEcho = (packet: Quoted): boolean => isIcmp(packet) && packet.sourcePort !== undefined;
const isRequest = ({ icmpType }: Quoted): boolean => icmpType === 8 || icmpType === 128;

/** An echo's flow is told by its identifier and by who has asked. */
function flowOf(packet: Quoted, out: boolean): string {
  const { family, protocol, source, destination, sourcePort = 0, destinationPort = 0 } = packet;
  const [from, to] = isEcho(packet)
    ? [sourcePort, isRequest(packet) === out ? 1 : 0]
    : out
      ? [sourcePort, destinationPort]
      : [destinationPort, sourcePort];
  const [local, remote] = out ? [source, destination] : [destination, source];
  return `${family} ${protocol} ${local}.${from} ${remote}.${to}`;
}

const isSyn = ({ protocol, tcpFlags = 0 }: Packet): boolean =>
  protocol === TCP && (tcpFlags & (SYN | RST | ACK)) === SYN;

/** The reason for the next packet; remembers what the programs should. */
export function judgeOneSided(
  memory: OneSidedMemory,
  direction: Direction,
  frame: Uint8Array,
  evidence: Evidence,
): string {
  const read = readUntilPolicy("in", direction, frame);
  if (typeof read === "string") return read;
  return direction === "egress" ? judgeOut(memory, read) : judgeIn(memory, read, evidence);
}

/** What leaves freely. */
function judgeOut({ flows }: OneSidedMemory, packet: Packet): string {
  const { protocol, part, tcpFlags = 0 } = packet;
  if (part === "later" || (isIcmp(packet) && !isEcho(packet))) return "not-isolated";
  const key = flowOf(packet, true);
  const entry = flows.get(key);
  const opens = isSyn(packet) || isAssociation(packet);
  if (!opens && entry !== undefined) {
    const isAnswer = protocol === TCP && (tcpFlags & (SYN | RST | ACK)) === (SYN | ACK);
    if (!isAnswer || (entry.opener === "ingress" && !entry.ending)) {
      flows.set(key, ended(entry, tcpFlags));
      return "established";
    }
    // The answer to a SYN shows that the entry is of an earlier connection.
    flows.delete(key);
    return "not-isolated";
  }
  const makesNone = protocol === TCP ? !opens : isEcho(packet) && !isRequest(packet);
  if (!makesNone) flows.set(key, ended({ opener: "egress", ending: false }, tcpFlags));
  return "not-isolated";
}

/** An SCTP packet whose first chunk is an INIT. */
const isAssociation = ({ protocol, body }: Packet): boolean => protocol === 132 && body[12] === 1;

/** An entry after a packet with these flags. */
const ended = (entry: Entry, flags: number): Entry =>
  flags & FIN && !(flags & RST) ? { ...entry, ending: true } : entry;

const isAllowed = ({ protocol, family, source, destinationPort }: Packet): boolean =>
  protocol === TCP && source === FRIEND[family] && destinationPort === ALLOWED_PORT;

/** Whose headers are only in the first one. */
const LATER = { part: "later", body: new Uint8Array() } as const;

function judgeIn(memory: OneSidedMemory, packet: Packet, evidence: Evidence): string {
  const { family, protocol, part, source, destination, fragmentId } = packet;
  const fragment = `${source} ${destination} ${fragmentId} ${family === 4 ? protocol : ""}`;
  if (part === "later") {
    const first = memory.firsts.get(fragment);
    return first === undefined
      ? "fragment"
      : judgeFlow(memory, { ...first, ...LATER, tcpFlags: first.protocol === TCP ? ACK : 0 }, evidence);
  }
  const reason =
    isIcmp(packet) && !isEcho(packet)
      ? judgeError(memory, packet, evidence)
      : judgeFlow(memory, packet, evidence);
  if (part === "first" && !["denied", "untracked"].includes(reason)) memory.firsts.set(fragment, packet);
  return reason;
}

function judgeFlow(memory: OneSidedMemory, packet: Packet, evidence: Evidence): string {
  const { flows, sockets } = memory;
  const { family, protocol, tcpFlags = 0, destinationPort } = packet;
  const key = flowOf(packet, false);
  const entry = flows.get(key);
  const { assigned, hasSocket } = evidence;
  const isPlain = packet.part === "whole" && packet.between.length === 0;
  const allowed = isAllowed(packet);
  if (isSyn(packet)) {
    if (!allowed) return "denied";
    if (!isPlain || assigned !== "opening" || !sockets.has(family))
      flows.set(key, ended({ opener: "ingress", ending: false }, tcpFlags));
    return "policy";
  }
  if (isAssociation(packet)) return "denied";
  // The end of a connection is written into its entry; what else is part of one passes with or without.
  const isEnd = (tcpFlags & (SYN | FIN | RST)) !== 0;
  if (protocol === TCP && isPlain && !(isEnd && entry !== undefined)) {
    if (assigned === "open" && hasSocket && destinationPort === ALLOWED_PORT) sockets.add(family);
    if (allowed && (assigned === "ended" || (assigned === "open" && hasSocket))) return "established";
  }
  if (entry !== undefined) {
    flows.set(key, ended(entry, tcpFlags));
    return "established";
  }
  if (protocol !== TCP) return "denied";
  if (!allowed) return "untracked";
  if (!(tcpFlags & RST)) flows.set(key, ended({ opener: "ingress", ending: false }, tcpFlags));
  return "policy";
}

/** An error is related if it goes back to the pod, and quotes a packet of a flow or of a connection that policy allows. */
function judgeError({ flows }: OneSidedMemory, packet: Packet, { assigned }: Evidence): string {
  const { family, protocol, part, icmpType, body, bodyLength, destination } = packet;
  const isError = family === 4 ? [3, 11, 12].includes(icmpType ?? 0) : (icmpType ?? 128) < 128;
  if (protocol !== (family === 4 ? 1 : 58) || !isError || part !== "whole") return "denied";
  const quoted = readQuoted(body.subarray(8), family);
  if (quoted === undefined || quoted.source !== destination) return "denied";
  if (isIcmp(quoted) && !isEcho(quoted)) return "denied";
  // RFC 792, RFC 4443 2.4: eight bytes behind the quoted headers, and eight before them.
  if ((family === 4 ? 20 : 40) + quoted.between.length + 16 > bodyLength) return "denied";
  const isOfConnection =
    assigned === "error" &&
    quoted.protocol === TCP &&
    quoted.destination === FRIEND[family] &&
    quoted.sourcePort === ALLOWED_PORT;
  return isOfConnection || flows.has(flowOf(quoted, true)) ? "related" : "denied";
}
