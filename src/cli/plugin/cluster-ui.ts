// `kubectl weir ui`: the cluster as a page in a browser, on the user's own loopback.

import type { Command } from "commander";
import type { Exits } from "../command.ts";
import type { Context } from "../environment.ts";
import { PAGE_HELP, type PageOptions, portOption, runPage } from "../ui/run-page.ts";
import { agentsOf } from "./cluster-command.ts";

export function addClusterUi(parent: Command, exits: Exits): void {
  const command = parent
    .command("ui")
    .description("show the cluster as a page in a browser")
    .addOption(portOption())
    .addHelpText(
      "after",
      `${PAGE_HELP}
Nothing listens in the cluster for it: data come by commands in the agents' pods, as for the other commands.

Examples:
  kubectl weir ui
  kubectl weir ui --port 8080 --context production

Exit codes:
  0 stopped, 1 error (the port is in use), 2 wrong usage, 4 no agents, 6 permission denied`,
    );
  command.action(
    exits(async (context: Context, options: PageOptions) => {
      const { clusterRunner } = await import("../ui/agent-runner.ts");
      return runPage(context, clusterRunner(await agentsOf(command), context.env.now), options);
    }),
  );
}
