// `weir status`: whether all policies are enforced on this node.

import { styleText } from "node:util";
import type { Command } from "commander";
import type { StatusView } from "../../observe/api-views.ts";
import {
  briefText,
  type Emphasis,
  type Health,
  reportOfAgent,
  reportOfKernel,
  type StatusReport,
  statusText,
} from "../../observe/status-report.ts";
import { askAgentIfAble, isSilence } from "../agent-client.ts";
import { type Exits, isPlain, outputOption, writeReport } from "../command.ts";
import { type Context, type Env, EXIT } from "../environment.ts";

const EXIT_OF: Readonly<Record<Health, number>> = {
  ok: EXIT.ok,
  degraded: EXIT.degraded,
  down: EXIT.down,
};

const HELP = `
The first word:
  ok          the desired state is in the kernel, attached and pinned, and all policies drop what they deny
  degraded    something could not be read or enforced, is not in the kernel yet, is in audit mode or is bypassed
  down        no agent answers; the last state stays enforced by the kernel and is summarised

Examples:
  weir status
  weir status --brief                              one line, for a probe or a prompt
  weir status -o json | jq .generation             wanted and applied: equal if everything is enforced
  weir status -o json | jq -r '.problems[].text'   problems, one per line
  until weir status >/dev/null; do sleep 1; done   wait until everything is enforced

Exit codes:
  0 ok, 1 error, 2 wrong usage, 6 permission denied, 7 degraded, 8 down`;

export function addStatus(parent: Command, exits: Exits): void {
  parent
    .command("status")
    .description("show whether all policies are enforced on this node")
    .option("--brief", "only the first line (of the JSON: health, generation and counts)")
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText("after", HELP)
    .action(exits(status));
}

interface Options {
  readonly brief?: true;
  readonly output: "text" | "json" | "yaml";
}

async function status(context: Context, { brief, output }: Options): Promise<number> {
  const { env } = context;
  const report = await reportOf(context);
  const emphasis = emphasisFor(env);
  const text = (): string =>
    brief === true ? briefText(report, emphasis) : statusText(report, env.now(), emphasis);
  await writeReport(env, { value: brief === true ? briefOf(report) : report, text }, output);
  return EXIT_OF[report.health];
}

const briefOf = ({ health, generation, endpoints, policies, problems }: StatusReport) => ({
  health,
  generation,
  endpoints,
  ...(policies === undefined ? {} : { policies }),
  problems: problems.length,
});

async function reportOf(context: Context): Promise<StatusReport> {
  const { socket } = context.settings;
  const answer = await askAgentIfAble<StatusView>(context, "status");
  if (!isSilence(answer)) return reportOfAgent(answer, socket);
  const { surveyKernel } = await import("../kernel-survey.ts");
  return reportOfKernel(await surveyKernel(context), socket, answer.reason);
}

const COLOURS: Readonly<Record<Health, "green" | "yellow" | "red">> = {
  ok: "green",
  degraded: "yellow",
  down: "red",
};

function emphasisFor(env: Env): Emphasis {
  const plain = isPlain(env);
  return (health, text) =>
    plain ? text : styleText([COLOURS[health], "bold"], text, { validateStream: false });
}
