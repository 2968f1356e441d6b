// `weir top`: the pods with the most traffic, from the agent's history.

import { type Command, InvalidArgumentError, Option } from "commander";
import { type TalkerView, TOP_BY, type TopBy, type TopView } from "../../observe/history-views.ts";
import { countText, left, right, spare, type Table } from "../../observe/text-output.ts";
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
import { type Context, type Env, EXIT } from "../environment.ts";
import {
  askHistory,
  noteCoverage,
  rangeOf,
  type Since,
  sinceOption,
  untilOption,
} from "../history-client.ts";

export interface TopOptions extends WriteOptions {
  readonly since: Since;
  readonly until?: Since;
  readonly namespace?: string;
  readonly by: TopBy;
  readonly limit: number;
}

const HELP = `
All numbers are exact: they come from the kernel's counters, read each minute and when endpoints change. IN is what the
pod has received, OUT what it has sent; dropped packets are counted apart. CONNECTIONS are packets that opened a flow
and that a policy allowed: the first of each, and those that were sent again. They are counted only where a policy
isolates the pod in the direction. Minutes count whole.

Examples:
  weir top                               the last ten minutes, by bytes
  weir top --by connections --since 1h   which pods open or accept the most connections
  weir top -n shop --limit 5 -o json     of one namespace

Exit codes:
  0 shown, 1 no agent answers, 2 wrong usage`;

const LIMIT_MAX = 5_000;

export function addTop(parent: Command, exits: Exits): void {
  withTopOptions(parent.command("top").description("show the pods with the most traffic"))
    .addHelpText("after", HELP)
    .action(exits(top));
}

export const withTopOptions = (command: Command): Command =>
  command
    .addOption(new Option("--by <what>", "order").choices(TOP_BY).default(TOP_BY[0]))
    .addOption(sinceOption("beginning: a duration ago, or a time", "10m"))
    .addOption(untilOption())
    .addOption(namespaceOption())
    .addOption(allNamespacesOption())
    .addOption(new Option("--limit <count>", "maximum number of pods").argParser(limitOf).default(20))
    .addOption(outputOption("table", "json", "yaml"))
    .addOption(headersOption());

function limitOf(text: string): number {
  if (!/^[0-9]{1,4}$/.test(text) || Number(text) < 1 || Number(text) > LIMIT_MAX)
    throw new InvalidArgumentError(`Write a number from 1 to ${LIMIT_MAX}.`);
  return Number(text);
}

async function top(context: Context, { since, until, ...options }: TopOptions): Promise<number> {
  const view = await askHistory<TopView>(context, "/top", {
    ...rangeOf(context.env, since, until),
    namespace: options.namespace,
    by: options.by,
    limit: String(options.limit),
  });
  noteCoverage(context.env, view);
  await writeTop(context.env, view, options);
  return EXIT.ok;
}

/** Rows of a cluster have a node. */
type Talker = TalkerView & { readonly node?: string };

export async function writeTop(
  env: Env,
  view: { readonly pods: readonly Talker[]; readonly omitted?: number },
  options: WriteOptions,
): Promise<void> {
  await write(env, { table: () => tableOf(view.pods), value: view }, options);
  if (view.omitted !== undefined) note(env, `and ${countText(view.omitted, "more pod")}`);
}

const tableOf = (pods: readonly Talker[]): Table => ({
  columns: [
    ...(pods.some(({ node }) => node !== undefined) ? [spare("NODE", 1)] : []),
    left("POD"),
    right("BYTES IN"),
    right("BYTES OUT"),
    right("PACKETS IN"),
    right("PACKETS OUT"),
    right("CONNECTIONS"),
    right("DROPPED"),
  ],
  rows: pods.map(({ node, pod, ingress, egress, connections, dropped }) => [
    ...(node === undefined ? [] : [node]),
    pod,
    ...[ingress.bytes, egress.bytes, ingress.packets, egress.packets, connections, dropped].map(String),
  ]),
});
