// `weir describe endpoint` and `weir describe policy`: one pod or policy, and what is enforced of it on this node.

import type { Command } from "commander";
import { keyOf } from "../../model/cluster.ts";
import type { ClusterPolicy } from "../../model/cluster-network-policy.ts";
import { type Exits, manifestsOption, outputOption, writeReport } from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";

interface Options {
  readonly manifests?: string;
  readonly output: "text" | "json" | "yaml";
}

const ENDPOINT_HELP = `
Rules are printed as by \`kubectl describe networkpolicy\`. Pods of other nodes can be described as well: which policies
isolate them, but not whether they are enforced there.

Aliases: endpoints, ep, pod, pods, po

Examples:
  weir describe endpoint alpha/nginx
  weir describe endpoint alpha/nginx --manifests policies/
  weir describe endpoint alpha/nginx -o json | jq '.ingress.policies[].policy'

Exit codes:
  0 done, 1 error (no agent answers), 2 wrong usage, 4 no such pod`;

export function addDescribeEndpoint(parent: Command, exits: Exits): void {
  parent
    .command("endpoint")
    .aliases(["endpoints", "ep", "pod", "pods", "po"])
    .description("show a pod: addresses, interface, state, and what its policies allow")
    .argument("<namespace/pod>", "the pod")
    .addOption(manifestsOption())
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText("after", ENDPOINT_HELP)
    .action(exits(describeEndpoint));
}

async function describeEndpoint(context: Context, name: string, options: Options): Promise<number> {
  const [{ situationOf }, { endpointReport, endpointText }, { retainedPods }, { hintText }] =
    await Promise.all([
      import("../query-cluster.ts"),
      import("../describe-report.ts"),
      import("../../model/address-ownership.ts"),
      import("../../base/nearest-word.ts"),
    ]);
  const situation = await situationOf(context, options);
  const retained = retainedPods(situation.after).find((each) => keyOf(each) === name);
  const pod = situation.after.pods.get(name) ?? retained;
  if (pod === undefined) {
    throw new CommandError(
      `no pod ${name}${hintText(name, [...situation.after.pods.keys()])}`,
      EXIT.notFound,
    );
  }
  const report = endpointReport(pod, situation);
  await writeReport(context.env, { value: report, text: () => endpointText(report) }, options.output);
  return EXIT.ok;
}

const POLICY_HELP = `
Printed as by \`kubectl describe networkpolicy\`, with the selected pods and whether the policy is enforced on each.

Aliases: policies, netpol, networkpolicy, networkpolicies

Examples:
  weir describe policy alpha/access-nginx
  weir describe policy alpha/access-nginx --manifests policies/
  weir describe policy deny-metadata                            a ClusterNetworkPolicy
  weir describe policy alpha/access-nginx -o json | jq -r '.pods[] | select(.state != "enforced").name'

Exit codes:
  0 done, 1 error (no agent answers), 2 wrong usage, 4 no such policy`;

export function addDescribePolicy(parent: Command, exits: Exits): void {
  parent
    .command("policy")
    .aliases(["policies", "netpol", "networkpolicy", "networkpolicies"])
    .description("show a policy: rules, selected pods, and whether it is enforced on each")
    .argument("<namespace/policy>", "the policy; of a ClusterNetworkPolicy its name alone")
    .addOption(manifestsOption())
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText("after", POLICY_HELP)
    .action(exits(describePolicy));
}

async function describePolicy(context: Context, name: string, options: Options): Promise<number> {
  const [
    { situationOf },
    { clusterPolicyLines, clusterPolicyReport, policyReport, policyText },
    { hintText },
  ] = await Promise.all([
    import("../query-cluster.ts"),
    import("../describe-report.ts"),
    import("../../base/nearest-word.ts"),
  ]);
  const situation = await situationOf(context, options);
  const policy = situation.after.policies.get(name);
  const { clusterPolicies = new Map<string, ClusterPolicy>() } = situation.after;
  const clusterPolicy = clusterPolicies.get(name);
  if (clusterPolicy !== undefined) {
    const report = clusterPolicyReport(clusterPolicy, situation);
    await writeReport(context.env, { value: report, text: () => clusterPolicyLines(report) }, options.output);
    return EXIT.ok;
  }
  if (policy === undefined) {
    const hint = hintText(name, [...situation.after.policies.keys(), ...clusterPolicies.keys()]);
    throw new CommandError(`no policy ${name}${hint}`, EXIT.notFound);
  }
  const report = policyReport(policy, situation);
  await writeReport(context.env, { value: report, text: () => policyText(report, policy) }, options.output);
  return EXIT.ok;
}
