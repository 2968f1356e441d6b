// IP addresses and prefixes as plain values: strict parsing (by ipaddr.js), canonical text, containment.

import ipaddr from "ipaddr.js";

export type Family = 4 | 6;

export const FAMILIES: readonly Family[] = [4, 6];

/** One address. `text` is canonical (RFC 5952 for IPv6), so equal addresses have equal text. */
export interface Address {
  readonly family: Family;
  /** The address as an unsigned integer of 32 or 128 bits. */
  readonly value: bigint;
  readonly text: string;
}

/** One prefix. Host bits are cleared; `text` is canonical, so equal prefixes have equal text. */
export interface Cidr {
  readonly family: Family;
  /** The network address as an unsigned integer. */
  readonly value: bigint;
  readonly length: number;
  readonly text: string;
}

/** The result of a parser of untrusted text: the value, or the reason why there is none. */
export type Parsed<T> =
  | { readonly ok: true; readonly value: T }
  | { readonly ok: false; readonly reason: string };

export const fail = (reason: string): { ok: false; reason: string } => ({ ok: false, reason });

export const addressBits = (family: Family): number => (family === 4 ? 32 : 128);

/**
 * Parses an address as Kubernetes accepts it: dotted decimal without leading zeros (an octal reading of `010` has been
 * a security hole elsewhere), or IPv6 without a zone. IPv4-mapped IPv6 is refused: on the wire it is an IPv4 packet,
 * so a rule that names it could never mean what it says.
 */
export function parseAddress(text: string): Parsed<Address> {
  const number = fourPartDecimal(text);
  // What it accepts is canonical.
  if (number !== undefined) return { ok: true, value: { family: 4, value: BigInt(number), text } };
  if (/^[0-9.]+$/.test(text))
    return fail("not an IPv4 address (four decimal numbers, 0 to 255, without leading zeros)");
  if (text.includes("%") || !ipaddr.IPv6.isValid(text)) return fail("not an IP address");
  const parsed = ipaddr.IPv6.parse(text);
  if (parsed.isIPv4MappedAddress()) return fail("an IPv4-mapped IPv6 address; write the IPv4 address itself");
  return { ok: true, value: addressOf(6, toInteger(parsed.toByteArray())) };
}

/** Dotted decimal without leading zeros, as a number; undefined where it is anything else. Without garbage: clusters have many. */
function fourPartDecimal(text: string): number | undefined {
  let number = 0;
  let at = 0;
  for (let part = 0; part < 4; part += 1) {
    if (part > 0) {
      if (text.charCodeAt(at) !== DOT) return undefined;
      at += 1;
    }
    const start = at;
    let value = 0;
    for (; at < text.length && at - start < 3; at += 1) {
      const digit = text.charCodeAt(at) - ZERO;
      if (digit < 0 || digit > 9) break;
      value = value * 10 + digit;
    }
    const length = at - start;
    if (length === 0 || value > 255 || (length > 1 && text.charCodeAt(start) === ZERO)) return undefined;
    number = number * 256 + value;
  }
  return at === text.length ? number : undefined;
}

const [DOT, ZERO] = [0x2e, 0x30];

/** Parses `ADDRESS/LENGTH`. Host bits may be set (the API admits that); they are cleared. */
export function parseCidr(text: string): Parsed<Cidr> {
  const slash = text.indexOf("/");
  if (slash < 0) return fail("the prefix length is missing (for one address write /32 or /128)");
  const address = parseAddress(text.slice(0, slash));
  if (!address.ok) return address;
  const lengthText = text.slice(slash + 1);
  const bits = addressBits(address.value.family);
  if (!/^(0|[1-9][0-9]{0,2})$/.test(lengthText) || Number(lengthText) > bits) {
    return fail(`prefix length ${JSON.stringify(lengthText)} is not a number from 0 to ${bits}`);
  }
  return { ok: true, value: cidrOf(address.value.family, address.value.value, Number(lengthText)) };
}

/** The address with this integer value. */
export function addressOf(family: Family, value: bigint): Address {
  return { family, value, text: toText(family, value) };
}

/** The prefix of this length around an address; host bits are cleared. */
export function cidrOf(family: Family, value: bigint, length: number): Cidr {
  const network = truncate(family, value, length);
  return { family, value: network, length, text: `${toText(family, network)}/${length}` };
}

/** As on the wire. */
export function addressBytes(address: Address): number[] {
  const list: number[] = [];
  for (let shift = addressBits(address.family) - 8; shift >= 0; shift -= 8)
    list.push(Number((address.value >> BigInt(shift)) & 0xffn));
  return list;
}

/** The first `length` bits of an address; the rest zero. */
export function truncate(family: Family, value: bigint, length: number): bigint {
  const shift = BigInt(addressBits(family) - length);
  return (value >> shift) << shift;
}

export function cidrContains(cidr: Cidr, address: Address): boolean {
  return cidr.family === address.family && truncate(cidr.family, address.value, cidr.length) === cidr.value;
}

/** Whether every address of `inner` is in `outer`. */
export function cidrCovers(outer: Cidr, inner: Cidr): boolean {
  return (
    outer.family === inner.family &&
    outer.length <= inner.length &&
    truncate(outer.family, inner.value, outer.length) === outer.value
  );
}

/** Order for output and for walks that meet an outer prefix before its inner ones. */
export function compareCidrs(a: Cidr, b: Cidr): number {
  if (a.family !== b.family) return a.family - b.family;
  if (a.value !== b.value) return a.value < b.value ? -1 : 1;
  return a.length - b.length;
}

export function compareAddresses(a: Address, b: Address): number {
  if (a.family !== b.family) return a.family - b.family;
  return a.value < b.value ? -1 : a.value > b.value ? 1 : 0;
}

/** The addresses that are valid on one link only (RFC 4291, 2.5.6): every interface has one. */
export const LINK_LOCAL_V6: Cidr = cidrOf(6, 0xfe80n << 112n, 10);

/** The source of hosts that have no address yet (RFC 1122, 3.2.1.3). */
export const UNSPECIFIED_V4: Cidr = cidrOf(4, 0n, 32);

/** Multicast, and the broadcast address of every link: the kernel gives what is sent there to the sockets of all hosts on the link. */
export const MULTICAST: readonly Cidr[] = [
  cidrOf(4, 0xe000_0000n, 4),
  cidrOf(4, 0xffff_ffffn, 32),
  cidrOf(6, 0xffn << 120n, 8),
];

function toInteger(bytes: readonly number[]): bigint {
  let value = 0n;
  for (const byte of bytes) value = (value << 8n) | BigInt(byte);
  return value;
}

function toText(family: Family, value: bigint): string {
  const bytes: number[] = [];
  for (let shift = addressBits(family) - 8; shift >= 0; shift -= 8)
    bytes.push(Number((value >> BigInt(shift)) & 0xffn));
  if (family === 4) return bytes.join(".");
  return new ipaddr.IPv6(bytes).toRFC5952String();
}
