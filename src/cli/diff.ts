// `weir diff`: which decisions would a change of policies flip?

import type { Command } from "commander";
import {
  type Exits,
  filenameOption,
  headersOption,
  manifestsOption,
  note,
  outputOption,
  type WriteOptions,
  write,
} from "./command.ts";
import { type Context, EXIT } from "./env.ts";

interface Options extends WriteOptions {
  readonly manifests?: string;
  readonly filename: readonly string[];
  readonly prune?: true;
}

/** As trace says "denied": an answer, and not the one that all is as it was. */
const EXIT_FLIPS = 3;

const HELP = `
What is in the files is added, or takes the place of what has its name; what else there is stays. Every pod that is
known is compared with every other, and with all addresses outside that a rule tells apart, on every port: by classes
that no policy tells apart, so that many pods take hardly longer than few. A line says who reaches whom after the
change and not before (allowed), or before and not after (denied).

Examples:
  weir diff -f new.yaml                          a policy to be added or changed
  weir diff -f policies/ --prune                 what if these were all policies there are?
  weir diff -f new/ --prune --manifests old/     two sets of manifests, without an agent
  weir diff -f new.yaml -o json | jq '.flips[] | select(.change == "denied")'
  weir trace --from a/x --to b/y -f new.yaml     then: by which rule?

Exit codes:
  0 nothing would change, 1 error, 2 wrong usage, 3 something would, 4 no such directory`;

export function addDiff(parent: Command, exits: Exits): void {
  parent
    .command("diff")
    .description("which decisions would a change of policies flip?")
    .addOption(filenameOption("the change").makeOptionMandatory())
    .option("--prune", "the change has all policies there are: others would go")
    .addOption(manifestsOption())
    .addOption(outputOption("table", "json", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", HELP)
    .action(exits(diff));
}

async function diff(context: Context, options: Options): Promise<number> {
  const [{ situationOf }, { reportOf, flipsTable, remarksOn }] = await Promise.all([
    import("./situation.ts"),
    import("./diff/report.ts"),
  ]);
  const { before, after } = await situationOf(context, options);
  const report = reportOf(before, after);
  const isForPeople = options.output === "table";
  if (report.flips.length > 0 || !isForPeople)
    await write(context.env, { table: () => flipsTable(report), value: report }, options);
  if (isForPeople) for (const remark of remarksOn(report)) note(context.env, remark);
  return report.flips.length === 0 ? EXIT.ok : EXIT_FLIPS;
}
