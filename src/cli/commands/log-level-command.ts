// `weir log-level`: the minimum log level of the running agent, shown or set.

import { Argument, type Command } from "commander";
import type { LogLevelView } from "../../observe/api-views.ts";
import { askAgentOrFail, tellAgent } from "../agent-client.ts";
import { type Exits, outputOption, writeReport } from "../command.ts";
import { type Context, EXIT } from "../environment.ts";

const LEVELS = ["debug", "info", "warn", "error"] as const;

const HELP = `
Stays until it is set again or the agent ends; \`weir run --log-level\` sets the initial level.

Examples:
  weir log-level             show it
  weir log-level debug       everything
  weir log-level info        as usual

Exit codes:
  0 done, 1 error (no agent answers), 2 wrong usage`;

export function addLogLevel(parent: Command, exits: Exits): void {
  parent
    .command("log-level")
    .description("show or set the minimum log level of the running agent")
    .addArgument(new Argument("[level]", "the new level").choices(LEVELS))
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText("after", HELP)
    .action(exits(logLevel));
}

interface Options {
  readonly output: "text" | "json" | "yaml";
}

async function logLevel(context: Context, wanted: string | undefined, options: Options): Promise<number> {
  const value =
    wanted === undefined
      ? await askAgentOrFail<LogLevelView>(context, "log-level", "the level is its own")
      : await tellAgent<LogLevelView>(context, `log-level?level=${wanted}`);
  await writeReport(context.env, { value, text: () => `${value.level}\n` }, options.output);
  return EXIT.ok;
}
