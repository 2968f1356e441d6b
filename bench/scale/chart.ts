// A chart of how the costs grow with the cluster: an SVG with one small plot for each cost.

import type { Machine } from "../common/machine.ts";
import type { ScaleRow } from "./run.ts";

interface Series {
  readonly name: string;
  readonly values: readonly (number | undefined)[];
}

interface Plot {
  readonly title: string;
  readonly series: readonly Series[];
}

const PLOT = { width: 380, height: 240, left: 62, right: 14, top: 34, bottom: 40 } as const;
const COLUMNS = 2;
/** Colours that people with any colour vision can tell apart (Okabe and Ito). */
const COLOURS = ["#0072b2", "#d55e00", "#009e73"] as const;
/** A plot begins at a tenth of its least value's power of ten. */
const DECADES_MIN = 2;

export function chartOf({ machine, kernel }: Machine, rows: readonly ScaleRow[]): string {
  const sizes = rows.map(({ pods }) => pods);
  const plots = plotsOf(rows);
  const [width, height] = [PLOT.width * COLUMNS, PLOT.height * Math.ceil(plots.length / COLUMNS) + 24];
  const drawn = plots.map((plot, index) => {
    const x = (index % COLUMNS) * PLOT.width;
    const y = Math.floor(index / COLUMNS) * PLOT.height;
    return `<g transform="translate(${x} ${y})">${drawPlot(plot, sizes)}</g>`;
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" font-family="sans-serif" font-size="11">`,
    "<title>The agent in clusters of several sizes</title>",
    `<rect width="${width}" height="${height}" fill="#ffffff"/>`,
    ...drawn,
    `<text x="${PLOT.left}" y="${height - 8}" fill="#666666">${escaped(`pods of the cluster; ${machine}, Linux ${kernel}`)}</text>`,
    "</svg>",
    "",
  ].join("\n");
}

function plotsOf(rows: readonly ScaleRow[]): Plot[] {
  const series = (name: string, of: (row: ScaleRow) => number | undefined): Series => ({
    name,
    values: rows.map(of),
  });
  const rates = rows[0]?.churn.map(({ rate }) => rate) ?? [];
  return [
    { title: "start to enforced, seconds", series: [series("start", ({ startMs }) => startMs / 1_000)] },
    {
      title: "resident memory, MiB",
      series: [
        series("after start", ({ memoryMiB }) => memoryMiB),
        series("peak under churn", ({ peakMiB }) => peakMiB),
      ],
    },
    {
      title: "one remote pod until in force, milliseconds",
      series: [
        series("median", ({ remotePod }) => remotePod.median),
        series("worst", ({ remotePod }) => remotePod.worst),
        series("compile alone", ({ compileMs }) => compileMs),
      ],
    },
    {
      title: "CPU under churn of pods, per cent of one",
      series: rates.map((rate, index) =>
        series(`${rate} events/s`, ({ churn }) => {
          const cpu = churn[index]?.cpu;
          return cpu === undefined ? undefined : cpu * 100;
        }),
      ),
    },
  ];
}

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/** Both axes are logarithmic: what costs as much as there are pods is a line with the slope of the grid. */
function drawPlot({ title, series }: Plot, sizes: readonly number[]): string {
  const values = series.flatMap((each) => each.values).filter((value) => value !== undefined && value > 0);
  const x = scaleOf(
    Math.log10(Math.min(...sizes)),
    Math.log10(Math.max(...sizes)),
    PLOT.left,
    PLOT.width - PLOT.right,
  );
  const y = scaleOf(...wholePowers(values as number[]), PLOT.height - PLOT.bottom, PLOT.top);
  const parts = [`<text x="${PLOT.left}" y="16" font-weight="bold">${escaped(title)}</text>`];
  for (const tick of y.ticks) {
    const at = round(y.at(tick));
    parts.push(
      `<line x1="${PLOT.left}" x2="${PLOT.width - PLOT.right}" y1="${at}" y2="${at}" stroke="#dddddd"/>`,
      `<text x="${PLOT.left - 6}" y="${at + 4}" text-anchor="end" fill="#666666">${tick.toLocaleString("en")}</text>`,
    );
  }
  for (const tick of x.ticks)
    parts.push(
      `<text x="${round(x.at(tick))}" y="${PLOT.height - PLOT.bottom + 16}" text-anchor="middle" fill="#666666">${tick.toLocaleString("en")}</text>`,
    );
  for (const [index, { name, values: of }] of series.entries()) {
    const colour = COLOURS[index % COLOURS.length];
    const points = of.flatMap((value, at) =>
      value === undefined || value <= 0 ? [] : [[round(x.at(sizes[at] ?? 1)), round(y.at(value))] as const],
    );
    parts.push(
      `<polyline fill="none" stroke="${colour}" stroke-width="2" points="${points.map((point) => point.join(",")).join(" ")}"/>`,
      ...points.map(([px, py]) => `<circle cx="${px}" cy="${py}" r="3" fill="${colour}"/>`),
      `<text x="${PLOT.left + 8 + index * 108}" y="${PLOT.top - 4}" fill="${colour}">${escaped(name)}</text>`,
    );
  }
  return parts.join("");
}

const round = (value: number): number => Math.round(value * 10) / 10;

/** The powers of ten that enclose the values, as logarithms. */
function wholePowers(values: readonly number[]): [low: number, high: number] {
  const low = Math.floor(Math.log10(Math.min(...values)));
  return [low, Math.max(Math.ceil(Math.log10(Math.max(...values))), low + DECADES_MIN - 1)];
}

/** A logarithmic scale from one end of the drawing to the other, and the powers of ten within it. */
function scaleOf(low: number, high: number, from: number, to: number) {
  const first = Math.ceil(low);
  const ticks = Array.from({ length: Math.floor(high) - first + 1 }, (_, index) => 10 ** (first + index));
  const at = (value: number): number => from + ((Math.log10(value) - low) / (high - low || 1)) * (to - from);
  return { at, ticks };
}
