// `weir resync`: the agent reads the kernel back now, and repairs external modifications.

import type { Command } from "commander";
import type { ResyncView } from "../../observe/api-views.ts";
import { countText, left, tableText } from "../../observe/text-output.ts";
import { tellAgent } from "../agent-client.ts";
import { type Exits, outputOption, writeReport } from "../command.ts";
import { type Context, EXIT } from "../environment.ts";

/** Longer than reading every map takes on the slowest kernel. */
const TIMEOUT_MS = 120_000;

const HELP = `
The agent does this every 30 seconds. \`weir maps dump --diff\` shows differences without repairing them.

Examples:
  weir resync
  weir resync -o json | jq '.repaired | length'

Exit codes:
  0 the kernel has the desired state, 1 error (no agent answers, or the kernel could not be read or written)`;

export function addResync(parent: Command, exits: Exits): void {
  parent
    .command("resync")
    .description("read the kernel back now, and repair what was modified externally")
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText("after", HELP)
    .action(exits(resync));
}

async function resync(
  context: Context,
  { output }: { readonly output: "text" | "json" | "yaml" },
): Promise<number> {
  const done = await tellAgent<ResyncView>(context, "resync", { timeoutMs: TIMEOUT_MS });
  await writeReport(context.env, { value: done, text: () => resyncText(done) }, output);
  return EXIT.ok;
}

/** Lines that are listed; all of them are in the JSON. */
const LISTED_MAX = 100;

function resyncText({ generation, repaired }: ResyncView): string {
  if (repaired.length === 0) return `nothing to repair; generation ${generation} is in force\n`;
  const rows = repaired
    .slice(0, LISTED_MAX)
    .map(({ table, key, held, wanted }) => [table, key, held ?? "nothing", wanted ?? "nothing"]);
  const more = repaired.length - rows.length;
  return (
    `${countText(repaired.length, "entry", "entries")} repaired; generation ${generation} is in force\n\n` +
    tableText({ columns: ["TABLE", "ENTRY", "WAS", "IS"].map(left), rows }) +
    (more > 0 ? `and ${more} more\n` : "")
  );
}
