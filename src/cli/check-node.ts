// `weir check node`: can Weir enforce on this node, and with which means?

import type { Command } from "commander";
import { checkSummary, checkTable } from "../observe/check.ts";
import { type Exits, headersOption, note, outputOption, type WriteOptions, write } from "./command.ts";
import { type Context, EXIT, objectPath } from "./env.ts";

const HELP = `
Tries the features that Weir needs, and leaves nothing behind: programs are loaded with private maps and unloaded.
STATE is ok, fallback (works in another way, or with a disadvantage), missing (Weir cannot enforce), or unknown (run
as root).

Examples:
  weir check node
  weir check node -o json | jq -r '.[] | select(.state != "ok") | .detail'

Exit codes:
  0 Weir can enforce here, 1 something is missing or unknown, 2 wrong usage`;

export function addCheckNode(parent: Command, exits: Exits): void {
  parent
    .command("node")
    .description("check whether Weir can enforce on this node: privilege, kernel features, paths")
    .addOption(outputOption("table", "json", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", HELP)
    .action(exits(check));
}

async function check({ env, settings }: Context, options: WriteOptions): Promise<number> {
  const { checkNode } = await import("./check/checks.ts");
  const findings = await checkNode({ settings, object: objectPath(env) });
  await write(env, { table: () => checkTable(findings), value: findings }, options);
  if (options.output === "table") note(env, checkSummary(findings));
  return findings.some(({ state }) => state === "missing" || state === "unknown") ? EXIT.error : EXIT.ok;
}
