// `npm run bench -- names`: the first connection after a DNS answer, by name and without names.

import type { Command } from "commander";
import { left, right } from "../../src/observe/text-output.ts";
import { isolated } from "../common/isolated.ts";
import { describeMachine } from "../common/machine.ts";
import { atLeast, type Format, outputOption, progress } from "../common/options.ts";
import { reportOf } from "../common/report.ts";
import { type NamesRow, runNames } from "./run.ts";

interface Options {
  readonly output: Format;
  readonly connections: number;
  readonly runs: number;
}

const HELP = `
Three pods ask a resolver on this node for one name after another, and connect to the address in each answer at once, before it
has been used by anybody. One pod may connect by a rule with a wildcard of domain names, one by a rule with a network, one is not
isolated. What is measured is the time from the answer's arrival at the client to its connection. A connection that is not there
within 900 ms, before its SYN would be sent again, counts as failed. No agent runs meanwhile.

It needs root, and runs in namespaces of its own.

Examples:
  npm run bench -- names --connections 1000`;

export function addNames(parent: Command): void {
  parent
    .command("names")
    .description("the first connection after a DNS answer, by name and without names")
    .addOption(outputOption())
    .option("--connections <number>", "connections of each pod", atLeast(1), 1_000)
    .option("--runs <number>", "in how many turns", atLeast(1), 10)
    .addHelpText("after", HELP)
    .action((options: Options) => isolated(() => names(options)));
}

async function names({ output, ...options }: Options): Promise<void> {
  const rows = await runNames({ ...options, progress });
  process.stdout.write(
    reportOf(output, describeMachine(), rows, {
      json: ({ pod, connections, failures, p50Ns, p99Ns }) => ({
        ...{ pod, connections, failures, p50_ns: p50Ns, p99_ns: p99Ns },
      }),
      table: (all) => ({
        columns: [
          left("POD"),
          ...["CONNECTIONS", "FAILURES", "P50, µs", "P99, µs"].map(right),
          left("ALLOWED BY"),
        ],
        rows: all.map(cells),
      }),
      markdown: {
        titles: ["pod", "connections", "failures", "p50, µs", "p99, µs", "allowed by"],
        cells,
      },
    }),
  );
}

const ALLOWED_BY: Readonly<Record<string, string>> = {
  "bench/name": "`*.bench.example.net`",
  "bench/address": "its network",
  "bench/nothing": "no policy isolates it",
};

const cells = ({ pod, connections, failures, p50Ns, p99Ns }: NamesRow): readonly string[] => [
  ...[pod, String(connections), String(failures)],
  ...[p50Ns, p99Ns].map((ns) => (ns / 1e3).toFixed(1)),
  ALLOWED_BY[pod] ?? "",
];
