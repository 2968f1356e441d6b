// `weir get endpoints`: the node's pods, what isolates them, whether it is enforced, and what passed.

import { type Command, Option } from "commander";
import { messageOf } from "../../base/errors.ts";
import { matches, type Selector } from "../../model/selector.ts";
import type { EndpointView } from "../../observe/api-views.ts";
import { type EndpointRow, endpointNames, endpointsTable } from "../../observe/endpoints-table.ts";
import { interfacesText } from "../../observe/status-report.ts";
import { askAgentIfAble, isSilence } from "../agent-client.ts";
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
import { selectorFrom } from "../label-selector.ts";
import { sortedBy } from "../sort-rows.ts";

interface Options extends WriteOptions {
  readonly namespace?: string;
  readonly pod?: PodName;
  readonly selector?: Selector;
  readonly sortBy?: string;
  readonly watch?: true;
}

/** With the requested pod, by argument or option. */
interface Query extends Options {
  readonly wanted?: NamedObject;
}

const HELP = `
STATE is what the kernel says now: enforced, audit (nothing is dropped), detached (no program filters a direction),
bypassed (another program runs first). INGRESS and EGRESS name the policies that isolate the pod in that direction;
"open" means that none does. With -o wide also the packets to the pod (IN) and from it (OUT) that passed or were
dropped. A table too wide for the terminal leaves out INTERFACE, ID and ADDRESSES. Without an agent the kernel's
tables are shown, with the pods that the last agent has recorded.

Aliases: endpoint, ep, pods, pod, po

Examples:
  weir get endpoints                               all pods of this node
  weir get endpoints -n alpha -o wide              of one namespace, with counters
  weir get endpoints alpha/nginx -o yaml           one pod, all fields
  weir get pods -l app=web,tier!=test              by labels, as with kubectl
  weir get ep -o wide --sort-by traffic.ingress.dropped.packets
  weir get endpoints -o name                       NAMESPACE/POD, one per line
  weir get endpoints -w                            and changes as they happen
  weir get endpoints -o json | jq '.[] | select(.state != "enforced")'
  weir get endpoints -o json | jq -r '.[] | "\\(.name)\\t\\(.addresses[0])"'

Exit codes:
  0 done, 1 error, 2 wrong usage, 4 no such pod on this node, or no agent and nothing in the kernel`;

export function addGetEndpoints(parent: Command, exits: Exits): void {
  parent
    .command("endpoints")
    .aliases(["endpoint", "ep", "pods", "pod", "po"])
    .argument("[namespace/pod]", "only this pod; POD alone is looked for in all namespaces, or in -n")
    .description("list this node's pods: interface, isolation, state, counters")
    .addOption(namespaceOption())
    .addOption(allNamespacesOption())
    .addOption(podOption("only this pod"))
    .addOption(
      new Option("-l, --selector <selector>", "only pods with these labels, as in kubectl").argParser(
        selectorFrom,
      ),
    )
    .addOption(sortOption())
    .addOption(outputOption("table", "wide", "json", "ndjson", "yaml", "name"))
    .addOption(watchOption())
    .addOption(headersOption())
    .addHelpText("after", HELP)
    .action(exits(getEndpoints));
}

async function getEndpoints(context: Context, name: string | undefined, given: Options): Promise<number> {
  const wanted = namedObject(name, given);
  const options: Query = { ...given, ...(wanted === undefined ? {} : { wanted }) };
  if (options.watch === true) return watch(context, options);
  const { env } = context;
  const answer = await askAgentIfAble<readonly EndpointView[]>(context, "endpoints");
  const rows = isSilence(answer)
    ? await rowsOfKernel(context, options, answer.reason)
    : await withTraffic(context, options, filtered(answer, options));
  if (rows.length === 0 && wanted !== undefined)
    throw new CommandError(`no pod ${nameText(wanted)} on this node`, EXIT.notFound);
  if (rows.length === 0) {
    note(
      env,
      `no endpoints found${options.namespace === undefined ? "" : ` in namespace ${options.namespace}`}`,
    );
    if (options.output === "table" || options.output === "wide") return EXIT.ok;
  }
  await write(env, resultOf(sortedBy(rows, options.sortBy)), options);
  return EXIT.ok;
}

const resultOf = (rows: readonly EndpointRow[]): Result => ({
  table: (wide) => endpointsTable(rows, wide),
  value: rows,
  names: () => endpointNames(rows),
});

/** Counters that move make no row another one. */
async function watch(context: Context, options: Query): Promise<number> {
  const { watchRows } = await import("../watch-rows.ts");
  return watchRows<EndpointRow>(
    context,
    {
      fetch: async () => {
        const answer = await askAgentIfAble<readonly EndpointView[]>(context, "endpoints");
        return isSilence(answer) ? answer : withTraffic(context, options, filtered(answer, options));
      },
      keyOf: (row) => `${row.namespace}/${row.name}/${row.ifindex}`,
      contentOf: ({ traffic: _, ...rest }) => rest,
      gone: (row) => ({ ...row, state: "removed" }),
      resultOf,
    },
    options,
  );
}

const filtered = <T extends EndpointRow>(
  endpoints: readonly T[],
  { namespace, wanted, selector }: Query,
): readonly T[] =>
  endpoints.filter(
    (each) =>
      (namespace === undefined || each.namespace === namespace) &&
      isNamed(each, wanted) &&
      (selector === undefined || matches(selector, new Map(Object.entries(each.labels ?? {})))),
  );

/** Adds the counters where they are shown and their map is pinned: reading them takes the bindings, which plain listings need not load. */
async function withTraffic(
  context: Context,
  { output, sortBy }: Options,
  rows: readonly EndpointRow[],
): Promise<readonly EndpointRow[]> {
  const isSorted = sortBy?.includes("traffic") === true;
  if ((output === "table" || output === "name") && !isSorted) return rows;
  const { readKernel, readTraffic, NO_TRAFFIC } = await import("../pinned-maps.ts");
  const traffic = await readKernel(context, readTraffic).catch((error: unknown) => {
    note(context.env, `the counters cannot be read: ${messageOf(error)}`);
    return undefined;
  });
  if (traffic === undefined) return rows;
  return rows.map((row) =>
    row.id === undefined ? row : { ...row, traffic: traffic.get(row.id) ?? NO_TRAFFIC },
  );
}

/** From the kernel's tables, with the names that the last agent has left. */
async function rowsOfKernel(
  context: Context,
  options: Query,
  reason: string,
): Promise<readonly EndpointRow[]> {
  const [{ surveyKernel }, { readKernel }] = await Promise.all([
    import("../kernel-survey.ts"),
    import("../pinned-maps.ts"),
  ]);
  const kernel = await surveyKernel(context);
  try {
    await readKernel(context, async ({ generation }) => generation);
  } catch (error) {
    if (kernel === undefined || kernel.filtered.length === 0) throw error;
    throw new CommandError(`${messageOf(error)}; Weir's programs filter ${interfacesText(kernel.filtered)}`);
  }
  const { withRememberedPods } = await import("../remembered-pods.ts");
  const { rows, isComplete, why } = withRememberedPods(context, kernel?.endpoints ?? []);
  const isChosen = [options.wanted, options.namespace, options.selector].some((each) => each !== undefined);
  if (isChosen && !isComplete)
    throw new CommandError(`${reason}; without it pods have no names to choose them by${why}`);
  const names = rows.some(({ name }) => name !== undefined)
    ? ", with the pods that the last agent recorded"
    : "";
  note(context.env, `${reason}; shown is what the kernel enforces${names}`);
  return withTraffic(context, options, filtered(rows, options));
}
