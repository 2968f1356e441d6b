// The content of all tables at one moment, line by line, and the differences between two moments.

import { isTableName, TABLES, type TableName } from "./dump/map-tables.ts";
import { left, someOf, type Table } from "./text-output.ts";

export const SNAPSHOT_FORMAT = "weir-snapshot/1";

/** The first line. */
export interface SnapshotHead {
  readonly format: typeof SNAPSHOT_FORMAT;
  /** ISO 8601. */
  readonly takenAt: string;
  readonly node: string;
  readonly weir: string;
  readonly layout: string;
  readonly kernel: string;
  readonly generation: number;
}

/** Each further line: one entry of a table, as `weir maps dump -o ndjson` writes it. */
export interface SnapshotLine {
  readonly table: TableName;
  readonly entry: Fields;
}

export type Fields = Readonly<Record<string, unknown>>;

export interface Snapshot {
  readonly head: SnapshotHead;
  /** By table and key, in the order of the file. */
  readonly tables: ReadonlyMap<TableName, ReadonlyMap<string, Fields>>;
}

/** One entry that differs between the two moments. */
export interface SnapshotDifference {
  readonly table: TableName;
  readonly change: "added" | "removed" | "changed";
  readonly key: string;
  readonly before?: Fields;
  readonly after?: Fields;
}

/** Running times, and names, which depend on whether an agent answered. */
const NOT_COMPARED: ReadonlySet<string> = new Set([
  "expiresMs",
  "tick",
  "pod",
  "peer",
  "peers",
  "service",
  "meaning",
  "matches",
  "of",
  "from",
]);

const INFO = new Map(TABLES.map((info) => [info.name, info]));

/** "10.0.0.1": the values of the fields that identify an entry. */
export function keyOfEntry(table: TableName, entry: Fields): string {
  const key = INFO.get(table)?.key ?? [];
  return key.length === 0 ? table : key.map((field) => String(entry[field])).join(" ");
}

/** @throws Error whose message contains the number of the invalid line */
export async function snapshotFrom(lines: AsyncIterable<string>): Promise<Snapshot> {
  let head: SnapshotHead | undefined;
  const tables = new Map<TableName, Map<string, Fields>>();
  let number = 0;
  for await (const line of lines) {
    number += 1;
    const value = parsedLine(line, number);
    if (head === undefined) {
      if (value["format"] !== SNAPSHOT_FORMAT)
        throw new Error(`line 1: expected a snapshot of format ${SNAPSHOT_FORMAT}`);
      head = value as unknown as SnapshotHead;
      continue;
    }
    const { table, entry } = value;
    if (typeof table !== "string" || !isObject(entry))
      throw new Error(`line ${number}: expected a table and an entry`);
    // Tables that only another version has are skipped: there is nothing to compare them with.
    if (!isTableName(table)) continue;
    const entries = tables.get(table) ?? new Map<string, Fields>();
    tables.set(table, entries.set(keyOfEntry(table, entry), entry));
  }
  if (head === undefined) throw new Error("the file is empty");
  return { head, tables };
}

function parsedLine(line: string, number: number): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line, exactNumber as (key: string, value: unknown) => unknown);
    if (isObject(value)) return value;
  } catch {
    // Reported below, like any other line that is not an object.
  }
  throw new Error(`line ${number}: expected a JSON object`);
}

/** Counters wider than a double keep all their digits (source text access, ECMAScript 2026). */
function exactNumber(_: string, value: unknown, context?: { readonly source?: string }): unknown {
  if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
  const source = context?.source ?? "";
  return /^-?\d+$/.test(source) ? BigInt(source) : value;
}

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Table by table, first removed and changed entries, then new ones. */
export function compareSnapshots(before: Snapshot, after: Snapshot): SnapshotDifference[] {
  return TABLES.flatMap(({ name }) =>
    compareTables(name, before.tables.get(name) ?? new Map(), after.tables.get(name) ?? new Map()),
  );
}

function compareTables(
  table: TableName,
  before: ReadonlyMap<string, Fields>,
  after: ReadonlyMap<string, Fields>,
): SnapshotDifference[] {
  const found: SnapshotDifference[] = [];
  for (const [key, entry] of before) {
    const now = after.get(key);
    if (now === undefined) found.push({ table, change: "removed", key, before: entry });
    else if (changedFields(entry, now).length > 0)
      found.push({ table, change: "changed", key, before: entry, after: now });
  }
  for (const [key, entry] of after)
    if (!before.has(key)) found.push({ table, change: "added", key, after: entry });
  return found;
}

/** Whether anything differs that the agent writes: what the programs write differs every time. */
export const isMaterial = ({ table }: SnapshotDifference): boolean => INFO.get(table)?.by === "agent";

const text = (value: unknown): string =>
  JSON.stringify(value, (field, each: unknown) =>
    NOT_COMPARED.has(field) ? undefined : typeof each === "bigint" ? String(each) : each,
  ) ?? "nothing";

const changedFields = (before: Fields, after: Fields): string[] =>
  [...new Set([...Object.keys(before), ...Object.keys(after)])].filter(
    (field) => !NOT_COMPARED.has(field) && text(before[field]) !== text(after[field]),
  );

const COLUMNS = ["TABLE", "CHANGE", "ENTRY", "WHAT"].map(left);

export const snapshotTable = (differences: readonly SnapshotDifference[]): Table => ({
  columns: COLUMNS,
  rows: differences.map((each) => [each.table, each.change, each.key, whatText(each)]),
});

const FIELDS_SHOWN_MAX = 6;

/** For an added or removed entry its content, for a changed one only the differing fields. */
function whatText({ table, before, after }: SnapshotDifference): string {
  if (before !== undefined && after !== undefined) {
    const fields = changedFields(before, after).map(
      (field) =>
        `${field} ${changeText(before[field], after[field])}${growthText(table, before[field], after[field])}`,
    );
    return someOf(fields, FIELDS_SHOWN_MAX, ", ");
  }
  const key = new Set(INFO.get(table)?.key ?? []);
  const fields = Object.entries(before ?? after ?? {}).filter(
    ([field]) => !NOT_COMPARED.has(field) && !key.has(field),
  );
  return someOf(
    fields.map(([field, value]) => `${field} ${plainText(value)}`),
    FIELDS_SHOWN_MAX,
    ", ",
  );
}

const isNumber = (value: unknown): value is number | bigint => ["number", "bigint"].includes(typeof value);

function changeText(before: unknown, after: unknown): string {
  if (Array.isArray(before) && Array.isArray(after)) return listChangeText(before, after);
  return `${plainText(before)} -> ${plainText(after)}`;
}

/** By how much a counter has grown; the numbers that the agent writes are names, and have no difference. */
function growthText(table: TableName, before: unknown, after: unknown): string {
  if (table !== "counters" || !isNumber(before) || !isNumber(after) || after < before) return "";
  return ` (+${BigInt(after) - BigInt(before)})`;
}

function listChangeText(before: readonly unknown[], after: readonly unknown[]): string {
  const [old, now] = [new Set(before.map(plainText)), new Set(after.map(plainText))];
  const changes = [
    ...[...old].filter((each) => !now.has(each)).map((each) => `-${each}`),
    ...[...now].filter((each) => !old.has(each)).map((each) => `+${each}`),
  ];
  return someOf(changes, FIELDS_SHOWN_MAX, " ");
}

const plainText = (value: unknown): string =>
  typeof value === "string" ? value : text(value).replaceAll('"', "");
