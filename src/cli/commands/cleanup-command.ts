// `weir cleanup`: takes everything of Weir off the node.

import { lstatSync, rmdirSync, rmSync } from "node:fs";
import { dirname } from "node:path";
import { type Command, InvalidArgumentError, Option } from "commander";
import { codeOf, messageOf } from "../../base/errors.ts";
import { countText, left, printable } from "../../observe/text-output.ts";
import type { CredentialOptions } from "../../source/apiserver/credentials.ts";
import { askAgentIfAble, isSilence } from "../agent-client.ts";
import { stateFiles } from "../cni-paths.ts";
import { type Exits, headersOption, note, outputOption, type WriteOptions, write } from "../command.ts";
import { CommandError, type Context, EXIT, type Settings, SOCKET_DEFAULT } from "../environment.ts";

interface Options extends WriteOptions {
  readonly dryRun?: true;
  readonly force?: true;
  readonly waitFor?: DaemonSetName;
  readonly nodeCondition?: true;
  readonly timeout: number;
  readonly kubeconfig?: string;
}

interface DaemonSetName {
  readonly namespace: string;
  readonly name: string;
}

const HELP = `
Removes Weir's links and filters on pods' interfaces, programs, maps, and the files that the agent keeps beside its
socket, and nothing else. No policy is enforced on this node any more. Stop the agent first: cleanup fails while one
answers at the socket.

With --wait-for it changes nothing on this node: it waits until all pods of a DaemonSet that cleans up are ready,
that is, their nodes are clean (used by the chart's uninstall hook). With --node-condition it then removes the
condition that agents with --node-condition maintain on their nodes.

Examples:
  weir cleanup --dry-run          what would be removed
  weir cleanup
  weir cleanup --bpffs /sys/fs/bpf/other
  weir cleanup --wait-for kube-system/weir-cleanup

Exit codes:
  0 everything is removed (with --dry-run: nothing was changed; with --wait-for: on every node), 1 error (an agent runs,
  something was not removed, or not every node was clean in time)`;

export function addCleanup(parent: Command, exits: Exits): void {
  parent
    .command("cleanup")
    .description("remove programs, links and maps from this node; enforcement ends")
    .option("--dry-run", "only show what would be removed")
    .option("--force", "run even while an agent runs (it will restore everything)")
    .addOption(
      new Option(
        "--wait-for <namespace/daemonset>",
        "wait until this DaemonSet has cleaned every node",
      ).argParser(daemonSetFrom),
    )
    .addOption(new Option("--node-condition", "with --wait-for: then remove Weir's condition from all nodes"))
    .addOption(
      new Option("--timeout <seconds>", "with --wait-for: fail after this time")
        .argParser(secondsFrom)
        .default(240),
    )
    .option("--kubeconfig <file>", "with --wait-for: API server, if not the pod's own cluster")
    .addOption(outputOption("table", "json", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", HELP)
    .action(exits(cleanOrWait));
}

/** Both are DNS names, so they need no escaping in a path. */
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

async function cleanOrWait(context: Context, options: Options): Promise<number> {
  if (options.waitFor !== undefined) return wait(context, options, options.waitFor);
  if (options.nodeCondition === true) throw new CommandError("--node-condition needs --wait-for", EXIT.usage);
  return clean(context, options);
}

async function wait(
  { env }: Context,
  { timeout, kubeconfig, nodeCondition }: Options,
  waitFor: DaemonSetName,
): Promise<number> {
  const { waitForNodes } = await import("../cleanup-cluster.ts");
  const credentials: CredentialOptions =
    kubeconfig === undefined ? { from: "cluster" } : { from: "kubeconfig", path: kubeconfig };
  const signal = env.stopSignal();
  await waitForNodes({ ...waitFor, credentials, timeoutMs: timeout * 1000, signal, out: env.stdout });
  if (nodeCondition !== true) return EXIT.ok;
  const { removeConditions } = await import("../cleanup-cluster.ts");
  for (const name of await removeConditions({ credentials, signal }))
    env.stdout.write(`${printable(name)}: condition removed\n`);
  return EXIT.ok;
}

async function clean(context: Context, options: Options): Promise<number> {
  const { env, settings } = context;
  const dryRun = options.dryRun === true;
  const isAllowed = dryRun || options.force === true;
  const isAgentThere = await agentThere(context, isAllowed);
  if (dryRun && isAgentThere && options.force !== true)
    note(env, "an agent runs: `weir cleanup` fails until it is stopped (or with --force)");
  const [{ cleanup }, { holderOf, lockExisting }, { interfaceNames }] = await Promise.all([
    import("../../datapath/remove-datapath.ts"),
    import("../../datapath/agent-lock.ts"),
    import("../pinned-maps.ts"),
  ]);
  using lock = lockExisting(settings.bpffs);
  if (lock === undefined && !isAllowed) {
    const holder = holderOf(settings.bpffs);
    const who = holder === undefined ? "an agent" : `an agent (pid ${holder})`;
    throw new CommandError(`${who} has locked ${settings.bpffs}; stop it first, or use --force`);
  }
  const interfaces = [...interfaceNames().keys()];
  const removals = [
    ...(await cleanup({ root: settings.bpffs, dryRun, interfaces })),
    // An agent that goes on has its socket and its claims.
    ...(isAgentThere ? [] : removeStateFiles(settings, dryRun)),
  ];
  const isForPeople = options.output === "table";
  if (removals.length === 0 && isForPeople) {
    note(
      env,
      `nothing of Weir is under ${settings.bpffs}, on an interface or in ${dirname(settings.socket)}`,
    );
    return EXIT.ok;
  }
  const outcome = dryRun ? "would be removed" : "removed";
  const table = {
    columns: ["KIND", "NAME", "OUTCOME"].map(left),
    rows: removals.map(({ kind, name, error }) => [
      kind,
      name,
      error === undefined ? outcome : `stayed: ${error}`,
    ]),
  };
  const value = removals.map(({ kind, name, error }) => ({
    kind,
    name,
    removed: !dryRun && error === undefined,
    ...(error === undefined ? {} : { error }),
  }));
  await write(env, { table: () => table, value }, options);
  const stayed = removals.filter(({ error }) => error !== undefined).length;
  if (stayed > 0) throw new CommandError(`${countText(stayed, "object")} could not be removed`);
  return EXIT.ok;
}

interface FileRemoval {
  readonly kind: "file";
  readonly name: string;
  readonly error?: string;
}

/** What agents keep beside their socket, and sockets that killed ones have left; then the default directory, if nothing else is in it. */
function removeStateFiles(settings: Settings, dryRun: boolean): readonly FileRemoval[] {
  const removals = stateFiles(settings)
    .filter((path) => lstatSync(path, { throwIfNoEntry: false }) !== undefined)
    .map((name): FileRemoval => {
      try {
        if (!dryRun) rmSync(name, { recursive: true });
        return { kind: "file", name };
      } catch (thrown) {
        return { kind: "file", name, error: messageOf(thrown) };
      }
    });
  const directory = dirname(settings.socket);
  if (!dryRun && directory === dirname(SOCKET_DEFAULT)) removeIfEmpty(directory);
  return removals;
}

/** In a pod the directory is a mount, and stays. */
const MAY_STAY: ReadonlySet<string | undefined> = new Set(["ENOENT", "ENOTEMPTY", "EBUSY", "EROFS"]);

function removeIfEmpty(directory: string): void {
  try {
    rmdirSync(directory);
  } catch (thrown) {
    if (!MAY_STAY.has(codeOf(thrown))) throw thrown;
  }
}

/** Whether one answers, or at least listens. @throws CommandError where it does and must not */
async function agentThere(context: Context, allowed: boolean): Promise<boolean> {
  const answer = await askAgentIfAble<{ readonly pid: number }>(context, "status");
  if (isSilence(answer) && !answer.hangs) return false;
  if (allowed) return true;
  throw new CommandError(
    isSilence(answer)
      ? `${answer.reason}; stop it first, or use --force`
      : `an agent runs (pid ${answer.pid}) and would restore everything; stop it first, or use --force`,
  );
}
