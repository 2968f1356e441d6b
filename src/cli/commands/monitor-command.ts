// `weir monitor`: packets that were dropped and, on request, new flows, with the names of both ends and the reason.

import type { Readable } from "node:stream";
import { styleText } from "node:util";
import { type Command, InvalidArgumentError, Option } from "commander";
import { hintText } from "../../base/nearest-word.ts";
import type { EventFilter, EventView } from "../../events/packet-event.ts";
import type { VerdictEmphasis } from "../../events/packet-event-line.ts";
import {
  API_VERSION,
  type EndpointView,
  type LeftOutView,
  type NamesView,
  type PolicyView,
} from "../../observe/api-views.ts";
import { EVENT_VERDICTS, type EventVerdict } from "../../observe/filter-choices.ts";
import { countText } from "../../observe/text-output.ts";
import { askAgent, askAgentOrFail, noAgent } from "../agent-client.ts";
import { type Exits, isPlain, jsonText, note, type PodName, podOption } from "../command.ts";
import { CommandError, type Context, type Env, EXIT } from "../environment.ts";
import { podKey, rangeOf, requireReason, type Since, sinceOption } from "../history-client.ts";

interface Options {
  readonly follow?: true;
  readonly last: number;
  readonly flows?: true;
  readonly verdict?: EventVerdict;
  readonly reason?: string;
  readonly from?: string;
  readonly to?: string;
  readonly pod?: PodName;
  readonly policy?: string;
  readonly port?: number;
  readonly since?: Since;
  readonly forCluster?: true;
  readonly output: MonitorOutput;
}

export type MonitorOutput = "compact" | "wide" | "json" | "yaml";

export const monitorOutputOption = (): Option =>
  new Option("-o, --output <format>", "output format")
    .choices(["compact", "wide", "json", "yaml"])
    .default("compact");

export const lastOption = (): Option =>
  new Option("--last <count>", `start with this many recent events, at most ${LAST_MAX}`)
    .argParser(wholeNumber(LAST_MAX))
    .default(LAST_DEFAULT);

const LAST_DEFAULT = 20;
const LAST_MAX = 1_000;

const HELP = `
Shows dropped packets with both pods, the reason, and the policies that isolate the pod. Events are limited to 10 a
second for each pod, direction and reason, and 100 in total; \`weir maps dump counters\` counts all packets. The agent
keeps the latest 1000; --since shows its history of 24 hours, added up by the minute (see \`weir drops\`). END is a pod
(shop/web), a namespace (shop/), an address or a prefix. A line has at most as many columns as the terminal (120 if
there is none): long names are cut in the middle, -o wide shows everything. Pods, namespaces and policies that do not
exist, and are in no kept event, are an error.

Examples:
  weir monitor                             recent drops
  weir monitor -f --pod shop/web           and new ones, of one pod
  weir monitor --since 1h --pod shop/web   the last hour, by the minute
  weir monitor -f --flows                  also new flows that policies allow, and which policy that is
  weir monitor --policy shop/deny-all      what a policy dropped
  weir monitor -f --to shop/ --port 5432   who tries to reach the database
  weir monitor --last 1000 -o json | jq -r .policies[] | sort | uniq -c

Exit codes:
  0 shown (with -f: stopped), 1 no agent answers, or it ended, 2 wrong usage, 4 no such pod, namespace or policy`;

export function addMonitor(parent: Command, exits: Exits): void {
  parent
    .command("monitor")
    .description("show dropped packets, and why")
    .option("-f, --follow", "keep running until stopped")
    .addOption(lastOption())
    .addOption(sinceOption("the history since then, by the minute, instead of single packets"))
    .option(
      "--flows",
      "with -f: also the first packet of each new flow that a policy allows; with --since: also what passed",
    )
    .addOption(new Option("--verdict <verdict>", "only this verdict").choices(EVENT_VERDICTS))
    .option("--reason <reason>", "only this reason (docs/metrics.md lists them)")
    .option("--from <end>", "only packets from this end")
    .option("--to <end>", "only packets to this end")
    .addOption(podOption("only packets from or to this pod"))
    .option("--policy <namespace/policy>", "only packets that this policy dropped or allowed")
    .addOption(
      new Option("--port <number>", "only packets with this port at either end").argParser(
        wholeNumber(65_535),
      ),
    )
    .addOption(monitorOutputOption())
    .addOption(
      new Option(
        "--for-cluster",
        "as `kubectl weir` runs it: with -f it ends with its standard input, and names of filters may be unknown; without, the last line is what was left out",
      ).hideHelp(),
    )
    .addHelpText("after", HELP)
    .action(exits(monitor));
}

function wholeNumber(max: number): (text: string) => number {
  return (text) => {
    if (!/^\d{1,6}$/.test(text) || Number(text) > max)
      throw new InvalidArgumentError(`Write a number from 0 to ${max}.`);
    return Number(text);
  };
}

type Shown = Omit<Options, "follow" | "last" | "flows" | "since">;

/** The last line for `kubectl weir`: older events that match, and dropped packets without an event. */
export interface MonitorRest {
  readonly older: number;
  readonly leftOut: number;
}

async function monitor(
  context: Context,
  { follow: following, last, flows, since, ...options }: Options,
): Promise<number> {
  if (since !== undefined) {
    if (following === true) throw new CommandError("--since is of the past: it is not for -f", EXIT.usage);
    return monitorSince(context, since, { ...(flows === true ? { flows } : {}), ...options });
  }
  const isOfCluster = options.forCluster === true;
  const { matches, show } = await printer(context, options);
  if (following !== true || !isOfCluster) await requireKnown(context, options);
  // Beside data for programs nothing is remarked.
  const isForPeople = options.output === "compact" || options.output === "wide";
  const remark = (text: string): void => {
    if (isForPeople) note(context.env, text);
  };
  if (following !== true) {
    const events = await askAgentOrFail<readonly EventView[]>(context, "events", "only it has events");
    const shown = events.filter(matches);
    for (const event of last === 0 ? [] : shown.slice(-last)) show(event);
    if (isOfCluster) {
      const rest: MonitorRest = { older: Math.max(0, shown.length - last), leftOut: await leftOut(context) };
      context.env.stdout.write(jsonText(rest, 0));
      return EXIT.ok;
    }
    if (shown.length > last) remark(`${countText(shown.length - last, "older event")} not shown; see --last`);
    await remarkLeftOut(context, 0, remark);
    return EXIT.ok;
  }
  const { followStream } = await import("../../observe/socket-client.ts");
  const input = isOfCluster ? context.env.stdin() : undefined;
  const stop = context.env.stopSignal();
  const signal = input === undefined ? stop : AbortSignal.any([stop, endOf(input)]);
  const wantsFlows = flows === true || options.verdict === "passed" || options.reason === "policy";
  const onLine = (line: string): void => {
    const value = JSON.parse(line) as EventView | { readonly missed: number };
    if ("missed" in value) note(context.env, `${value.missed} events came faster than they were read`);
    else if (matches(value)) show(value);
  };
  const before = isForPeople ? await leftOut(context) : 0;
  const path = `/${API_VERSION}/events/follow?last=${last}&flows=${wantsFlows}`;
  const connected = await followStream(context.settings.socket, path, { onLine, signal }).finally(() =>
    // An open one keeps the process.
    input?.destroy(),
  );
  if (!connected) throw new CommandError(noAgent(context));
  if (!signal.aborted) throw new CommandError("the agent has ended");
  await remarkLeftOut(context, before, remark);
  return EXIT.ok;
}

/** A command in a container is not told that its reader has gone, but its input ends. */
function endOf(input: Readable): AbortSignal {
  const controller = new AbortController();
  for (const event of ["end", "close", "error"]) input.once(event, () => controller.abort());
  input.resume();
  return controller.signal;
}

/** Dropped packets without an event so far. A remark is not worth an error. */
const leftOut = async (context: Context): Promise<number> =>
  (await askAgent<LeftOutView>(context, "events/left-out").catch(() => undefined))?.packets ?? 0;

async function remarkLeftOut(
  context: Context,
  before: number,
  remark: (text: string) => void,
): Promise<void> {
  const count = (await leftOut(context)) - before;
  const when = before === 0 ? "since the maps were created" : "meanwhile";
  if (count > 0)
    remark(
      `${countText(count, "dropped packet")} ${when} without an event: rate limit; \`weir maps dump counters\` counts all`,
    );
}

/** The history has pods and peers, without the packets' addresses and ports. */
async function monitorSince(
  context: Context,
  since: Since,
  {
    flows,
    verdict,
    reason,
    pod,
    policy,
    from,
    to,
    port,
    output,
    forCluster,
  }: Omit<Options, "follow" | "last" | "since">,
): Promise<number> {
  if (from !== undefined || to !== undefined || port !== undefined)
    throw new CommandError("--since has pods and their peers: filter it by --pod", EXIT.usage);
  await requireReason(reason);
  const wantsFlows = flows === true || reason !== undefined;
  const { showHistory } = await import("../history-lines.ts");
  const parameters = {
    ...rangeOf(context.env, since),
    verdict: verdict ?? (wantsFlows ? undefined : "dropped,audit"),
    reason,
    pod: podKey(pod),
    policy,
  };
  const known = { ...(pod === undefined ? {} : { pod }), ...(policy === undefined ? {} : { policy }) };
  return showHistory(context, parameters, known, forCluster === true ? "whole" : output);
}

interface Printer {
  readonly matches: (event: EventView) => boolean;
  readonly show: (event: EventView) => void;
}

/** What is shown, and how: imported only now, since a start of other commands has no use for it. */
async function printer(context: Context, options: Shown): Promise<Printer> {
  const { env } = context;
  const { endMatch, eventMatches } = await import("../../events/packet-event.ts");
  await requireReason(options.reason);
  const { pod, from, to, output, forCluster: _, ...rest } = options;
  const end = (name: "from" | "to", text: string | undefined): EventFilter => {
    if (text === undefined) return {};
    const match = endMatch(text);
    if (match === undefined) {
      const expected = "expected NAMESPACE/NAME, NAMESPACE/, an address or a prefix";
      throw new CommandError(`--${name} ${text}: ${expected}`, EXIT.usage);
    }
    return { [name]: match };
  };
  const filter: EventFilter = {
    ...rest,
    ...end("from", from),
    ...end("to", to),
    ...(pod === undefined ? {} : { pod: `${pod.namespace}/${pod.name}` }),
  };
  const textOf = await eventTexts(env, output);
  return {
    matches: (event) => eventMatches(event, filter),
    show: (event) => env.stdout.write(textOf(event)),
  };
}

/** An event as the output has it. */
export async function eventTexts(env: Env, output: MonitorOutput): Promise<(event: EventView) => string> {
  const { eventLine, wideEventLine } = await import("../../events/packet-event-line.ts");
  const { yamlText } = output === "yaml" ? await import("../yaml-output.ts") : { yamlText: () => "" };
  const width = env.stdout.columns ?? LINE_WIDTH;
  const emphasis = emphasisOf(env);
  const textOf: Readonly<Record<MonitorOutput, (event: EventView) => string>> = {
    compact: (event) => `${eventLine(event, width, emphasis)}\n`,
    wide: (event) => `${wideEventLine(event, emphasis)}\n`,
    json: (event) => jsonText(event, 0),
    yaml: (event) => `---\n${yamlText(event)}`,
  };
  return textOf[output];
}

/** Where the output is no terminal. */
const LINE_WIDTH = 120;

const COLOURS = { dropped: "red", audit: "yellow", passed: "green" } as const;

function emphasisOf(env: Env): VerdictEmphasis {
  if (isPlain(env)) return (_, text) => text;
  return (verdict, text) => styleText(COLOURS[verdict], text, { validateStream: false });
}

/** A filter for what does not exist would show nothing, as if all was well. @throws CommandError */
async function requireKnown(context: Context, { pod, from, to, policy }: Shown): Promise<void> {
  const { isPrefixText } = await import("../../events/packet-event.ts");
  const named = [pod === undefined ? undefined : `${pod.namespace}/${pod.name}`, from, to].filter(
    (each): each is string => each?.includes("/") === true && !isPrefixText(each),
  );
  if (named.length === 0 && policy === undefined) return;
  const instead = "only it has events";
  const events = await askAgentOrFail<readonly EventView[]>(context, "events", instead);
  const require = (name: string, kind: string, known: readonly string[]): void => {
    if (known.includes(name)) return;
    const hint = hintText(name, known);
    throw new CommandError(
      `no ${kind} ${name} is known to the agent, or in its events${hint}`,
      EXIT.notFound,
    );
  };
  if (policy !== undefined) {
    const policies = await askAgentOrFail<readonly PolicyView[]>(context, "policies", instead);
    require(policy, "policy", [
      ...policies.map(({ namespace, name }) => `${namespace}/${name}`),
      ...events.flatMap((event) => event.policies),
    ]);
  }
  if (named.length === 0) return;
  const [names, endpoints] = [
    await askAgentOrFail<NamesView>(context, "names", instead),
    await askAgentOrFail<readonly EndpointView[]>(context, "endpoints", instead),
  ];
  const pods = [
    ...Object.values(names.addresses),
    ...Object.values(names.endpoints),
    ...endpoints.map(({ namespace, name }) => `${namespace}/${name}`),
    ...events.flatMap(({ endpoint, from: source, to: target }) => [endpoint, source.pod, target.pod]),
  ].filter((each): each is string => each !== undefined);
  for (const name of new Set(named)) {
    if (name.endsWith("/"))
      require(name, "namespace", [...new Set(pods.map((each) => each.replace(/\/.*/, "/")))]);
    else require(name, "pod", pods);
  }
}
