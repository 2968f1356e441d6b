// `weir cleanup`: takes everything of Weir off the node.

import type { Command } from "commander";
import { left, tableText } from "../observe/table.ts";
import { countText } from "../observe/text.ts";
import { askAgentIfAble, isSilence } from "./agent-client.ts";
import { type Exits, note } from "./command.ts";
import { CommandError, type Context, EXIT } from "./env.ts";

interface Options {
  readonly dryRun?: true;
  readonly force?: true;
}

const HELP = `
Removes the links and filters on pods' interfaces, the programs and the maps, and nothing that is not Weir's. From then
on no policy is enforced on this node. Stop the agent first: while one answers at the socket, cleanup refuses.

Examples:
  weir cleanup --dry-run          what would be removed
  weir cleanup
  weir cleanup --bpffs /sys/fs/bpf/other

Exit codes:
  0 nothing of Weir is left (with --dry-run: nothing was touched), 1 error (an agent runs, or something stayed)`;

export function addCleanup(parent: Command, exits: Exits): void {
  parent
    .command("cleanup")
    .description("take programs, links and maps off this node; nothing is enforced from then on")
    .option("--dry-run", "only say what would be removed")
    .option("--force", "also while an agent runs (it will put everything back)")
    .addHelpText("after", HELP)
    .action(exits(clean));
}

async function clean(context: Context, options: Options): Promise<number> {
  const { env, settings } = context;
  const dryRun = options.dryRun === true;
  if (!dryRun && options.force !== true) await refuseWhileAgentRuns(context);
  const [{ cleanup }, { interfaceNames }] = await Promise.all([
    import("../datapath/cleanup.ts"),
    import("./interfaces.ts"),
  ]);
  const interfaces = [...interfaceNames().keys()];
  const removals = await cleanup({ root: settings.bpffs, dryRun, interfaces });
  if (removals.length === 0) {
    note(env, `nothing of Weir is under ${settings.bpffs} or on an interface`);
    return EXIT.ok;
  }
  const outcome = dryRun ? "would be removed" : "removed";
  env.stdout.write(
    tableText({
      columns: ["KIND", "NAME", "OUTCOME"].map(left),
      rows: removals.map(({ kind, name, error }) => [
        kind,
        name,
        error === undefined ? outcome : `stayed: ${error}`,
      ]),
    }),
  );
  const stayed = removals.filter(({ error }) => error !== undefined).length;
  if (stayed > 0) throw new CommandError(`${countText(stayed, "object")} could not be removed`);
  return EXIT.ok;
}

async function refuseWhileAgentRuns(context: Context): Promise<void> {
  const answer = await askAgentIfAble<{ readonly pid: number }>(context, "status");
  if (isSilence(answer)) {
    if (!answer.hangs) return;
    throw new CommandError(`${answer.reason}; end it first, or use --force`);
  }
  throw new CommandError(
    `an agent runs (pid ${answer.pid}) and would put everything back; end it first, or use --force`,
  );
}
