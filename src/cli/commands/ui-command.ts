// `weir ui`: this node as a page in a browser.

import { hostname } from "node:os";
import type { Command } from "commander";
import type { Exits } from "../command.ts";
import type { Context } from "../environment.ts";
import { PAGE_HELP, type PageOptions, portOption, runPage } from "../ui/run-page.ts";

const HELP = `${PAGE_HELP}

From another machine: ssh -L 8080:127.0.0.1:8080 NODE weir ui --port 8080. For the whole cluster, from a workstation:
kubectl weir ui.

Examples:
  weir ui                     print an address with a free port
  weir ui --port 8080         with this one

Exit codes:
  0 stopped, 1 error (the port is in use), 2 wrong usage`;

export function addUi(parent: Command, exits: Exits): void {
  parent
    .command("ui")
    .description("show this node as a page in a browser")
    .addOption(portOption())
    .addHelpText("after", HELP)
    .action(exits(ui));
}

async function ui(context: Context, options: PageOptions): Promise<number> {
  const { localRunner } = await import("../ui/agent-runner.ts");
  return runPage(context, localRunner(context, hostname()), options);
}
