// A chart of what `npm run -s bench -- path -o json` wrote: the ratios by kind of traffic, variant and number of policies.
//   npx node bench/path/chart.ts path.json >path.svg

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { messageOf } from "../../src/base/errors.ts";
import { KINDS, type Kind, TITLES } from "./transfer.ts";

interface Row {
  readonly kind: Kind;
  readonly id: string;
  readonly policies: number;
  readonly ratio: number;
}

interface Result {
  readonly machine: string;
  readonly kernel: string;
  readonly rows: readonly Row[];
}

const COLOURS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#9467bd", "#8c564b", "#e377c2"] as const;
const LABEL = 130;
const PANEL = { width: 190, gap: 24 } as const;
const BAR = { height: 9, gap: 8 } as const;
const HEAD = 56;
/** Where a panel ends: ratios above that are cut, and their number tells. */
const RATIO_MAX = 1.25;

const escaped = (text: string): string =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

const text = (x: number, y: number, content: string, more = ""): string =>
  `<text x="${x.toFixed(1)}" y="${y.toFixed(1)}"${more}>${escaped(content)}</text>`;

const TITLE = "What crosses the links of two pods, as a ratio to nothing on the links";

/** An SVG document. */
export function chartOf({ machine, kernel, rows }: Result): string {
  const policies = [...new Set(rows.map((row) => row.policies))].sort((a, b) => a - b);
  const ids = [...new Set(rows.map(({ id }) => id))];
  const panels = KINDS.filter((kind) => rows.some((row) => row.kind === kind));
  const group = policies.length * BAR.height + BAR.gap;
  const height = HEAD + ids.length * group + 30;
  const width = LABEL + panels.length * (PANEL.width + PANEL.gap);
  const colour = (count: number) => COLOURS[policies.indexOf(count) % COLOURS.length] ?? COLOURS[0];
  const top = (id: string) => HEAD + ids.indexOf(id) * group;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" font-family="sans-serif" font-size="11">`,
    `<title>${TITLE}</title>`,
    `<rect width="${width}" height="${height}" fill="white"/>`,
    ...policies.flatMap((count, at) => [
      `<rect x="${LABEL + at * 110}" y="8" width="10" height="10" fill="${colour(count)}"/>`,
      text(LABEL + at * 110 + 14, 17, `${count.toLocaleString("en")} policies`),
    ]),
    ...ids.map((id) => text(LABEL - 8, top(id) + group / 2, id, ' text-anchor="end"')),
    ...panels.flatMap((kind, at) => {
      const left = LABEL + at * (PANEL.width + PANEL.gap);
      const one = left + PANEL.width / RATIO_MAX;
      const bars = rows.flatMap((row) => {
        if (row.kind !== kind) return [];
        const { ratio } = row;
        const y = top(row.id) + policies.indexOf(row.policies) * BAR.height;
        const length = (Math.min(ratio, RATIO_MAX) / RATIO_MAX) * PANEL.width;
        return [
          `<rect x="${left}" y="${y}" width="${length.toFixed(1)}" height="${BAR.height - 1}" fill="${colour(row.policies)}"/>`,
          text(left + 3, y + BAR.height - 2, ratio.toFixed(2), ' font-size="8" fill="white"'),
        ];
      });
      return [
        text(left, HEAD - 12, TITLES[kind], ' font-weight="bold"'),
        ...bars,
        `<line x1="${one}" x2="${one}" y1="${HEAD - 6}" y2="${height - 26}" stroke="#444" stroke-dasharray="3 3"/>`,
      ];
    }),
    text(
      8,
      height - 8,
      `ratio to nothing on the links, of denied floods to a program that drops everything; ${machine}, Linux ${kernel}`,
    ),
    "</svg>",
    "",
  ].join("\n");
}

function main(file: string | undefined): void {
  if (file === undefined) {
    process.stderr.write(
      "usage: node bench/path/chart.ts FILE, which `npm run -s bench -- path -o json` wrote\n",
    );
    process.exitCode = 2;
    return;
  }
  try {
    process.stdout.write(chartOf(JSON.parse(readFileSync(file, "utf8")) as Result));
  } catch (thrown) {
    process.stderr.write(`chart: ${file}: ${messageOf(thrown)}\n`);
    process.exitCode = 1;
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main(process.argv[2]);
