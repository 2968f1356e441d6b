// What a run of sizes came to: a table with a column for each size, JSON, or Markdown.

import { left, right, tableText } from "../../src/observe/text-output.ts";
import type { Machine } from "../common/machine.ts";
import type { Format } from "../common/options.ts";
import { hundredths } from "../common/report.ts";
import type { Churn, Growth, ScaleRow, Slope, Times } from "./run.ts";

/** `load`: load average of the last minute when it ended, which says whether other programs took CPU time. */
export interface Conditions extends Machine {
  readonly load: number;
}

export function scaleText(format: Format, conditions: Conditions, rows: readonly ScaleRow[]): string {
  if (format === "json") return `${JSON.stringify({ ...conditions, rows: rows.map(jsonOf) }, null, 2)}\n`;
  const titles = rows.map(
    ({ pods, policies, locals }) =>
      `${pods.toLocaleString("en")} pods, ${policies.toLocaleString("en")} policies, ${locals} local`,
  );
  const lines = linesOf(rows);
  if (format === "markdown") {
    const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
    return [line(["", ...titles]), line(["---", ...titles.map(() => "--:")]), ...lines.map(line), ""].join(
      "\n",
    );
  }
  const table = { columns: [left(""), ...titles.map((title) => right(title.toUpperCase()))], rows: lines };
  const { machine, kernel, load } = conditions;
  return `${tableText(table, true)}\n${machine}, Linux ${kernel}, load average ${load.toFixed(1)}\n`;
}

const ms = (value: number): string => `${value < 100 ? value.toFixed(1) : Math.round(value)} ms`;
const share = (value: number): string => `${(value * 100).toFixed(value < 0.1 ? 1 : 0)} %`;
const times = ({ median, p99, worst }: Times): string =>
  `${ms(median)} median, ${ms(p99)} p99, ${ms(worst)} worst`;
const GROWTHS: readonly (readonly [title: string, of: (growth: Growth) => Slope])[] = [
  ["resident memory", ({ resident }) => resident],
  ["live heap after a collection", ({ live }) => live],
  ["resident memory after a collection", ({ residentThen }) => residentThen],
];
const bytesOf = ({ bytes }: Churn): number => Object.values(bytes).reduce((sum, each) => sum + each, 0);

const slopeText = ({ settledMiB, endMiB, mostMiB, perHourMiB }: Slope): string =>
  `${settledMiB} to ${endMiB} MiB (most ${mostMiB}), ${perHourMiB.toFixed(1)} MiB an hour`;

function linesOf(rows: readonly ScaleRow[]): string[][] {
  const line = (title: string, cell: (row: ScaleRow) => string): string[] => [title, ...rows.map(cell)];
  const rates = rows[0]?.churn ?? [];
  return [
    line("start to enforced", ({ startMs }) => `${(startMs / 1_000).toFixed(1)} s`),
    line("CPU time until then", ({ startCpuMs }) => `${(startCpuMs / 1_000).toFixed(1)} s`),
    line("listed at the start", ({ listedBytes }) => `${(listedBytes / 1e6).toFixed(1)} MB`),
    line("memory after start / peak", ({ memoryMiB, peakMiB }) => `${memoryMiB} / ${peakMiB} MiB`),
    line("one remote pod comes, until in force", ({ remotePod }) => times(remotePod)),
    line("compile alone, one pod changed", ({ compileMs }) =>
      compileMs === undefined ? "-" : ms(compileMs),
    ),
    ...(rows.some(({ growth }) => growth !== undefined)
      ? [
          line("long churn", ({ growth }) =>
            growth === undefined ? "-" : `${Math.round(growth.minutes)} minutes at ${growth.rate}/s`,
          ),
          ...GROWTHS.map(([title, of]) =>
            line(`long churn, ${title}`, ({ growth }) =>
              growth === undefined ? "-" : slopeText(of(growth)),
            ),
          ),
        ]
      : []),
    ...rates.flatMap(({ rate }, index) => {
      const of = (title: string, cell: (churn: Churn) => string): string[] =>
        line(title, ({ churn }) => (churn[index] === undefined ? "-" : cell(churn[index])));
      const events = `${rate.toLocaleString("en")} pod events a second`;
      return [
        of(`${events}, of a CPU`, ({ cpu }) => share(cpu)),
        of(`${events}, lag`, ({ lag }) => times(lag)),
        of(`${events}, watched`, (churn) => `${(bytesOf(churn) / 1e6).toFixed(2)} MB/s`),
      ];
    }),
  ];
}

const timesJson = ({ median, p99, worst }: Times) => ({
  median_ms: hundredths(median),
  p99_ms: hundredths(p99),
  worst_ms: hundredths(worst),
});

const slopeJson = (slope: Slope) => ({
  settled_mib: slope.settledMiB,
  end_mib: slope.endMiB,
  most_mib: slope.mostMiB,
  mib_per_hour: hundredths(slope.perHourMiB),
});

const jsonOf = (row: ScaleRow): object => ({
  pods: row.pods,
  policies: row.policies,
  locals: row.locals,
  start_ms: Math.round(row.startMs),
  start_cpu_ms: Math.round(row.startCpuMs),
  listed_bytes: row.listedBytes,
  memory_mib: row.memoryMiB,
  peak_mib: row.peakMiB,
  remote_pod: timesJson(row.remotePod),
  compile_ms: row.compileMs === undefined ? null : hundredths(row.compileMs),
  growth:
    row.growth === undefined
      ? null
      : {
          pod_events_per_second: row.growth.rate,
          minutes: hundredths(row.growth.minutes),
          resident: slopeJson(row.growth.resident),
          live_heap_after_collection: slopeJson(row.growth.live),
          resident_after_collection: slopeJson(row.growth.residentThen),
        },
  churn: row.churn.map(({ rate, cpu, lag, bytes }) => ({
    pod_events_per_second: rate,
    cpu_share: hundredths(cpu),
    lag: timesJson(lag),
    watched_bytes_per_second: Object.fromEntries(
      Object.entries(bytes).map(([kind, value]) => [kind, Math.round(value)]),
    ),
  })),
});
