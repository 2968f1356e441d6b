// `kubectl weir monitor`: the events of all nodes in one order, the latest, as they come, or the history by the minute.

import { createHash } from "node:crypto";
import { type Command, Option } from "commander";
import type { EventView } from "../../events/packet-event.ts";
import { EVENT_VERDICTS } from "../../observe/filter-choices.ts";
import { countText } from "../../observe/text-output.ts";
import { type Exits, note } from "../command.ts";
import {
  eventTexts,
  lastOption,
  type MonitorOutput,
  type MonitorRest,
  monitorOutputOption,
} from "../commands/monitor-command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";
import { type Since, sinceOption } from "../history-client.ts";
import { historyText } from "../history-lines.ts";
import type { AgentPods, Outcome } from "./agent-pods.ts";
import { agentsOf, exitOf, optionWords, remarkFailures, requireAnswer } from "./cluster-command.ts";
import { askMinutes, sinceWord } from "./cluster-history.ts";
import { followAgents } from "./follow-agents.ts";
import { openMergedStream } from "./merged-stream.ts";

interface Options {
  readonly follow?: true;
  readonly last: number;
  readonly flows?: true;
  readonly verdict?: string;
  readonly reason?: string;
  readonly from?: string;
  readonly to?: string;
  readonly pod?: string;
  readonly policy?: string;
  readonly port?: string;
  readonly since?: Since;
  readonly output: MonitorOutput;
}

const HELP = `
Options are those of \`weir monitor\` on a node. Events are ordered by the nodes' clocks; with -f each is shown a second
late, so that slower nodes can go before it. A node that is lost is tried again, and nodes that come are followed too. A
packet between pods of two nodes may be reported by either.

Examples:
  kubectl weir monitor
  kubectl weir monitor -f --to shop/ -o wide
  kubectl weir monitor --since 1h --pod shop/web

Exit codes:
  0 shown (with -f: stopped), 1 error (also of a single node), 2 wrong usage, 4 no agents, or no node knows the pod,
  namespace or policy, 6 permission denied`;

export function addClusterMonitor(parent: Command, exits: Exits): void {
  const command = parent
    .command("monitor")
    .description("show dropped packets of all nodes, and why")
    .option("-f, --follow", "keep running until stopped")
    .addOption(lastOption())
    .addOption(sinceOption("the history since then, by the minute, instead of single packets"))
    .option("--flows", "with -f: also new flows that a policy allows; with --since: also what passed")
    .addOption(new Option("--verdict <verdict>", "only this verdict").choices(EVENT_VERDICTS))
    .option("--reason <reason>", "only this reason")
    .option("--from <end>", "only packets from this end")
    .option("--to <end>", "only packets to this end")
    .option("--pod <namespace/name>", "only packets from or to this pod")
    .option("--policy <namespace/policy>", "only packets that this policy dropped or allowed")
    .option("--port <number>", "only packets with this port at either end")
    .addOption(monitorOutputOption())
    .addHelpText("after", HELP);
  command.action(
    exits(async (context: Context, options: Options) => {
      if (options.since !== undefined && options.follow === true)
        throw new CommandError("--since is of the past: it is not for -f", EXIT.usage);
      // Before the first request, which takes longer than a person who presses Ctrl-C waits.
      const signal = options.follow === true ? context.env.stopSignal() : undefined;
      const agents = await agentsOf(command);
      if (options.since !== undefined) return minutes(context, agents, options);
      return events(context, agents, { ...options, ...(signal === undefined ? {} : { signal }) });
    }),
  );
}

const filterWords = ({ flows, verdict, reason, from, to, pod, policy, port }: Options): string[] =>
  optionWords({ flows, verdict, reason, from, to, pod, policy, port });

/** Not more of it is in memory: each node sends as much. */
const LINES_MAX = 20_000;

async function minutes(context: Context, agents: AgentPods, options: Options): Promise<number> {
  const since = sinceWord(options.since);
  const asked = ["monitor", "--for-cluster", ...optionWords({ since }), ...filterWords(options)];
  const { rows, omitted, outcomes } = await askMinutes(context, agents, asked, LINES_MAX);
  const textOf = await historyText(options.output);
  for (const row of rows) context.env.stdout.write(textOf(row));
  if (omitted > 0) note(context.env, `${countText(omitted, "earlier line")} left out`);
  return exitOf(outcomes);
}

type NodeEvent = EventView & { readonly node: string };

async function events(
  context: Context,
  agents: AgentPods,
  options: Options & { readonly signal?: AbortSignal },
): Promise<number> {
  const { env } = context;
  const { last, output, signal } = options;
  const isForPeople = output === "compact" || output === "wide";
  const show = await printer(context, output);
  const isNew = openSeen();
  const found: Found[] = [];
  const digest = (outcome: Outcome): Outcome => {
    if (outcome.error !== undefined || outcome.exitCode !== EXIT.ok) return outcome;
    found.push(foundIn(outcome.pod.node, outcome.stdout, last, isNew));
    return { ...outcome, stdout: "", bytes: Buffer.alloc(0) };
  };
  // To follow, all that it has: what comes again is known then.
  const asked = optionWords({ last: signal === undefined ? last : KEPT_BY_AGENT });
  const args = ["monitor", "-o", "json", "--for-cluster", ...asked, ...filterWords(options)];
  const outcomes = await agents.run(args, { digest });
  requireAnswer(outcomes);
  remarkFailures(env, outcomes);
  const all = found.flatMap(({ shown }) => shown).sort((a, b) => Date.parse(a.time) - Date.parse(b.time));
  for (const event of last === 0 ? [] : all.slice(-last)) show(event);
  const leftOut = sum(found, "leftOut");
  const older = sum(found, "older") + Math.max(0, all.length - last);
  const remarkLeftOut = (count: number, when: string): void => {
    if (count > 0 && isForPeople)
      note(env, `${countText(count, "dropped packet")} ${when} without an event: rate limit`);
  };
  if (signal === undefined) {
    if (older > 0 && isForPeople) note(env, `${countText(older, "older event")} not shown; see --last`);
    remarkLeftOut(leftOut, "since the maps were created");
    return exitOf(outcomes);
  }
  const merged = openMergedStream<NodeEvent>({
    emit: show,
    holdMs: HOLD_MS,
    now: () => performance.now(),
    max: HELD_MAX,
  });
  const timer = setInterval(() => merged.flush(), FLUSH_MS);
  try {
    await followAgents(agents, {
      args: [
        "monitor",
        "-f",
        "-o",
        "json",
        "--for-cluster",
        `--last=${KEPT_BY_AGENT}`,
        ...filterWords(options),
      ],
      onLine(node, line) {
        if (isNew(node, line)) merged.add({ node, ...(JSON.parse(line) as EventView) });
      },
      onRemark: (text) => note(env, text),
      signal,
    });
  } finally {
    clearInterval(timer);
    merged.end();
  }
  if (isForPeople) remarkLeftOut(await leftOutSince(agents, found), "meanwhile");
  return EXIT.ok;
}

/** Dropped packets without an event since then, on the nodes that answer both times. */
async function leftOutSince(agents: AgentPods, before: readonly Found[]): Promise<number> {
  const counts = new Map(before.map(({ node, leftOut }) => [node, leftOut]));
  const outcomes = await agents.run(["monitor", "-o", "json", "--for-cluster", "--last=0"]);
  return outcomes.reduce((sum, outcome) => {
    if (outcome.error !== undefined || outcome.exitCode !== EXIT.ok) return sum;
    const earlier = counts.get(outcome.pod.node) ?? Number.POSITIVE_INFINITY;
    return sum + Math.max(0, restIn(outcome.stdout.trimEnd()).leftOut - earlier);
  }, 0);
}

/** Of an agent: what it has kept. */
const KEPT_BY_AGENT = 1_000;
const HOLD_MS = 1_000;
const FLUSH_MS = 200;
const HELD_MAX = 10_000;

async function printer({ env }: Context, output: MonitorOutput): Promise<(event: NodeEvent) => void> {
  const textOf = await eventTexts(env, output);
  return (event) => env.stdout.write(textOf(event));
}

const sum = (all: readonly MonitorRest[], field: keyof MonitorRest): number =>
  all.reduce((total, each) => total + each[field], 0);

/** The last line of a node's answer. */
const restIn = (line: string | undefined): MonitorRest => ({
  older: 0,
  leftOut: 0,
  ...(JSON.parse(line || "{}") as Partial<MonitorRest>),
});

interface Found extends MonitorRest {
  readonly node: string;
  readonly shown: readonly NodeEvent[];
}

/** The last `count` of a node's events, and what was left out. */
function foundIn(
  node: string,
  stdout: string,
  count: number,
  isNew: (node: string, line: string) => boolean,
): Found {
  const lines = stdout.split("\n").filter((line) => line !== "");
  const { older, leftOut } = restIn(lines.pop());
  for (const line of lines) isNew(node, line);
  const shown = count === 0 ? [] : lines.slice(-count);
  return {
    node,
    older: older + lines.length - shown.length,
    leftOut,
    shown: shown.map((line) => ({ node, ...(JSON.parse(line) as EventView) })),
  };
}

/** Whether a line of a node has not come before: each connection begins with what the agent has kept. */
function openSeen(): (node: string, line: string) => boolean {
  const nodes = new Map<string, Set<string>>();
  return (node, line) => {
    const seen = nodes.get(node) ?? new Set();
    nodes.set(node, seen);
    const key = createHash("sha1").update(line).digest("base64");
    // The latest last: sets keep the order of insertion.
    const isNew = !seen.delete(key);
    seen.add(key);
    for (const oldest of seen) {
      if (seen.size <= KEPT_BY_AGENT) break;
      seen.delete(oldest);
    }
    return isNew;
  };
}
