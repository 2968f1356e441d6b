// `weir maps list`: which tables there are, and how full they are.

import type { Command } from "commander";
import { TABLES } from "../../observe/dump/map-tables.ts";
import { left, right } from "../../observe/table.ts";
import { type Exits, headersOption, outputOption, type WriteOptions, write } from "../command.ts";
import { type Context, EXIT } from "../environment.ts";

const HELP = `
TABLE is the argument of \`weir maps dump\`; MAP is the map's name, as \`bpftool map\` shows it. For arrays, ENTRIES
counts entries that are not zero.

Examples:
  weir maps list
  weir maps list -o json | jq '.[] | select(.entries > .max * 0.9)'`;

export function addMapsList(parent: Command, exits: Exits): void {
  parent
    .command("list")
    .description("list the kernel's tables and their usage")
    .addOption(outputOption("table", "json", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", HELP)
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

const COLUMNS = [...["TABLE", "MAP", "KIND"].map(left), right("ENTRIES"), right("MAX"), left("HOLDS")];

async function list(context: Context, options: WriteOptions): Promise<number> {
  const [{ readKernel }, { mapNamesOf, rawMap, typeText }, { MAPS }] = await Promise.all([
    import("../pinned-maps.ts"),
    import("../dump/raw-maps.ts"),
    import("../../gen/layout.ts"),
  ]);
  const listed = await readKernel(context, async ({ pins }) => {
    const rows: Listed[] = [];
    for (const info of TABLES) {
      for (const map of mapNamesOf(info)) {
        const { kind, key, value } = MAPS[map];
        const { count } = await rawMap(map, pins);
        rows.push({
          table: info.name,
          map,
          kind,
          key: typeText(key),
          value: typeText(value),
          entries: count,
          max: pins.map(map).info.maxEntries,
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
