// What a run over the path came to, as a table for people, JSON for programs, or the documentation's tables in Markdown.

import { left, right } from "../../src/observe/text-output.ts";
import type { Machine } from "../common/machine.ts";
import type { Format } from "../common/options.ts";
import { hundredths, jsonReport, markdownTable, tableReport } from "../common/report.ts";
import type { PathRow } from "./run.ts";
import { KINDS, type Kind, TITLES } from "./transfer.ts";

export function pathText(format: Format, machine: Machine, rows: readonly PathRow[]): string {
  switch (format) {
    case "json":
      return jsonReport(machine, rows.map(jsonOf));
    case "markdown":
      return markdownOf(rows);
    case "table":
      return tableReport(machine, {
        columns: [
          left("TRAFFIC"),
          ...COLUMNS.map(({ title }) => right(title.toUpperCase())),
          left("ON THE LINKS"),
        ],
        rows: rows.map((row) => [row.kind, ...COLUMNS.map(({ text }) => text(row) ?? "-"), row.variant.id]),
      });
  }
}

/** What each table of the documentation has for a row: nothing where it is not measured of such traffic. */
const TABLES: readonly { readonly title: string; readonly cell: (row: PathRow) => string | undefined }[] = [
  { title: "Ratio to nothing on the links, of floods to a program that drops everything", cell: ratioText },
  {
    title: "CPU for each packet, request or connection, in ns",
    cell: ({ figure }) => figure.cpuNs?.toLocaleString("en", { maximumFractionDigits: 0 }),
  },
  {
    title: "p50–p99 of a request or a connection, in µs",
    cell: ({ figure: { p50Ns, p99Ns } }) =>
      p50Ns === undefined ? undefined : `${microseconds(p50Ns)}–${microseconds(p99Ns)}`,
  },
];

/** A line for each variant and a column for each kind of traffic; where several numbers of policies were measured, a cell has one after another. */
function markdownOf(rows: readonly PathRow[]): string {
  const variants = [...new Map(rows.map(({ variant }) => [variant.id, variant])).values()];
  const policies = [...new Set(rows.map((row) => row.policies))].map((count) => count.toLocaleString("en"));
  const tables = TABLES.map(({ title, cell }) => {
    const kinds = KINDS.filter((kind) => rows.some((row) => row.kind === kind && cell(row) !== undefined));
    const lines = variants.map((variant) => [
      `${variant.what} (\`${variant.id}\`)`,
      ...kinds.map((kind) => {
        const cells = rows.filter((row) => row.kind === kind && row.variant.id === variant.id).map(cell);
        return cells.length === 0 ? "–" : cells.map((each) => each ?? "–").join(" / ");
      }),
    ]);
    const heading = `${title}, with ${policies.join(" / ")} policies:`;
    const titles = ["on the host side of the links", ...kinds.map((kind) => TITLES[kind])];
    return `${heading}\n\n${markdownTable(titles, lines, "numbers")}`;
  });
  return tables.join("\n");
}

function ratioText({ figure }: PathRow): string {
  return figure.ratio.toFixed(2);
}

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
  { title: "ratio", text: ratioText },
  { title: "CPU, ns", text: ({ figure }) => figure.cpuNs?.toFixed(0) },
  { title: "CPU ratio", text: ({ figure }) => figure.cpuRatio?.toFixed(2) },
  { title: "p50, µs", text: ({ figure }) => microseconds(figure.p50Ns) },
  { title: "p99, µs", text: ({ figure }) => microseconds(figure.p99Ns) },
];

function microseconds(ns: number | undefined): string | undefined {
  return ns === undefined ? undefined : (ns / 1e3).toFixed(1);
}
