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
} from "../command.ts";
import { type Context, EXIT } from "../environment.ts";

interface Options extends WriteOptions {
  readonly manifests?: string;
  readonly filename: readonly string[];
  readonly prune?: true;
}

const HELP = `
Objects in the files are added, or replace objects of the same name; everything else stays. Compares every pod with
every other, and with all external addresses that a rule distinguishes, on every port, by equivalence classes: many
pods take hardly longer than few. A line shows a connection that only the change allows (allowed), or that it denies
(denied).

Examples:
  weir diff -f new.yaml                          a new or changed policy
  weir diff -f policies/ --prune                 as if these were all policies
  weir diff -f new/ --prune --manifests old/     two sets of manifests, without an agent
  weir diff -f new.yaml -o json | jq '.flips[] | select(.change == "denied")'
  weir trace --from a/x --to b/y -f new.yaml     then: by which rule

Exit codes:
  0 no change, 1 error, 2 wrong usage, 3 connections would change, 4 no such directory`;

export function addDiff(parent: Command, exits: Exits): void {
  parent
    .command("diff")
    .description("show which connections a change of policies would allow or deny")
    .addOption(filenameOption("the change").makeOptionMandatory())
    .option("--prune", "treat the change as the complete set: other policies would be removed")
    .addOption(manifestsOption())
    .addOption(outputOption("table", "json", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", HELP)
    .action(exits(diff));
}

async function diff(context: Context, options: Options): Promise<number> {
  const [{ situationOf }, { reportOf, flipsTable, remarksOn }] = await Promise.all([
    import("../query-cluster.ts"),
    import("../diff-report.ts"),
  ]);
  const { before, after } = await situationOf(context, options);
  const report = reportOf(before, after);
  const isForPeople = options.output === "table";
  if (report.flips.length > 0 || !isForPeople)
    await write(context.env, { table: () => flipsTable(report), value: report }, options);
  if (isForPeople) for (const remark of remarksOn(report)) note(context.env, remark);
  return report.flips.length === 0 ? EXIT.ok : EXIT.denied;
}
