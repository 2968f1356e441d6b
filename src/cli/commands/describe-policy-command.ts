// `weir describe policy`: what one policy says, and which pods it selects.

import type { Command } from "commander";
import { type Exits, manifestsOption, outputOption, writeReport } from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";

interface Options {
  readonly manifests?: string;
  readonly output: "text" | "json" | "yaml";
}

const HELP = `
Printed as by \`kubectl describe networkpolicy\`, with the selected pods and whether the policy is enforced on each.

Examples:
  weir describe policy alpha/access-nginx
  weir describe policy alpha/access-nginx --manifests policies/
  weir describe policy alpha/access-nginx -o json | jq -r '.pods[] | select(.state != "enforced").name'

Exit codes:
  0 done, 1 error (no agent answers), 2 wrong usage, 4 no such policy`;

export function addDescribePolicy(parent: Command, exits: Exits): void {
  parent
    .command("policy")
    .description("show a policy: rules, selected pods, and whether it is enforced on each")
    .argument("<namespace/policy>", "the policy")
    .addOption(manifestsOption())
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText("after", HELP)
    .action(exits(describePolicy));
}

async function describePolicy(context: Context, name: string, options: Options): Promise<number> {
  const [{ situationOf }, { policyReport, policyText }, { nearestWord }] = await Promise.all([
    import("../query-cluster.ts"),
    import("../describe-report.ts"),
    import("../../base/nearest-word.ts"),
  ]);
  const situation = await situationOf(context, options);
  const policy = situation.after.policies.get(name);
  if (policy === undefined) {
    const nearest = nearestWord(name, [...situation.after.policies.keys()]);
    const hint = nearest === undefined ? "there is none" : `the most similar name is ${nearest}`;
    throw new CommandError(`no policy ${name}; ${hint}`, EXIT.notFound);
  }
  const report = policyReport(policy, situation);
  await writeReport(context.env, { value: report, text: () => policyText(report, policy) }, options.output);
  return EXIT.ok;
}
