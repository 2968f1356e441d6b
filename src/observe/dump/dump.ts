// What every dump of a table comes to: rows for people, a value for programs; and how numbers get their names.

import { left, type Table } from "../table.ts";
import { printable, someOf } from "../text.ts";
import type { NamesView } from "../view.ts";

/** One table's content. `json` holds all of it, under names that stay. */
export interface Dump {
  readonly table: Table;
  readonly json: unknown;
}

const MEANINGS_SHOWN_MAX = 8;

/** Several meanings in one cell. All of them are in the JSON. */
export const meaningText = (texts: readonly string[]): string => someOf(texts, MEANINGS_SHOWN_MAX, "; ");

/** The peers that an identity stands for; undefined where nobody can tell. Identity 0 is what no live rule names. */
export function peersOf(identity: number, names: NamesView | undefined): readonly string[] | undefined {
  if (names === undefined) return undefined;
  return identity === 0 ? [] : names.identities[String(identity)];
}

/** Only what is known: absent fields are left out of the JSON. */
export function known<T>(field: string, value: T | undefined): Record<string, T> {
  return value === undefined ? {} : { [field]: value };
}

/** Lines that name each map's structs, then all bytes in hexadecimal. */
export interface RawMap {
  readonly map: string;
  readonly kind: string;
  readonly key: RawType;
  readonly value: RawType;
  readonly entries: readonly RawEntry[];
}

export interface RawType {
  /** As the C source has it: "struct cidr_v4_key", "__u32". */
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

/** Heading lines for people; the JSON has the same in fields. */
export const rawHeading = (maps: readonly RawMap[]): string =>
  maps
    .map(({ map, kind, key, value, entries }) =>
      printable(
        `# ${map}: ${kind}, key ${key.type} (${key.size} bytes), value ${value.type} (${value.size} bytes), entries ${entries.length}`,
      ),
    )
    .map((line) => `${line}\n`)
    .join("");

export function rawDump(maps: readonly RawMap[]): Dump {
  const rows = maps.flatMap(({ map, entries }) =>
    entries.map(({ key, value }) => [map, hex(key), hex(value)]),
  );
  return {
    table: { columns: ["MAP", "KEY", "VALUE"].map(left), rows },
    json: maps.map(({ map, kind, key, value, entries }) => ({
      map,
      kind,
      key,
      value,
      entries: entries.map((entry) => ({ key: hex(entry.key), value: hex(entry.value) })),
    })),
  };
}
