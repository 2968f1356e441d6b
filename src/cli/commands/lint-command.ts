// `weir lint`: what is wrong with manifests, and what is right and yet most likely not meant.

import type { Command } from "commander";
import { WARNING_CODES } from "../../model/problem.ts";
import { type Exits, note, outputOption, writeReport } from "../command.ts";
import { type Context, EXIT } from "../environment.ts";

interface Options {
  readonly filename: readonly string[];
  readonly strict?: true;
  readonly output: "text" | "json" | "yaml";
}

const CODES_WIDTH = 100;

/** All codes, in lines that fit a terminal. */
function codeLines(): string {
  const lines: string[] = [];
  for (const code of WARNING_CODES) {
    const line = lines.at(-1);
    if (line === undefined || line.length + code.length > CODES_WIDTH) lines.push(`  ${code}`);
    else lines[lines.length - 1] = `${line}, ${code}`;
  }
  return lines.join(",\n");
}

const HELP = `
Errors are what Weir and the API server reject. Warnings are pitfalls, each with a code and a fix: selectors that
match no object, isolation without DNS, a dash that turns "and" into "or", rules that allow everything or change
nothing. Selectors are matched against the Namespaces, Pods and workloads among the manifests, so include them.

A comment or an annotation of a policy silences codes:
  # weir.dev/lint-ignore: and-or, opens-all

Codes:
${codeLines()}

Examples:
  weir lint -f policies/                              the files of a directory
  weir lint -f policies/ -f cluster/pods.yaml         several, as one set
  helm template . | weir lint -f - --strict           the standard input; warnings fail as well
  weir lint -f policies/ -o json | jq '.warnings[] | select(.code == "dns-missing")'

Exit codes:
  0 no error, 1 errors (with --strict: or warnings), 2 wrong usage`;

export function addLint(parent: Command, exits: Exits): void {
  parent
    .command("lint")
    .description("find errors and pitfalls in manifests")
    .requiredOption(
      "-f, --filename <path>",
      "file or directory of manifests, - for the standard input; repeatable",
      collected,
    )
    .option("--strict", "fail on warnings too")
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText("after", HELP)
    .action(exits(lint));
}

const collected = (value: string, before: readonly string[] = []): readonly string[] => [...before, value];

async function lint({ env }: Context, { output, ...options }: Options): Promise<number> {
  const { countOf, lintManifests, reportText, reportValue } = await import("../lint-report.ts");
  const report = await lintManifests(options.filename, env.stdin);
  await writeReport(env, { value: reportValue(report), text: () => reportText(report) }, output);
  if (report.policies === 0 && countOf(report, "error") === 0) note(env, "no NetworkPolicy found");
  const isBad = countOf(report, "error") > 0 || (options.strict === true && countOf(report, "warning") > 0);
  return isBad ? EXIT.error : EXIT.ok;
}
