// Dumps of the tables about uplinks: denied prefixes with what was dropped for each, and frames by what was made of them.

import { left, right } from "../table.ts";
import { type Dump, dumpOf } from "./map-dump.ts";

export interface DeniedRecord {
  /** Canonical text. */
  readonly prefix: string;
  /** Of its counter; 0 is shared by prefixes without one of their own. */
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

/** Of a prefix that shares its counter, the counts are those of all that share it. */
export const deniedDump = (records: readonly DeniedRecord[]): Dump =>
  dumpOf(records, {
    columns: [left("PREFIX"), right("NUMBER"), right("PACKETS"), right("BYTES")],
    rows: ({ prefix, number, packets, bytes }) => [
      [prefix, number === 0 ? "<shared>" : String(number), String(packets), String(bytes)],
    ],
    json: (record) => record,
  });

/** What is not zero. */
export const uplinksDump = (records: readonly ScreenedRecord[]): Dump =>
  dumpOf(records, {
    columns: [...["VERDICT", "REASON"].map(left), right("PACKETS"), right("BYTES")],
    rows: ({ reason, dropped, packets, bytes }) => [
      [dropped ? "dropped" : "passed", reason, String(packets), String(bytes)],
    ],
    json: ({ dropped, ...record }) => ({ ...record, verdict: dropped ? "dropped" : "passed" }),
  });
