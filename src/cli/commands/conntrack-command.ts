// `weir conntrack`: the flows that the programs remember, listed or forgotten, by what they have in common.

import { type Command, InvalidArgumentError, Option } from "commander";
import { IP_PROTOCOL, PROTOCOLS } from "../../model/protocol.ts";
import { FLOW_STATES } from "../../observe/filter-choices.ts";
import { countText } from "../../observe/text-output.ts";
import {
  type Exits,
  headersOption,
  outputOption,
  podOption,
  type WriteOptions,
  writeReport,
} from "../command.ts";
import type { FlowOptions } from "../dump/conntrack-flows.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";

/** By the names in capitals; ICMP is that of either family. */
const NUMBERS: Readonly<Record<string, readonly number[]>> = {
  ...Object.fromEntries(PROTOCOLS.map((name) => [name, [IP_PROTOCOL[name]]])),
  ICMP: [IP_PROTOCOL.ICMP, IP_PROTOCOL.ICMPV6],
};

const LIST_HELP = `
Allowed flows of this node's pods, from the pod's point of view. STATE shows which packets were seen; EXPIRES, the
time until the flow times out. "stale" flows have an older policy generation and are judged again at their next
packet; "expired" ones will be overwritten. TCP connections into a pod isolated for ingress only have no entry where
the kernel's conntrack sees them (conntrack -L lists those).

Examples:
  weir conntrack list --pod alpha/nginx --protocol TCP
  weir conntrack list --peer 10.0.0.0/8 --port 443
  weir conntrack list --state new -o ndjson | wc -l

Exit codes:
  0 done, 1 error, 2 wrong usage, 4 no such pod, or nothing in the kernel`;

const FLUSH_HELP = `
A removed flow is not closed: its next packet is judged by policy as if no earlier one had been seen. If policy allows
the direction of that packet, it continues; a reply that policy denies in its own direction is dropped.

Examples:
  weir conntrack flush --peer 10.0.0.9 --dry-run   count them first
  weir conntrack flush --pod alpha/nginx
  weir conntrack flush --all

Exit codes:
  0 done (also without such a flow), 1 error, 2 wrong usage (neither a filter nor --all),
  4 no such pod, or nothing in the kernel`;

const withFilters = (command: Command): Command =>
  command
    .addOption(podOption("flows of this pod"))
    .option("--peer <peer>", "with this peer: an address, a prefix, or a pod as NAMESPACE/NAME")
    .addOption(new Option("--port <port>", "with this port at either end").argParser(portOf))
    .addOption(
      new Option(
        "--protocol <protocol>",
        `${PROTOCOLS.join(", ")}, ICMP (of both families), or a number`,
      ).argParser(protocolsOf),
    )
    .addOption(new Option("--state <state>", "in this state").choices(FLOW_STATES));

export function addConntrackList(parent: Command, exits: Exits): void {
  withFilters(parent.command("list").description("list the flows of the flow table"))
    .addOption(outputOption("table", "wide", "json", "ndjson", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", LIST_HELP)
    .action(exits(list));
}

export function addConntrackFlush(parent: Command, exits: Exits): void {
  withFilters(parent.command("flush").description("remove flows: their next packets are judged again"))
    .option("--all", "all flows of this node")
    .option("--dry-run", "only count them")
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText("after", FLUSH_HELP)
    .action(exits(flush));
}

function portOf(text: string): number {
  const port = Number(text);
  if (!/^[0-9]{1,5}$/.test(text) || port > 65_535)
    throw new InvalidArgumentError("Expected a number of 0 to 65535.");
  return port;
}

function protocolsOf(text: string): readonly number[] {
  const named = NUMBERS[text.toUpperCase()];
  if (named !== undefined) return named;
  if (!/^[0-9]{1,3}$/.test(text) || Number(text) > 255)
    throw new InvalidArgumentError(`Expected ${Object.keys(NUMBERS).join(", ")}, or a number of 0 to 255.`);
  return [Number(text)];
}

async function list(context: Context, options: FlowOptions & WriteOptions): Promise<number> {
  const [{ listFlows }, { writeDump }] = await Promise.all([
    import("../dump/conntrack-flows.ts"),
    import("../dump/dump-writer.ts"),
  ]);
  await writeDump(context.env, await listFlows(context, options), options);
  return EXIT.ok;
}

interface FlushOptions extends FlowOptions {
  readonly all?: true;
  readonly dryRun?: true;
  readonly output: "text" | "json" | "yaml";
}

async function flush(context: Context, options: FlushOptions): Promise<number> {
  const { pod, peer, port, protocol, state, all } = options;
  const isFiltered = [pod, peer, port, protocol, state].some((each) => each !== undefined);
  if (isFiltered === (all === true)) {
    const reason = isFiltered ? "--all excludes filters" : "select flows, or use --all";
    throw new CommandError(`${reason}; see: weir conntrack flush --help`, EXIT.usage);
  }
  const dryRun = options.dryRun === true;
  const { flushFlows } = await import("../dump/conntrack-flows.ts");
  const flushed = await flushFlows(context, options, dryRun);
  const outcome = dryRun ? "would be removed" : "removed";
  const text = (): string => `${countText(flushed, "flow")} ${outcome}\n`;
  await writeReport(context.env, { value: { flows: flushed, dryRun }, text }, options.output);
  return EXIT.ok;
}
