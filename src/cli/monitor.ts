// `weir monitor`: packets that were dropped and, on request, new flows, with the names of both ends and the reason.

import { type Command, InvalidArgumentError, Option } from "commander";
import type { EventFilter, EventView } from "../observe/events/event.ts";
import { EVENT_VERDICTS, type EventVerdict } from "../observe/events/verdicts.ts";
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
  readonly from?: string;
  readonly to?: string;
  readonly pod?: PodName;
  readonly port?: number;
  readonly output: "compact" | "json";
}

const LAST_DEFAULT = 20;
const LAST_MAX = 1_000;

const HELP = `
Tells of packets that were dropped, each with both pods, the reason, and the policies that isolate the pod. The agent is
told of at most 10 packets a second for each pod, direction and reason, and of 100 in all; \`weir maps dump counters\`
has them all. It remembers the latest 1000. END is a pod (shop/web), a namespace (shop/), an address or a prefix.

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
    .option("--from <end>", "only packets from there")
    .option("--to <end>", "only packets to there")
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

type Shown = Omit<Options, "follow" | "last" | "flows">;

async function monitor(
  context: Context,
  { follow: following, last, flows, ...options }: Options,
): Promise<number> {
  const { matches, show } = await printer(context, options);
  if (following !== true) {
    const events = await askAgentOrFail<readonly EventView[]>(context, "events", "it alone knows them");
    const shown = events.filter(matches);
    for (const event of last === 0 ? [] : shown.slice(-last)) show(event);
    return EXIT.ok;
  }
  const { follow } = await import("../observe/follow.ts");
  const signal = context.env.stopSignal();
  const wantsFlows = flows === true || options.verdict === "passed" || options.reason === "policy";
  const onLine = (line: string): void => {
    const value = JSON.parse(line) as EventView | { readonly missed: number };
    if ("missed" in value) note(context.env, `${value.missed} events came faster than they were read`);
    else if (matches(value)) show(value);
  };
  const path = `/${API_VERSION}/events/follow?last=${last}&flows=${wantsFlows}`;
  const heard = await follow(context.settings.socket, path, { onLine, signal });
  if (!heard) throw new CommandError(noAgent(context));
  if (!signal.aborted) throw new CommandError("the agent has ended");
  return EXIT.ok;
}

interface Printer {
  readonly matches: (event: EventView) => boolean;
  readonly show: (event: EventView) => void;
}

/** What is shown, and how: imported only now, since a start of other commands has no use for it. */
async function printer({ env }: Context, options: Shown): Promise<Printer> {
  const [{ endMatch, eventMatches }, { eventLine }] = await Promise.all([
    import("../observe/events/event.ts"),
    import("../observe/events/text.ts"),
  ]);
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
