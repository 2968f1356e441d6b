// `weir monitor`: packets that were dropped and, on request, new flows, with the names of both ends and the reason.

import { type Command, InvalidArgumentError, Option } from "commander";
import {
  type EndMatch,
  EVENT_VERDICTS,
  type EventFilter,
  type EventVerdict,
  type EventView,
  endMatch,
  eventMatches,
} from "../observe/events/event.ts";
import { eventLine } from "../observe/events/text.ts";
import { API_VERSION } from "../observe/view.ts";
import { askAgentOrFail, noAgent } from "./agent-client.ts";
import { type Exits, note, type PodName, podOption } from "./command.ts";
import { CommandError, type Context, EXIT } from "./env.ts";

interface Options {
  readonly follow?: true;
  readonly last: number;
  readonly flows?: true;
  readonly verdict?: EventVerdict;
  readonly reason?: string;
  readonly from?: EndMatch;
  readonly to?: EndMatch;
  readonly pod?: PodName;
  readonly port?: number;
  readonly output: "compact" | "json";
}

const LAST_DEFAULT = 20;
const LAST_MAX = 1_000;

const HELP = `
Tells of packets that were dropped, each with both pods, the reason, and the policies that isolate the pod. The agent is
told of at most 10 packets a second for each pod and reason, and of 100 in all; \`weir maps dump counters\` has them all.
It remembers the latest 1000. END is a pod (shop/web), a namespace (shop/), an address or a prefix.

Examples:
  weir monitor                             what was dropped lately
  weir monitor -f --pod shop/web           and what is dropped from now on, of one pod
  weir monitor -f --flows                  new flows that policies allow too
  weir monitor -f --to shop/ --port 5432   who asks for the database
  weir monitor --last 1000 -o json | jq -r .policies[] | sort | uniq -c

Exit codes:
  0 shown (or stopped, with -f), 1 no agent answers, or it has ended, 2 wrong usage`;

export function addMonitor(parent: Command, exits: Exits): void {
  parent
    .command("monitor")
    .description("packets that are dropped, and why")
    .option("-f, --follow", "go on until stopped")
    .addOption(
      new Option("--last <count>", `begin with so many of the latest, at most ${LAST_MAX}`)
        .argParser(wholeNumber(LAST_MAX))
        .default(LAST_DEFAULT),
    )
    .option("--flows", "with -f: the first packet of each new flow that a policy allows, too")
    .addOption(new Option("--verdict <verdict>", "only packets that were so").choices(EVENT_VERDICTS))
    .option("--reason <reason>", "only for this reason, as `weir maps dump counters` names it")
    .addOption(new Option("--from <end>", "only packets from there").argParser(endFrom))
    .addOption(new Option("--to <end>", "only packets to there").argParser(endFrom))
    .addOption(podOption("only packets of one pod, whichever end it is"))
    .addOption(
      new Option("--port <number>", "only packets with this port at either end").argParser(
        wholeNumber(65_535),
      ),
    )
    .addOption(
      new Option("-o, --output <format>", "how events are written")
        .choices(["compact", "json"])
        .default("compact"),
    )
    .addHelpText("after", HELP)
    .action(exits(monitor));
}

const wholeNumber =
  (max: number) =>
  (text: string): number => {
    if (!/^\d{1,6}$/.test(text) || Number(text) > max)
      throw new InvalidArgumentError(`Write a number from 0 to ${max}.`);
    return Number(text);
  };

function endFrom(text: string): EndMatch {
  const match = endMatch(text);
  if (match === undefined)
    throw new InvalidArgumentError("Write NAMESPACE/NAME, NAMESPACE/, an address or a prefix.");
  return match;
}

async function monitor(
  context: Context,
  { follow: following, last, flows, ...options }: Options,
): Promise<number> {
  const show = printer(context, options);
  if (following !== true) {
    // Of those that are remembered, the filter leaves some: the latest of these are asked for.
    const events = await askAgentOrFail<readonly EventView[]>(context, "events", "it alone knows them");
    const shown = events.filter((event) => eventMatches(event, filterOf(options)));
    for (const event of last === 0 ? [] : shown.slice(-last)) show(event);
    return EXIT.ok;
  }
  const { follow } = await import("../observe/follow.ts");
  const signal = context.env.stopSignal();
  const wantsFlows = flows === true || options.verdict === "passed" || options.reason === "policy";
  const heard = await follow(
    context.settings.socket,
    `/${API_VERSION}/events/follow?last=${last}&flows=${wantsFlows}`,
    { onLine: (line) => onLine(context, line, show), signal },
  );
  if (!heard) throw new CommandError(noAgent(context));
  if (!signal.aborted) throw new CommandError("the agent has ended");
  return EXIT.ok;
}

type Shown = Omit<Options, "follow" | "last" | "flows">;

function filterOf({ pod, output: _, ...filter }: Shown): EventFilter {
  return { ...filter, ...(pod === undefined ? {} : { pod: `${pod.namespace}/${pod.name}` }) };
}

function printer({ env }: Context, options: Shown): (event: EventView) => void {
  const filter = filterOf(options);
  return (event) => {
    if (!eventMatches(event, filter)) return;
    env.stdout.write(`${options.output === "json" ? JSON.stringify(event) : eventLine(event)}\n`);
  };
}

function onLine({ env }: Context, line: string, show: (event: EventView) => void): void {
  const value = JSON.parse(line) as EventView | { readonly missed: number };
  if ("missed" in value) note(env, `${value.missed} events came faster than they were read`);
  else show(value);
}
