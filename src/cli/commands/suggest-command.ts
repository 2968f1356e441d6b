// `weir suggest`: NetworkPolicies that allow the flows that were observed, and no others.

import { type Command, Option } from "commander";
import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { keyOf } from "../../model/cluster.ts";
import { matches, type Selector } from "../../model/selector.ts";
import { countText } from "../../observe/text-output.ts";
import type { SelectedWorkload } from "../../policy/suggest/workload-selectors.ts";
import {
  type Exits,
  jsonText,
  manifestsOption,
  namespaceOption,
  note,
  outputOption,
  type PodName,
  podOption,
} from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";
import { type Since, sinceOption } from "../history-client.ts";
import { selectorFrom } from "../label-selector.ts";

interface Options {
  readonly namespace?: string;
  readonly pod?: PodName;
  readonly selector?: Selector;
  readonly since?: Since;
  readonly direction?: Direction;
  readonly denied?: true;
  readonly outside: "addresses" | "networks";
  readonly portNumbers?: true;
  readonly dns: boolean;
  readonly mode: "enforce" | "audit";
  readonly manifests?: string;
  readonly output: "yaml" | "json";
}

const HELP = `
Reads the events that \`weir monitor -f --flows -o json\` writes, from all nodes whose pods are of interest. Only flows of
pods that a policy isolates are events: deny everything in audit mode first, which drops nothing. Without a file it
uses the latest 1000 events of the agent, of drops and of what would be dropped.

A policy is suggested for each workload that was observed at one of its pods, for the directions in which it was. What
was dropped is not allowed, unless --denied is given.

Examples:
  kubectl annotate netpol -n shop default-deny weir.dev/mode=audit   observe, without dropping anything
  weir monitor -f --flows -o json > flows.json                       for a day, on each node
  weir suggest flows.json > policies.yaml                            one policy for each workload
  weir suggest flows.json -n shop -l app=web --direction ingress     of some workloads, for one direction
  weir suggest flows.json --manifests cluster/                       without an agent
  weir diff -f policies.yaml                                         what they would change

Exit codes:
  0 done, 1 error, 2 wrong usage, 4 no such file or pod, or nothing was observed`;

export function addSuggest(parent: Command, exits: Exits): void {
  parent
    .command("suggest")
    .description("suggest policies that allow exactly the observed flows")
    .argument("[files...]", "events, as weir monitor -o json writes them; - for the standard input")
    .addOption(namespaceOption())
    .addOption(podOption("only the workload of this pod"))
    .addOption(
      new Option("-l, --selector <labels>", "only workloads of pods with these labels").argParser(
        selectorFrom,
      ),
    )
    .addOption(sinceOption("only flows since then"))
    .addOption(new Option("--direction <direction>", "only this direction").choices(DIRECTIONS))
    .option("--denied", "allow what was dropped, too")
    .addOption(
      new Option("--outside <how>", "addresses outside the cluster: each one, or the /24 or /64 around it")
        .choices(["addresses", "networks"])
        .default("addresses"),
    )
    .option("--port-numbers", "ports by number only, not by the names that pods give them")
    .option("--no-dns", "no rule for DNS where it was not seen")
    .addOption(
      new Option("--mode <mode>", "whether the policies are enforced, or only report")
        .choices(["enforce", "audit"])
        .default("enforce"),
    )
    .addOption(manifestsOption())
    .addOption(outputOption("yaml", "json"))
    .addHelpText("after", HELP)
    .action(exits(suggestPolicies));
}

async function suggestPolicies(
  context: Context,
  files: readonly string[],
  options: Options,
): Promise<number> {
  const [{ baseOf }, { collectFlows, NO_FLOW_REASONS }, { suggest, UNUSED_REASONS }, input] =
    await Promise.all([
      import("../query-cluster.ts"),
      import("../../events/observed-flows.ts"),
      import("../../policy/suggest/suggest-policies.ts"),
      import("../suggest-input.ts"),
    ]);
  const { env } = context;
  const collector = collectFlows({ since: sinceMs(context, options.since), denied: options.denied === true });
  if (files.length > 0) await input.readEventFiles(context, files, collector);
  else await input.readAgentEvents(context, collector);
  const { cluster } = await baseOf(
    context,
    options.manifests === undefined ? {} : { manifests: options.manifests },
  );
  const { pod } = options;
  if (pod !== undefined && !cluster.pods.has(keyOf(pod)))
    throw new CommandError(`no pod ${keyOf(pod)}`, EXIT.notFound);
  const { policies, observed, unused } = suggest(cluster, collector.flows(), {
    directions: options.direction === undefined ? DIRECTIONS : [options.direction],
    isWanted: (workload) => isWanted(workload, options),
    outside: options.outside,
    portNames: options.portNumbers !== true,
    keepsDns: options.dns,
    mode: options.mode,
  });
  for (const [reason, count] of collector.unused())
    note(env, `${countText(count, "event")} not used: they ${NO_FLOW_REASONS[reason]}`);
  for (const [reason, count] of unused)
    note(env, `${countText(count, "flow")} not used: ${UNUSED_REASONS[reason]}`);
  if (policies.length === 0)
    throw new CommandError(
      observed === 0
        ? "no flow of a pod was observed; see: weir suggest --help"
        : `${countText(observed, "workload was", "workloads were")} observed, but none that the options select`,
      EXIT.notFound,
    );
  const { suggestionsList, suggestionsYaml } = await import("../suggest-report.ts");
  env.stdout.write(
    options.output === "json" ? jsonText(suggestionsList(policies)) : suggestionsYaml(policies),
  );
  return EXIT.ok;
}

function sinceMs({ env }: Context, since: Since | undefined): number {
  if (since === undefined) return 0;
  return "at" in since ? since.at.getTime() : env.now().getTime() - since.ms;
}

const isWanted = ({ namespace, pods }: SelectedWorkload, options: Options): boolean =>
  (options.namespace === undefined || options.namespace === namespace) &&
  (options.pod === undefined || pods.some((each) => keyOf(each) === keyOf(options.pod as PodName))) &&
  (options.selector === undefined ||
    pods.some(({ labels }) => matches(options.selector as Selector, labels)));
