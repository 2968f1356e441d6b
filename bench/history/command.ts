// `npm run bench -- history`: what the history of a day costs, in bytes, memory and time.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import type { Command } from "commander";
import { frameOf, type HistoryBlock } from "../../src/history/history-block.ts";
import { openMinute } from "../../src/history/history-minute.ts";
import { answerHistory, answerTop, type HistorySource } from "../../src/history/history-query.ts";
import { openHistoryStore } from "../../src/history/history-store.ts";
import { left, right } from "../../src/observe/text-output.ts";
import { describeMachine } from "../common/machine.ts";
import { atLeast, type Format, outputOption, progress } from "../common/options.ts";
import { randomFrom } from "../common/random.ts";
import { hundredths, reportOf } from "../common/report.ts";

interface Options {
  readonly output: Format;
  readonly pods: number;
  readonly hours: number;
  readonly limit: number;
  readonly busy: number;
}

const HELP = `
So many pods, of which each counts in each minute six kinds of packets (established, allowed and not isolated, in both
directions) with random numbers, and --busy of them also what is denied; each reports some of its 20 usual peers. The
blocks are written to files in the directory for temporary files, and then read as \`weir drops\` and \`weir top\` do.
It needs no privilege.

Examples:
  npm run bench -- history --pods 250 --hours 24`;

const MIB = 1024 * 1024;
const MINUTE_MS = 60_000;

export function addHistory(parent: Command): void {
  parent
    .command("history")
    .description("what the history of a day costs")
    .addOption(outputOption())
    .option("--pods <number>", "pods of the node", atLeast(1), 250)
    .option("--hours <number>", "hours of history", atLeast(1), 24)
    .option("--busy <percent>", "pods with drops, in percent", atLeast(0), 20)
    .option("--limit <MiB>", "maximum size, as --history-size", atLeast(1), 32)
    .addHelpText("after", HELP)
    .action(history);
}

interface Row {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
}

async function history({ output, pods, hours, busy, limit }: Options): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "weir-bench-history-"));
  try {
    const rows = await measured(directory, { pods, hours, busy, limit });
    process.stdout.write(
      reportOf(output, describeMachine(), rows, {
        json: (row) => row,
        table: (all) => ({ columns: [left("WHAT"), right("VALUE"), left("UNIT")], rows: all.map(cells) }),
        markdown: { titles: ["what", "value", "unit"], cells },
      }),
    );
  } finally {
    rmSync(directory, { recursive: true });
  }
}

const cells = ({ name, value, unit }: Row): readonly string[] => [name, String(hundredths(value)), unit];

async function measured(
  directory: string,
  { pods, hours, busy, limit }: Omit<Options, "output">,
): Promise<readonly Row[]> {
  const minutes = hours * 60;
  const from = Date.parse("2026-01-01T00:00:00Z");
  const store = await openHistoryStore({ directory, bytesMax: limit * MIB }, from);
  const minuteOf = trafficOf(pods, busy);
  // What the first minute has to load counts as the bench's own.
  frameOf({ sequence: 0, from: 0, to: 0, away: false, rows: minuteOf().seal() });
  const before = heapNow();
  const taken = { seal: 0, write: 0, rows: 0, bytes: 0 };
  progress(`${minutes} minutes of ${pods} pods`);
  for (let sequence = 1; sequence <= minutes; sequence += 1) {
    const minute = minuteOf();
    const counted = performance.now();
    const rows = minute.seal();
    const to = from + sequence * MINUTE_MS;
    const block: HistoryBlock = { sequence, from: to - MINUTE_MS, to, away: false, rows };
    const sealed = performance.now();
    taken.bytes += frameOf(block).length;
    const framed = performance.now();
    await store.append(block, to);
    taken.seal += sealed - counted;
    taken.write += performance.now() - framed;
    taken.rows += rows.length;
  }
  const heap = heapNow() - before;
  const opening = performance.now();
  const again = await openHistoryStore({ directory, bytesMax: limit * MIB }, from + minutes * MINUTE_MS);
  const opened = performance.now() - opening;
  const until = from + minutes * MINUTE_MS;
  const source: HistorySource = {
    store: again,
    current: { sequence: minutes + 1, from: until, to: until, away: false, rows: [] },
  };
  const timed = async (work: () => Promise<unknown>): Promise<number> => {
    const began = performance.now();
    await work();
    return performance.now() - began;
  };
  const verdicts = new Set(["dropped"] as const);
  const hour = { since: until - 60 * MINUTE_MS, until, verdicts };
  const all = { since: from, until };
  return [
    { name: "rows of a minute", value: taken.rows / minutes, unit: "rows" },
    { name: "bytes of a minute", value: taken.bytes / minutes / 1024, unit: "KiB" },
    { name: "files", value: again.heads().reduce((sum, { length }) => sum + length, 0) / MIB, unit: "MiB" },
    { name: "hours kept", value: again.heads().length / 60, unit: "h" },
    { name: "memory kept for it, beside the files", value: heap / MIB, unit: "MiB" },
    { name: "adding a minute up", value: taken.seal / minutes, unit: "ms" },
    { name: "writing a minute (compression included)", value: taken.write / minutes, unit: "ms" },
    { name: "opening at start", value: opened, unit: "ms" },
    { name: "drops --since 1h", value: await timed(() => answerHistory(source, hour)), unit: "ms" },
    {
      name: "drops of all hours",
      value: await timed(() => answerHistory(source, { ...all, verdicts })),
      unit: "ms",
    },
    {
      name: "top of all hours",
      value: await timed(() => answerTop(source, { ...all, by: "bytes", limit: 20 })),
      unit: "ms",
    },
  ];
}

/** Without garbage. */
function heapNow(): number {
  setFlagsFromString("--expose-gc");
  (runInNewContext("gc") as () => void)();
  return process.memoryUsage().heapUsed;
}

/** A function that fills another minute. */
function trafficOf(pods: number, busy: number): () => ReturnType<typeof openMinute> {
  const random = randomFrom(1);
  const reasons = ["established", "policy", "not_isolated"];
  const directions = ["ingress", "egress"] as const;
  const policies = Array.from({ length: 50 }, (_, at) => [
    `team-${at}/web-ingress`,
    `team-${at}/default-deny`,
  ]);
  return () => {
    const minute = openMinute();
    for (let at = 0; at < pods; at += 1) {
      const pod = `team-${at % 50}/web-${at}-6d4cf56db6-x7k2p`;
      const own = policies[at % policies.length] ?? [];
      const count = (direction: "ingress" | "egress", reason: string, packets: number): void => {
        const isDecided = reason === "policy" || reason === "denied";
        const of = { pod, direction, reason, policies: isDecided ? own : [] };
        minute.count({ ...of, packets, bytes: packets * (60 + random.below(1_400)) });
        if (!isDecided) return;
        for (let event = 0; event < Math.min(packets, 10); event += 1)
          minute.report({ ...of, peer: peer(at + random.below(20)), port: "TCP/8080", bytes: 74 });
      };
      for (const direction of directions)
        for (const reason of reasons)
          count(direction, reason, 1 + random.below(reason === "policy" ? 30 : 50_000));
      if (random.below(100) < busy) count("ingress", "denied", 1 + random.below(500));
    }
    return minute;
  };
}

const peer = (number: number): string => `team-${number % 50}/client-${number}-7f9cdc8d5-q9zlm`;
