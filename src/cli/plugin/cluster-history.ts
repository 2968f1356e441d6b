// `kubectl weir drops` and `top`, and the minutes of `monitor --since`: the histories of all nodes as one.

import type { Command } from "commander";
import {
  type HistoryCoverage,
  type HistoryRowView,
  type HistoryView,
  type TalkerView,
  type TopView,
  talkerSize,
} from "../../observe/history-views.ts";
import { someOf } from "../../observe/text-output.ts";
import type { Exits } from "../command.ts";
import { type DropsOptions, withDropsOptions, writeDrops } from "../commands/drops-command.ts";
import { type TopOptions, withTopOptions, writeTop } from "../commands/top-command.ts";
import { type Context, EXIT } from "../environment.ts";
import { beginOf, beginText, coverageTexts, podKey, type Since } from "../history-client.ts";
import type { AgentPods, Outcome } from "./agent-pods.ts";
import {
  agentsOf,
  exitOf,
  LIST_EXITS,
  optionWords,
  remarkFailures,
  remarkSome,
  requireAnswer,
} from "./cluster-command.ts";

/** For a node's command line: a time of day there may be of another zone. */
export const sinceWord = (since: Since | undefined): string | undefined =>
  since === undefined ? undefined : "at" in since ? since.at.toISOString() : `${since.ms / 1_000}s`;

type Of<T> = T & { readonly node: string };

/** Views of all nodes, each given to `take` when it comes, so that not all of them are in memory. */
async function askHistories<T extends HistoryCoverage>(
  context: Context,
  agents: AgentPods,
  args: readonly string[],
  take: (view: Of<T>) => void,
): Promise<{ readonly outcomes: readonly Outcome[]; readonly nodes: readonly Of<HistoryCoverage>[] }> {
  const nodes: Of<HistoryCoverage>[] = [];
  const digest = (outcome: Outcome): Outcome => {
    if (outcome.error !== undefined || outcome.exitCode !== EXIT.ok) return outcome;
    const view: Of<T> = { node: outcome.pod.node, ...(JSON.parse(outcome.stdout) as T) };
    take(view);
    const { node, since, until, covered, gaps, away, damaged, lost } = view;
    nodes.push({
      node,
      since,
      until,
      gaps,
      away,
      damaged,
      lost,
      ...(covered === undefined ? {} : { covered }),
    });
    return { ...outcome, stdout: "", bytes: Buffer.alloc(0) };
  };
  const outcomes = await agents.run(args, { digest });
  requireAnswer(outcomes);
  remarkFailures(context.env, outcomes);
  nodes.sort((a, b) => (a.node < b.node ? -1 : 1));
  remarkCoverage(context, nodes);
  return { outcomes, nodes };
}

/** Nodes that say the same share a remark, and so do those whose history begins within the range. */
function remarkCoverage({ env }: Context, nodes: readonly Of<HistoryCoverage>[]): void {
  const begun: { readonly node: string; readonly from: string }[] = [];
  const byText = new Map<string, string[]>();
  for (const each of nodes) {
    const begins = beginOf(each);
    if (begins !== undefined) begun.push({ node: each.node, from: begins });
    for (const text of coverageTexts(each)) {
      if (begins !== undefined && text === beginText(begins)) continue;
      byText.set(text, [...(byText.get(text) ?? []), each.node]);
    }
  }
  begun.sort((a, b) => (a.from < b.from ? -1 : 1));
  const [first, last] = [begun[0], begun.at(-1)];
  const begin =
    first === undefined || last === undefined
      ? []
      : first === last
        ? [`node ${first.node}: ${beginText(first.from)}`]
        : [
            `the history begins between ${first.from} (node ${first.node}) and ${last.from} (node ${last.node})`,
          ];
  const others = [...byText].map(
    ([text, names]) => `${names.length === 1 ? "node" : "nodes"} ${someOf(names, 3, ", ")}: ${text}`,
  );
  remarkSome(env, [...begin, ...others]);
}

/** Rows in memory, and in an answer: the largest. */
const KEYS_MAX = 50_000;
const ROWS_MAX = 5_000;

interface Sums {
  add(row: HistoryRowView, packets: number, bytes: number): void;
  readonly rows: (HistoryRowView & { packets: number; bytes: number })[];
  readonly omitted: { rows: number; packets: number; bytes: number };
}

function openSums(): Sums {
  const byKey = new Map<string, HistoryRowView & { packets: number; bytes: number }>();
  const omitted = { rows: 0, packets: 0, bytes: 0 };
  return {
    add({ packets: _, bytes: __, ...part }, packets, bytes) {
      const key = JSON.stringify(part);
      const sum = byKey.get(key) ?? (byKey.size < KEYS_MAX ? { ...part, packets: 0, bytes: 0 } : undefined);
      if (sum === undefined) {
        omitted.rows += 1;
        omitted.packets += packets;
        omitted.bytes += bytes;
        return;
      }
      sum.packets += packets;
      sum.bytes += bytes;
      byKey.set(key, sum);
    },
    get rows() {
      return [...byKey.values()];
    },
    omitted,
  };
}

const DROPS_HELP = `
Options are those of \`weir drops\` on a node. With --by peer or policy the nodes are added up; other rows have their node.

Examples:
  kubectl weir drops                                the last hour, all nodes
  kubectl weir drops --since 24h --by policy        which policies denied how much
  kubectl weir drops --pod shop/web -o wide         of one pod, as its own or as the peer
${LIST_EXITS}`;

export function addClusterDrops(parent: Command, exits: Exits): void {
  const command = withDropsOptions(
    parent.command("drops").description("show what was dropped in the last hours, on all nodes"),
  ).addHelpText("after", DROPS_HELP);
  command.action(
    exits(async (context: Context, options: DropsOptions) => {
      const agents = await agentsOf(command);
      const { since, until, pod, namespace, policy, reason, by, audit } = options;
      const words = optionWords({
        since: sinceWord(since),
        until: sinceWord(until),
        pod: podKey(pod),
        ...{ namespace, policy, reason, by, audit },
      });
      const isSummed = by === "peer" || by === "policy";
      const sums = openSums();
      const total = { packets: 0, bytes: 0 };
      const { outcomes, nodes } = await askHistories<HistoryView>(
        context,
        agents,
        ["drops", "-o", "json", ...words],
        (view) => {
          for (const row of view.rows)
            sums.add(
              isSummed ? row : ({ node: view.node, ...row } as HistoryRowView),
              row.packets,
              row.bytes,
            );
          total.packets += view.total.packets;
          total.bytes += view.total.bytes;
          const { rows = 0, packets = 0, bytes = 0 } = view.omitted ?? {};
          sums.omitted.rows += rows;
          sums.omitted.packets += packets;
          sums.omitted.bytes += bytes;
        },
      );
      const all = sums.rows.sort(
        by === "minute"
          ? (a, b) => ((a.time ?? "") < (b.time ?? "") ? -1 : 1)
          : (a, b) => b.packets - a.packets,
      );
      // Of minutes the latest, of sums the largest.
      const [rows, left] =
        by === "minute"
          ? [all.slice(-ROWS_MAX), all.slice(0, -ROWS_MAX)]
          : [all.slice(0, ROWS_MAX), all.slice(ROWS_MAX)];
      const { omitted } = sums;
      for (const { packets, bytes } of left) {
        omitted.rows += 1;
        omitted.packets += packets;
        omitted.bytes += bytes;
      }
      const view = { rows, total, nodes, ...(omitted.rows === 0 ? {} : { omitted }) };
      await writeDrops(context.env, view, options);
      return exitOf(outcomes);
    }),
  );
}

const TOP_HELP = `
Options are those of \`weir top\` on a node.

Examples:
  kubectl weir top
  kubectl weir top --by connections --since 1h -n shop
${LIST_EXITS}`;

export function addClusterTop(parent: Command, exits: Exits): void {
  const command = withTopOptions(
    parent.command("top").description("show the pods with the most traffic, of all nodes"),
  ).addHelpText("after", TOP_HELP);
  command.action(
    exits(async (context: Context, options: TopOptions) => {
      const agents = await agentsOf(command);
      const { since, until, namespace, by, limit } = options;
      const words = optionWords({ since: sinceWord(since), until: sinceWord(until), namespace, by, limit });
      const found: Of<TalkerView>[] = [];
      let others = 0;
      const { outcomes, nodes } = await askHistories<TopView>(
        context,
        agents,
        ["top", "-o", "json", ...words],
        (view) => {
          // Each node has sent its largest, so that the largest of all are among them.
          found.push(...view.pods.map((each) => ({ node: view.node, ...each })));
          found.sort((a, b) => talkerSize(b, by) - talkerSize(a, by));
          others += (view.omitted ?? 0) + Math.max(0, found.length - limit);
          found.splice(limit);
        },
      );
      const view = { pods: found, nodes, ...(others === 0 ? {} : { omitted: others }) };
      await writeTop(context.env, view, options);
      return exitOf(outcomes);
    }),
  );
}

/** Rows by the minute, in order, the latest `max` of them. `args`: a command that answers with a HistoryView. */
export async function askMinutes(
  context: Context,
  agents: AgentPods,
  args: readonly string[],
  max: number,
): Promise<{
  readonly rows: readonly HistoryRowView[];
  readonly omitted: number;
  readonly outcomes: readonly Outcome[];
}> {
  let rows: HistoryRowView[] = [];
  let omitted = 0;
  const { outcomes } = await askHistories<HistoryView>(context, agents, args, (view) => {
    rows.push(...view.rows.map((row) => ({ node: view.node, ...row })));
    rows.sort((a, b) => ((a.time ?? "") < (b.time ?? "") ? -1 : 1));
    omitted += (view.omitted?.rows ?? 0) + Math.max(0, rows.length - max);
    rows = rows.slice(-max);
  });
  return { rows, omitted, outcomes };
}
