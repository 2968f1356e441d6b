// What a run over the path came to, as a table for people, JSON for programs, or Markdown for the documentation.

import { left, right, type Table } from "../../src/observe/text-output.ts";
import type { Machine } from "../common/machine.ts";
import type { Format } from "../common/options.ts";
import { hundredths, reportOf } from "../common/report.ts";
import type { PathRow } from "./run.ts";

export const pathText = (format: Format, machine: Machine, rows: readonly PathRow[]): string =>
  reportOf(format, machine, rows, {
    json: jsonOf,
    table: tableOf,
    markdown: {
      titles: ["on the links", "UDP, 1,000 packets/s", "ratio", "TCP, Gbit/s", "ratio", "what"],
      cells: (row) => [`\`${row.variant.id}\``, ...cellsOf(row)],
    },
  });

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
