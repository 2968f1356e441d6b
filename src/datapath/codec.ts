// Between the values of Weir (addresses, prefixes, sets of classes) and the structs of the maps.

import { assert } from "../base/assert.ts";
import { type Address, addressOf, type Cidr, cidrOf } from "../base/ip.ts";
import {
  type AddressV4Key,
  type AddressV6,
  type AddressV6Key,
  type CidrV4Key,
  type CidrV6Key,
  type Count,
  type Counters,
  ENDPOINT_ADDRESSES,
  ENDPOINT_HARDWARE,
  type Endpoint,
  type FlowStatistics,
  ROW_WORDS,
  type Row,
  type ServiceV4Key,
  type ServiceV6Key,
  type SourceV4Key,
  type SourceV6Key,
} from "../gen/layout.ts";
import type { EndpointLink } from "../state/desired-state.ts";

const WORD_BITS = 64n;
const WORD = (1n << WORD_BITS) - 1n;

export function addressV4KeyOf(address: Address): AddressV4Key {
  return { address: valueV4Of(address) };
}

export function addressV6KeyOf(address: Address): AddressV6Key {
  return { address: addressV6Of(address) };
}

export const addressOfV4Key = (key: AddressV4Key): Address => addressOfV4(key.address);
export const addressOfV6Key = (key: AddressV6Key): Address => addressOfV6(key.address);

/** An IPv4 address as `__be32` fields hold it: the number whose highest byte is the first on the wire. */
export function valueV4Of(address: Address): number {
  assert(address.family === 4, `${address.text} is not an IPv4 address`);
  return Number(address.value);
}

export const addressOfV4 = (value: number): Address => addressOf(4, BigInt(value));

export function addressV6Of(address: Address): AddressV6 {
  assert(address.family === 6, `${address.text} is not an IPv6 address`);
  return { high: address.value >> WORD_BITS, low: address.value & WORD };
}

export const addressOfV6 = ({ high, low }: AddressV6): Address => addressOf(6, (high << WORD_BITS) | low);

export function cidrV4KeyOf(cidr: Cidr): CidrV4Key {
  assert(cidr.family === 4, `${cidr.text} is not an IPv4 prefix`);
  return { length: cidr.length, address: Number(cidr.value) };
}

export function cidrV6KeyOf(cidr: Cidr): CidrV6Key {
  assert(cidr.family === 6, `${cidr.text} is not an IPv6 prefix`);
  const word = (i: number) => Number((cidr.value >> BigInt(96 - 32 * i)) & 0xffff_ffffn);
  return { length: cidr.length, address: [word(0), word(1), word(2), word(3)] };
}

export const cidrOfV4Key = ({ length, address }: CidrV4Key): Cidr => cidrOf(4, BigInt(address), length);

export function cidrOfV6Key({ length, address }: CidrV6Key): Cidr {
  const value = address.reduce((sum, word) => (sum << 32n) | BigInt(word), 0n);
  return cidrOf(6, value, length);
}

export const serviceV4KeyOf = (address: Address, place: number): ServiceV4Key => ({
  address: valueV4Of(address),
  place,
});
export const serviceV6KeyOf = (address: Address, place: number): ServiceV6Key => ({
  address: addressV6Of(address),
  place,
});

const INTERFACE_BITS = 32;

/** A prefix from which the endpoint of an interface may send. */
export const sourceV4KeyOf = (ifindex: number, cidr: Cidr): SourceV4Key => ({
  ...cidrV4KeyOf(cidr),
  length: INTERFACE_BITS + cidr.length,
  ifindex,
});

export const sourceV6KeyOf = (ifindex: number, cidr: Cidr): SourceV6Key => ({
  ...cidrV6KeyOf(cidr),
  length: INTERFACE_BITS + cidr.length,
  ifindex,
});

export const cidrOfSourceV4 = ({ length, address }: SourceV4Key): Cidr =>
  cidrOfV4Key({ length: length - INTERFACE_BITS, address });

export const cidrOfSourceV6 = ({ length, address }: SourceV6Key): Cidr =>
  cidrOfV6Key({ length: length - INTERFACE_BITS, address });

export type EndpointAddresses = Pick<
  Endpoint,
  "addressesV4Used" | "addressesV6Used" | "addressesV4" | "addressesV6"
>;

const HARDWARE_SHIFT = 16n;
const HARDWARE_MASK = 0xffff_ffff_ffffn << HARDWARE_SHIFT;

/** A MAC address as in an endpoint's entry. */
const hardwareValue = (text: string): bigint => BigInt(`0x${text.replaceAll(":", "")}`) << HARDWARE_SHIFT;

const hardwareText = (value: bigint): string =>
  (value >> HARDWARE_SHIFT)
    .toString(16)
    .padStart(12, "0")
    .replaceAll(/..(?!$)/g, "$&:");

export type EndpointLinkFields = Pick<
  Endpoint,
  "hardware" | "hardwareUsed" | "hardwareMask" | "bridge" | "netns"
>;

/** Frames are checked on bridges only, where others would trust their source addresses, and never for pods without addresses. */
export function endpointLinkOf(
  { hardware, bridge = 0, netns }: EndpointLink,
  isGuarded: boolean,
): EndpointLinkFields {
  assert(hardware.length <= ENDPOINT_HARDWARE, `an endpoint has at most ${ENDPOINT_HARDWARE} MAC addresses`);
  const isChecked = isGuarded && bridge !== 0 && hardware.length > 0;
  const values = Array.from({ length: ENDPOINT_HARDWARE }, (_, at) => hardwareValue(hardware[at] ?? "0"));
  return {
    // The type defines their number.
    hardware: values as unknown as Endpoint["hardware"],
    hardwareUsed: hardware.length,
    hardwareMask: isChecked ? HARDWARE_MASK : 0n,
    bridge,
    netns: netns === undefined ? 0 : netns + 1,
  };
}

/** Undefined if nothing is known about it. */
export function linkOfEndpoint({
  hardware,
  hardwareUsed,
  bridge,
  netns,
}: EndpointLinkFields): EndpointLink | undefined {
  if (hardwareUsed === 0 && bridge === 0 && netns === 0) return undefined;
  const texts = hardware.slice(0, hardwareUsed).map(hardwareText);
  return {
    hardware: texts,
    ...(bridge === 0 ? {} : { bridge }),
    ...(netns === 0 ? {} : { netns: netns - 1 }),
  };
}

/** An endpoint's own addresses, at most ENDPOINT_ADDRESSES of each family. */
export function endpointAddressesOf(addresses: readonly Address[]): EndpointAddresses {
  const v4 = addresses.filter(({ family }) => family === 4).map(valueV4Of);
  const v6 = addresses.filter(({ family }) => family === 6).map(addressV6Of);
  assert(
    v4.length <= ENDPOINT_ADDRESSES && v6.length <= ENDPOINT_ADDRESSES,
    `an endpoint has at most ${ENDPOINT_ADDRESSES} addresses of a family`,
  );
  const none = { high: 0n, low: 0n };
  return {
    addressesV4Used: v4.length,
    addressesV6Used: v6.length,
    addressesV4: [v4[0] ?? 0, v4[1] ?? 0, v4[2] ?? 0, v4[3] ?? 0],
    addressesV6: [v6[0] ?? none, v6[1] ?? none, v6[2] ?? none, v6[3] ?? none],
  };
}

/** IPv4 first, each family in the order of the struct. */
export function addressesOfEndpoint(endpoint: EndpointAddresses): Address[] {
  return [
    ...endpoint.addressesV4.slice(0, endpoint.addressesV4Used).map(addressOfV4),
    ...endpoint.addressesV6.slice(0, endpoint.addressesV6Used).map(addressOfV6),
  ];
}

/** The number of port classes in a row. */
export const ROW_CLASSES = ROW_WORDS * Number(WORD_BITS);

export function rowOf(classes: Iterable<number>): Row {
  const bits = new Array<bigint>(ROW_WORDS).fill(0n);
  for (const each of classes) {
    const word = bits[Math.floor(each / 64)];
    assert(word !== undefined && Number.isInteger(each), `class ${each} is not one of ${ROW_CLASSES}`);
    bits[Math.floor(each / 64)] = word | (1n << BigInt(each % 64));
  }
  return { bits };
}

/** Sorted. */
export function classesOfRow({ bits }: Row): number[] {
  return bits.flatMap((word, i) => {
    const found: number[] = [];
    let rest = word;
    for (let bit = 0; rest !== 0n; bit++, rest >>= 1n) if (rest & 1n) found.push(i * 64 + bit);
    return found;
  });
}

/** The field `owner` of a flow's key. */
export const ownerOf = (field: number): { readonly incarnation: number; readonly protocol: number } => ({
  incarnation: field >>> 8,
  protocol: field & 0xff,
});

/** The field `interface` of a fragment's key. */
export const interfaceOf = (field: number): { readonly ifindex: number; readonly protocol: number } => ({
  ifindex: field >>> 8,
  protocol: field & 0xff,
});

/** By direction and reason. */
export type SummedCounts = readonly [ingress: readonly Count[], egress: readonly Count[]];

/** Sums over all CPUs, for each family (enum counted_family). */
export function countsByFamily(perCpu: readonly Counters[]): readonly [v4: SummedCounts, v6: SummedCounts] {
  const family = (index: 0 | 1): SummedCounts => sum(perCpu.map(({ count }) => count[index]));
  return [family(0), family(1)];
}

/** Sums over all CPUs and families. */
export const sumCounters = (perCpu: readonly Counters[]): { readonly count: SummedCounts } => ({
  count: sum(perCpu.flatMap(({ count }) => count)),
});

/** Sums over all CPUs. */
export const sumStatistics = (perCpu: readonly FlowStatistics[]): FlowStatistics =>
  perCpu.reduce(
    (sum, each) => ({
      inserted: sum.inserted + each.inserted,
      evictedOwn: sum.evictedOwn + each.evictedOwn,
      evictedOthers: sum.evictedOthers + each.evictedOthers,
      refused: sum.refused + each.refused,
      contended: sum.contended + each.contended,
    }),
    { inserted: 0n, evictedOwn: 0n, evictedOthers: 0n, refused: 0n, contended: 0n },
  );

function sum(counts: readonly SummedCounts[]): SummedCounts {
  const side = (direction: 0 | 1): Count[] =>
    (counts[0]?.[direction] ?? []).map((_, reason) => {
      let packets = 0n;
      let bytes = 0n;
      for (const { [direction]: cells } of counts) {
        packets += cells[reason]?.packets ?? 0n;
        bytes += cells[reason]?.bytes ?? 0n;
      }
      return { packets, bytes };
    });
  return [side(0), side(1)];
}
