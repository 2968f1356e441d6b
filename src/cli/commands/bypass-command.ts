// `weir bypass`: the emergency switch: for a limited time, policies drop nothing at a pod or on this node.

import { type Command, InvalidArgumentError, Option } from "commander";
import type { BypassView, EndpointView } from "../../observe/api-views.ts";
import { left, printable } from "../../observe/text-output.ts";
import { askAgentOrFail, tellAgent } from "../agent-client.ts";
import { type Exits, headersOption, note, outputOption, type WriteOptions, write } from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";

interface BeginOptions {
  readonly for: number;
  readonly reason: string;
}

const COMMON = `
While a bypass lasts, nothing is dropped by policy: packets that would be denied pass, and are counted and reported as
\`audit\`. Anti-spoofing goes on. \`weir status\`, \`weir get endpoints\`, the log, a Kubernetes Event and the metric
weir_bypasses show it. It ends by itself, also after a restart of the agent; only root may begin or end one.`;

const EXITS = `
Exit codes:
  0 the kernel has it, 1 error, 2 wrong usage, 4 no such pod on this node, 6 permission denied`;

const withBegin = (command: Command): Command =>
  command
    .addOption(
      new Option("--for <duration>", "how long, at most 24h: 90s, 15m, 1h30m")
        .argParser(secondsFrom)
        .makeOptionMandatory(),
    )
    .addOption(
      new Option(
        "--reason <text>",
        "what it is for, shown wherever the bypass is; at most 200 characters",
      ).makeOptionMandatory(),
    );

export function addBypassPod(parent: Command, exits: Exits): void {
  withBegin(
    parent
      .command("pod")
      .description("let a pod's packets pass, whatever its policies deny, for a time")
      .argument("<namespace/pod>", "a pod of this node"),
  )
    .addHelpText(
      "after",
      `${COMMON}

Examples:
  weir bypass pod shop/web-0 --for 15m --reason "INC-4711: is it the policy?"
  weir bypass pod shop/web-0 --for 1h --reason "INC-4711"      again: until then
${EXITS}`,
    )
    .action(
      exits(async (context: Context, pod: string, options: BeginOptions) => {
        await requireHere(context, pod);
        return begin(context, pod, options);
      }),
    );
}

export function addBypassNode(parent: Command, exits: Exits): void {
  withBegin(parent.command("node").description("let the packets of all pods of this node pass, for a time"))
    .addHelpText(
      "after",
      `${COMMON}

Examples:
  weir bypass node --for 15m --reason "INC-4711: all checkouts fail"
${EXITS}`,
    )
    .action(exits((context: Context, options: BeginOptions) => begin(context, NODE, options)));
}

const NODE = "node";

/** Applying it takes a reconciliation, which reads the kernel back. */
const TIMEOUT_MS = 120_000;

async function begin(context: Context, target: string, options: BeginOptions): Promise<number> {
  const reason = options.reason.trim();
  if (reason === "" || reason.length > 200)
    throw new CommandError("--reason: expected 1 to 200 characters", EXIT.usage);
  const body = JSON.stringify({ target, seconds: options.for, reason });
  const bypass = await tellAgent<BypassView>(context, "bypass", { body, timeoutMs: TIMEOUT_MS });
  context.env.stdout.write(`${printable(target)} is bypassed until ${bypass.until}\n`);
  return EXIT.ok;
}

async function requireHere(context: Context, pod: string): Promise<void> {
  const endpoints = await askAgentOrFail<readonly EndpointView[]>(context, "endpoints", "only it can bypass");
  const names = endpoints.map(({ namespace, name }) => `${namespace}/${name}`);
  if (names.includes(pod)) return;
  const { hintText } = await import("../../base/nearest-word.ts");
  throw new CommandError(
    `no pod ${pod} on this node${hintText(pod, names)} (\`kubectl weir get pods ${pod}\` shows its node)`,
    EXIT.notFound,
  );
}

const UNITS: Readonly<Record<string, number>> = { h: 3_600, m: 60, s: 1 };
const SECONDS_MAX = 86_400;

/** "90s", "15m", "1h30m". */
function secondsFrom(text: string): number {
  const wrong = (): never => {
    throw new InvalidArgumentError("Write a duration from 1s to 24h, as 90s, 15m or 1h30m.");
  };
  if (!/^(?:\d{1,5}[hms])+$/.test(text)) return wrong();
  const seconds = [...text.matchAll(/(\d+)([hms])/g)].reduce(
    (sum, [, count, unit = ""]) => sum + Number(count) * (UNITS[unit] ?? 0),
    0,
  );
  return seconds < 1 || seconds > SECONDS_MAX ? wrong() : seconds;
}

const LIST_HELP = `
Examples:
  weir bypass list
  weir bypass list -o json | jq -r '.[].until'

Exit codes:
  0 done (also if there is none), 1 error (no agent answers), 2 wrong usage`;

export function addBypassList(parent: Command, exits: Exits): void {
  parent
    .command("list")
    .description("list the bypasses in force on this node")
    .addOption(outputOption("table", "json", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", LIST_HELP)
    .action(
      exits(async (context: Context, options: WriteOptions) => {
        const bypasses = await askAgentOrFail<readonly BypassView[]>(
          context,
          "bypasses",
          "only it has bypasses (`weir get endpoints` shows what the kernel enforces)",
        );
        if (bypasses.length === 0 && options.output === "table") {
          note(context.env, "no bypass is in force");
          return EXIT.ok;
        }
        await writeBypasses(context, bypasses, options);
        return EXIT.ok;
      }),
    );
}

/** Of a cluster with their nodes. */
export const writeBypasses = (
  { env }: Context,
  bypasses: readonly (BypassView & { readonly node?: string })[],
  options: WriteOptions,
): Promise<void> => {
  const isOfCluster = bypasses.some(({ node }) => node !== undefined);
  return write(
    env,
    {
      table: () => ({
        columns: [...(isOfCluster ? ["NODE"] : []), "TARGET", "SINCE", "UNTIL", "REASON"].map(left),
        rows: bypasses.map(({ node, target, since, until, reason }) => [
          ...(node === undefined ? [] : [node]),
          ...[target, since, until, reason],
        ]),
      }),
      value: bypasses,
    },
    options,
  );
};

const END_HELP = `
Policies are enforced again when the command returns. Connections that they deny end at their next packet.

Examples:
  weir bypass end shop/web-0
  weir bypass end node
  weir bypass end --all

Exit codes:
  0 ended, 1 error, 2 wrong usage, 4 no such bypass, 6 permission denied`;

export function addBypassEnd(parent: Command, exits: Exits): void {
  parent
    .command("end")
    .description("end a bypass before its time")
    .argument("[target]", "NAMESPACE/POD, or node")
    .option("--all", "all bypasses of this node")
    .addHelpText("after", END_HELP)
    .action(exits(end));
}

async function end(
  context: Context,
  target: string | undefined,
  { all }: { readonly all?: true },
): Promise<number> {
  if ((target === undefined) === (all !== true))
    throw new CommandError(
      "name a pod (NAMESPACE/POD) or node, or use --all; see: weir bypass end --help",
      EXIT.usage,
    );
  const query = target === undefined ? "" : `?target=${encodeURIComponent(target)}`;
  const ended = await tellAgent<readonly BypassView[]>(context, `bypass-end${query}`, {
    timeoutMs: TIMEOUT_MS,
  });
  if (ended.length === 0 && target !== undefined)
    throw new CommandError(`no bypass of ${target} is in force`, EXIT.notFound);
  for (const each of ended)
    context.env.stdout.write(`${printable(each.target)}: policies are enforced again\n`);
  return EXIT.ok;
}
