// The common form of all table dumps: rows for people, a JSON value for programs; and how numbers get their
// names.

import type { NamesView } from "../api-views.ts";
import { type Column, left, printable, someOf } from "../text-output.ts";

/**
 * One table's content. For a large table, only the entries being shown are in memory, besides what was read.
 */
export interface Dump {
  readonly columns: readonly Column[];
  /** In display order; created lazily. */
  readonly entries: Iterable<Entry>;
  /** Whether entries can be filtered by pod. */
  readonly byPod: boolean;
  /** The value for programs is that of the only entry, not a list. */
  readonly single: boolean;
}

export interface Entry {
  /** For people: lines of cells. */
  readonly rows: () => Iterable<readonly string[]>;
  /** For programs: all fields, under stable names. */
  readonly json: () => unknown;
  /** The pods that the entry belongs to, as `namespace/name`. */
  readonly pods: readonly string[];
}

/** How one kind of record is displayed. */
export interface Shape<R> {
  readonly columns: readonly Column[];
  readonly rows: (record: R) => Iterable<readonly string[]>;
  readonly json: (record: R) => unknown;
  /** Omitted if entries belong to no pod. */
  readonly pods?: (record: R) => readonly (string | undefined)[];
}

export function dumpOf<R>(records: Iterable<R>, { columns, rows, json, pods }: Shape<R>): Dump {
  function* entries(): Iterator<Entry> {
    for (const record of records) {
      yield {
        rows: () => rows(record),
        json: () => json(record),
        pods: (pods?.(record) ?? []).filter((pod) => pod !== undefined),
      };
    }
  }
  return { columns, entries: { [Symbol.iterator]: entries }, byPod: pods !== undefined, single: false };
}

/** Only the entries of one pod (`namespace/name`). */
export function dumpOfPod(dump: Dump, pod: string): Dump {
  function* entries(): Iterator<Entry> {
    for (const entry of dump.entries) if (entry.pods.includes(pod)) yield entry;
  }
  return { ...dump, entries: { [Symbol.iterator]: entries } };
}

const MEANINGS_SHOWN_MAX = 8;

/** Several meanings in one cell. All of them are in the JSON. */
export const meaningText = (texts: readonly string[]): string => someOf(texts, MEANINGS_SHOWN_MAX, "; ");

/** The peers of an identity; undefined if they are not known. Identity 0 is in no live rule. */
export function peersOf(identity: number, names: NamesView | undefined): readonly string[] | undefined {
  if (names === undefined) return undefined;
  return identity === 0 ? [] : names.identities[String(identity)];
}

/** The field if it has a value: absent fields are left out of the JSON. */
export function known<T>(field: string, value: T | undefined): Record<string, T> {
  return value === undefined ? {} : { [field]: value };
}

/** One map as bytes. */
export interface RawMap {
  readonly map: string;
  readonly kind: string;
  readonly key: RawType;
  readonly value: RawType;
  readonly count: number;
  readonly entries: Iterable<RawEntry>;
}

export interface RawType {
  /** As in the C source: "struct cidr_v4_key", "__u32". */
  readonly type: string;
  /** In bytes. */
  readonly size: number;
}

export interface RawEntry {
  readonly key: Uint8Array;
  readonly value: Uint8Array;
}

const hex = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("hex");

/** Lines that name each map's structs, for people; the JSON has the same in fields. */
export const rawHeading = (maps: readonly RawMap[]): string =>
  maps
    .map(({ map, kind, key, value, count }) =>
      printable(
        `# ${map}: ${kind}, key ${key.type} (${key.size} bytes), value ${value.type} (${value.size} bytes), entries ${count}`,
      ),
    )
    .map((line) => `${line}\n`)
    .join("");

const RAW_COLUMNS = ["MAP", "KEY", "VALUE"].map(left);

function* rawRows({ map, entries }: RawMap): Iterable<readonly string[]> {
  for (const { key, value } of entries) yield [map, hex(key), hex(value)];
}

/** Map by map: the value for programs describes each map, and lists all bytes in hexadecimal. */
export const rawDump = (maps: readonly RawMap[]): Dump =>
  dumpOf(maps, {
    columns: RAW_COLUMNS,
    rows: rawRows,
    json: ({ map, kind, key, value, entries }) => ({
      map,
      kind,
      key,
      value,
      entries: [...entries].map((entry) => ({ key: hex(entry.key), value: hex(entry.value) })),
    }),
  });

/** Entry by entry, for large maps: each has the name of its map. */
export function rawEntriesDump(maps: readonly RawMap[]): Dump {
  function* records(): Iterable<readonly string[]> {
    for (const map of maps) yield* rawRows(map);
  }
  return dumpOf(records(), {
    columns: RAW_COLUMNS,
    rows: (row) => [row],
    json: ([map, key, value]) => ({ map, key, value }),
  });
}

// How differences between the desired and the actual state are displayed.

/** One entry. Without `held` the kernel has no such entry; without the other field it should have none. */
export interface DifferenceRecord {
  readonly table: string;
  readonly key: string;
  readonly wanted?: string;
  readonly held?: string;
  /** The meaning of the entry, if names are known. */
  readonly about: readonly string[];
}

export const differencesDump = (records: readonly DifferenceRecord[]): Dump =>
  dumpOf(records, {
    columns: ["TABLE", "ENTRY", "WANTED", "IN-KERNEL", "ABOUT"].map(left),
    rows: ({ table, key, wanted, held, about }) => [
      [table, key, wanted ?? "nothing", held ?? "nothing", meaningText(about)],
    ],
    json: (record) => record,
  });
