// `npm run bench -- packet`: what a packet costs in the programs, by what it is.

import { cpus } from "node:os";
import { fileURLToPath } from "node:url";
import { type Command, InvalidArgumentError, Option } from "commander";
import { describeMachine } from "../common/machine.ts";
import { atLeast, type Format, outputOption, progress } from "../common/options.ts";
import { compare } from "./compare.ts";
import { comparisonText, reportText } from "./report.ts";
import { withFloors } from "./rounds.ts";
import type { Row } from "./row.ts";
import { ROWS } from "./rows.ts";
import { run } from "./run.ts";

interface Options {
  readonly output: Format;
  readonly rows: readonly Row[];
  readonly runs: number;
  readonly packets: number;
  readonly cpu: number;
  readonly bpffs: string;
  readonly baseline?: string;
}

const OBJECT = fileURLToPath(new URL("../../bpf/build/filter.bpf.o", import.meta.url));

const HELP = `
Each row is one kind of packet, run through the loaded programs by BPF_PROG_TEST_RUN, as often in a row as --packets says,
on one CPU. All rows have their first run, then all their second, and so on, and each run of a row is held against
its floor in the same round. NS is the median of the runs, ABOVE FLOOR the median of the differences, RATIO that of
the two medians. After each run the program's counters must say that every packet was what the row says it is.

With --baseline each row is measured by the programs, the maps and the bench of both revisions, one right after the other; the
other revision is built in a temporary worktree (a minute; the folder of another clone that is built is taken as it is). The
figures are nanoseconds above each revision's own floor, RATIO is today's to the other's; MIN is the least disturbed run.
Rows that the other revision does not have get a dash.

Rows named cold-* evict the CPU's caches before each packet, those named coldest-* its branch predictors too: on a packet's path
other code runs between two packets. Such a run has 4,000 packets at most, and as many for an empty program, in turn: NS is the
difference already.

It needs root and the built object, makes its own pins and devices, and removes them. A whole run takes some minutes.

Examples:
  npm run bench -- packet                                          everything
  npm run bench -- packet --rows established-v4-hot,denied-v4-hot  two rows, and the floor
  npm run bench -- packet --rows 'new-*' --runs 3                  rows by the beginning of their names
  npm run bench -- packet --baseline HEAD~1 --rows 'established-*'   what the last commit changed
  npm run -s bench -- packet -o json >packet.json                  for programs; -s keeps npm itself quiet

Rows:
${ROWS.map(({ id, what }) => `  ${id.padEnd(34)} ${what}`).join("\n")}`;

export function addPacket(parent: Command): void {
  parent
    .command("packet")
    .description("what a packet costs in the programs, by what it is")
    .addOption(outputOption())
    .addOption(
      new Option("--rows <ids>", "only these, separated by commas; * at the end stands for anything")
        .argParser(rowsOf)
        .default(ROWS, "all"),
    )
    .option("--runs <number>", "how often each row is run", atLeast(1), 7)
    .option("--packets <number>", "packets of a run", atLeast(1), 1_000_000)
    .option("--cpu <number>", "the CPU to stay on", atLeast(0), cpus().length - 1)
    .option("--bpffs <directory>", "a BPF filesystem", "/sys/fs/bpf")
    .option("--baseline <revision>", "another revision (or clone) whose rows are measured in the same run")
    .addHelpText("after", HELP)
    .action(packet);
}

async function packet({ baseline, ...options }: Options): Promise<void> {
  if (baseline !== undefined) {
    const comparison = await compare({ ...options, progress }, baseline);
    process.stdout.write(comparisonText(options.output, describeMachine(), comparison));
    return;
  }
  const measured = await run({ ...options, object: OBJECT, progress });
  process.stdout.write(reportText(options.output, describeMachine(), measured));
}

/** @throws InvalidArgumentError where a name is no row's */
export function rowsOf(text: string): readonly Row[] {
  const ids = text.split(",").flatMap((name) => {
    const found = ROWS.filter(({ id }) =>
      name.endsWith("*") ? id.startsWith(name.slice(0, -1)) : id === name,
    );
    if (found.length === 0) throw new InvalidArgumentError(`No row ${JSON.stringify(name)}; see --help.`);
    return found.map(({ id }) => id);
  });
  return withFloors(ROWS, ids);
}
