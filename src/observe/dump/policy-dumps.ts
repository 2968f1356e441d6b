// Dumps of the tables that policies compile to: prefixes, addresses, endpoints, policies, port classes, rows and
// Services.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { type Address, type Cidr, compareAddresses, compareCidrs } from "../../base/ip.ts";
import type { NamesView, PolicyNames } from "../api-views.ts";
import { left, right, someOf, spare } from "../text-output.ts";
import { type Dump, dumpOf, known, meaningText, peersOf } from "./map-dump.ts";

export interface CidrRecord {
  readonly cidr: Cidr;
  readonly identity: number;
}

export interface AddressRecord {
  readonly address: Address;
  readonly identity: number;
  /** Set if Services have ports there. */
  readonly frontend?: boolean;
}

export interface EndpointRecord {
  readonly ifindex: number;
  /** The interface's name, if it still exists. */
  readonly interface?: string;
  readonly id: number;
  /** Of its pod: part of the key of its flows. */
  readonly incarnation: number;
  /** Numbers of policies; 0 if the endpoint is not isolated. */
  readonly policy: { readonly [direction in Direction]: number };
  /** Directions in which what the policy denies passes; absent if there is none. */
  readonly audit?: readonly Direction[];
  readonly addresses: readonly string[];
}

export interface SourceRecord {
  readonly ifindex: number;
  /** The interface's name, if it still exists. */
  readonly interface?: string;
  readonly cidr: Cidr;
}

export interface PolicyRecord {
  readonly policy: number;
  /** Identity to row, without the row for "nothing of its own". */
  readonly cells: readonly { readonly identity: number; readonly row: number }[];
}

const NOTHING = "nothing";
/** Identity 0 is every address that no live rule distinguishes. */
const OTHERS = "all other addresses";
/** Instead of a pod's name. */
const SERVICES = "(a Service's: see services)";

function matchesText(identity: number, names: NamesView | undefined): string {
  const peers = peersOf(identity, names);
  if (peers === undefined) return "";
  return peers.length === 0 ? NOTHING : meaningText(peers);
}

/** Each prefix with the blocks that name it, and the peers that match an address with this longest prefix. */
export function cidrsDump(records: readonly CidrRecord[], names?: NamesView): Dump {
  const sorted = [...records].sort((a, b) => compareCidrs(a.cidr, b.cidr));
  return dumpOf(sorted, {
    columns: [left("CIDR"), right("IDENTITY"), left("MEANING"), spare("MATCHES", 1)],
    rows: ({ cidr, identity }) => [
      [cidr.text, String(identity), meaningText(names?.cidrs[cidr.text] ?? []), matchesText(identity, names)],
    ],
    json: ({ cidr, identity }) => ({
      cidr: cidr.text,
      identity,
      ...known("meaning", names?.cidrs[cidr.text]),
      ...known("matches", peersOf(identity, names)),
    }),
  });
}

export function addressesDump(records: readonly AddressRecord[], names?: NamesView): Dump {
  const sorted = [...records].sort((a, b) => compareAddresses(a.address, b.address));
  return dumpOf(sorted, {
    columns: [left("ADDRESS"), right("IDENTITY"), left("POD"), spare("MATCHES", 1)],
    rows: ({ address, identity, frontend }) => [
      [
        address.text,
        String(identity),
        names?.addresses[address.text] ?? (frontend === true ? SERVICES : ""),
        matchesText(identity, names),
      ],
    ],
    json: ({ address, identity, frontend }) => ({
      address: address.text,
      identity,
      ...(frontend === true && { frontend }),
      ...known("pod", names?.addresses[address.text]),
      ...known("matches", peersOf(identity, names)),
    }),
    pods: ({ address }) => [names?.addresses[address.text]],
  });
}

export function endpointsDump(records: readonly EndpointRecord[], names?: NamesView): Dump {
  const sorted = [...records].sort((a, b) => a.ifindex - b.ifindex);
  const podOf = (record: EndpointRecord): string | undefined => names?.endpoints[String(record.ifindex)];
  return dumpOf(sorted, {
    columns: [
      right("IFINDEX"),
      left("INTERFACE"),
      left("POD"),
      right("ID"),
      ...["INGRESS", "EGRESS", "ADDRESSES"].map(left),
    ],
    rows: (record) => [
      [
        String(record.ifindex),
        record.interface ?? "",
        podOf(record) ?? "",
        String(record.id),
        policyText(record, "ingress"),
        policyText(record, "egress"),
        record.addresses.join(","),
      ],
    ],
    json: (record) => ({ ...record, ...known("pod", podOf(record)) }),
    pods: (record) => [podOf(record)],
  });
}

export function sourcesDump(records: readonly SourceRecord[], names?: NamesView): Dump {
  const sorted = [...records].sort((a, b) => a.ifindex - b.ifindex || compareCidrs(a.cidr, b.cidr));
  const podOf = ({ ifindex }: SourceRecord): string | undefined => names?.endpoints[String(ifindex)];
  return dumpOf(sorted, {
    columns: [right("IFINDEX"), ...["INTERFACE", "POD", "CIDR"].map(left)],
    rows: (record) => [
      [String(record.ifindex), record.interface ?? "", podOf(record) ?? "", record.cidr.text],
    ],
    json: (record) => ({ ...record, cidr: record.cidr.text, ...known("pod", podOf(record)) }),
    pods: (record) => [podOf(record)],
  });
}

const policyText = ({ policy, audit = [] }: EndpointRecord, direction: Direction): string =>
  policy[direction] === 0
    ? "open"
    : `${audit.includes(direction) ? "audit:" : ""}policy ${policy[direction]}`;

/**
 * `ports` names what a row allows, as "TCP/80". An identity has peers of many policies and of both
 * directions: only those in this policy are named.
 */
export function policyDump(
  records: readonly PolicyRecord[],
  ports: (row: number) => string,
  names?: NamesView,
): Dump {
  const sorted = [...records].sort((a, b) => a.policy - b.policy);
  return dumpOf(sorted, {
    columns: [
      right("POLICY"),
      right("IDENTITY"),
      right("ROW"),
      ...["PORTS", "PEERS", "OF"].map(left),
      spare("FROM", 1),
    ],
    rows: ({ policy, cells }) => {
      const own = names?.policies[String(policy)];
      return cells.map(({ identity, row }) => [
        String(policy),
        String(identity),
        String(row),
        ports(row),
        identity === 0 ? OTHERS : meaningText(peersIn(own, identity, names) ?? []),
        someOf(own?.of ?? [], SIDES_SHOWN_MAX, ", "),
        someOf(own?.from ?? [], SIDES_SHOWN_MAX, ", "),
      ]);
    },
    json: ({ policy, cells }) => {
      const own = names?.policies[String(policy)];
      return {
        policy,
        ...own,
        cells: cells.map(({ identity, row }) => ({
          identity,
          row,
          ports: ports(row),
          ...known("peers", peersIn(own, identity, names)),
        })),
      };
    },
    pods: ({ policy }) => (names?.policies[String(policy)]?.of ?? []).map(podOfSide),
  });
}

const SIDES_SHOWN_MAX = 3;

/** The pod in "ingress of alpha/nginx". */
const podOfSide = (side: string): string => side.replace(/^\S+ of /, "");

/**
 * The peers of an identity that rules of this policy name, in a direction in which the policy has sides. No
 * rule names 0.
 */
function peersIn(
  policy: PolicyNames | undefined,
  identity: number,
  names: NamesView | undefined,
): readonly string[] | undefined {
  const peers = identity === 0 ? undefined : peersOf(identity, names);
  if (policy === undefined || peers === undefined) return peers;
  const directions = DIRECTIONS.filter((direction) => policy.of.some((side) => side.startsWith(direction)));
  const heads = policy.from.flatMap((name) => directions.map((direction) => `${name} ${direction}[`));
  return peers.filter((peer) => heads.some((head) => peer.startsWith(head)));
}

/** A Bloom filter for addresses: the more bits are set, the more lookups of other addresses it lets through. */
export interface KnownRecord {
  readonly filter: string;
  readonly bits: number;
  readonly set: number;
}

export const knownDump = (records: readonly KnownRecord[]): Dump =>
  dumpOf(records, {
    columns: [left("FILTER"), right("BITS"), right("SET")],
    rows: ({ filter, bits, set }) => [[filter, String(bits), String(set)]],
    json: (each) => each,
  });

/** How many blocks of IPv4 addresses have an identity by prefixes up to /16, and how many need the trie for a longer one. */
export interface IndexRecord {
  readonly identified: number;
  readonly longer: number;
}

export const indexDump = (record: IndexRecord): Dump =>
  dumpOf([record], {
    columns: [right("IDENTIFIED"), right("LONGER")],
    rows: ({ identified, longer }) => [[String(identified), String(longer)]],
    json: (each) => each,
  });

// Dumps of the tables of ports: ranges with their port classes, and rows of classes.

/**
 * Adjacent ports of one class. `ports` names them, as "TCP/8000-8080"; `first` and `last` are the map's
 * indexes.
 */
export interface PortsRecord {
  readonly first: number;
  readonly last: number;
  readonly class: number;
  readonly ports: string;
}

export interface RowRecord {
  readonly row: number;
  readonly classes: readonly number[];
  readonly ports: string;
}

/** As ranges. Ports that are not listed are in class 0, which is only in the row that allows everything. */
export const portsDump = (records: readonly PortsRecord[]): Dump =>
  dumpOf(records, {
    columns: [left("PORTS"), right("CLASS")],
    rows: (record) => [[record.ports, String(record.class)]],
    json: (record) => record,
  });

export const rowsDump = (records: readonly RowRecord[]): Dump =>
  dumpOf(records, {
    columns: [right("ROW"), left("PORTS"), left("CLASSES")],
    rows: ({ row, ports, classes }) => [[String(row), ports, meaningText([classes.join(",")])]],
    json: (record) => record,
  });

// Dump of the frontends of Services: the identity of a port of an address, as policies see it.

export interface ServiceRecord {
  readonly address: Address;
  /** Index on the port line. */
  readonly place: number;
  /** For example "TCP/80". */
  readonly port: string;
  readonly identity: number;
  /** The key in `NamesView.services`. */
  readonly key: string;
}

export function servicesDump(records: readonly ServiceRecord[], names?: NamesView): Dump {
  const sorted = [...records].sort((a, b) => compareAddresses(a.address, b.address) || a.place - b.place);
  return dumpOf(sorted, {
    columns: [left("ADDRESS"), left("PORT"), right("IDENTITY"), left("SERVICE")],
    rows: ({ address, port, identity, key }) => [
      [address.text, port, String(identity), names?.services[key] ?? ""],
    ],
    json: ({ address, port, identity, key }) => ({
      address: address.text,
      port,
      identity,
      ...known("service", names?.services[key]),
    }),
  });
}

// Dump of the domain names of rules.

export interface DomainRecord {
  /** The egress policy in whose place another one applies. */
  readonly policy: number;
  /** "": what judges the resolvers that pods with the policy may ask. */
  readonly name: string;
  readonly by: number;
}

export function domainsDump(records: readonly DomainRecord[], names?: NamesView): Dump {
  const sorted = [...records].sort((a, b) => a.policy - b.policy || (a.name < b.name ? -1 : 1));
  return dumpOf(sorted, {
    columns: [right("POLICY"), left("NAME"), right("BY-NAME"), left("OF")],
    rows: ({ policy, name, by }) => [
      [
        String(policy),
        name || "(resolvers)",
        String(by),
        names?.policies[String(policy)]?.of.join(", ") ?? "",
      ],
    ],
    json: (record) => ({ ...record, ...known("of", names?.policies[String(record.policy)]?.of) }),
  });
}
