// How differences between what the agent wants and what the kernel holds are shown.

import { left } from "../table.ts";
import { type Dump, dumpOf, meaningText } from "./map-dump.ts";

/** One entry; `wanted` or `held` is missing where it is not there. */
export interface DifferenceRecord {
  readonly table: string;
  readonly key: string;
  readonly wanted?: string;
  readonly held?: string;
  /** What the entry stands for, where names are known. */
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
