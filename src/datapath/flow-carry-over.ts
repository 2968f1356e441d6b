// Converts flows of an earlier build, whose maps have another layout, to this build's: connections survive an upgrade.

import { BpfMap, UpdateFlag } from "bpf-ts";
import { codeOf, messageOf } from "../base/errors.ts";
import { DIRECTION_NAMES, FLOW_STATE_NAMES, type Flow, MAPS } from "../gen/layout.ts";
import { addressesOfEndpoint, type EndpointAddresses, ownerOf } from "./codec.ts";
import { type Decoded, decode, type LayoutRecord, type RecordedMap, readRecord } from "./layout-record.ts";
import { ticksNow } from "./node-settings.ts";
import { otherLayouts, otherMapPath } from "./pins.ts";
import type { Datapath } from "./program-loader.ts";

/** An endpoint as the earlier build numbered it. */
export interface EarlierEndpoint {
  readonly ifindex: number;
  readonly incarnation: number;
  readonly addresses: readonly string[];
}

export interface CarriedFlows {
  readonly layout: string;
  readonly flows: number;
  /** Flows of pods that are gone, or expired flows. */
  readonly ended: number;
  /** Flows that could not be converted. */
  readonly lost: number;
  /** Why. */
  readonly reason?: string;
}

export interface CarryOver {
  readonly lastIncarnation: number;
  readonly endpoints: readonly EarlierEndpoint[];
  /**
   * Writes the flows of these pods that have not been written, in addition to those in the tables. They get the previous
   * generation, so that the current policies judge their next packet. Never throws: errors are in the result.
   */
  copy(incarnations: ReadonlySet<number>, generation: number): Promise<readonly CarriedFlows[]>;
}

/** What other builds have left under the pin root, the latest first; undefined if there is nothing. */
export async function openCarryOver(datapath: Datapath): Promise<CarryOver | undefined> {
  const layouts = await Promise.all(
    otherLayouts(datapath.root).map((digest) => openEarlier(datapath, digest)),
  );
  if (layouts.length === 0) return undefined;
  layouts.sort((a, b) => b.lastIncarnation - a.lastIncarnation);
  const [latest] = layouts;
  return {
    lastIncarnation: latest?.lastIncarnation ?? 0,
    endpoints: latest?.endpoints ?? [],
    async copy(incarnations, generation) {
      const results: CarriedFlows[] = [];
      for (const layout of layouts) results.push(await layout.copy(incarnations, generation));
      return results;
    },
  };
}

interface Earlier {
  readonly lastIncarnation: number;
  readonly endpoints: readonly EarlierEndpoint[];
  copy(incarnations: ReadonlySet<number>, generation: number): Promise<CarriedFlows>;
}

async function openEarlier(datapath: Datapath, digest: string): Promise<Earlier> {
  const { root } = datapath;
  try {
    const record = readRecord(root, digest);
    if (record === undefined) throw new Error("its layout is not known");
    const read = (name: RecordedMap) => readEarlier(record, name, otherMapPath(root, digest, name));
    const [node] = await read("node");
    const endpoints = [...(await read("endpoints"))].map(([, value]) => endpointFrom(value));
    const written = new Set<string>();
    const all = { flows: 0, ended: 0, lost: 0 };
    return {
      lastIncarnation: numberIn(node?.[1], "lastIncarnation"),
      endpoints: endpoints.filter(({ ifindex }) => ifindex !== 0),
      async copy(incarnations, generation) {
        try {
          const ended: number[] = [];
          for (const name of FLOW_MAPS) {
            const flows = await read(name);
            const convert = converter(record, {
              incarnations,
              generation,
              now: ticksNow(datapath.ticksPerSecond),
            });
            const done = writeFlows(datapath.map(name), MAPS[name], flows, { convert, written });
            all.flows += done.flows;
            ended.push(done.ended);
          }
          all.ended = ended.reduce((sum, each) => sum + each, 0);
          return { layout: digest, ...all };
        } catch (error) {
          const lost = await countFlows(root, digest);
          return { layout: digest, ...all, lost: lost - all.flows, reason: messageOf(error) };
        }
      },
    };
  } catch (error) {
    const reason = messageOf(error);
    return {
      lastIncarnation: 0,
      endpoints: [],
      copy: async () => ({
        layout: digest,
        flows: 0,
        ended: 0,
        lost: await countFlows(root, digest),
        reason,
      }),
    };
  }
}

const FLOW_MAPS = ["conntrack_v4", "conntrack_v6"] as const;

type Entry = readonly [key: Decoded, value: Decoded];

/** Decodes the entries one by one: a full table as objects takes ten times its bytes. */
async function readEarlier(
  record: LayoutRecord,
  name: RecordedMap,
  path: string,
): Promise<IterableIterator<Entry>> {
  const element = record.maps[name];
  if (element === undefined) throw new Error(`its layout has no map ${name}`);
  using map = BpfMap.openPinned(path);
  const { count, keys, values } = await map.entries();
  const [keyView, valueView] = [keys, values].map(viewOf) as [DataView, DataView];
  const { keySize, lookupSize } = map.info;
  return (function* () {
    for (let at = 0; at < count; at++) {
      const key = decode(record, element.key, keyView, at * keySize);
      yield [key, decode(record, element.value, valueView, at * lookupSize)] as const;
    }
  })();
}

const viewOf = ({ buffer, byteOffset, byteLength }: Buffer): DataView =>
  new DataView(buffer, byteOffset, byteLength);

/** 0 if the tables cannot be read either. */
async function countFlows(root: string, digest: string): Promise<number> {
  let sum = 0;
  for (const name of FLOW_MAPS) {
    try {
      using map = BpfMap.openPinned(otherMapPath(root, digest, name));
      sum += (await map.entries()).count;
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
    }
  }
  return sum;
}

function fieldIn(value: Decoded | undefined, name: string): Decoded {
  const field =
    typeof value === "object" && !Array.isArray(value)
      ? (value as { readonly [field: string]: Decoded })[name]
      : undefined;
  if (field === undefined) throw new Error(`its layout has no field ${name}`);
  return field;
}

function numberIn(value: Decoded | undefined, name: string): number {
  const field = fieldIn(value, name);
  if (typeof field !== "number")
    throw new Error(`in its layout the field ${name} is no number of up to 32 bits`);
  return field;
}

function bigintIn(value: Decoded, name: string): bigint {
  const field = fieldIn(value, name);
  if (typeof field !== "bigint") throw new Error(`in its layout the field ${name} is no number of 64 bits`);
  return field;
}

const ADDRESS_FIELDS = ["addressesV4Used", "addressesV6Used", "addressesV4", "addressesV6"] as const;

function endpointFrom(value: Decoded): EarlierEndpoint {
  // Lists of addresses are as this build has them, or fail in addressesOfEndpoint.
  const addresses = Object.fromEntries(
    ADDRESS_FIELDS.map((name) => [name, fieldIn(value, name)]),
  ) as unknown as EndpointAddresses;
  return {
    ifindex: numberIn(value, "ifindex"),
    incarnation: numberIn(value, "incarnation"),
    addresses: addressesOfEndpoint(addresses).map(({ text }) => text),
  };
}

interface Conversion {
  readonly incarnations: ReadonlySet<number>;
  readonly generation: number;
  /** In ticks. */
  readonly now: bigint;
}

/** The flow in this build's layout; undefined if it has expired. Throws if the earlier layout has no such field or value. */
function converter(record: LayoutRecord, { incarnations, generation, now }: Conversion) {
  const openers = numbersBetween(record, "direction", DIRECTION_NAMES);
  const states = numbersBetween(record, "flow_state", FLOW_STATE_NAMES);
  return (key: Decoded, value: Decoded): Flow | undefined => {
    const expires = bigintIn(value, "expires");
    if (expires <= now || !incarnations.has(ownerOf(numberIn(key, "owner")).incarnation)) return undefined;
    const opener = openers.get(numberIn(value, "opener"));
    if (opener === undefined) throw new Error("a flow has an unknown opener");
    const before = numberIn(value, "state");
    const state = [...states].reduce((sum, [old, bit]) => sum + ((before & old) === 0 ? 0 : bit), 0);
    return { expires, generation: (generation - 1) >>> 0, opener: opener as Flow["opener"], state };
  };
}

/** The numbers of an enum in the record to those of this build, by their names. */
function numbersBetween(
  { enums }: LayoutRecord,
  name: string,
  names: { readonly [number: number]: string },
): ReadonlyMap<number, number> {
  const earlier = enums[name]?.values ?? [];
  return new Map(
    Object.entries(names).flatMap(([number, text]) => {
      const found = earlier.find((each) => each.name === constantName(name, text));
      return found === undefined ? [] : [[found.value, Number(number)] as const];
    }),
  );
}

/** Names in src/gen/layout.ts are without the enum's prefix, in lower case. */
const PREFIXES: { readonly [name: string]: string } = { direction: "DIRECTION_", flow_state: "FLOW_" };
const constantName = (name: string, text: string): string =>
  `${PREFIXES[name] ?? ""}${text.toUpperCase().replaceAll("-", "_")}`;

interface FlowCodecs {
  readonly name: string;
  readonly key: { readonly size: number; encode(value: never, view: DataView, offset: number): void };
  readonly value: { readonly size: number; encode(value: Flow, view: DataView, offset: number): void };
}

/** One by one: entries that the programs have written meanwhile are newer, and batches would overwrite them. */
function writeFlows(
  map: BpfMap,
  { key: keyCodec, value: valueCodec }: FlowCodecs,
  entries: Iterable<Entry>,
  {
    convert,
    written,
  }: {
    readonly convert: (key: Decoded, value: Decoded) => Flow | undefined;
    readonly written: Set<string>;
  },
): { readonly flows: number; readonly ended: number } {
  let [flows, ended] = [0, 0];
  for (const [key, value] of entries) {
    const flow = convert(key, value);
    if (flow === undefined) {
      ended += 1;
      continue;
    }
    const [keyBytes, valueBytes] = [Buffer.alloc(keyCodec.size), Buffer.alloc(valueCodec.size)];
    // A field that is missing, or does not fit, is a RangeError or a TypeError of the codec.
    keyCodec.encode(key as never, viewOf(keyBytes), 0);
    valueCodec.encode(flow, viewOf(valueBytes), 0);
    const text = keyBytes.toString("latin1");
    if (written.has(text)) continue;
    try {
      map.update(keyBytes, valueBytes, UpdateFlag.NOEXIST);
    } catch (error) {
      if (codeOf(error) !== "EEXIST") throw error;
    }
    written.add(text);
    flows += 1;
  }
  return { flows, ended };
}
