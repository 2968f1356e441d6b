// Which interface an address is behind, by all evidence in the node's tables.

import { type NetRoute, RouteProtocol, RouteTable, RouteType } from "bpf-ts";
import { type Address, addressBits, cidrOf, parseAddress } from "../base/ip.ts";
import { findAddress, type PrefixTable, prefixTable } from "../base/prefix-table.ts";
import { addressesBehind, isPairElsewhere, type NetLink, type NodeTables } from "./node-tables.ts";

/**
 * Evidence that an address is behind an interface, the strongest first: a route to the address alone, which only the
 * node itself makes; the address at the other end of the pair, which only an administrator of the pod's network can put
 * there; the bridge's port behind which its hardware address has been seen, which a pod can fake; a route to a prefix.
 */
export const PROOFS = ["route", "namespace", "bridge", "prefix"] as const;
export type Proof = (typeof PROOFS)[number];

export interface Place {
  readonly ifindex: number;
  readonly proof: Proof;
  /** Of several places with the same proof lower ones are likelier. */
  readonly rank: number;
}

export interface Owners {
  /** Where an address is, the likeliest place first; empty where it is not behind an interface of this node. */
  placesOf(address: Address): readonly Place[];
  /** Addresses that the node was given a route to alone, that leads to this interface; not its own on the link, nor a peer's. */
  routedTo(ifindex: number): readonly string[];
}

/** Computed from one state of the tables; keeps no other. */
export function ownersIn(tables: NodeTables): Owners {
  const places = new Map<string, Place[]>();
  const add = (address: string, place: Place): void => {
    const there = places.get(address);
    if (there === undefined) places.set(address, [place]);
    else if (!there.some(({ ifindex }) => ifindex === place.ifindex)) there.push(place);
  };
  const isHost = ({ family, length }: NetRoute) => length === addressBits(family);
  const ways = waysOut(tables);
  const pairOf = (route: NetRoute): NetLink | undefined => pairBehind(tables, ways, route);
  const direct = tables.routes.filter((route) => pairOf(route) !== undefined).sort(byPreference);
  const routed = new Map<number, string[]>();
  for (const [rank, route] of direct.entries()) {
    if (!isHost(route)) continue;
    const { ifindex } = pairOf(route) as NetLink;
    if (!places.has(route.destination) && route.protocol !== RouteProtocol.KERNEL) {
      const known = routed.get(ifindex);
      if (known === undefined) routed.set(ifindex, [route.destination]);
      else known.push(route.destination);
    }
    add(route.destination, { ifindex, proof: "route", rank });
  }
  for (const link of tables.links.values()) {
    if (!isPairElsewhere(link) || ways.has(link.ifindex)) continue;
    for (const [rank, { address }] of addressesBehind(tables, link).entries())
      add(address, { ifindex: link.ifindex, proof: "namespace", rank });
  }
  for (const [address, ifindex] of bridged(tables)) add(address, { ifindex, proof: "bridge", rank: 0 });
  // Only then does it matter which route is the longest.
  const prefixes = direct.some((route) => !isHost(route)) ? longest(tables, pairOf) : undefined;
  return {
    routedTo: (ifindex) => routed.get(ifindex) ?? [],
    placesOf(address) {
      const exact = places.get(address.text) ?? [];
      const ifindex = prefixes && findAddress(prefixes, address);
      if (ifindex === undefined || exact.some((place) => place.ifindex === ifindex)) return exact;
      return [...exact, { ifindex, proof: "prefix", rank: 0 }];
    },
  };
}

/** Interfaces by which the node reaches everything else. They may be pairs, where the node is a container itself, and are no pod's, whatever address one says it has. */
const waysOut = ({ routes }: NodeTables): ReadonlySet<number> =>
  new Set(
    routes
      .filter(
        ({ length, table, type }) => length === 0 && table === RouteTable.MAIN && type === RouteType.UNICAST,
      )
      .flatMap(({ hops }) => hops.map(({ ifindex }) => ifindex)),
  );

/** The pair that a route leads to, where the addresses are on the link itself. */
function pairBehind(
  { links }: NodeTables,
  ways: ReadonlySet<number>,
  { type, hops }: NetRoute,
): NetLink | undefined {
  const [hop, other] = hops;
  if (type !== RouteType.UNICAST || hop === undefined || other !== undefined) return undefined;
  if (hop.gateway !== undefined || ways.has(hop.ifindex)) return undefined;
  const link = links.get(hop.ifindex);
  return link !== undefined && (link.kind === "veth" || link.kind === "netkit") ? link : undefined;
}

/** Of routes to one prefix, those of the main table first, and the lower metric first. */
function byPreference(a: NetRoute, b: NetRoute): number {
  const main = (route: NetRoute) => (route.table === RouteTable.MAIN ? 0 : 1);
  return main(a) - main(b) || a.table - b.table || a.priority - b.priority;
}

/** Addresses that have been seen behind ports of bridges. */
function* bridged({ links, neighbours, forwarding }: NodeTables): Iterable<readonly [string, number]> {
  const ports = new Map(
    forwarding.map(({ master, hardware, ifindex }) => [`${master} ${hardware}`, ifindex]),
  );
  for (const { ifindex, address, hardware } of neighbours) {
    if (address === undefined || links.get(ifindex)?.kind !== "bridge") continue;
    const port = ports.get(`${ifindex} ${hardware}`);
    if (port !== undefined && links.get(port)?.kind === "veth") yield [address, port];
  }
}

function longest(
  tables: NodeTables,
  pairOf: (route: NetRoute) => NetLink | undefined,
): PrefixTable<number | undefined> {
  const entries = new Map<string, readonly [ReturnType<typeof cidrOf>, number | undefined]>();
  for (const route of [...tables.routes].sort(byPreference)) {
    const parsed = parseAddress(route.destination);
    if (!parsed.ok) continue;
    const cidr = cidrOf(route.family, parsed.value.value, route.length);
    if (!entries.has(cidr.text)) entries.set(cidr.text, [cidr, pairOf(route)?.ifindex]);
  }
  return prefixTable(entries.values());
}
