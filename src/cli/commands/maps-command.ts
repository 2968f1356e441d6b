// `weir maps list`: which tables there are, and how full they are.

import type { Command } from "commander";
import type { NamesView } from "../../observe/api-views.ts";
import { type Dump, dumpOfPod, rawDump, rawEntriesDump, rawHeading } from "../../observe/dump/map-dump.ts";
import { isTableName, TABLE_NAMES, TABLES, type TableName } from "../../observe/dump/map-tables.ts";
import { left, right, spare } from "../../observe/text-output.ts";
import { namesFor } from "../agent-client.ts";
import {
  type Exits,
  headersOption,
  note,
  outputOption,
  type PodName,
  podOption,
  type WriteOptions,
  write,
} from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";

const LIST_HELP = `
TABLE is the argument of \`weir maps dump\`; MAP is the map's name, as \`bpftool map\` shows it. For arrays, ENTRIES
counts entries that are not zero.

Examples:
  weir maps list
  weir maps list -o wide                  also what each holds, on a terminal of any width
  weir maps list -o json | jq '.[] | select(.entries > .max * 0.9)'`;

export function addMapsList(parent: Command, exits: Exits): void {
  parent
    .command("list")
    .description("list the kernel's tables and their usage")
    .addOption(outputOption("table", "wide", "json", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", LIST_HELP)
    .action(exits(list));
}

interface Listed {
  readonly table: string;
  readonly map: string;
  readonly kind: string;
  readonly key: string;
  readonly value: string;
  readonly entries: number;
  readonly max: number;
  readonly holds: string;
}

const COLUMNS = [
  ...["TABLE", "MAP"].map(left),
  spare("KIND", 1),
  ...["ENTRIES", "MAX"].map(right),
  spare("HOLDS", 2),
];

async function list(context: Context, options: WriteOptions): Promise<number> {
  const [{ readKernel }, { mapNamesOf, sizeOfMap, typeText }, { MAPS }] = await Promise.all([
    import("../pinned-maps.ts"),
    import("../dump/raw-maps.ts"),
    import("../../gen/layout.ts"),
  ]);
  const listed = await readKernel(context, async (kernel) => {
    const rows: Listed[] = [];
    for (const info of TABLES) {
      for (const map of mapNamesOf(info)) {
        const { kind, key, value } = MAPS[map];
        const { entries, max } = await sizeOfMap(map, kernel);
        rows.push({
          table: info.name,
          map,
          kind,
          key: typeText(key),
          value: typeText(value),
          entries,
          max,
          holds: info.holds,
        });
      }
    }
    return rows;
  });
  const table = {
    columns: COLUMNS,
    rows: listed.map(({ table, map, kind, entries, max, holds }) => [
      table,
      map,
      kind,
      String(entries),
      String(max),
      holds,
    ]),
  };
  await write(context.env, { table: () => table, value: listed }, options);
  return EXIT.ok;
}

// `weir maps dump`: one table of the kernel, decoded, or what in it is other than it should be.

interface Options extends WriteOptions {
  readonly raw?: true;
  readonly diff?: true;
  readonly pod?: PodName;
}

const DUMP_HELP = `
Tables:
${TABLES.map(({ name, holds }) => `  ${name.padEnd(12)}${holds}`).join("\n")}

Reads the pinned maps, so it works without an agent; with one, numbers have names. Values have two versions; the active
one is shown (--raw shows all bytes). --diff shows entries that differ from the agent's desired state; without TABLE, of
all tables.

Examples:
  weir maps dump cidrs                    each prefix, the blocks that name it, and the peers that it matches
  weir maps dump policy --pod alpha/nginx what the policies of one pod allow
  weir maps dump counters -o json | jq 'map(select(.verdict == "dropped"))'
  weir maps dump conntrack -o ndjson      one line per flow, for tables of any size
  weir maps dump cidrs --raw              keys and values in hexadecimal, with the structs' names
  weir maps dump --diff                   show maps that were modified externally

Exit codes:
  0 done, 1 error, 2 wrong usage, 4 no such table or pod, or nothing in the kernel, 5 --diff found a difference`;

export function addMapsDump(parent: Command, exits: Exits): void {
  parent
    .command("dump")
    .description("print a table of the kernel, decoded, with names if an agent answers")
    .argument("[table]", `the table: ${TABLE_NAMES.join(", ")}`)
    .option("--raw", "hexadecimal bytes instead of values")
    .option("--diff", "only entries that differ from the agent's desired state")
    .addOption(podOption("only entries of this pod"))
    .addOption(outputOption("table", "wide", "json", "ndjson", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", DUMP_HELP)
    .action(exits(dump));
}

async function dump(context: Context, name: string | undefined, options: Options): Promise<number> {
  if (name !== undefined && !isTableName(name)) {
    throw new CommandError(`no table ${name}; there are ${TABLE_NAMES.join(", ")}`, EXIT.notFound);
  }
  if (options.pod !== undefined && (options.raw === true || options.diff === true))
    throw new CommandError("--pod does not go with --raw or --diff", EXIT.usage);
  if (options.diff === true) {
    if (options.raw === true) throw new CommandError("--diff does not go with --raw", EXIT.usage);
    const { dumpDifferences } = await import("../dump/dump-against-desired.ts");
    return dumpDifferences(context, name, options);
  }
  if (name === undefined)
    throw new CommandError(
      `which table? there are ${TABLE_NAMES.join(", ")}; see: weir maps dump --help`,
      EXIT.usage,
    );
  return options.raw === true ? dumpRaw(context, name, options) : dumpTable(context, name, options);
}

async function dumpTable(context: Context, name: TableName, options: Options): Promise<number> {
  const [{ readKernel }, { readDump }, { writeDump }, names] = await Promise.all([
    import("../pinned-maps.ts"),
    import("../dump/dump-reader.ts"),
    import("../dump/dump-writer.ts"),
    namesOrRemark(context, options.pod),
  ]);
  const whole = await readKernel(context, (kernel) => readDump(name, kernel, names));
  const shown = options.pod === undefined ? whole : ofPod(whole, name, options.pod, names);
  await writeDump(context.env, shown, options);
  return EXIT.ok;
}

/** What of a table belongs to a pod. @throws CommandError where the table is not by pod, or no pod has this name */
function ofPod(dump: Dump, table: TableName, pod: PodName, names: NamesView | undefined): Dump {
  if (!dump.byPod) throw new CommandError(`--pod: nothing in ${table} belongs to a pod`, EXIT.usage);
  const key = `${pod.namespace}/${pod.name}`;
  const all = [...Object.values(names?.endpoints ?? {}), ...Object.values(names?.addresses ?? {})];
  if (!all.includes(key)) throw new CommandError(`no pod ${key} is known to the agent`, EXIT.notFound);
  return dumpOfPod(dump, key);
}

async function dumpRaw(context: Context, name: TableName, options: Options): Promise<number> {
  const [{ readKernel }, { readRaw }, { writeDump }] = await Promise.all([
    import("../pinned-maps.ts"),
    import("../dump/raw-maps.ts"),
    import("../dump/dump-writer.ts"),
  ]);
  const info = TABLES.find((each) => each.name === name) as (typeof TABLES)[number];
  const maps = await readKernel(context, ({ pins }) => readRaw(info, pins));
  if (options.output === "table" && options.headers) context.env.stdout.write(rawHeading(maps));
  await writeDump(context.env, options.output === "ndjson" ? rawEntriesDump(maps) : rawDump(maps), options);
  return EXIT.ok;
}

/** Names are optional, except for filters: on a terminal, a note says why there are none. */
async function namesOrRemark(context: Context, pod: PodName | undefined): Promise<NamesView | undefined> {
  const { names, reason } = await namesFor(context);
  if (names !== undefined) return names;
  if (pod !== undefined) throw new CommandError(`${reason}; without it pods have no names to choose them by`);
  if (context.env.stdout.isTTY === true) note(context.env, `${reason}; shown are numbers without names`);
  return undefined;
}
