// What the virtual machines of tools/test-kernels.sh came to, as a Markdown table; with --write, in a file between two markers.
//   node tools/kernels.ts [--write FILE] IMAGE=LOG ...

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

interface Suite {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
  readonly seconds: number;
}

export interface KernelRun {
  /** As in linux-image-amd64/bookworm. */
  readonly image: string;
  /** As uname -r has it; undefined where the kernel could not be fetched or booted. */
  readonly release: string | undefined;
  readonly suites: ReadonlyMap<string, Suite>;
  /** Instructions that the verifier processed, by program. */
  readonly verified: ReadonlyMap<string, number>;
  /** Whether the machine came to its end. */
  readonly ended: boolean;
}

const MARKERS = [
  "<!-- written by npm run test:kernels -- --write -->",
  "<!-- end of what is written -->",
] as const;

const SUITES: readonly (readonly [id: string, what: string])[] = [
  ["load", "all programs pass the verifier"],
  ["tour", "README's tour by tc, XDP and on an uplink, outcomes checked"],
  ["packet", "`test/packet`: cases, flows, fragments, headers, icmp, sources"],
  ["netns", "`test/netns`: restart, uplinks"],
  ["xdp", "`test/netns/xdp.test.ts`"],
  ["sctp", "SCTP sockets"],
  ["live", "`test/cases` over sockets: itself, dual-stack"],
  ["pktgen", "pktgen: sent = passed + dropped"],
];

const PROGRAMS = ["from_pod", "to_pod", "from_pod_xdp"];

/** `log` is the output of test/vm/run.sh. */
export function readRun(image: string, log: string): KernelRun {
  const [, release] = /^vm: Linux (\S+) /m.exec(log) ?? [];
  const suites = [
    ...log.matchAll(/^vm: suite (\w+): (\d+) passed, (\d+) failed, (\d+) skipped, (\d+) s$/gm),
  ].map(([, name = "", ...numbers]): [string, Suite] => {
    const [passed = 0, failed = 0, skipped = 0, seconds = 0] = numbers.map(Number);
    return [name, { passed, failed, skipped, seconds }];
  });
  const verified = [...log.matchAll(/^ +(\w+): (\d+) instructions verified/gm)].map(
    ([, name = "", count]): [string, number] => [name, Number(count)],
  );
  return {
    image,
    release,
    suites: new Map(suites),
    // The first object's programs: the others with conntrack's functions do not load on every kernel.
    verified: new Map(verified.toReversed()),
    ended: /^vm: closing: /m.test(log),
  };
}

export function tableOf(runs: readonly KernelRun[]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const row = (title: string, cell: (run: KernelRun) => string) => line([title, ...runs.map(cell)]);
  const names = SUITES.filter(([id]) => runs.some(({ suites }) => suites.has(id)));
  return [
    row("", ({ image, release }) => `${release ?? "not booted"} (${image.split("/")[1] ?? image})`),
    line(["---", ...runs.map(() => "---")]),
    row("hook", ({ release }) => (release === undefined ? "–" : hasTcx(release) ? "tcx" : "clsact")),
    row(`verified instructions, ${PROGRAMS.map((name) => `\`${name}\``).join(" / ")}`, ({ verified }) =>
      PROGRAMS.map((name) => verified.get(name)?.toLocaleString("en") ?? "–").join(" / "),
    ),
    ...names.map(([id, what]) => row(what, ({ suites }) => suiteText(suites.get(id)))),
  ].join("\n");
}

function suiteText(suite: Suite | undefined): string {
  if (suite === undefined) return "not run";
  const parts = [`${suite.passed} passed`];
  if (suite.failed > 0) parts.push(`**${suite.failed} failed**`);
  if (suite.skipped > 0) parts.push(`${suite.skipped} skipped`);
  return parts.join(", ");
}

/** Since Linux 6.6. */
function hasTcx(release: string): boolean {
  const [major = 0, minor = 0] = release.split(".").map(Number);
  return major > 6 || (major === 6 && minor >= 6);
}

/** A machine that did not come to its end counts as one failure more. */
export function closingOf(runs: readonly KernelRun[]): { readonly passed: number; readonly failed: number } {
  const suites = runs.flatMap((run) => [...run.suites.values()]);
  const sum = (key: "passed" | "failed") => suites.reduce((total, suite) => total + suite[key], 0);
  return { passed: sum("passed"), failed: sum("failed") + runs.filter(({ ended }) => !ended).length };
}

/** @throws Error where the text has no markers */
export function withTable(text: string, table: string): string {
  const [begin, end] = MARKERS.map((marker) => text.indexOf(marker)) as [number, number];
  if (begin < 0 || end < begin) throw new Error(`no lines ${MARKERS.join(" and ")}`);
  return `${text.slice(0, begin + MARKERS[0].length)}\n${table}\n${text.slice(end)}`;
}

function main(): void {
  const { values, positionals } = parseArgs({
    options: { write: { type: "string" } },
    allowPositionals: true,
  });
  const runs = positionals.map((argument) => {
    const at = argument.indexOf("=");
    const log = argument.slice(at + 1);
    return readRun(argument.slice(0, at), existsSync(log) ? readFileSync(log, "utf8") : "");
  });
  const table = tableOf(runs);
  const { passed, failed } = closingOf(runs);
  process.stdout.write(`\n${table}\n\n${passed} passed, ${failed} failed\n`);
  if (values.write !== undefined)
    writeFileSync(values.write, withTable(readFileSync(values.write, "utf8"), table));
  if (failed > 0) process.exitCode = 1;
}

if (process.argv[1] === fileURLToPath(import.meta.url)) main();
