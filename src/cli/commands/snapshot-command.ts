// `weir snapshot`: saves all tables, and compares two snapshots.

import { hostname } from "node:os";
import type { Command } from "commander";
import { countText } from "../../observe/text-output.ts";
import { type Exits, note, write } from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";

interface Options {
  readonly compare?: true;
  readonly output?: string;
}

const HELP = `
A snapshot is a gzip file of JSON lines, readable only by its owner: a header, then each entry of each table as in
\`weir maps dump -o ndjson\`. Works without an agent; with one, numbers have names.

--compare takes one or two snapshots: compares two, or one with the present. -o then selects table, json or yaml.
Remaining times and names are not compared; changed counters are shown.

Examples:
  weir snapshot                                   weir-snapshot-NODE-TIME.ndjson.gz in this directory
  weir snapshot -o before.gz
  weir snapshot --compare before.gz after.gz      changes between the two
  weir snapshot --compare before.gz               changes since then
  zcat before.gz | jq -c 'select(.table == "cidrs").entry'

Exit codes:
  0 saved, or no difference in what the agent writes, 1 error, 2 wrong usage, 4 no such file, or nothing in the kernel,
  5 what the agent writes differs`;

export function addSnapshot(parent: Command, exits: Exits): void {
  parent
    .command("snapshot")
    .description("save the contents of all tables, or compare two snapshots")
    .argument("[files...]", "with --compare: one or two snapshots")
    .option("--compare", "show the differences between two snapshots, or between one and now")
    .option("-o, --output <file>", "output file; with --compare: table, json or yaml")
    .addHelpText("after", HELP)
    .action(exits(snapshot));
}

async function snapshot(context: Context, files: readonly string[], options: Options): Promise<number> {
  if (options.compare === true) return compare(context, files, options.output ?? "table");
  if (files.length > 0)
    throw new CommandError("files go with --compare; see: weir snapshot --help", EXIT.usage);
  const { takeSnapshot, writeSnapshot } = await import("../snapshot-file.ts");
  const taken = await takeSnapshot(context);
  const file = options.output ?? `weir-snapshot-${hostname()}-${stamp(taken.head.takenAt)}.ndjson.gz`;
  await writeSnapshot(taken, file);
  context.env.stdout.write(`${file}\n`);
  return EXIT.ok;
}

/** "20251121T073524Z", of ISO 8601. */
const stamp = (time: string): string => time.replace(/\.\d+Z$/, "Z").replaceAll(/[-:]/g, "");

async function compare(context: Context, files: readonly string[], output: string): Promise<number> {
  const [first, second, ...more] = files;
  if (first === undefined || more.length > 0)
    throw new CommandError("--compare takes one snapshot or two; see: weir snapshot --help", EXIT.usage);
  if (output !== "table" && output !== "json" && output !== "yaml")
    throw new CommandError(`-o ${output}: with --compare it is table, json or yaml`, EXIT.usage);
  const [{ readSnapshot, snapshotOfNow }, { compareSnapshots, isMaterial, snapshotTable }] =
    await Promise.all([import("../snapshot-file.ts"), import("../../observe/map-snapshot.ts")]);
  const before = await readSnapshot(first);
  const after = second === undefined ? await snapshotOfNow(context) : await readSnapshot(second);
  const differences = compareSnapshots(before, after);
  const material = differences.filter(isMaterial).length;
  if (output === "table") {
    const moments = `${before.head.takenAt} on ${before.head.node} and ${after.head.takenAt} on ${after.head.node}`;
    note(context.env, `${countText(differences.length, "difference")} between ${moments}`);
  }
  if (differences.length > 0 || output !== "table") {
    const result = { table: () => snapshotTable(differences), value: differences };
    await write(context.env, result, { output, headers: true });
  }
  return material === 0 ? EXIT.ok : EXIT.differs;
}
