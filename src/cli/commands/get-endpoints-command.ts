// `weir get endpoints`: the node's pods, what isolates them, whether it is enforced, and what passed.

import type { Command } from "commander";
import { messageOf } from "../../base/errors.ts";
import type { EndpointView } from "../../observe/api-views.ts";
import { type EndpointRow, endpointNames, endpointsTable } from "../../observe/endpoints-table.ts";
import { interfacesText } from "../../observe/status-report.ts";
import { askAgentIfAble, isSilence } from "../agent-client.ts";
import {
  type Exits,
  headersOption,
  namespaceOption,
  note,
  outputOption,
  type PodName,
  podOption,
  type Result,
  type WriteOptions,
  watchOption,
  write,
} from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";

interface Options extends WriteOptions {
  readonly namespace?: string;
  readonly pod?: PodName;
  readonly watch?: true;
}

const HELP = `
STATE is what the kernel says now: enforced, audit (nothing is dropped), detached (no program filters a direction),
bypassed (another program runs first). INGRESS and EGRESS name the policies that isolate the pod in that direction;
"open" means that none does. With -o wide also the packets to the pod (IN) and from it (OUT) that passed or were
dropped. Without an agent the kernel's tables are shown: interfaces and numbers, no names.

Examples:
  weir get endpoints                               all pods of this node
  weir get endpoints -n alpha -o wide              of one namespace, with counters
  weir get endpoints --pod alpha/nginx -o yaml     one pod, all fields
  weir get endpoints -o name                       NAMESPACE/POD, one per line
  weir get endpoints -w                            and changes as they happen
  weir get endpoints -o json | jq '.[] | select(.state != "enforced")'
  weir get endpoints -o json | jq -r '.[] | "\\(.name)\\t\\(.addresses[0])"'

Exit codes:
  0 done, 1 error, 2 wrong usage, 4 no such pod on this node, or no agent and nothing in the kernel`;

export function addGetEndpoints(parent: Command, exits: Exits): void {
  parent
    .command("endpoints")
    .description("list this node's pods: interface, isolation, state, counters")
    .addOption(namespaceOption())
    .addOption(podOption("only this pod"))
    .addOption(outputOption("table", "wide", "json", "ndjson", "yaml", "name"))
    .addOption(watchOption())
    .addOption(headersOption())
    .addHelpText("after", HELP)
    .action(exits(getEndpoints));
}

async function getEndpoints(context: Context, options: Options): Promise<number> {
  if (options.watch === true) return watch(context, options);
  const { env } = context;
  const answer = await askAgentIfAble<readonly EndpointView[]>(context, "endpoints");
  const rows = isSilence(answer)
    ? await rowsOfKernel(context, options, answer.reason)
    : await withTraffic(context, options, filtered(answer, options));
  if (rows.length === 0 && options.pod !== undefined) {
    const { namespace, name } = options.pod;
    throw new CommandError(`no pod ${namespace}/${name} on this node`, EXIT.notFound);
  }
  if (rows.length === 0) {
    note(
      env,
      `no endpoints found${options.namespace === undefined ? "" : ` in namespace ${options.namespace}`}`,
    );
    if (options.output === "table" || options.output === "wide") return EXIT.ok;
  }
  await write(env, resultOf(rows), options);
  return EXIT.ok;
}

const resultOf = (rows: readonly EndpointRow[]): Result => ({
  table: (wide) => endpointsTable(rows, wide),
  value: rows,
  names: () => endpointNames(rows),
});

/** Counters that move make no row another one. */
async function watch(context: Context, options: Options): Promise<number> {
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

const filtered = (endpoints: readonly EndpointView[], { namespace, pod }: Options): EndpointView[] =>
  endpoints.filter(
    (each) =>
      (namespace === undefined || each.namespace === namespace) &&
      (pod === undefined || (each.namespace === pod.namespace && each.name === pod.name)),
  );

/** Adds the counters where they are shown and their map is pinned: reading them takes the bindings, which plain listings need not load. */
async function withTraffic(
  context: Context,
  { output }: Options,
  rows: readonly EndpointRow[],
): Promise<readonly EndpointRow[]> {
  if (output === "table" || output === "name") return rows;
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

/** From the kernel's tables: everything but the names. */
async function rowsOfKernel(
  context: Context,
  options: Options,
  reason: string,
): Promise<readonly EndpointRow[]> {
  if (options.pod !== undefined || options.namespace !== undefined) {
    throw new CommandError(`${reason}; without it pods have no names to choose them by`);
  }
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
  note(context.env, `${reason}; shown is what the kernel enforces`);
  return withTraffic(context, options, kernel?.endpoints ?? []);
}
