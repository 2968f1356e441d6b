// The node's tables, updated by events: each one is applied, and counted where it changes something that matters.

import {
  type NetLink as Link,
  NeighbourState,
  type NetAddress,
  type NetEvent,
  type NetNeighbour,
  type NetRoute,
  RouteTable,
  RouteType,
} from "bpf-ts";
import { birthOf } from "./link-identity.ts";
import { type FarEnd, isPairElsewhere, type NetLink, type NodeTables } from "./node-tables.ts";

/** All tables of one namespace, as dumped. */
export interface Dumped {
  readonly links: readonly Link[];
  readonly routes: readonly NetRoute[];
  readonly neighbours: readonly NetNeighbour[];
  readonly forwarding: readonly NetNeighbour[];
}

/** What is in another namespace. */
export interface Inside {
  readonly addresses: readonly NetAddress[];
  readonly links: readonly Link[];
}

export interface Store {
  tables(): NodeTables;
  link(ifindex: number): NetLink | undefined;
  /** Replaces what was known by dumps; a table that was not dumped stays. */
  load(dumped: Partial<Dumped>): void;
  /** Takes in one change of this namespace's tables. */
  take(event: NetEvent): void;
  /**
   * What is in another namespace; undefined where its id no longer exists. `known`: the links from before it was read,
   * since until then the id and the index of an end may have been those of another namespace.
   */
  takeInside(id: number, found: Inside | undefined, known: NodeTables["links"]): void;
  /** Ids of namespaces that pairs lead to. */
  ids(): ReadonlySet<number>;
}

/** A table, and how often what matters in it has changed. */
interface Table<K, V> {
  readonly entries: ReadonlyMap<K, V>;
  changes: number;
  /** Undefined takes the entry out. */
  put(key: K, entry: V | undefined): void;
}

function openTable<K, V>(): Table<K, V> {
  const entries = new Map<K, V>();
  const table: Table<K, V> = {
    entries,
    changes: 0,
    put(key, entry) {
      const before = entries.get(key);
      if (entry === undefined) entries.delete(key);
      else entries.set(key, entry);
      if (contentOf(before) !== contentOf(entry)) table.changes += 1;
    },
  };
  return table;
}

/** Makes these the table's only entries. */
function replace<K, V>(table: Table<K, V>, entries: readonly V[] | undefined, keyOf: (entry: V) => K): void {
  if (entries === undefined) return;
  const next = new Map(entries.map((entry) => [keyOf(entry), entry]));
  for (const key of [...table.entries.keys()]) if (!next.has(key)) table.put(key, undefined);
  for (const [key, entry] of next) table.put(key, entry);
}

/** `birth` as birthOf; called for pairs. */
export function openStore(birth: (link: Link) => string | undefined = birthOf): Store {
  const links = openTable<number, NetLink>();
  const routes = openTable<string, NetRoute>();
  const local = openTable<string, NetRoute>();
  const neighbours = openTable<string, NetNeighbour>();
  const forwarding = openTable<string, NetNeighbour>();
  const inside = openTable<number, readonly NetAddress[]>();
  const ends = openTable<number, FarEnd & { readonly birth?: string }>();
  const all = [links, routes, local, neighbours, forwarding, inside, ends];
  let last: NodeTables | undefined;
  const born = (link: Link): NetLink => {
    const own = link.kind === "veth" || link.kind === "netkit" ? birth(link) : undefined;
    return own === undefined ? link : { ...link, birth: own };
  };
  /** The kernel reports a link's end before another can have its index. */
  const seen = (link: Link): NetLink => {
    const own = links.entries.get(link.ifindex)?.birth;
    return own === undefined ? born(link) : { ...link, birth: own };
  };
  /** An end is forgotten with its link. */
  const dropEnds = (): void => {
    for (const [ifindex, { birth: own }] of [...ends.entries])
      if (!links.entries.has(ifindex) || links.entries.get(ifindex)?.birth !== own)
        ends.put(ifindex, undefined);
  };
  return {
    tables() {
      const version = all.reduce((sum, { changes }) => sum + changes, 0);
      if (last?.version !== version) {
        last = {
          links: new Map(links.entries),
          routes: [...routes.entries.values()],
          local: [...local.entries.values()],
          neighbours: [...neighbours.entries.values()],
          forwarding: [...forwarding.entries.values()],
          inside: new Map(inside.entries),
          ends: new Map(ends.entries),
          version,
        };
      }
      return last;
    },
    link: (ifindex) => links.entries.get(ifindex),
    load(dumped) {
      // Events may have been missed, of a link that went and another one that got its index.
      replace(links, dumped.links?.map(born), ({ ifindex }) => ifindex);
      dropEnds();
      replace(routes, dumped.routes?.filter(isOfUse), routeKey);
      replace(local, dumped.routes?.filter(isLocal), routeKey);
      replace(neighbours, dumped.neighbours?.filter(isKnown), neighbourKey);
      replace(forwarding, dumped.forwarding?.filter(isLearned), forwardingKey);
    },
    take(event) {
      if (event.kind === "link") {
        links.put(event.link.ifindex, event.gone ? undefined : seen(event.link));
        if (event.gone) ends.put(event.link.ifindex, undefined);
      }
      if (event.kind === "route" && isOfUse(event.route))
        routes.put(routeKey(event.route), event.gone ? undefined : event.route);
      if (event.kind === "route" && isLocal(event.route))
        local.put(routeKey(event.route), event.gone ? undefined : event.route);
      if (event.kind !== "neighbour") return;
      const { neighbour, gone } = event;
      if (neighbour.family === "bridge") takeForwarding(forwarding, neighbour, gone);
      else neighbours.put(neighbourKey(neighbour), !gone && isKnown(neighbour) ? neighbour : undefined);
    },
    takeInside(id, found, known) {
      inside.put(
        id,
        found?.addresses.filter(({ address }) => !isLinkLocal(address)),
      );
      const far = new Map(found?.links.map(({ ifindex, address }) => [ifindex, address]));
      for (const { ifindex, peer, peerNetns, birth: own } of links.entries.values()) {
        const now = peer === undefined || peerNetns !== id ? undefined : far.get(peer);
        const before = known.get(ifindex);
        if (now === undefined || before === undefined || before.birth !== own) continue;
        const first = ends.entries.get(ifindex)?.first ?? now;
        ends.put(ifindex, { first, now, ...(own === undefined ? {} : { birth: own }) });
      }
    },
    ids: () => new Set([...links.entries.values()].flatMap((link) => idsBehind(link))),
  };
}

const idsBehind = (link: NetLink): number[] =>
  isPairElsewhere(link) && link.peerNetns !== undefined ? [link.peerNetns] : [];

/** An address that has moved to another port is reported as new there; that it is gone from the old one may come later. */
function takeForwarding(forwarding: Table<string, NetNeighbour>, entry: NetNeighbour, gone: boolean): void {
  if (entry.master === undefined) return;
  const key = forwardingKey(entry);
  if (!gone && isLearned(entry)) forwarding.put(key, entry);
  else if (forwarding.entries.get(key)?.ifindex === entry.ifindex) forwarding.put(key, undefined);
}

/** What matters of an entry, so that a link that goes down or a neighbour that is probed again changes nothing. */
function contentOf(entry: unknown): string | undefined {
  if (entry === undefined) return undefined;
  return JSON.stringify(entry, (key, value: unknown) =>
    ["flags", "state", "protocol", "scope"].includes(key) ? undefined : value,
  );
}

/** Not 169.254.0.0/16: some plugins give pods addresses of that (the IPv4 side of an IPv6 cluster). */
const isLinkLocal = (address: string): boolean =>
  /^(fe[89ab][0-9a-f]:|127\.)/.test(address) || address === "::1";

/** The kernel's own routes to link-local and multicast addresses come and go with every link that goes up. */
const isOfUse = ({ destination, table }: NetRoute): boolean =>
  table !== RouteTable.LOCAL && !isLinkLocal(destination) && !destination.startsWith("ff00:");

/** As isOfUse, of what is for this node itself. */
const isLocal = ({ destination, table, type }: NetRoute): boolean =>
  table === RouteTable.LOCAL &&
  (type === RouteType.LOCAL || type === RouteType.BROADCAST || type === RouteType.ANYCAST) &&
  !/^(fe[89ab][0-9a-f]:|ff|169\.254\.|127\.)/.test(destination) &&
  destination !== "::1";

const isKnown = ({ hardware, state }: NetNeighbour): boolean =>
  hardware !== undefined && (state & (NeighbourState.FAILED | NeighbourState.INCOMPLETE)) === 0;

/** A bridge's permanent entries are its ports' own addresses. */
const isLearned = ({ hardware, master, state }: NetNeighbour): boolean =>
  hardware !== undefined && master !== undefined && (state & NeighbourState.PERMANENT) === 0;

const routeKey = ({ family, destination, length, table, priority, tos }: NetRoute): string =>
  `${family} ${destination}/${length} ${table} ${priority} ${tos}`;

const neighbourKey = ({ ifindex, address }: NetNeighbour): string => `${ifindex} ${address}`;

const forwardingKey = ({ master, hardware, vlan }: NetNeighbour): string =>
  `${master} ${hardware} ${vlan ?? 0}`;
