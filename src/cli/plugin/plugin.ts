// `kubectl weir`: the agents' read commands, run on all nodes of a cluster, with one answer.

import type { Command } from "commander";
import type { BypassView, PolicyView } from "../../observe/api-views.ts";
import { type EndpointRow, endpointNames, endpointsTable } from "../../observe/endpoints-table.ts";
import { placeText, policyNames } from "../../observe/policies-table.ts";
import { briefText, type StatusReport } from "../../observe/status-report.ts";
import { countText, cuttable, left, printable, right, spare } from "../../observe/text-output.ts";
import {
  allNamespacesOption,
  type Exits,
  headersOption,
  namespaceOption,
  note,
  outputOption,
  sortOption,
  type WriteOptions,
  write,
} from "../command.ts";
import { writeBypasses } from "../commands/bypass-command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";
import { sortedBy } from "../sort-rows.ts";
import type { Outcome } from "./agent-pods.ts";
import {
  agentsOf,
  exitOf,
  failureOf,
  LIST_EXITS,
  optionWords,
  reasonIn,
  remarkFailures,
  requireAnswer,
  valuesOf,
} from "./cluster-command.ts";

const STATUS_HELP = `
HEALTH is what \`weir status\` says on the node: ok, degraded or down; unreachable without an answer.

Examples:
  kubectl weir status
  kubectl weir status --context production -o json | jq '.[] | select(.health != "ok")'

Exit codes:
  0 ok everywhere, 1 error, 2 wrong usage, 4 no agents, 6 permission denied, 7 a node is not ok`;

export function addClusterStatus(parent: Command, exits: Exits): void {
  const command = parent
    .command("status")
    .description("show whether all policies are enforced, on all nodes")
    .addOption(outputOption("table", "wide", "json", "yaml"))
    .addOption(headersOption())
    .addHelpText("after", STATUS_HELP);
  command.action(
    exits(async (context: Context, options: WriteOptions) => {
      const agents = await agentsOf(command);
      const rows = (await agents.run(["status", "-o", "json"])).map(statusRow);
      await write(
        context.env,
        {
          table: () => ({
            columns: [
              ...["NODE", "HEALTH"].map(left),
              spare("VERSION", 1),
              ...["ENDPOINTS", "POLICIES", "PROBLEMS"].map(right),
              cuttable("DETAIL"),
            ],
            rows: rows.map(({ node, health, report, detail }) => [
              node,
              health,
              report?.agent.version ?? "",
              String(report?.endpoints ?? ""),
              String(report?.policies ?? ""),
              String(report?.problems.length ?? ""),
              detail,
            ]),
          }),
          value: rows.map(({ node, health, detail, report }) => ({ node, health, detail, ...report })),
        },
        options,
      );
      const wrong = rows.filter(({ health }) => health !== "ok").length;
      if (options.output === "table" || options.output === "wide")
        note(
          context.env,
          wrong === 0
            ? `${countText(rows.length, "node")}, all ok`
            : `${wrong} of ${countText(rows.length, "node")} not ok`,
        );
      return wrong === 0 ? EXIT.ok : EXIT.degraded;
    }),
  );
}

interface StatusRow {
  readonly node: string;
  readonly health: string;
  readonly detail: string;
  readonly report?: StatusReport;
}

function statusRow({ pod: { node }, ...outcome }: Outcome): StatusRow {
  if (outcome.error !== undefined) return { node, health: "unreachable", detail: outcome.error };
  try {
    const report = JSON.parse(outcome.stdout) as StatusReport;
    const detail = briefText(report)
      .trim()
      .replace(/^\w+: /, "");
    return { node, health: report.health, detail, report };
  } catch {
    return { node, health: "unreachable", detail: outcome.stderr.trim() || `exit code ${outcome.exitCode}` };
  }
}

interface ListOptions extends WriteOptions {
  readonly namespace?: string;
  readonly selector?: string;
  readonly pod?: string;
  readonly sortBy?: string;
}

export function addClusterEndpoints(parent: Command, exits: Exits): void {
  const command = parent
    .command("endpoints")
    .aliases(["endpoint", "ep", "pods", "pod", "po"])
    .description("list the pods of all nodes: isolation and state")
    .argument("[namespace/pod]", "only this pod")
    .addOption(namespaceOption())
    .addOption(allNamespacesOption())
    .option("--pod <namespace/name>", "only this pod")
    .option("-l, --selector <selector>", "only pods with these labels, as in kubectl")
    .addOption(sortOption())
    .addOption(outputOption("table", "wide", "json", "ndjson", "yaml", "name"))
    .addOption(headersOption())
    .addHelpText(
      "after",
      `
Examples:
  kubectl weir get endpoints -A
  kubectl weir get pods -l app=web --sort-by node
${LIST_EXITS}`,
    );
  command.action(
    exits(async (context: Context, name: string | undefined, options: ListOptions) => {
      const agents = await agentsOf(command);
      const outcomes = await agents.run(["get", "endpoints", "-o", "json", ...filtersOf(name, options)]);
      const found = valuesOf<readonly EndpointRow[]>(context, outcomes).flatMap(({ node, value }) =>
        value.map((row) => ({ node, ...row })),
      );
      const rows = sortedBy(found, options.sortBy);
      const table = (wide: boolean) => {
        const { columns, rows: cells } = endpointsTable(rows, wide);
        return {
          columns: [left("NODE"), ...columns],
          rows: cells.map((each, at) => [rows[at]?.node ?? "", ...each]),
        };
      };
      if (remarkNothing(context, "endpoints", outcomes, rows, options)) return exitOf(outcomes);
      await write(context.env, { table, value: rows, names: () => endpointNames(rows) }, options);
      return exitOf(outcomes);
    }),
  );
}

/** Whether an empty table is left out. If a node has answered, a remark is in its place. */
function remarkNothing(
  { env }: Context,
  noun: string,
  outcomes: readonly Outcome[],
  rows: readonly unknown[],
  { output, namespace }: ListOptions,
): boolean {
  if (rows.length > 0) return false;
  if (outcomes.some((each) => failureOf(each) === undefined))
    note(env, `no ${noun} found${namespace === undefined ? "" : ` in namespace ${namespace}`}`);
  return output === "table" || output === "wide";
}

/** For the agents' command line, where a name that begins with a dash would be an option. */
function filtersOf(name: string | undefined, { namespace, selector, pod }: ListOptions): string[] {
  if (name?.startsWith("-") === true) throw new CommandError(`${name} is not a name`, EXIT.usage);
  return [...(name === undefined ? [] : [name]), ...optionWords({ namespace, selector, pod })];
}

/** What the nodes say of one policy, added up. */
interface ClusterPolicy extends Omit<PolicyView, "selects" | "enforced"> {
  /** Pods that it selects, and on how many of them it is enforced, on how many nodes. */
  readonly selects: number;
  readonly enforced: number;
  readonly nodes: number;
}

export function addClusterPolicies(parent: Command, exits: Exits): void {
  const command = parent
    .command("policies")
    .aliases(["policy", "netpol", "networkpolicies", "networkpolicy"])
    .description("list policies, and on how many pods of the cluster they are enforced")
    .argument("[namespace/policy]", "only this policy")
    .addOption(namespaceOption())
    .addOption(allNamespacesOption())
    .option("--pod <namespace/name>", "only policies that select this pod")
    .addOption(sortOption())
    .addOption(outputOption("table", "wide", "json", "ndjson", "yaml", "name"))
    .addOption(headersOption())
    .addHelpText(
      "after",
      `
Examples:
  kubectl weir get policies -A
  kubectl weir get netpol shop/web -o json | jq '.[].enforced'
${LIST_EXITS}`,
    );
  command.action(
    exits(async (context: Context, name: string | undefined, options: ListOptions) => {
      const agents = await agentsOf(command);
      const outcomes = await agents.run(["get", "policies", "-o", "json", ...filtersOf(name, options)]);
      const found = summed(valuesOf<readonly PolicyView[]>(context, outcomes).map(({ value }) => value));
      const rows = sortedBy(found, options.sortBy);
      if (remarkNothing(context, "policies", outcomes, rows, options)) return exitOf(outcomes);
      await write(
        context.env,
        {
          table: (wide) => ({
            columns: [
              ...["NAMESPACE", "NAME"].map(left),
              ...(wide ? ["SELECTOR", "TYPES"].map(left) : []),
              ...["PODS", "NODES"].map(right),
              left("STATE"),
              ...(wide ? [left("UNREADABLE")] : []),
            ],
            rows: rows.map((row) => [
              placeText(row),
              row.name,
              ...(wide ? [row.selector || "<every pod>", row.types.join(",")] : []),
              String(row.selects),
              String(row.nodes),
              policyText(row),
              ...(wide ? [row.unreadable ?? row.omitted ?? ""] : []),
            ]),
          }),
          value: rows,
          names: () => policyNames(rows),
        },
        options,
      );
      return exitOf(outcomes);
    }),
  );
}

function summed(lists: readonly (readonly PolicyView[])[]): ClusterPolicy[] {
  const sums = new Map<string, ClusterPolicy>();
  for (const { selects, enforced, ...policy } of lists.flat()) {
    const key = `${policy.namespace}/${policy.name}`;
    const before = sums.get(key) ?? { selects: 0, enforced: 0, nodes: 0 };
    sums.set(key, {
      ...policy,
      selects: before.selects + selects.length,
      enforced: before.enforced + enforced,
      nodes: before.nodes + (selects.length > 0 ? 1 : 0),
    });
  }
  return [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each);
}

/** "enforced on 12 of 12 pods, 5 nodes". */
function policyText({ selects, enforced, nodes, audit, unreadable, omitted, tier }: ClusterPolicy): string {
  if (selects === 0) return "selects no pod";
  const done = audit === true ? "audited" : "enforced";
  const reach = `${done} on ${enforced} of ${countText(selects, "pod")}, ${countText(nodes, "node")}`;
  if (unreadable !== undefined)
    return `${reach}; unreadable, so ${tier === undefined ? "allows nothing" : "denies more than it says"}`;
  return omitted === undefined ? reach : `${reach}; partly unreadable`;
}

interface TraceOptions {
  readonly from: string;
  readonly to: string;
  readonly port?: string;
  readonly protocol?: string;
  readonly kernel: boolean;
  readonly output: "text" | "json" | "yaml";
}

export function addClusterTrace(parent: Command, exits: Exits): void {
  const command = parent
    .command("trace")
    .description("show whether one end reaches another, by the nodes of both")
    .requiredOption("--from <end>", "source: NAMESPACE/POD or an address")
    .requiredOption("--to <end>", "destination: NAMESPACE/NAME of a pod or Service, or an address")
    .option("--port <port>", "destination port: a number, a range or a name")
    .option("--protocol <protocol>", "TCP, UDP, SCTP or ICMP")
    .option("--no-kernel", "do not query the kernels")
    .addOption(outputOption("text", "json", "yaml"))
    .addHelpText(
      "after",
      `
Queries the nodes of both ends: policies are the same there, and each kernel judges its own end. Without a node (an
address, a Service) any agent answers. JSON and YAML have each node's answer as \`weir trace\` gives it there.

Examples:
  kubectl weir trace --from shop/web-0 --to shop/db-0 --port 5432

Exit codes:
  0 allowed, 1 error, 2 wrong usage, 3 denied (or partly), 4 no such end, 5 a kernel disagrees, 6 permission denied`,
    );
  command.action(
    exits(async (context: Context, { from, to, port, protocol, kernel, output }: TraceOptions) => {
      const agents = await agentsOf(command);
      const ends = [from, to].filter((end) => end.includes("/"));
      const nodes = new Set((await Promise.all(ends.map((end) => agents.nodeOf(end)))).filter(Boolean));
      const own = agents.pods.filter(({ node }) => nodes.has(node));
      const pods = own.length > 0 ? own : agents.pods.filter(({ phase }) => phase === undefined).slice(0, 1);
      const words = optionWords({ from, to, port, protocol, "no-kernel": kernel ? undefined : true });
      const format = output === "text" ? [] : ["-o", "json"];
      const outcomes = await agents.run(["trace", ...words, ...format], { pods });
      const { stdout } = context.env;
      if (output === "text") {
        requireAnswer(outcomes);
        remarkFailures(context.env, outcomes);
        const answers = outcomes.flatMap((each) =>
          each.error === undefined && each.stdout !== "" ? [{ node: each.pod.node, text: each.stdout }] : [],
        );
        stdout.write(oneTrace(answers));
        for (const each of outcomes)
          if (each.error === undefined && each.exitCode === EXIT.notFound)
            note(context.env, printable(`node ${each.pod.node}: ${reasonIn(each.stderr)}`));
      } else {
        const value = valuesOf<object>(context, outcomes).map((each) => ({ node: each.node, ...each.value }));
        await write(
          context.env,
          { table: () => ({ columns: [], rows: [] }), value },
          { output, headers: true },
        );
      }
      return Math.max(
        exitOf(outcomes),
        ...outcomes.map((each) => (each.error === undefined ? each.exitCode : 0)),
      );
    }),
  );
}

const KERNEL = "  kernel: ";

/**
 * The traces of several nodes as one: what the policies say once, and what the kernels say with their nodes. If the nodes do not
 * say the same of the policies, one after the other.
 */
export function oneTrace(answers: readonly { readonly node: string; readonly text: string }[]): string {
  const [first, ...others] = answers;
  if (first === undefined) return "";
  if (others.length === 0) return first.text;
  const linesOf = (text: string): string[] => text.split("\n").slice(0, -1);
  const kernelOf = ({ node, text }: typeof first): string[] =>
    linesOf(text)
      .filter((line) => line.startsWith(KERNEL))
      .map((line) => `  kernel of ${printable(node)}: ${line.slice(KERNEL.length)}`);
  const policiesOf = ({ text }: typeof first): string[] =>
    linesOf(text).filter((line) => !line.startsWith(KERNEL));
  const policies = policiesOf(first);
  const isOnePath = policies.filter((line) => !line.startsWith(" ")).length === 1;
  if (isOnePath && others.every((each) => policiesOf(each).join("\n") === policies.join("\n")))
    return [...policies, ...answers.flatMap(kernelOf), ""].join("\n");
  return answers.map(({ node, text }) => `on node ${printable(node)}:\n${text}`).join("");
}

export function addClusterSysdump(parent: Command, exits: Exits): void {
  const command = parent
    .command("sysdump")
    .description("write the support bundles of all nodes into one archive")
    .option("-o, --output <file>", "output file", "weir-sysdump.tar")
    .addHelpText(
      "after",
      `
The archive (tar; readable only by its owner) has a file NODE/sysdump.tar.gz for each node, as \`weir sysdump\` writes it there.

Examples:
  kubectl weir sysdump -o dump.tar --request-timeout 120 && tar tf dump.tar
${LIST_EXITS}`,
    );
  command.action(
    exits(async (context: Context, { output }: { readonly output: string }) => {
      const { closeSync, openSync, writeFileSync } = await import("node:fs");
      const { tarOf } = await import("../tar-archive.ts");
      const agents = await agentsOf(command);
      // Before the nodes begin to work.
      const file = openSync(output, "w", 0o600);
      try {
        const outcomes = await agents.run(["sysdump", "-o", "-"]);
        remarkFailures(context.env, outcomes);
        const entries = outcomes.flatMap((outcome) => {
          if (outcome.error !== undefined || outcome.exitCode !== EXIT.ok) return [];
          return [{ name: `${outcome.pod.node}/sysdump.tar.gz`, content: outcome.bytes }];
        });
        if (entries.length === 0) throw new CommandError("no node has made a support bundle");
        writeFileSync(file, tarOf(entries, Math.floor(context.env.now().getTime() / 1_000)));
        context.env.stdout.write(`${output}\n`);
        return entries.length === outcomes.length ? EXIT.ok : EXIT.error;
      } finally {
        closeSync(file);
      }
    }),
  );
}

export function addClusterBypassList(parent: Command, exits: Exits): void {
  const command = parent
    .command("list")
    .description("list the bypasses in force on all nodes")
    .addOption(outputOption("table", "json", "yaml"))
    .addOption(headersOption())
    .addHelpText(
      "after",
      `
Only \`weir bypass\` on the node, as root, begins or ends one.

Examples:
  kubectl weir bypass list
${LIST_EXITS}`,
    );
  command.action(
    exits(async (context: Context, options: WriteOptions) => {
      const agents = await agentsOf(command);
      const outcomes = await agents.run(["bypass", "list", "-o", "json"]);
      const found = valuesOf<readonly BypassView[]>(context, outcomes).flatMap(({ node, value }) =>
        value.map((bypass) => ({ node, ...bypass })),
      );
      if (found.length === 0 && options.output === "table") note(context.env, "no bypass is in force");
      else await writeBypasses(context, found, options);
      return exitOf(outcomes);
    }),
  );
}
