// `weir cleanup`: takes everything of Weir off the node.

import { type Command, InvalidArgumentError, Option } from "commander";
import { left, tableText } from "../observe/table.ts";
import { countText } from "../observe/text.ts";
import { askAgentIfAble, isSilence } from "./agent-client.ts";
import { type Exits, note } from "./command.ts";
import { CommandError, type Context, EXIT } from "./env.ts";

interface Options {
  readonly dryRun?: true;
  readonly force?: true;
  readonly waitFor?: DaemonSetName;
  readonly timeout: number;
  readonly kubeconfig?: string;
}

interface DaemonSetName {
  readonly namespace: string;
  readonly name: string;
}

const HELP = `
Removes the links and filters on pods' interfaces, the programs and the maps, and nothing that is not Weir's. From then
on no policy is enforced on this node. Stop the agent first: while one answers at the socket, cleanup refuses.

With --wait-for it touches nothing here: the chart's uninstall hook asks the API server with it whether the pods that
clean up on each node are all ready, which they are when their node is clean.

Examples:
  weir cleanup --dry-run          what would be removed
  weir cleanup
  weir cleanup --bpffs /sys/fs/bpf/other
  weir cleanup --wait-for kube-system/weir-cleanup

Exit codes:
  0 nothing of Weir is left (with --dry-run: nothing was touched; with --wait-for: on no node), 1 error (an agent runs,
  something stayed, or not every node was clean in time)`;

export function addCleanup(parent: Command, exits: Exits): void {
  parent
    .command("cleanup")
    .description("take programs, links and maps off this node; nothing is enforced from then on")
    .option("--dry-run", "only say what would be removed")
    .option("--force", "also while an agent runs (it will put everything back)")
    .addOption(
      new Option(
        "--wait-for <namespace/daemonset>",
        "wait until this DaemonSet has cleaned every node",
      ).argParser(daemonSetFrom),
    )
    .addOption(
      new Option("--timeout <seconds>", "with --wait-for: give up after this time")
        .argParser(secondsFrom)
        .default(240),
    )
    .option("--kubeconfig <file>", "with --wait-for: whom to ask, where that is not the pod's own cluster")
    .addHelpText("after", HELP)
    .action(exits(cleanOrWait));
}

/** Both are DNS names, so that they can stand in a path as they are. */
function daemonSetFrom(text: string): DaemonSetName {
  const [, namespace, name] = /^([a-z0-9-]{1,63})\/([a-z0-9.-]{1,253})$/.exec(text) ?? [];
  if (namespace === undefined || name === undefined)
    throw new InvalidArgumentError("Write it as NAMESPACE/DAEMONSET.");
  return { namespace, name };
}

function secondsFrom(text: string): number {
  if (!/^[1-9]\d{0,3}$/.test(text)) throw new InvalidArgumentError("Write a number from 1 to 9999.");
  return Number(text);
}

const cleanOrWait = (context: Context, options: Options): Promise<number> =>
  options.waitFor === undefined ? clean(context, options) : wait(context, options, options.waitFor);

async function wait(
  { env }: Context,
  { timeout, kubeconfig }: Options,
  waitFor: DaemonSetName,
): Promise<number> {
  const { waitForNodes } = await import("./cleanup/nodes.ts");
  await waitForNodes({
    ...waitFor,
    credentials: kubeconfig === undefined ? { from: "cluster" } : { from: "kubeconfig", path: kubeconfig },
    timeoutMs: timeout * 1000,
    signal: env.stopSignal(),
    out: env.stdout,
  });
  return EXIT.ok;
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
