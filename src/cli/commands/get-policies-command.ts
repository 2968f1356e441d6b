// `weir get policies`: the agent's policies, and where they are enforced.

import type { Command } from "commander";
import { hintText } from "../../base/nearest-word.ts";
import type { PolicyView } from "../../observe/api-views.ts";
import { type PolicyRow, policiesTable, policyNames } from "../../observe/policies-table.ts";
import { askAgentIfAble, askAgentOrFail, isSilence } from "../agent-client.ts";
import {
  allNamespacesOption,
  type Exits,
  headersOption,
  isNamed,
  type NamedObject,
  namedObject,
  namespaceOption,
  nameText,
  note,
  outputOption,
  type PodName,
  podOption,
  type Result,
  sortOption,
  type WriteOptions,
  watchOption,
  write,
} from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";
import { sortedBy } from "../sort-rows.ts";

interface Options extends WriteOptions {
  readonly namespace?: string;
  readonly pod?: PodName;
  readonly sortBy?: string;
  readonly watch?: true;
}

/** With the requested policy. */
interface Query extends Options {
  readonly wanted?: NamedObject;
}

const HELP = `
Needs the agent. PODS counts this node's pods that the policy selects; STATE shows on how many of them it is enforced.

Aliases: policy, netpol, networkpolicies, networkpolicy

Examples:
  weir get policies                                all of them
  weir get policies -n alpha -o wide               of one namespace, with rules and pods
  weir get netpol alpha/access-nginx -o yaml       one policy, all fields
  weir get policies --pod alpha/nginx              those that select one pod
  weir get policies --sort-by enforced
  weir get policies -o name                        NAMESPACE/NAME, one per line
  weir get policies -w                             and changes as they happen
  weir get policies -o json | jq '.[] | select(.unreadable)'
  weir get policies -o json | jq -r '.[] | select(.enforced == 0).name'

Exit codes:
  0 done, 1 error (no agent answers), 2 wrong usage, 4 no such policy, or no such pod on this node`;

export function addGetPolicies(parent: Command, exits: Exits): void {
  parent
    .command("policies")
    .aliases(["policy", "netpol", "networkpolicies", "networkpolicy"])
    .argument("[namespace/policy]", "only this policy; NAME alone is looked for in all namespaces, or in -n")
    .description("list policies, and on how many of this node's pods they are enforced")
    .addOption(namespaceOption())
    .addOption(allNamespacesOption())
    .addOption(podOption("only policies that select this pod"))
    .addOption(sortOption())
    .addOption(outputOption("table", "wide", "json", "ndjson", "yaml", "name"))
    .addOption(watchOption())
    .addOption(headersOption())
    .addHelpText("after", HELP)
    .action(exits(getPolicies));
}

async function getPolicies(context: Context, name: string | undefined, given: Options): Promise<number> {
  const { pod: _, ...place } = given;
  const wanted = namedObject(name, place);
  const options: Query = { ...given, ...(wanted === undefined ? {} : { wanted }) };
  if (options.watch === true) return watch(context, options);
  const instead = "policies are known to it alone (`weir maps dump policy` shows what the kernel enforces)";
  const all = await askAgentOrFail<readonly PolicyView[]>(context, "policies", instead);
  if (options.pod !== undefined) await requirePod(context, options.pod);
  const policies = sortedBy(filtered(all, options), options.sortBy);
  if (policies.length === 0 && wanted !== undefined) throw missing(all, wanted);
  if (policies.length === 0) note(context.env, `no policies found${placeText(options)}`);
  const isForPeople = options.output === "table" || options.output === "wide";
  if (policies.length === 0 && isForPeople) return EXIT.ok;
  await write(context.env, resultOf(policies), options);
  return EXIT.ok;
}

const resultOf = (policies: readonly PolicyRow[]): Result => ({
  table: (wide) => policiesTable(policies, wide),
  value: policies,
  names: () => policyNames(policies),
});

function missing(all: readonly PolicyView[], wanted: NamedObject): CommandError {
  const hint = hintText(nameText(wanted), all.map(nameText));
  return new CommandError(`no policy ${nameText(wanted)}${hint}`, EXIT.notFound);
}

const filtered = (all: readonly PolicyView[], { namespace, pod, wanted }: Query): readonly PolicyView[] =>
  all.filter(
    (policy) =>
      isNamed(policy, wanted) &&
      (namespace === undefined || policy.namespace === namespace) &&
      (pod === undefined || policy.selects.includes(`${pod.namespace}/${pod.name}`)),
  );

async function watch(context: Context, options: Query): Promise<number> {
  const { watchRows } = await import("../watch-rows.ts");
  return watchRows<PolicyRow>(
    context,
    {
      fetch: async () => {
        const answer = await askAgentIfAble<readonly PolicyView[]>(context, "policies");
        return isSilence(answer) ? answer : filtered(answer, options);
      },
      keyOf: ({ namespace, name }) => `${namespace}/${name}`,
      contentOf: (row) => row,
      gone: (row) => ({ ...row, removed: true }),
      resultOf,
    },
    options,
  );
}

async function requirePod(context: Context, { namespace, name }: PodName): Promise<void> {
  const endpoints = await askAgentOrFail<readonly PodName[]>(context, "endpoints", "it just went away");
  if (endpoints.some((each) => each.namespace === namespace && each.name === name)) return;
  throw new CommandError(`no pod ${namespace}/${name} on this node`, EXIT.notFound);
}

const placeText = ({ namespace, pod }: Options): string =>
  (pod === undefined ? "" : ` that select ${pod.namespace}/${pod.name}`) +
  (namespace === undefined ? "" : ` in namespace ${namespace}`);
