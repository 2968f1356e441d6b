// IP addresses and CIDRs in the syntax that Kubernetes has always accepted: ParseIPSloppy and ParseCIDRSloppy
// of k8s.io/utils/net, which are net.ParseIP and net.ParseCIDR of Go 1.16. API servers store what these
// accept.

import {
  type Address,
  addressOf,
  type Cidr,
  cidrOf,
  fail,
  type Parsed,
  parseAddress,
  parseCidr,
  truncate,
} from "./ip.ts";

/** `legacy`: today's validation rejects this spelling, and other parsers may read it as another address. */
export interface Read<T> {
  readonly value: T;
  readonly legacy: boolean;
}

/**
 * Reads an address. Unlike parseAddress() it accepts leading zeros, which are decimal (`010` is ten), and
 * IPv4-mapped IPv6 (`::ffff:10.0.0.1`), which Go treats as the IPv4 address.
 */
export function parseLegacyAddress(text: string): Parsed<Read<Address>> {
  const strict = parseAddress(text);
  if (strict.ok) return { ok: true, value: { value: strict.value, legacy: false } };
  // ParseIP chooses the family by which separator comes first.
  const isV4 = /^[^:]*\./.test(text);
  const value = isV4 ? v4Of(text) : v6Of(text);
  if (value === undefined) return strict;
  return { ok: true, value: { value: isV4 ? addressOf(4, value) : unmapped(value), legacy: !isPlain(text) } };
}

/**
 * Reads `ADDRESS/LENGTH`, the same way. Host bits may be set; they are cleared. A length may have leading zeros (`/08`). A
 * block of at most all IPv4-mapped addresses (`::ffff:10.0.0.0/104`) is the IPv4 block, as to net.IPNet.Contains.
 */
export function parseLegacyCidr(text: string): Parsed<Read<Cidr>> {
  const strict = parseCidr(text);
  if (strict.ok) return { ok: true, value: { value: strict.value, legacy: false } };
  const slash = text.indexOf("/");
  if (slash < 0) return strict;
  const length = decimalAt(text, slash + 1);
  if (length === undefined || length.end !== text.length) return strict;
  const address = text.slice(0, slash);
  const v4 = v4Of(address);
  const v6 = v4 === undefined ? v6Of(address) : undefined;
  const legacy = !isPlain(address) || text.slice(slash + 1) !== String(length.value);
  if (v4 !== undefined && length.value <= 32)
    return { ok: true, value: { value: cidrOf(4, v4, length.value), legacy } };
  if (v6 !== undefined && length.value <= 128)
    return { ok: true, value: { value: unmappedCidr(v6, length.value), legacy } };
  return v4 === undefined && v6 === undefined
    ? strict
    : fail(`prefix length ${length.value} is more than ${v4 === undefined ? 128 : 32}`);
}

/**
 * Whether today's validation accepts an address that can be read: an IPv6 address may end like an IPv4 one.
 */
function isPlain(text: string): boolean {
  const v6 = v6Of(text);
  const hasLeadingZeros = /(^|[:.])0[0-9]+(\.|$)/.test(text.slice(text.lastIndexOf(":") + 1));
  return v6 !== undefined && !isMapped(v6) && !/[0-9a-f]{5}/i.test(text) && !hasLeadingZeros;
}

/** ::ffff:0:0/96 */
const MAPPED = 0xffffn << 32n;
const MAPPED_LENGTH = 96;

const isMapped = (value: bigint): boolean => truncate(6, value, MAPPED_LENGTH) === MAPPED;

const unmapped = (value: bigint): Address =>
  isMapped(value) ? addressOf(4, value - MAPPED) : addressOf(6, value);

/** IPNet.IP is the masked address: it is IPv4 only if it is still IPv4-mapped after masking. */
const unmappedCidr = (value: bigint, length: number): Cidr =>
  length >= MAPPED_LENGTH && isMapped(value)
    ? cidrOf(4, value - MAPPED, length - MAPPED_LENGTH)
    : cidrOf(6, value, length);

interface Digits {
  readonly value: number;
  readonly end: number;
}

/** dtoi() and xtoi() of Go's net reject numbers that are not below this. */
const BIG = 0xffffff;

function digitsAt(text: string, start: number, base: 10 | 16): Digits | undefined {
  let value = 0;
  let end = start;
  for (; end < text.length; end += 1) {
    const digit = digitOf(text.charCodeAt(end), base);
    if (digit === undefined) break;
    value = value * base + digit;
    if (value >= BIG) return undefined;
  }
  return end === start ? undefined : { value, end };
}

const decimalAt = (text: string, start: number): Digits | undefined => digitsAt(text, start, 10);

function digitOf(code: number, base: 10 | 16): number | undefined {
  if (code >= 0x30 && code <= 0x39) return code - 0x30;
  const letter = code | 0x20;
  return base === 16 && letter >= 0x61 && letter <= 0x66 ? letter - 0x61 + 10 : undefined;
}

/** parseIPv4: four decimal numbers. */
function v4Of(text: string): bigint | undefined {
  let at = 0;
  let value = 0n;
  for (let index = 0; index < 4; index += 1) {
    if (index > 0) {
      if (text[at] !== ".") return undefined;
      at += 1;
    }
    const octet = decimalAt(text, at);
    if (octet === undefined || octet.value > 0xff) return undefined;
    value = (value << 8n) | BigInt(octet.value);
    at = octet.end;
  }
  return at === text.length ? value : undefined;
}

const GROUPS = 8;

/**
 * parseIPv6: groups of any number of hex digits, one `::`, and an optional IPv4 address instead of the last
 * two. No zone.
 */
function v6Of(text: string): bigint | undefined {
  const groups: number[] = [];
  let ellipsis: number | undefined;
  let at = 0;
  if (text.startsWith("::")) {
    ellipsis = 0;
    at = 2;
    if (at === text.length) return 0n;
  }
  while (groups.length < GROUPS) {
    const group = digitsAt(text, at, 16);
    if (group === undefined || group.value > 0xffff) return undefined;
    if (text[group.end] === ".") {
      if (ellipsis === undefined && groups.length !== GROUPS - 2) return undefined;
      if (groups.length > GROUPS - 2) return undefined;
      const v4 = v4Of(text.slice(at));
      if (v4 === undefined) return undefined;
      groups.push(Number(v4 >> 16n), Number(v4 & 0xffffn));
      at = text.length;
      break;
    }
    groups.push(group.value);
    at = group.end;
    if (at === text.length) break;
    if (text[at] !== ":" || at + 1 === text.length) return undefined;
    at += 1;
    if (text[at] === ":") {
      if (ellipsis !== undefined) return undefined;
      ellipsis = groups.length;
      at += 1;
      if (at === text.length) break;
    }
  }
  if (at !== text.length) return undefined;
  // An ellipsis replaces at least one group of zeros.
  if (groups.length < GROUPS !== (ellipsis !== undefined)) return undefined;
  if (ellipsis !== undefined)
    groups.splice(ellipsis, 0, ...new Array<number>(GROUPS - groups.length).fill(0));
  return groups.reduce((value, group) => (value << 16n) | BigInt(group), 0n);
}
