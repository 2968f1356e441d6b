// What a run over the path came to, as a table for people, JSON for programs, or Markdown for the documentation.

import { left, right, type Table, tableText } from "../../src/observe/table.ts";
import type { Machine } from "../common/machine.ts";
import type { Format } from "../common/options.ts";
import type { PathRow } from "./run.ts";

export function pathText(format: Format, machine: Machine, rows: readonly PathRow[]): string {
  switch (format) {
    case "json":
      return `${JSON.stringify({ ...machine, rows: rows.map(jsonOf) }, null, 2)}\n`;
    case "markdown":
      return markdownOf(rows);
    case "table":
      return `${tableText(tableOf(rows), true)}\n${machine.machine}, Linux ${machine.kernel}\n`;
  }
}

const hundredths = (value: number): number => Math.round(value * 100) / 100;

const jsonOf = ({ variant, udp, tcp }: PathRow): object => ({
  id: variant.id,
  udp_packets_per_second: Math.round(udp.perSecond),
  udp_ratio: hundredths(udp.ratio),
  tcp_bytes_per_second: Math.round(tcp.perSecond),
  tcp_ratio: hundredths(tcp.ratio),
});

const cellsOf = ({ variant, udp, tcp }: PathRow): string[] => [
  (udp.perSecond / 1e3).toFixed(0),
  udp.ratio.toFixed(2),
  ((tcp.perSecond * 8) / 1e9).toFixed(2),
  tcp.ratio.toFixed(2),
  variant.what,
];

const tableOf = (rows: readonly PathRow[]): Table => ({
  columns: [
    left("ON THE LINKS"),
    right("UDP KPPS"),
    right("RATIO"),
    right("TCP GBIT/S"),
    right("RATIO"),
    left("WHAT"),
  ],
  rows: rows.map((row) => [row.variant.id, ...cellsOf(row)]),
});

function markdownOf(rows: readonly PathRow[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [
    line(["on the links", "UDP, 1,000 packets/s", "ratio", "TCP, Gbit/s", "ratio", "what"]),
    line(["---", "--:", "--:", "--:", "--:", "---"]),
    ...rows.map((row) => line([`\`${row.variant.id}\``, ...cellsOf(row)])),
    "",
  ].join("\n");
}
