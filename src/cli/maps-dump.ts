// `weir maps dump`: one table of the kernel, decoded.

import type { Command } from "commander";
import { rawDump, rawHeading } from "../observe/dump/dump.ts";
import { isTableName, TABLE_NAMES, TABLES, type TableName } from "../observe/dump/tables.ts";
import type { NamesView } from "../observe/view.ts";
import { askAgentIfAble, isSilence } from "./agent-client.ts";
import { type Exits, headersOption, note, outputOption, type WriteOptions, write } from "./command.ts";
import { CommandError, type Context, EXIT } from "./env.ts";

interface Options extends WriteOptions {
  readonly raw?: true;
}

const HELP = `
Tables:
${TABLES.map(({ name, holds }) => `  ${name.padEnd(12)}${holds}`).join("\n")}

Reads the pinned maps, so it works without an agent; where one answers, numbers get names. Values are kept in two
versions, of which one is in force: that one is shown (--raw shows all bytes).

Examples:
  weir maps dump cidrs                    each prefix, the blocks that name it, and the peers that it matches
  weir maps dump policy                   what each compiled policy allows to whom
  weir maps dump counters -o json | jq 'map(select(.verdict == "dropped"))'
  weir maps dump conntrack --no-headers | wc -l
  weir maps dump cidrs --raw              keys and values in hexadecimal, with the structs' names

Exit codes:
  0 done, 1 error, 2 wrong usage, 4 no such table, or nothing in the kernel`;

export function addMapsDump(parent: Command, exits: Exits): void {
  parent
    .command("dump")
    .description("one table of the kernel, decoded, with names where an agent answers")
    .argument("<name>", `which table: ${TABLE_NAMES.join(", ")}`)
    .option("--raw", "bytes in hexadecimal instead of values")
    .addOption(outputOption("table", "json", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", HELP)
    .action(exits(dump));
}

async function dump(context: Context, name: string, options: Options): Promise<number> {
  if (!isTableName(name)) {
    throw new CommandError(`no table ${name}; there are ${TABLE_NAMES.join(", ")}`, EXIT.notFound);
  }
  if (options.raw === true) return dumpRaw(context, name, options);
  const [{ readKernel }, { dumpOf }, names] = await Promise.all([
    import("./kernel.ts"),
    import("./dump/dump.ts"),
    namesFor(context),
  ]);
  const { table, json } = await readKernel(context, (kernel) => dumpOf(name, kernel, names));
  await write(context.env, { table: () => table, value: json }, options);
  return EXIT.ok;
}

async function dumpRaw(context: Context, name: TableName, options: Options): Promise<number> {
  const [{ readKernel }, { readRaw }] = await Promise.all([import("./kernel.ts"), import("./dump/raw.ts")]);
  const info = TABLES.find((each) => each.name === name) as (typeof TABLES)[number];
  const maps = await readKernel(context, ({ pins }) => readRaw(info, pins));
  const { table, json } = rawDump(maps);
  if (options.output === "table" && options.headers) context.env.stdout.write(rawHeading(maps));
  await write(context.env, { table: () => table, value: json }, options);
  return EXIT.ok;
}

/** Names are a help, not a condition: whoever looks on a terminal is told why there are none. */
async function namesFor(context: Context): Promise<NamesView | undefined> {
  const answer = await askAgentIfAble<NamesView>(context, "names");
  if (!isSilence(answer)) return answer;
  if (context.env.stdout.isTTY === true)
    note(context.env, `${answer.reason}; shown are numbers without names`);
  return undefined;
}
