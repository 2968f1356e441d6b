// What the packet generator's run came to, as a table for people, JSON for programs, or Markdown for the documentation.

import { left, right, type Table } from "../../src/observe/text-output.ts";
import type { Machine } from "../common/machine.ts";
import type { Format } from "../common/options.ts";
import { hundredths, reportOf } from "../common/report.ts";
import type { PktgenRow } from "./run.ts";

export const pktgenText = (format: Format, machine: Machine, rows: readonly PktgenRow[]): string =>
  reportOf(format, machine, rows, {
    json: jsonOf,
    table: tableOf,
    markdown: { titles: [...TITLES.map((title) => title.toLowerCase())], cells: cellsOf },
  });

const TITLES = [
  "MODE",
  "THREADS",
  "BYTES",
  "PACKETS/S",
  "RATIO",
  "SENT",
  "LOST",
  "PASSED",
  "DROPPED",
  "SWEEP",
  "ON THE LINK",
] as const;
const TEXTS: ReadonlySet<string> = new Set(["MODE", "SWEEP", "ON THE LINK"]);

const jsonOf = ({ task, passed, dropped, ...row }: PktgenRow): object => ({
  mode: row.mode,
  sweep: task.sweep.id,
  bytes: task.size,
  threads: task.threads,
  on_the_link: row.variant,
  packets_per_second: Math.round(row.packetsPerSecond),
  ratio_to_empty: hundredths(row.ratio),
  sent: row.sent,
  lost: row.lost,
  passed: passed === undefined ? null : Object.fromEntries(passed),
  dropped: dropped === undefined ? null : Object.fromEntries(dropped),
});

function cellsOf({
  mode,
  task,
  variant,
  packetsPerSecond,
  ratio,
  sent,
  lost,
  passed,
  dropped,
}: PktgenRow): string[] {
  return [
    mode,
    String(task.threads),
    String(task.size),
    packetsPerSecond.toFixed(0),
    ratio.toFixed(2),
    String(sent),
    String(lost),
    reasonsOf(passed),
    reasonsOf(dropped),
    task.sweep.id,
    variant,
  ];
}

/** "12 policy + 3 established", "0", or a dash where nothing counts. */
function reasonsOf(counts: ReadonlyMap<string, number> | undefined): string {
  if (counts === undefined) return "-";
  return [...counts].map(([reason, packets]) => `${packets} ${reason}`).join(" + ") || "0";
}

const tableOf = (rows: readonly PktgenRow[]): Table => ({
  columns: TITLES.map((title) => (TEXTS.has(title) ? left(title) : right(title))),
  rows: rows.map(cellsOf),
});
