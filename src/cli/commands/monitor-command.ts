// `weir monitor`: packets that were dropped and, on request, new flows, with the names of both ends and the reason.

import { type Command, InvalidArgumentError, Option } from "commander";
import type { EventFilter, EventView } from "../../events/packet-event.ts";
import { API_VERSION } from "../../observe/api-views.ts";
import { EVENT_VERDICTS, type EventVerdict } from "../../observe/filter-choices.ts";
import { askAgentOrFail, noAgent } from "../agent-client.ts";
import { type Exits, note, type PodName, podOption } from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";

interface Options {
  readonly follow?: true;
  readonly last: number;
  readonly flows?: true;
  readonly verdict?: EventVerdict;
  readonly reason?: string;
  readonly from?: string;
  readonly to?: string;
  readonly pod?: PodName;
  readonly port?: number;
  readonly output: "compact" | "json";
}

const LAST_DEFAULT = 20;
const LAST_MAX = 1_000;

const HELP = `
Shows dropped packets with both pods, the reason, and the policies that isolate the pod. Events are limited to 10 a
second for each pod, direction and reason, and 100 in total; \`weir maps dump counters\` counts all packets. The agent
keeps the latest 1000. END is a pod (shop/web), a namespace (shop/), an address or a prefix.

Examples:
  weir monitor                             recent drops
  weir monitor -f --pod shop/web           and new ones, of one pod
  weir monitor -f --flows                  also new flows that policies allow
  weir monitor -f --to shop/ --port 5432   who tries to reach the database
  weir monitor --last 1000 -o json | jq -r .policies[] | sort | uniq -c

Exit codes:
  0 shown (with -f: stopped), 1 no agent answers, or it ended, 2 wrong usage`;

export function addMonitor(parent: Command, exits: Exits): void {
  parent
    .command("monitor")
    .description("show dropped packets, and why")
    .option("-f, --follow", "keep running until stopped")
    .addOption(
      new Option("--last <count>", `start with this many recent events, at most ${LAST_MAX}`)
        .argParser(wholeNumber(LAST_MAX))
        .default(LAST_DEFAULT),
    )
    .option("--flows", "with -f: also the first packet of each new flow that a policy allows")
    .addOption(new Option("--verdict <verdict>", "only this verdict").choices(EVENT_VERDICTS))
    .option("--reason <reason>", "only this reason (docs/metrics.md lists them)")
    .option("--from <end>", "only packets from this end")
    .option("--to <end>", "only packets to this end")
    .addOption(podOption("only packets from or to this pod"))
    .addOption(
      new Option("--port <number>", "only packets with this port at either end").argParser(
        wholeNumber(65_535),
      ),
    )
    .addOption(
      new Option("-o, --output <format>", "output format").choices(["compact", "json"]).default("compact"),
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

type Shown = Omit<Options, "follow" | "last" | "flows">;

async function monitor(
  context: Context,
  { follow: following, last, flows, ...options }: Options,
): Promise<number> {
  const { matches, show } = await printer(context, options);
  if (following !== true) {
    const events = await askAgentOrFail<readonly EventView[]>(context, "events", "only it has events");
    const shown = events.filter(matches);
    for (const event of last === 0 ? [] : shown.slice(-last)) show(event);
    return EXIT.ok;
  }
  const { followStream } = await import("../../observe/socket-client.ts");
  const signal = context.env.stopSignal();
  const wantsFlows = flows === true || options.verdict === "passed" || options.reason === "policy";
  const onLine = (line: string): void => {
    const value = JSON.parse(line) as EventView | { readonly missed: number };
    if ("missed" in value) note(context.env, `${value.missed} events came faster than they were read`);
    else if (matches(value)) show(value);
  };
  const path = `/${API_VERSION}/events/follow?last=${last}&flows=${wantsFlows}`;
  const connected = await followStream(context.settings.socket, path, { onLine, signal });
  if (!connected) throw new CommandError(noAgent(context));
  if (!signal.aborted) throw new CommandError("the agent has ended");
  return EXIT.ok;
}

interface Printer {
  readonly matches: (event: EventView) => boolean;
  readonly show: (event: EventView) => void;
}

/** What is shown, and how: imported only now, since a start of other commands has no use for it. */
async function printer({ env }: Context, options: Shown): Promise<Printer> {
  const { endMatch, eventMatches, eventLine } = await import("../../events/packet-event.ts");
  const { pod, from, to, output, ...rest } = options;
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
  return {
    matches: (event) => eventMatches(event, filter),
    show: (event) => env.stdout.write(`${output === "json" ? JSON.stringify(event) : eventLine(event)}\n`),
  };
}
