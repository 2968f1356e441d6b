// `npm run bench -- pktgen`: the kernel's own packet generator against a pod's link.

import { type Command, InvalidArgumentError, Option } from "commander";
import { isolated } from "../common/isolated.ts";
import { describeMachine } from "../common/machine.ts";
import { atLeast, type Format, outputOption, progress } from "../common/options.ts";
import { MODES, type Mode, type Task } from "./generator.ts";
import { SWEEPS, type Sweep } from "./packets.ts";
import { pktgenText } from "./report.ts";
import { runPktgen, THREADS_MAX } from "./run.ts";

interface Options {
  readonly output: Format;
  readonly modes: readonly Mode[];
  readonly sweeps: readonly Sweep[];
  readonly sizes: readonly number[];
  readonly threads: number;
  readonly packets: number;
  readonly runs: number;
}

const SIZE_MIN = 64;
const SIZE_MAX = 1518;

const HELP = `
A network namespace stands for a pod on this node; its policy allows UDP to half of 198.18.0.0/15, and the packets that are let
through end there. They come from the pod's address, in these ways:
  start_xmit      pktgen in the pod's namespace, into its end of the veth: the node's end receives them
  netif_receive   pktgen on the node's end of the veth, as if it had received them: nothing can be lost before the programs
  live_frames     test runs of an XDP program with live frames (Linux 5.18), likewise: where there is no pktgen
Sweeps:
${SWEEPS.map(({ id, what }) => `  ${id.padEnd(15)} ${what}`).join("\n")}
The first sweep is sent in all sizes, with one thread; all sweeps in the first size, with 1, 2, 4 … threads. RATIO is to an empty
program on the same hook, within each run. After each row, what was sent must be what Weir's counters have passed and dropped,
and what the link lost before (a full backlog).

It needs root, and runs in namespaces of its own; the module pktgen is loaded if the kernel has it.

Examples:
  npm run bench -- pktgen
  npm run bench -- pktgen --modes netif_receive --sweeps denied --threads 4
  npm run -s bench -- pktgen -o json >pktgen.json                  for programs; -s keeps npm itself quiet`;

export function addPktgen(parent: Command): void {
  parent
    .command("pktgen")
    .description("what a pod's link takes of the kernel's packet generator, and what becomes of it")
    .addOption(outputOption())
    .addOption(
      new Option("--modes <names>", "only these, separated by commas")
        .argParser((text) => named(MODES.map((id) => ({ id })))(text).map(({ id }) => id))
        .default([], "all that the kernel has"),
    )
    .addOption(new Option("--sweeps <names>", "only these").argParser(named(SWEEPS)).default(SWEEPS, "all"))
    .addOption(
      new Option("--sizes <bytes>", "of frames, with their check sequence")
        .argParser(sizesOf)
        .default([64, 512, 1518]),
    )
    .option("--threads <number>", "up to so many", atLeast(1), THREADS_MAX)
    .option("--packets <number>", "packets of a row", atLeast(1), 500_000)
    .option("--runs <number>", "how often each row is measured", atLeast(1), 3)
    .addHelpText("after", HELP)
    .action((options: Options) => isolated(() => pktgen(options)));
}

async function pktgen({ output, modes, runs, ...options }: Options): Promise<void> {
  const rows = await runPktgen({ modes, tasks: tasksOf(options), runs, progress });
  process.stdout.write(pktgenText(output, describeMachine(), rows));
}

/** Sizes by the first sweep, sweeps by the first size, and threads by all sweeps. */
export function tasksOf({
  sweeps,
  sizes,
  threads,
  packets,
}: Pick<Options, "sweeps" | "sizes" | "threads" | "packets">): readonly Task[] {
  const counts = Array.from({ length: Math.ceil(Math.log2(threads)) + 1 }, (_, power) =>
    Math.min(2 ** power, threads),
  );
  return [
    ...sweeps.slice(0, 1).flatMap((sweep) => sizes.map((size) => ({ sweep, size, threads: 1, packets }))),
    ...sweeps.flatMap((sweep, at) =>
      counts
        .filter((count) => at > 0 || count > 1)
        .map((count) => ({ sweep, size: sizes[0] ?? SIZE_MIN, threads: count, packets })),
    ),
  ];
}

const named =
  <T extends { readonly id: string }>(all: readonly T[]) =>
  (text: string): readonly T[] =>
    text.split(",").map((name) => {
      const found = all.find(({ id }) => id === name);
      if (found !== undefined) return found;
      throw new InvalidArgumentError(
        `No ${JSON.stringify(name)}; there are ${all.map(({ id }) => id).join(", ")}.`,
      );
    });

function sizesOf(text: string): readonly number[] {
  return text.split(",").map((each) => {
    const size = atLeast(SIZE_MIN)(each);
    if (size <= SIZE_MAX) return size;
    throw new InvalidArgumentError(`At most ${SIZE_MAX} bytes.`);
  });
}
