// Lists of peers for the drivers: in the order in which packets will come from them, as the drivers' maps hold them.

import { type Address, addressBits, type Cidr, type Family } from "../../src/base/ip.ts";
import type { Random } from "../common/random.ts";

/** As many as the drivers have room for. */
export const PEERS_MAX = 1 << 18;

export interface Peers {
  readonly family: Family;
  /** A power of two. */
  readonly count: number;
  /** Added to all ports each time round: 0 brings back the same flows. */
  readonly stride: number;
  /** The values of the map peers_v4 or peers_v6. */
  readonly bytes: Uint8Array;
}

/** Above well-known ports. Below 32,768, so that strides stay below the end. */
const PORT_FIRST = 1_024;

/** Draws `count` times, with repetition, from `flows` flows; each has a peer of its own, drawn by `peer`. */
export function peersOfFlows(family: Family, flows: number, random: Random, peer: () => bigint): Peers {
  const addresses = Array.from({ length: flows }, peer);
  const port = (flow: number) => 32_768 + (flow % 28_000);
  const draws = Array.from({ length: PEERS_MAX }, () => random.below(flows));
  return {
    family,
    count: PEERS_MAX,
    stride: 0,
    bytes: bytesOf(
      family,
      draws.map((flow) => ({ address: addresses[flow] as bigint, port: port(flow) })),
    ),
  };
}

/** Flows that are all different, also from those of the next times round, from peers among `addresses`. */
export function newFlows(family: Family, addresses: readonly bigint[], random: Random): Peers {
  const used = new Map<bigint, number>();
  const list = Array.from({ length: PEERS_MAX }, () => {
    const address = addresses[random.below(addresses.length)] as bigint;
    const before = used.get(address) ?? 0;
    used.set(address, before + 1);
    return { address, port: PORT_FIRST + before };
  });
  const stride = [...used.values()].reduce((most, each) => Math.max(most, each), 0);
  return { family, count: PEERS_MAX, stride, bytes: bytesOf(family, list) };
}

/** Any addresses at all. */
export function anyPeers(family: Family, random: Random): Peers {
  const list = Array.from({ length: PEERS_MAX }, () => ({
    address: random.bits(addressBits(family)),
    port: 40_000,
  }));
  return { family, count: PEERS_MAX, stride: 0, bytes: bytesOf(family, list) };
}

/** An address in one of the prefixes, which are drawn with equal chances. */
export function addressIn(cidrs: readonly Cidr[], random: Random): bigint {
  const cidr = cidrs[random.below(cidrs.length)] as Cidr;
  return cidr.value | random.bits(addressBits(cidr.family) - cidr.length);
}

export const valuesOf = (addresses: readonly Address[]): bigint[] => addresses.map(({ value }) => value);

function bytesOf(
  family: Family,
  list: readonly { readonly address: bigint; readonly port: number }[],
): Uint8Array {
  const size = family === 4 ? 8 : 24;
  const view = new DataView(new ArrayBuffer(list.length * size));
  for (const [index, { address, port }] of list.entries()) {
    const at = index * size;
    if (family === 4) view.setUint32(at, Number(address));
    else {
      view.setBigUint64(at, address >> 64n);
      view.setBigUint64(at + 8, address & 0xffff_ffff_ffff_ffffn);
    }
    view.setUint32(at + (family === 4 ? 4 : 16), port, true);
  }
  return new Uint8Array(view.buffer);
}
