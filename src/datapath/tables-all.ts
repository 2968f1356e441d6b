// Every map of the datapath as its typed table.

import type { BpfMap } from "bpf-ts";
import { MAPS } from "../gen/layout.ts";
import type { InnerMaps } from "./inner-maps.ts";
import {
  type KeyOf,
  type MapName,
  type NestedName,
  type NestedTableFor,
  nestedTableOf,
  type Table,
  type TableName,
  tableOf,
  type ValueOf,
} from "./typed-maps.ts";

/** The programs' own: the ring buffer, and what each CPU keeps for itself. */
type Internal = "events" | "scratch" | `recent_${string}`;

type Opened = Exclude<MapName, Internal>;

/** "sources_v4" → "sourcesV4". */
type CamelCase<Name extends string> = Name extends `${infer Head}_${infer Tail}`
  ? `${Head}${Capitalize<CamelCase<Tail>>}`
  : Name;

type TableFor<N extends MapName> = N extends NestedName
  ? NestedTableFor<N>
  : N extends TableName
    ? Table<KeyOf<N>, ValueOf<N>>
    : never;

export type Tables = { readonly [N in Opened as CamelCase<N>]: TableFor<N> };

const isOpened = (name: string): name is Opened => !/^(?:events|scratch|recent_.*)$/.test(name);

/** The maps of a layout, open. */
export interface OpenMaps {
  map(name: MapName): BpfMap;
  inner(name: NestedName): InnerMaps;
}

/** Typed tables over maps that remain the caller's to close. */
export const openTables = ({ map, inner }: OpenMaps): Tables =>
  Object.fromEntries(
    Object.keys(MAPS)
      .filter(isOpened)
      .map((name) => [
        name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase()),
        "inner" in MAPS[name]
          ? nestedTableOf(name as NestedName, map(name), inner(name as NestedName))
          : tableOf(name as TableName, map(name)),
      ]),
    // The type says for each name what the two calls give.
  ) as unknown as Tables;
