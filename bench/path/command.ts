// `npm run bench -- path`: what crosses the pods' links a second, by what stands on them.

import { writeFileSync } from "node:fs";
import { type Command, InvalidArgumentError, Option } from "commander";
import { isolated } from "../common/isolated.ts";
import { describeMachine } from "../common/machine.ts";
import { atLeast, type Format, outputOption, progress } from "../common/options.ts";
import { chartOf } from "./chart.ts";
import { pathText } from "./report.ts";
import { PREFIXES_MAX } from "./rules.ts";
import { runPath } from "./run.ts";
import { FLOWS, KINDS, type Kind } from "./transfer.ts";
import { VARIANTS, type Variant } from "./variants.ts";

interface Options {
  readonly output: Format;
  readonly runs: number;
  readonly milliseconds: number;
  readonly variants: readonly Variant[];
  readonly kinds: readonly Kind[];
  readonly policies: readonly number[];
  readonly chart?: string;
}

const HELP = `
Two network namespaces stand for pods on this node, which routes between their veths. For as long as --milliseconds says, one
  udp        sends the other datagrams of 64 bytes          udp-flows  sends them from ${FLOWS} ports in turn
  ask        sends it requests of one byte on a connection  connect    opens a connection for each request
  tcp        sends it one stream                            flood      sends datagrams to a port that no rule allows
What counts is what came through, of floods what the sender could send. In every round each of these stands on the host side of
both links, one after another, in random order:
${VARIANTS.map(({ id, what }) => `  ${id.padEnd(15)} ${what}`).join("\n")}
RATIO is the median of each round's ratio to nothing on the links, of floods to a program that drops everything. CPU is the time
of the processes for each packet, request or connection, with what the kernel did in their names: it tells more where others run
too. Where policies are enforced, both pods are isolated in both directions unless the line says otherwise; --policies of them
select the server's pod, each with a prefix of its own, and the client's is the last. It is made sure that a port that no rule
lets through is dropped. What this machine cannot do (no ipset, no nftables) is reported, and left out.

It needs root, and runs in namespaces of its own.

Examples:
  npm run bench -- path
  npm run bench -- path --policies 10,1000 --variants tc-weir,nft-sets --kinds udp,connect
  npm run -s bench -- path --policies 10,1000,10000 -o markdown --chart path.svg   the documentation's tables and chart; -s keeps npm itself quiet
  npx node bench/path/chart.ts path.json >path.svg                                  the chart of what an earlier run with -o json wrote`;

export function addPath(parent: Command): void {
  parent
    .command("path")
    .description("what crosses the pods' links a second, by what stands on them")
    .addOption(outputOption())
    .option("--runs <number>", "how often each is measured", atLeast(1), 7)
    .option("--milliseconds <number>", "how long each measurement lasts", atLeast(1), 500)
    .addOption(
      new Option("--variants <names>", "only these, and what they are compared with")
        .argParser(
          namesOf(
            VARIANTS.map(({ id }) => id),
            (id) => VARIANTS.filter((variant) => variant.id === id),
          ),
        )
        .default(VARIANTS, "all"),
    )
    .addOption(
      new Option("--kinds <names>", "only these")
        .argParser(namesOf([...KINDS], (id) => KINDS.filter((kind) => kind === id)))
        .default(KINDS, "all"),
    )
    .addOption(
      new Option("--policies <numbers>", "how many select the server's pod")
        .argParser(countsOf)
        .default([10]),
    )
    .option("--chart <file>", "also write the ratios as a chart (SVG)")
    .addHelpText("after", HELP)
    .action((options: Options) => isolated(() => path(options)));
}

async function path({ output, chart, ...options }: Options): Promise<void> {
  const rows = await runPath({ ...options, progress });
  const machine = describeMachine();
  process.stdout.write(pathText(output, machine, rows));
  if (chart !== undefined) writeFileSync(chart, chartOf(JSON.parse(pathText("json", machine, rows))));
}

const namesOf =
  <T>(names: readonly string[], find: (name: string) => readonly T[]) =>
  (text: string): readonly T[] =>
    text.split(",").flatMap((name) => {
      if (names.includes(name)) return find(name);
      throw new InvalidArgumentError(`No ${JSON.stringify(name)}; there are ${names.join(", ")}.`);
    });

function countsOf(text: string): readonly number[] {
  return text.split(",").map((each) => {
    const count = atLeast(1)(each);
    if (count <= PREFIXES_MAX) return count;
    throw new InvalidArgumentError(`At most ${PREFIXES_MAX}.`);
  });
}
