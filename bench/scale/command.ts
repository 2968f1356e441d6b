// `npm run bench -- scale`: what clusters of any size cost the agent of one node.

import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { fileURLToPath } from "node:url";
import { type Command, InvalidArgumentError } from "commander";
import { describeMachine } from "../common/machine.ts";
import { atLeast, type Format, outputOption, progress } from "../common/options.ts";
import { hundredths } from "../common/report.ts";
import { chartOf } from "./chart.ts";
import { scaleText } from "./report.ts";
import { runScale } from "./run.ts";

interface Options {
  readonly output: Format;
  readonly pods: readonly number[];
  readonly podsPerPolicy: number;
  readonly locals: number;
  readonly probes: number;
  readonly rates: readonly number[];
  readonly seconds: number;
  readonly churnMinutes: number;
  readonly seed: number;
  readonly lists: "streamed" | "paged";
  readonly chart?: string;
}

const OBJECT = fileURLToPath(new URL("../../bpf/build/filter.bpf.o", import.meta.url));
const ISOLATED = fileURLToPath(new URL("../../tools/isolated.sh", import.meta.url));
/** Set in the run that has namespaces of its own. */
const INSIDE = "WEIR_BENCH_ISOLATED";

const HELP = `
For each size a scripted API server (a process of its own) serves a cluster of so many pods, 200 a namespace, with policies,
Services and nodes; the built agent follows it for one node, with a veth for each pod of that node. Measured are:
  - the time from the agent's start until it enforces, and its memory
  - one remote pod that comes: from the write of its object until the agent's program in the kernel admits its packet
  - the compiler's part of that
  - under churn (rollouts, node drains, readiness, labels, policies): the agent's share of a CPU, and the same time

It needs root and the built product, and runs in network and mount namespaces of its own. The order of all changes follows
from the seed.

Examples:
  npm run bench -- scale
  npm run bench -- scale --pods 10000,150000 --locals 250
  npm run bench -- scale --pods 10000 --rates 50 --churn-minutes 60    whether memory grows
  npm run -s bench -- scale --pods 1000,3000,10000,30000,100000,150000 --chart docs/scale.svg -o json >scale.json`;

const numbers =
  (least: number) =>
  (given: string): readonly number[] =>
    given.split(",").map((part) => {
      const value = Number(part);
      if (!/^\d+$/.test(part) || value < least)
        throw new InvalidArgumentError(`Whole numbers from ${least} up are expected, with commas between.`);
      return value;
    });

export function addScale(parent: Command): void {
  parent
    .command("scale")
    .description("what clusters of 1,000 to 150,000 pods cost the agent: start, memory, latency, CPU")
    .addOption(outputOption())
    .option(
      "--pods <numbers>",
      "pods of the cluster, with commas between sizes",
      numbers(100),
      [1_000, 10_000],
    )
    .option("--pods-per-policy <number>", "so many pods have one policy", atLeast(1), 15)
    .option("--locals <number>", "pods of the measured node, 1,000 at most", atLeast(1), 100)
    .option("--probes <number>", "remote pods that come one at a time", atLeast(1), 50)
    .option("--rates <numbers>", "pod events a second, with commas between", numbers(1), [100, 1_000])
    .option("--seconds <number>", "how long each rate lasts", atLeast(1), 10)
    .option(
      "--churn-minutes <number>",
      "then churn at the first rate for so long, for the growth of memory",
      atLeast(0),
      0,
    )
    .option("--seed <number>", "where the random numbers begin", atLeast(0), 1)
    .option("--lists <how>", "streamed, or paged as by servers before 1.32", listsOf, "streamed")
    .option("--chart <file>", "an SVG chart of the result")
    .addHelpText("after", HELP)
    .action(scale);
}

function listsOf(text: string): string {
  if (text === "streamed" || text === "paged") return text;
  throw new InvalidArgumentError("streamed or paged is expected.");
}

async function scale({ output, lists, chart, ...options }: Options): Promise<void> {
  if (process.env[INSIDE] === undefined) {
    const done = spawnSync("bash", [ISOLATED, process.execPath, ...process.argv.slice(1)], {
      stdio: "inherit",
      env: { ...process.env, [INSIDE]: "1" },
    });
    process.exitCode = done.status ?? 1;
    return;
  }
  progress(`seed ${options.seed}`);
  const rows = await runScale({ ...options, streaming: lists === "streamed", object: OBJECT, progress });
  const conditions = { ...describeMachine(), load: hundredths(loadavg()[0] ?? 0) };
  if (chart !== undefined) writeFileSync(chart, chartOf(conditions, rows));
  process.stdout.write(scaleText(output, conditions, rows));
}
