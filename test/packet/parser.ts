// A parser for frames, independent of the programs' own and of other documents: what a test takes a packet for.

/** The content of a frame, or why it cannot be read; addresses are lower-case hexadecimal digits. */
export type Read = { readonly kind: "malformed" | "unsupported"; readonly source?: string } | Arp | Packet;

export interface Arp {
  readonly kind: "arp";
  readonly operation: number;
  /** The sender's protocol address. */
  readonly source: string;
  readonly target: string;
  /** Bytes behind the packet in the frame, and whether they are no more than an Ethernet frame needs at least. */
  readonly padding: Padding;
}

export interface Padding {
  readonly bytes: number;
  readonly needed: boolean;
  readonly zeros: boolean;
}

export interface Packet {
  readonly kind: "ip";
  readonly family: 4 | 6;
  readonly source: string;
  readonly destination: string;
  readonly hopLimit: number;
  readonly protocol: number;
  readonly part: "whole" | "first" | "later";
  readonly fragmentId: number;
  /** IPv4 options, or IPv6 extension headers. */
  readonly between: Uint8Array;
  readonly padding: Padding;
  /** From the transport header on, up to the packet's own end. */
  readonly body: Uint8Array;
  /** Expected length of the body, from the IP header. */
  readonly bodyLength: number;
  readonly sourcePort?: number;
  readonly destinationPort?: number;
  readonly tcpFlags?: number;
  readonly icmpType?: number;
  readonly icmpCode?: number;
}

/** Ends a walk over a frame, with the source as far as it was read. */
class Unreadable extends Error {
  readonly read: Read;

  constructor(kind: "malformed" | "unsupported", source?: string) {
    super(kind);
    this.read = source === undefined ? { kind } : { kind, source };
  }
}

const EXTENSIONS_MAX = 8;
const EXTENSIONS = new Set([0, 43, 44, 51, 60, 135, 139, 140]);
const [TCP, UDP, SCTP, NOTHING] = [6, 17, 132, 59];

const u16 = (bytes: Uint8Array, at: number): number => ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
const u32 = (bytes: Uint8Array, at: number): number => u16(bytes, at) * 65_536 + u16(bytes, at + 2);
export const hex = ({ buffer, byteOffset, length }: Uint8Array): string =>
  Buffer.from(buffer, byteOffset, length).toString("hex");

/** Reads a frame from its Ethernet header on. */
export function readFrame(frame: Uint8Array): Read {
  try {
    return readEthernet(frame);
  } catch (error) {
    if (error instanceof Unreadable) return error.read;
    throw error;
  }
}

function readEthernet(frame: Uint8Array): Read {
  let at = 12;
  for (let tags = 0; ; tags += 1) {
    if (frame.length < at + 2) throw new Unreadable("malformed");
    const type = u16(frame, at);
    const rest = frame.subarray(at + 2);
    // Without its check sequence a frame has at least 60 bytes, and four more for each tag.
    const least = 60 + 4 * tags;
    const padding = (packetBytes: number): Padding => ({
      bytes: rest.length - packetBytes,
      needed: frame.length <= least,
      zeros: rest.subarray(packetBytes).every((byte) => byte === 0),
    });
    if (type === 0x0800) return withPadding(readIpv4(rest, false), padding);
    if (type === 0x86dd) return withPadding(readIpv6(rest, false), padding);
    if (type === 0x0806) return { ...readArp(rest), padding: padding(28) };
    if ((type !== 0x8100 && type !== 0x88a8) || tags === 2) throw new Unreadable("unsupported");
    at += 4;
  }
}

/** RFC 826: Ethernet (1) and IPv4 in the first six bytes, a request (1) or a reply (2) in the next two. */
function readArp(bytes: Uint8Array): Omit<Arp, "padding"> {
  const operation = u16(bytes, 6);
  const right = bytes.length >= 28 && hex(bytes.subarray(0, 6)) === "000108000604";
  if (!right || operation < 1 || operation > 2) throw new Unreadable("malformed");
  const [source, target] = [hex(bytes.subarray(14, 18)), hex(bytes.subarray(24, 28))];
  return { kind: "arp", operation, source, target };
}

type Unpadded = Omit<Packet, "padding">;

const withPadding = (packet: Unpadded, padding: (bytes: number) => Padding): Packet => ({
  ...packet,
  padding: padding((packet.family === 4 ? 20 : 40) + packet.between.length + packet.bodyLength),
});

/** A packet that an ICMP error quotes; undefined if its ports are missing. */
export function readQuoted(bytes: Uint8Array, family: 4 | 6): Unpadded | undefined {
  try {
    return family === 4 ? readIpv4(bytes, true) : readIpv6(bytes, true);
  } catch (error) {
    if (error instanceof Unreadable) return undefined;
    throw error;
  }
}

/** RFC 791 3.1: an option is one byte (0 ends them, 1 is no-operation) or has its length in its second byte. */
function checkOptions(options: Uint8Array, source: string): void {
  for (let at = 0; at < options.length && options[at] !== 0; ) {
    const type = options[at] ?? 0;
    const size = type === 1 ? 1 : (options[at + 1] ?? 0);
    // Loose and strict source route.
    if (type === 131 || type === 137) throw new Unreadable("unsupported", source);
    if (type !== 1 && (size < 2 || at + size > options.length)) throw new Unreadable("malformed", source);
    at += size;
  }
}

function readIpv4(bytes: Uint8Array, quoted: boolean): Unpadded {
  if (bytes.length < 20) throw new Unreadable("malformed");
  const source = hex(bytes.subarray(12, 16));
  const [head, total, fragment] = [bytes[0] ?? 0, u16(bytes, 2), u16(bytes, 6)];
  const length = (head & 15) * 4;
  if (head >> 4 !== 4 || length < 20 || total < length) throw new Unreadable("malformed", source);
  const options = bytes.subarray(20, length);
  if (bytes.length < length) throw new Unreadable("malformed", source);
  checkOptions(options, source);
  const offset = fragment & 0x1fff;
  const protocol = bytes[9] ?? 0;
  // RFC 3128.
  if (offset === 1 && protocol === TCP) throw new Unreadable("malformed", source);
  return withTransport(
    {
      kind: "ip",
      family: 4,
      source,
      destination: hex(bytes.subarray(16, 20)),
      hopLimit: bytes[8] ?? 0,
      protocol,
      part: offset > 0 ? "later" : fragment & 0x2000 ? "first" : "whole",
      fragmentId: u16(bytes, 4),
      between: options,
      body: bytes.subarray(length, total),
      bodyLength: total - length,
    },
    quoted,
  );
}

interface Walked {
  readonly protocol: number;
  readonly at: number;
  readonly part: Packet["part"];
  readonly fragmentId: number;
}

/** RFC 8200 section 4: header by header, each inside the packet's own length and inside the frame. */
function walkExtensions(bytes: Uint8Array, end: number, source: string): Walked {
  let [protocol, at, fragments, fragmentId]: [number, number, number, number] = [bytes[6] ?? 0, 40, 0, 0];
  for (let count = 0; EXTENSIONS.has(protocol); count += 1) {
    if (bytes.length < at + 8) throw new Unreadable("malformed", source);
    const [next, units, offset] = [bytes[at] ?? 0, bytes[at + 1] ?? 0, u16(bytes, at + 2)];
    // RFC 8200 4.4: segments left to go.
    if (protocol === 43 && (bytes[at + 3] ?? 0) > 0) throw new Unreadable("unsupported", source);
    const size = protocol === 44 ? 8 : protocol === 51 ? (units + 2) * 4 : (units + 1) * 8;
    if (at + size > end || (protocol === 44 && fragments > 0)) throw new Unreadable("malformed", source);
    if (count === EXTENSIONS_MAX) throw new Unreadable("unsupported", source);
    if (protocol === 44) {
      fragments += 1;
      fragmentId = u32(bytes, at + 4);
      if (offset >= 8) return { protocol: next, at: at + 8, part: "later", fragmentId };
      if (offset & 1) fragments += 1;
    }
    protocol = next;
    at += size;
  }
  return { protocol, at, part: fragments > 1 ? "first" : "whole", fragmentId };
}

function readIpv6(bytes: Uint8Array, quoted: boolean): Unpadded {
  if (bytes.length < 40) throw new Unreadable("malformed");
  const source = hex(bytes.subarray(8, 24));
  const payload = u16(bytes, 4);
  const isJumbo = payload === 0 && bytes[6] !== NOTHING;
  if ((bytes[0] ?? 0) >> 4 !== 6 || isJumbo) throw new Unreadable("malformed", source);
  const { at, ...walked } = walkExtensions(bytes, 40 + payload, source);
  return withTransport(
    {
      kind: "ip",
      family: 6,
      source,
      destination: hex(bytes.subarray(24, 40)),
      hopLimit: bytes[7] ?? 0,
      ...walked,
      between: bytes.subarray(40, at),
      body: bytes.subarray(at, 40 + payload),
      bodyLength: 40 + payload - at,
    },
    quoted,
  );
}

/** Minimum length of each transport header; eight for a quoted one. */
function bytesNeeded({ family, protocol, body }: Unpadded, quoted: boolean): number {
  const isIcmp = protocol === (family === 4 ? 1 : 58);
  if (protocol === TCP) return quoted ? 8 : 20;
  if (protocol === SCTP) return quoted ? 8 : 12;
  if (protocol === UDP) return 8;
  if (!isIcmp) return 0;
  const type = body[0] ?? 0;
  return family === 6 && !quoted && type >= 135 && type <= 137 && body.length >= 8 ? 24 : 8;
}

function withTransport(packet: Unpadded, quoted: boolean): Unpadded {
  const { family, protocol, body, source } = packet;
  if (packet.part === "later") return packet;
  const flawed = protocol === TCP && !quoted && (body[12] ?? 0) >> 4 < 5;
  if (body.length < bytesNeeded(packet, quoted) || flawed) throw new Unreadable("malformed", source);
  if (protocol === TCP || protocol === UDP || protocol === SCTP) {
    const ports = { sourcePort: u16(body, 0), destinationPort: u16(body, 2) };
    return protocol === TCP && !quoted
      ? { ...packet, ...ports, tcpFlags: body[13] ?? 0 }
      : { ...packet, ...ports };
  }
  if (protocol !== (family === 4 ? 1 : 58)) return packet;
  const [icmpType, icmpCode] = [body[0] ?? 0, body[1] ?? 0];
  const isEcho = family === 4 ? icmpType === 8 || icmpType === 0 : icmpType === 128 || icmpType === 129;
  return {
    ...packet,
    icmpType,
    icmpCode,
    ...(isEcho && { sourcePort: u16(body, 4), destinationPort: u16(body, 4) }),
  };
}
