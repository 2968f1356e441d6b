// `weir drops`: what was dropped in a time, from the agent's history.

import { type Command, InvalidArgumentError, Option } from "commander";
import {
  HISTORY_GROUPINGS,
  type HistoryGrouping,
  type HistoryRowView,
  type HistoryView,
} from "../../observe/history-views.ts";
import { countText, left, right, spare, type Table } from "../../observe/text-output.ts";
import {
  allNamespacesOption,
  type Exits,
  headersOption,
  namespaceOption,
  note,
  outputOption,
  type PodName,
  podOption,
  type WriteOptions,
  write,
} from "../command.ts";
import { type Context, type Env, EXIT } from "../environment.ts";
import {
  askHistory,
  noteCoverage,
  podKey,
  rangeOf,
  requireKnown,
  requireReason,
  type Since,
  sinceOption,
  untilOption,
} from "../history-client.ts";

export interface DropsOptions extends WriteOptions {
  readonly since: Since;
  readonly until?: Since;
  readonly pod?: PodName;
  readonly namespace?: string;
  readonly policy?: string;
  readonly reason?: string;
  readonly by?: HistoryGrouping;
  readonly audit?: true;
}

const HELP = `
PACKETS and BYTES are exact: they come from the kernel's counters, as \`weir maps dump counters\` shows them, read each
minute and when endpoints change. PEER and PORT come from events, which are limited to 10 a second for each pod,
direction and reason, and 100 in total: packets whose peer no event named, and peers beyond the 16 largest of a pod in
a minute, are the row "(others)". PORT is the one that the flow's opener connects to. Minutes count whole. With
--by policy a packet counts at each policy that isolates the pod. The agent keeps 24 hours, over restarts too.

Examples:
  weir drops                                   the last hour
  weir drops --since 15m --by pod              which pods lost packets
  weir drops --since 24h --pod shop/web        of one pod, as its own or as the peer
  weir drops --policy shop/db-ingress --by peer    who was denied by a policy
  weir drops --since 2026-11-30T01:00:00Z --until 2026-11-30T01:30:00Z
  weir drops --audit                           what policies in audit mode would have dropped
  weir drops -o json | jq '.rows[] | select(.reason == "spoofed")'

Exit codes:
  0 shown, 1 no agent answers, 2 wrong usage, 4 no such pod or policy, nor in the history`;

export function addDrops(parent: Command, exits: Exits): void {
  withDropsOptions(parent.command("drops").description("show what was dropped in the last hours"))
    .addHelpText("after", HELP)
    .action(exits(drops));
}

export const withDropsOptions = (command: Command): Command =>
  command
    .addOption(sinceOption("beginning: a duration ago, or a time", "1h"))
    .addOption(untilOption())
    .addOption(podOption("only packets from or to this pod"))
    .addOption(namespaceOption())
    .addOption(allNamespacesOption())
    .addOption(policyOption())
    .option("--reason <reason>", "only this reason (docs/metrics.md lists them)")
    .addOption(new Option("--by <what>", "add up by this").choices(HISTORY_GROUPINGS))
    .option("--audit", "what policies in audit mode would have dropped, instead")
    .addOption(outputOption("table", "wide", "json", "yaml"))
    .addOption(headersOption());

const policyOption = (): Option =>
  new Option("--policy <namespace/name>", "only pods that this policy isolates").argParser((text: string) => {
    if (!/^[^/]+\/[^/]+$/.test(text)) throw new InvalidArgumentError("Write it as NAMESPACE/NAME.");
    return text;
  });

async function drops(context: Context, options: DropsOptions): Promise<number> {
  const { since, until, pod, namespace, policy, reason, by, audit } = options;
  await requireReason(reason);
  const view = await askHistory<HistoryView>(context, "", {
    ...rangeOf(context.env, since, until),
    verdict: audit === true ? "audit" : "dropped",
    pod: podKey(pod),
    namespace,
    policy,
    reason,
    by,
  });
  if (view.rows.length === 0)
    await requireKnown(context, {
      ...(pod === undefined ? {} : { pod }),
      ...(policy === undefined ? {} : { policy }),
    });
  noteCoverage(context.env, view);
  await writeDrops(context.env, view, options);
  return EXIT.ok;
}

/** Rows of a cluster have a node. */
type DropsRow = HistoryRowView & { readonly node?: string };

interface Drops {
  readonly rows: readonly DropsRow[];
  readonly omitted?: HistoryView["omitted"];
}

export async function writeDrops(env: Env, view: Drops, options: DropsOptions): Promise<void> {
  const { by, audit, output } = options;
  if (view.rows.length === 0 && (output === "table" || output === "wide")) {
    note(env, audit === true ? "nothing would have been dropped" : "nothing was dropped");
    return;
  }
  await write(env, { table: (wide) => tableOf(view.rows, by, wide), value: view }, options);
  const { omitted } = view;
  if (omitted !== undefined)
    note(env, `and ${countText(omitted.rows, "more row")} with ${countText(omitted.packets, "packet")}`);
}

/** A few names; `-o json` has all. */
const policiesText = ([first = "", ...others]: readonly string[] = []): string =>
  others.length === 0 ? first : `${first} +${others.length}`;

function tableOf(rows: readonly DropsRow[], by: HistoryGrouping | undefined, isWide: boolean): Table {
  const counts = ({ packets, bytes }: HistoryRowView): readonly string[] => [String(packets), String(bytes)];
  const columns = [right("PACKETS"), right("BYTES")];
  const isOfCluster = rows.some(({ node }) => node !== undefined);
  const [node, nodeOf] = isOfCluster
    ? [[spare("NODE", 1)], (row: DropsRow) => [row.node ?? ""]]
    : [[], () => []];
  if (by === "pod" || by === "peer" || by === "policy")
    return {
      columns: [...node, left(by.toUpperCase()), ...columns],
      rows: rows.map((row) => [...nodeOf(row), row[by] ?? "", ...counts(row)]),
    };
  const time = by === "minute" ? [left("TIME")] : [];
  return {
    columns: [
      ...time,
      ...node,
      left("POD"),
      spare("DIRECTION", 2),
      left("REASON"),
      left("PEER"),
      left("PORT"),
      left("POLICY"),
      ...columns,
    ],
    rows: rows.map((row) => [
      ...(by === "minute" ? [`${(row.time ?? "").slice(0, 16)}Z`] : []),
      ...nodeOf(row),
      row.pod ?? "",
      row.direction ?? "",
      row.reason ?? "",
      row.peer ?? "",
      row.port ?? "",
      isWide ? (row.policies ?? []).join(",") : policiesText(row.policies),
      ...counts(row),
    ]),
  };
}
