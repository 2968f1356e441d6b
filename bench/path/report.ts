// What a run over the path came to, as a table for people, JSON for programs, or Markdown for the documentation.

import { left, right } from "../../src/observe/text-output.ts";
import type { Machine } from "../common/machine.ts";
import type { Format } from "../common/options.ts";
import { hundredths, reportOf } from "../common/report.ts";
import type { PathRow } from "./run.ts";
import type { Kind } from "./transfer.ts";

export const pathText = (format: Format, machine: Machine, rows: readonly PathRow[]): string =>
  reportOf(format, machine, rows, {
    json: jsonOf,
    table: (all) => ({
      columns: [
        left("TRAFFIC"),
        ...COLUMNS.map(({ title }) => right(title.toUpperCase())),
        left("ON THE LINKS"),
      ],
      rows: all.map((row) => [row.kind, ...cellsOf(row), row.variant.id]),
    }),
    markdown: {
      titles: ["traffic", ...COLUMNS.map(({ title }) => title), "on the links"],
      cells: (row) => [row.kind, ...cellsOf(row), `\`${row.variant.id}\``],
    },
  });

const jsonOf = ({ policies, variant, kind, figure }: PathRow): object => ({
  kind,
  id: variant.id,
  policies,
  per_second: Math.round(figure.perSecond),
  ratio: hundredths(figure.ratio),
  ...(figure.cpuNs === undefined ? {} : { cpu_ns: Math.round(figure.cpuNs) }),
  ...(figure.cpuRatio === undefined ? {} : { cpu_ratio: hundredths(figure.cpuRatio) }),
  ...(figure.p50Ns === undefined ? {} : { p50_ns: figure.p50Ns }),
  ...(figure.p99Ns === undefined ? {} : { p99_ns: figure.p99Ns }),
});

/** Rates are of packets, requests and connections in thousands, of streams in Gbit. */
const rateText = (kind: Kind, perSecond: number): string =>
  kind === "tcp" ? `${((perSecond * 8) / 1e9).toFixed(2)} Gbit` : `${(perSecond / 1e3).toFixed(1)} k`;

interface Column {
  readonly title: string;
  /** Undefined where it is not measured of such traffic: a dash. */
  readonly text: (row: PathRow) => string | undefined;
}

const COLUMNS: readonly Column[] = [
  { title: "policies", text: ({ policies }) => String(policies) },
  { title: "a second", text: ({ kind, figure }) => rateText(kind, figure.perSecond) },
  { title: "ratio", text: ({ figure }) => figure.ratio.toFixed(2) },
  { title: "CPU, ns", text: ({ figure }) => figure.cpuNs?.toFixed(0) },
  { title: "CPU ratio", text: ({ figure }) => figure.cpuRatio?.toFixed(2) },
  { title: "p50, µs", text: ({ figure }) => microseconds(figure.p50Ns) },
  { title: "p99, µs", text: ({ figure }) => microseconds(figure.p99Ns) },
];

const microseconds = (ns: number | undefined): string | undefined =>
  ns === undefined ? undefined : (ns / 1e3).toFixed(1);

const cellsOf = (row: PathRow): string[] => COLUMNS.map(({ text }) => text(row) ?? "-");
