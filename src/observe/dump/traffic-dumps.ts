// Dumps of what the programs write: flows, fragments, counters, events and uplink counters.

import type { Direction } from "../../base/direction.ts";
import { type Address, compareAddresses } from "../../base/ip.ts";
import { hasPorts, isIcmp, protocolText } from "../../model/protocol.ts";
import type { NamesView } from "../api-views.ts";
import { durationText, left, right, spare, spareRight } from "../text-output.ts";
import { type Dump, dumpOf, known } from "./map-dump.ts";

/** The interface of an entry, as far as it is known. */
export interface Place {
  readonly ifindex: number;
  readonly interface?: string;
}

export interface FlowRecord extends Partial<Place> {
  /** Of the pod. If it has several interfaces, `ifindex` is the lowest; absent if the pod is gone. */
  readonly incarnation: number;
  /** IP protocol number. */
  readonly protocol: number;
  /** The pod's own address. */
  readonly local: string;
  readonly remote: string;
  /** For ICMP echo: its identifier, and 1 if the pod sent the request. */
  readonly localPort: number;
  readonly remotePort: number;
  readonly opener: Direction;
  /** Names of the flags that are set, for example "replied". */
  readonly state: readonly string[];
  readonly generation: number;
  /** Milliseconds from now; negative if the entry has expired and waits to be overwritten. */
  readonly expiresMs: number;
}

export interface FragmentRecord extends Place {
  readonly protocol: number;
  readonly source: string;
  readonly destination: string;
  /** Identification of the fragmented packet. */
  readonly id: number;
  readonly direction: Direction;
  readonly sourcePort: number;
  readonly destinationPort: number;
  readonly expiresMs: number;
}

/** What insertions into the flow table of a family did, on all CPUs. */
export interface StatisticsRecord {
  /** "ipv4" or "ipv6". */
  readonly family: string;
  readonly inserted: bigint;
  /** Live flows that lost their place to another flow of their pod, or to one of another pod, which takes unconfirmed ones only. */
  readonly evictedOwn: bigint;
  readonly evictedOthers: bigint;
  /** Insertions that found no place; the packet was dropped as `table-full`. */
  readonly refused: bigint;
  /** Insertions repeated because another CPU took the place. */
  readonly contended: bigint;
}

export interface CounterRecord extends Partial<Place> {
  /** The endpoint's; 0 counts packets of no endpoint. */
  readonly id: number;
  readonly direction: Direction;
  readonly reason: string;
  readonly dropped: boolean;
  readonly packets: bigint;
  readonly bytes: bigint;
}

export interface NodeRecord {
  readonly generation: number;
  /** Which of the two versions of every value is in force. */
  readonly version: number;
  readonly ticksPerSecond: number;
  /** By name, in ticks. */
  readonly timeouts: Readonly<Record<string, number>>;
}

/** "10.0.0.1:80", "[fd00::1]:80"; only the address if the protocol has no ports. */
export function socketText(protocol: number, address: string, port: number): string {
  if (!hasPorts(protocol)) return address;
  return address.includes(":") ? `[${address}]:${port}` : `${address}:${port}`;
}

const expiryText = (milliseconds: number): string =>
  milliseconds < 0 ? "expired" : durationText(milliseconds);

const nameOf = (place: Partial<Place>, names: NamesView | undefined): string | undefined =>
  place.ifindex === undefined ? undefined : names?.endpoints[String(place.ifindex)];

/** The pod, else the interface, else its index. */
const ownerText = (place: Place, names: NamesView | undefined): string =>
  nameOf(place, names) ?? place.interface ?? `interface ${place.ifindex}`;

/** By endpoint, then by the remote end. */
const byEnds = (a: FlowRecord, b: FlowRecord): number =>
  (a.ifindex ?? 0) - (b.ifindex ?? 0) ||
  a.incarnation - b.incarnation ||
  a.protocol - b.protocol ||
  (a.remote < b.remote ? -1 : a.remote > b.remote ? 1 : 0) ||
  a.localPort - b.localPort ||
  a.remotePort - b.remotePort;

/** An address that a pod has resolved. */
export interface NameRecord extends Partial<Place> {
  /** Of the pod; it has no interface any more if `ifindex` is missing. */
  readonly incarnation: number;
  readonly address: Address;
  /** The most specific name of a rule; "#" and a number if no rule has it any more. */
  readonly name: string;
  /** Milliseconds from now; negative if it opens no flows any more. */
  readonly expiresMs: number;
}

export function namesDump(records: readonly NameRecord[], names?: NamesView): Dump {
  const sorted = [...records].sort(
    (a, b) =>
      a.incarnation - b.incarnation ||
      (a.name < b.name ? -1 : a.name > b.name ? 1 : compareAddresses(a.address, b.address)),
  );
  return dumpOf(sorted, {
    columns: [left("ADDRESS"), left("NAME"), right("EXPIRES"), left("POD")],
    rows: (record) => [
      [
        record.address.text,
        record.name,
        expiryText(record.expiresMs),
        nameOf(record, names) ?? record.interface ?? `incarnation ${record.incarnation}`,
      ],
    ],
    json: ({ address, ...record }) => ({
      ...record,
      address: address.text,
      ...known("pod", nameOf(record, names)),
    }),
  });
}

export function conntrackDump(unsorted: readonly FlowRecord[], names?: NamesView): Dump {
  return dumpOf([...unsorted].sort(byEnds), {
    columns: [
      ...["PROTOCOL", "LOCAL", "REMOTE"].map(left),
      spare("OPENED-BY", 2),
      left("STATE"),
      spareRight("GENERATION", 3),
      spareRight("EXPIRES", 1),
      left("POD"),
      left("PEER"),
    ],
    rows: (flow) => [
      [
        protocolText(flow.protocol),
        socketText(flow.protocol, flow.local, flow.localPort),
        socketText(flow.protocol, flow.remote, flow.remotePort),
        flow.opener === "egress" ? "pod" : "peer",
        [
          ...flow.state,
          ...(isIcmp(flow.protocol) && flow.localPort !== 0 ? [`echo ${flow.localPort}`] : []),
        ].join(","),
        String(flow.generation),
        expiryText(flow.expiresMs),
        flow.ifindex === undefined ? "" : ownerText({ ...flow, ifindex: flow.ifindex }, names),
        names?.addresses[flow.remote] ?? "",
      ],
    ],
    json: (flow) => ({
      ...flow,
      protocol: protocolText(flow.protocol),
      protocolNumber: flow.protocol,
      ...known("pod", nameOf(flow, names)),
      ...known("peer", names?.addresses[flow.remote]),
    }),
    pods: (flow) => [nameOf(flow, names)],
  });
}

export function fragmentsDump(records: readonly FragmentRecord[], names?: NamesView): Dump {
  return dumpOf(records, {
    columns: [
      ...["PROTOCOL", "SOURCE", "DESTINATION"].map(left),
      right("ID"),
      left("DIRECTION"),
      right("EXPIRES"),
      left("POD"),
    ],
    rows: (fragment) => [
      [
        protocolText(fragment.protocol),
        socketText(fragment.protocol, fragment.source, fragment.sourcePort),
        socketText(fragment.protocol, fragment.destination, fragment.destinationPort),
        String(fragment.id),
        fragment.direction,
        expiryText(fragment.expiresMs),
        ownerText(fragment, names),
      ],
    ],
    json: (fragment) => ({
      ...fragment,
      protocol: protocolText(fragment.protocol),
      protocolNumber: fragment.protocol,
      ...known("pod", nameOf(fragment, names)),
    }),
    pods: (fragment) => [nameOf(fragment, names)],
  });
}

export const statisticsDump = (records: readonly StatisticsRecord[]): Dump =>
  dumpOf(records, {
    columns: [
      left("FAMILY"),
      ...["INSERTED", "EVICTED-OWN", "EVICTED-OTHERS", "REFUSED", "CONTENDED"].map(right),
    ],
    rows: ({ family, inserted, evictedOwn, evictedOthers, refused, contended }) => [
      [family, ...[inserted, evictedOwn, evictedOthers, refused, contended].map(String)],
    ],
    json: (record) => record,
  });

/** Nonzero counters, by endpoint, direction and reason. */
export function countersDump(records: readonly CounterRecord[], names?: NamesView): Dump {
  const owner = (record: CounterRecord): string => {
    if (record.id === 0) return "<no endpoint>";
    return record.ifindex === undefined ? "" : ownerText({ ...record, ifindex: record.ifindex }, names);
  };
  return dumpOf(records, {
    columns: [
      right("ID"),
      ...["POD", "DIRECTION", "VERDICT", "REASON"].map(left),
      right("PACKETS"),
      right("BYTES"),
    ],
    rows: (record) => [
      [
        String(record.id),
        owner(record),
        record.direction,
        record.dropped ? "dropped" : "passed",
        record.reason,
        String(record.packets),
        String(record.bytes),
      ],
    ],
    json: ({ dropped, ...record }) => ({
      ...record,
      verdict: dropped ? "dropped" : "passed",
      ...known("pod", nameOf(record, names)),
    }),
    pods: (record) => [nameOf(record, names)],
  });
}

export function nodeDump(node: NodeRecord): Dump {
  const seconds = (ticks: number): string =>
    node.ticksPerSecond === 0 ? `${ticks} ticks` : `${Number((ticks / node.ticksPerSecond).toFixed(3))} s`;
  const dump = dumpOf([node], {
    columns: [left("FIELD"), left("VALUE")],
    rows: () => [
      ["generation", String(node.generation)],
      ["version in force", String(node.version)],
      ["ticks per second", String(node.ticksPerSecond)],
      ...Object.entries(node.timeouts).map(([name, ticks]) => [`timeout ${name}`, seconds(ticks)]),
    ],
    json: () => node,
  });
  return { ...dump, single: true };
}

// The dump of the event token buckets: how many events of each endpoint and reason were written, and lost.

export interface EventRecord extends Partial<Place> {
  /** The endpoint's; 0 if there is none. */
  readonly id: number;
  readonly direction: Direction;
  readonly reason: string;
  readonly written: bigint;
  readonly lost: bigint;
}

export function eventsDump(records: readonly EventRecord[], names?: NamesView): Dump {
  const podOf = ({ ifindex }: EventRecord): string | undefined =>
    ifindex === undefined ? undefined : names?.endpoints[String(ifindex)];
  const owner = (record: EventRecord): string =>
    record.id === 0 ? "<no endpoint>" : (podOf(record) ?? record.interface ?? "");
  return dumpOf(records, {
    columns: [right("ID"), ...["POD", "DIRECTION", "REASON"].map(left), right("WRITTEN"), right("LOST")],
    rows: (record) => [
      [
        String(record.id),
        owner(record),
        record.direction,
        record.reason,
        String(record.written),
        String(record.lost),
      ],
    ],
    json: (record) => ({ ...record, ...known("pod", podOf(record)) }),
    pods: (record) => [podOf(record)],
  });
}

// Dumps of the uplink tables: denied prefixes with the drops of each, and frames by outcome.

export interface DeniedRecord {
  /** Canonical text. */
  readonly prefix: string;
  /** Of its counter; 0 is shared by prefixes without a counter of their own. */
  readonly number: number;
  readonly packets: bigint;
  readonly bytes: bigint;
}

export interface ScreenedRecord {
  readonly reason: string;
  readonly dropped: boolean;
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** A prefix that shares its counter has the counts of all that share it. */
export const deniedDump = (records: readonly DeniedRecord[]): Dump =>
  dumpOf(records, {
    columns: [left("PREFIX"), right("NUMBER"), right("PACKETS"), right("BYTES")],
    rows: ({ prefix, number, packets, bytes }) => [
      [prefix, number === 0 ? "<shared>" : String(number), String(packets), String(bytes)],
    ],
    json: (record) => record,
  });

/** Nonzero counts only. */
export const uplinksDump = (records: readonly ScreenedRecord[]): Dump =>
  dumpOf(records, {
    columns: [...["VERDICT", "REASON"].map(left), right("PACKETS"), right("BYTES")],
    rows: ({ reason, dropped, packets, bytes }) => [
      [dropped ? "dropped" : "passed", reason, String(packets), String(bytes)],
    ],
    json: ({ dropped, ...record }) => ({ ...record, verdict: dropped ? "dropped" : "passed" }),
  });
