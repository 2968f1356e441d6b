// Dumps of the tables that say which ports: ranges with their classes, and rows of classes.

import { left, right } from "../table.ts";
import { type Dump, dumpOf, meaningText } from "./map-dump.ts";

/** Neighbouring places of one class. `ports` names them, as "TCP/8000-8080"; `first` and `last` are the map's indexes. */
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

/** As ranges. Ports that are not listed are of class 0, which only the row that allows everything holds. */
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
