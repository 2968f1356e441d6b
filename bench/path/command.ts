// `npm run bench -- path`: what crosses the pods' links a second, by what stands on them.

import type { Command } from "commander";
import { describeMachine } from "../common/machine.ts";
import { atLeast, type Format, outputOption, progress } from "../common/options.ts";
import { pathText } from "./report.ts";
import { runPath } from "./run.ts";
import { VARIANTS } from "./variants.ts";

interface Options {
  readonly output: Format;
  readonly runs: number;
  readonly milliseconds: number;
}

const HELP = `
Two network namespaces stand for pods on this node, which routes between their veths. For as long as --milliseconds says,
one sends the other datagrams of 64 bytes, and then one TCP stream; what counts is what came through. In every round
each of these stands on the host side of both links, one after another:
${VARIANTS.map(({ id, what }) => `  ${id.padEnd(10)} ${what}`).join("\n")}
RATIO is the median of each round's ratio to nothing on the links. Where Weir is, both pods are isolated in both directions,
and it is made sure that a port that no rule lets through is dropped.

It needs root, and removes all that it makes.

Examples:
  npm run bench -- path
  npm run -s bench -- path -o json >path.json                      for programs; -s keeps npm itself quiet`;

export function addPath(parent: Command): void {
  parent
    .command("path")
    .description("what crosses the pods' links a second, by what stands on them")
    .addOption(outputOption())
    .option("--runs <number>", "how often each is measured", atLeast(1), 7)
    .option("--milliseconds <number>", "how long each transfer lasts", atLeast(1), 1_000)
    .addHelpText("after", HELP)
    .action(path);
}

async function path({ output, runs, milliseconds }: Options): Promise<void> {
  const rows = await runPath({ runs, milliseconds, progress });
  process.stdout.write(pathText(output, describeMachine(), rows));
}
