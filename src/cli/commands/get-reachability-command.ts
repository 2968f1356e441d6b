// `weir get reachability`: who may reach whom, by workload, as it is compiled for this node.

import type { Command } from "commander";
import type { ReachabilityView } from "../../model/reachability-view.ts";
import { reachabilityTable } from "../../observe/reachability-table.ts";
import { askAgentOrFail } from "../agent-client.ts";
import {
  allNamespacesOption,
  type Exits,
  headersOption,
  namespaceOption,
  note,
  outputOption,
  type WriteOptions,
  write,
} from "../command.ts";
import { type Context, EXIT } from "../environment.ts";

interface Options extends WriteOptions {
  readonly namespace?: string;
}

const HELP = `
Needs the agent. A line is one side of this node's pods of a workload (pods of one namespace with equal labels and one
name, without a controller's suffix): the peers that its policies allow, with their ports, from what is compiled for the
kernel. A connection needs both sides: the other one is on the peer's node (\`weir ui\` and \`kubectl weir ui\` combine
them, \`weir trace\` has the rules). "(some pods)": not for every pod of both workloads. "outside the cluster": some
address that no pod has. Host-network pods have the addresses of their nodes and are in no workload.

Examples:
  weir get reachability                      all sides of this node
  weir get reachability -n shop -o wide      of one namespace, with all peers
  weir get reachability -o json              against every workload of the cluster, by sets of ports
  weir get reachability -o ndjson            the same in one line

Exit codes:
  0 done, 1 error (no agent answers), 2 wrong usage`;

export function addGetReachability(parent: Command, exits: Exits): void {
  parent
    .command("reachability")
    .aliases(["reach"])
    .description("list what policies allow the workloads of this node to receive and to send")
    .addOption(namespaceOption())
    .addOption(allNamespacesOption())
    .addOption(outputOption("table", "wide", "json", "ndjson", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", HELP)
    .action(exits(getReachability));
}

async function getReachability(context: Context, options: Options): Promise<number> {
  const { portSetText } = await import("../../policy/port-classes.ts");
  const whole = await askAgentOrFail<ReachabilityView>(
    context,
    "reachability",
    "only it has compiled policies",
  );
  const { namespace } = options;
  const view = {
    ...whole,
    sides: whole.sides.filter(
      ({ workload }) => namespace === undefined || whole.workloads[workload]?.namespace === namespace,
    ),
  };
  if (view.sides.length === 0)
    note(
      context.env,
      namespace === undefined ? "no pods on this node" : `no pods of namespace ${namespace} here`,
    );
  const textOf = (ports: number): string =>
    portSetText((view.ports[ports] ?? []).map(([first, last]) => ({ first, last })));
  const isForPeople = options.output === "table" || options.output === "wide";
  if (view.sides.length > 0 || !isForPeople)
    await write(
      context.env,
      { table: (wide) => reachabilityTable(view, textOf, wide), value: view },
      options,
    );
  return EXIT.ok;
}
