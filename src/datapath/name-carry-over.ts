// Addresses that pods have resolved, from the maps of an earlier build, which have another layout, to this one's: pods need not resolve them again.
//
// The programs may run meanwhile. They enter addresses into a pod's ring from its first place on; these go in from its last place down, each
// where nothing is yet. So whatever is stored is in the ring, nothing that the programs have learned is replaced, and what is carried
// over is pushed out last.

import { setImmediate as nextTurn } from "node:timers/promises";
import { BpfMap } from "bpf-ts";
import { messageOf } from "../base/errors.ts";
import { NAME_SLOTS, NAMES_EACH, type NamedAddress, type NamedAddressKey } from "../gen/layout.ts";
import { ringEntryOf } from "./domain-names.ts";
import { type Decoded, decode, readRecord } from "./layout-record.ts";
import { otherLayouts, otherMapPath } from "./pins.ts";
import type { Datapath } from "./program-loader.ts";
import { type Tables, tableOf } from "./typed-maps.ts";

export interface CarriedNames {
  /** The digest of the layout. */
  readonly layout: string;
  /** Addresses of these pods that were there, also those that a previous call has carried over. */
  readonly addresses: number;
  /** Why none could be. */
  readonly reason?: string;
}

/** A resolved address of any layout. */
export interface EarlierName {
  readonly key: NamedAddressKey;
  readonly slots: NamedAddress["slots"][number][];
}

type NameTables = Pick<Tables, "names" | "nameRings">;

/** Carries over the addresses of these pods, those that have expired too: connections may still use them. Never throws: errors are in the result. */
export async function carryNames(
  datapath: Datapath,
  incarnations: { has(incarnation: number): boolean },
): Promise<readonly CarriedNames[]> {
  const tables = {
    names: tableOf("names", datapath.map("names")),
    nameRings: tableOf("name_rings", datapath.map("name_rings")),
  };
  const results: CarriedNames[] = [];
  for (const layout of otherLayouts(datapath.root)) {
    try {
      const earlier = (await readNames(datapath.root, layout)).filter(({ key }) =>
        incarnations.has(key.incarnation),
      );
      await addNames(tables, earlier);
      results.push({ layout, addresses: earlier.length });
    } catch (error) {
      results.push({ layout, addresses: 0, reason: messageOf(error) });
    }
  }
  return results;
}

/** Empty for a layout without names, or without a description. */
async function readNames(root: string, layout: string): Promise<readonly EarlierName[]> {
  const record = readRecord(root, layout);
  const element = record?.maps.names;
  if (record === undefined || element === undefined) return [];
  using map = BpfMap.openPinned(otherMapPath(root, layout, "names"));
  const { count, keys, values } = await map.entries();
  const view = ({ buffer, byteOffset, byteLength }: Buffer) => new DataView(buffer, byteOffset, byteLength);
  const [keyView, valueView] = [view(keys), view(values)];
  return Array.from({ length: count }, (_, at) => ({
    // A field that is missing, or does not fit, is a RangeError or a TypeError of the codec that writes it.
    key: decode(record, element.key, keyView, at * map.info.keySize) as unknown as NamedAddressKey,
    slots: slotsIn(decode(record, element.value, valueView, at * map.info.lookupSize)),
  }));
}

function slotsIn(value: Decoded): EarlierName["slots"] {
  const { slots } = value as unknown as { readonly slots?: EarlierName["slots"] };
  if (slots === undefined) throw new Error("its layout has no slots of names");
  return slots.filter(({ pattern }) => pattern !== 0n);
}

/** After so many, others get a turn. */
const AT_ONCE = 1_024;

/** Those that are known already stay as they are. Errors: OperationError. */
export async function addNames(tables: NameTables, earlier: readonly EarlierName[]): Promise<void> {
  const lastOf = ({ slots }: EarlierName): number =>
    Math.max(0, ...slots.map(({ expires }) => Number(expires)));
  let done = 0;
  for (const [incarnation, all] of Map.groupBy(earlier, ({ key }) => key.incarnation)) {
    // The latest to expire goes to the last place, which the programs come to last.
    const sorted = all.toSorted((a, b) => lastOf(b) - lastOf(a));
    let place = NAMES_EACH - 1;
    for (const { key, slots } of sorted) {
      if (++done % AT_ONCE === 0) await nextTurn();
      if (slots.length === 0 || tables.names.get(key) !== undefined) continue;
      const entryAt = (at: number) => ringEntryOf(key, BigInt(at));
      while (place >= 0 && !tables.nameRings.add({ incarnation, place }, entryAt(place))) place -= 1;
      if (place < 0) break;
      const isAdded = tables.names.add(key, {
        slots: slotsOf(slots),
        entered: BigInt(place),
      });
      // If the ring has been filled in between, nothing would ever remove it.
      const entry = tables.nameRings.get({ incarnation, place });
      if (isAdded && !sameWords(entry?.words, entryAt(place).words)) await tables.names.deleteBatch([key]);
    }
  }
}

const NO_SLOT = { pattern: 0n, expires: 0n };

const slotsOf = (slots: EarlierName["slots"]): NamedAddress["slots"] => {
  const latest = slots.toSorted((a, b) => Number(b.expires - a.expires));
  return Array.from(
    { length: NAME_SLOTS },
    (_, at) => latest[at] ?? NO_SLOT,
  ) as unknown as NamedAddress["slots"];
};

const sameWords = (one: readonly bigint[] | undefined, other: readonly bigint[]): boolean =>
  other.every((word, at) => one?.[at] === word);
