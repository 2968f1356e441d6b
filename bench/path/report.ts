// What a run over the path came to, as a table for people, JSON for programs, or Markdown for the documentation.

import { left, right, type Table } from "../../src/observe/text-output.ts";
import type { Machine } from "../common/machine.ts";
import type { Format } from "../common/options.ts";
import { hundredths, reportOf } from "../common/report.ts";
import type { Figure, PathRow } from "./run.ts";
import type { Kind } from "./transfer.ts";

export const pathText = (format: Format, machine: Machine, rows: readonly PathRow[]): string =>
  reportOf(format, machine, rows, {
    json: jsonOf,
    table: tableOf,
    markdown: {
      titles: ["on the links", ...COLUMNS.map(({ title }) => title), "what"],
      cells: (row) => [`\`${row.variant.id}\``, ...cellsOf(row), row.variant.what],
    },
  });

const NAMES: Readonly<Record<Kind, string>> = {
  udp: "udp_packets",
  tcp: "tcp_bytes",
  ask: "requests",
  connect: "connections",
  flood: "denied_packets",
};

const jsonOf = ({ policies, variant, figures }: PathRow): object => ({
  id: variant.id,
  policies,
  ...Object.fromEntries(
    [...figures].flatMap(([kind, { perSecond, ratio, p50Ns, p99Ns, cpuNs, cpuRatio }]) => [
      [`${NAMES[kind]}_per_second`, Math.round(perSecond)],
      [`${NAMES[kind]}_ratio`, hundredths(ratio)],
      ...(p50Ns === undefined ? [] : [[`${NAMES[kind]}_p50_ns`, p50Ns]]),
      ...(p99Ns === undefined ? [] : [[`${NAMES[kind]}_p99_ns`, p99Ns]]),
      ...(cpuNs === undefined ? [] : [[`${NAMES[kind]}_cpu_ns`, Math.round(cpuNs)]]),
      ...(cpuRatio === undefined ? [] : [[`${NAMES[kind]}_cpu_ratio`, hundredths(cpuRatio)]]),
    ]),
  ),
});

interface Column {
  readonly title: string;
  readonly kind?: Kind;
  readonly text: (figure: Figure) => string;
}

const ratio = ({ ratio: value }: Figure): string => value.toFixed(2);
const thousands = ({ perSecond }: Figure): string => (perSecond / 1e3).toFixed(1);
const microseconds = (ns: number | undefined): string => (ns === undefined ? "-" : (ns / 1e3).toFixed(1));

const cpu = ({ cpuNs }: Figure): string => (cpuNs ?? 0).toFixed(0);
const cpuTimes = ({ cpuRatio }: Figure): string => (cpuRatio ?? 0).toFixed(2);

const COLUMNS: readonly Column[] = [
  { title: "policies", text: () => "" },
  { title: "UDP, 1,000 packets/s", kind: "udp", text: thousands },
  { title: "ratio", kind: "udp", text: ratio },
  { title: "CPU, ns", kind: "udp", text: cpu },
  { title: "ratio", kind: "udp", text: cpuTimes },
  { title: "TCP, Gbit/s", kind: "tcp", text: ({ perSecond }) => ((perSecond * 8) / 1e9).toFixed(2) },
  { title: "ratio", kind: "tcp", text: ratio },
  { title: "requests, 1,000/s", kind: "ask", text: thousands },
  { title: "ratio", kind: "ask", text: ratio },
  { title: "p50, µs", kind: "ask", text: ({ p50Ns }) => microseconds(p50Ns) },
  { title: "p99, µs", kind: "ask", text: ({ p99Ns }) => microseconds(p99Ns) },
  { title: "CPU, ns", kind: "ask", text: cpu },
  { title: "ratio", kind: "ask", text: cpuTimes },
  { title: "connections, 1,000/s", kind: "connect", text: thousands },
  { title: "ratio", kind: "connect", text: ratio },
  { title: "CPU, ns", kind: "connect", text: cpu },
  { title: "ratio", kind: "connect", text: cpuTimes },
  { title: "denied, 1,000 packets/s", kind: "flood", text: thousands },
  { title: "ratio", kind: "flood", text: ratio },
  { title: "CPU, ns", kind: "flood", text: cpu },
  { title: "ratio", kind: "flood", text: cpuTimes },
];

/** A dash where a kind was not measured. */
const cellsOf = ({ policies, figures }: PathRow): string[] =>
  COLUMNS.map(({ kind, text }) => {
    if (kind === undefined) return String(policies);
    const figure = figures.get(kind);
    return figure === undefined ? "-" : text(figure);
  });

const tableOf = (rows: readonly PathRow[]): Table => ({
  columns: [left("ON THE LINKS"), ...COLUMNS.map(({ title }) => right(title.toUpperCase())), left("WHAT")],
  rows: rows.map((row) => [row.variant.id, ...cellsOf(row), row.variant.what]),
});
