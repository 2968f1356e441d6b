// `kubectl weir`: the agents' read commands, run on all nodes of a cluster, with one answer.

import { type Command, InvalidArgumentError, Option } from "commander";
import type { EventView } from "../../events/packet-event.ts";
import { eventLine, wideEventLine } from "../../events/packet-event-line.ts";
import type { PolicyView } from "../../observe/api-views.ts";
import type { EndpointRow } from "../../observe/endpoints-table.ts";
import { endpointsTable } from "../../observe/endpoints-table.ts";
import { briefText, type StatusReport } from "../../observe/status-report.ts";
import { countText, left, printable, right, spare } from "../../observe/text-output.ts";
import {
  allNamespacesOption,
  type Exits,
  headersOption,
  jsonText,
  namespaceOption,
  note,
  outputOption,
  sortOption,
  type WriteOptions,
  write,
} from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";
import { sortedBy } from "../sort-rows.ts";
import { type AgentPods, type ClusterOptions, type Outcome, openAgentPods } from "./agent-pods.ts";

/** The options of kubectl that say which cluster, and as whom. */
export const addClusterOptions = (program: Command): Command =>
  program
    .option("--kubeconfig <file>", "kubeconfig (default: $KUBECONFIG, or ~/.kube/config)")
    .option("--context <name>", "context of the kubeconfig")
    .option("--cluster <name>", "cluster of the kubeconfig")
    .option("--user <name>", "user of the kubeconfig")
    .addOption(
      new Option("--request-timeout <seconds>", "time for each request and each node's command")
        .argParser(secondsFrom)
        .default(30),
    );

function secondsFrom(text: string): number {
  const seconds = Number(/^(\d{1,4})s?$/.exec(text)?.[1] ?? 0);
  if (seconds === 0) throw new InvalidArgumentError("Write a number of seconds from 1 to 9999.");
  return seconds;
}

/** @throws CommandError where there is no cluster, or no agent in it */
function agentsOf(command: Command): Promise<AgentPods> {
  const { requestTimeout, ...options } = command.optsWithGlobals<
    Omit<ClusterOptions, "timeoutMs"> & { readonly requestTimeout: number }
  >();
  return openAgentPods({ ...options, timeoutMs: requestTimeout * 1_000 });
}

/** Errors of nodes are remarks: the others have an answer. */
function remarkFailures({ env }: Context, outcomes: readonly Outcome[]): void {
  for (const { pod, error } of outcomes)
    if (error !== undefined) note(env, printable(`node ${pod.node}: ${error}`));
}

/** JSON of those that succeeded; the failures of others are remarked. */
function valuesOf<T>(
  context: Context,
  outcomes: readonly Outcome[],
): readonly { readonly node: string; readonly value: T }[] {
  remarkFailures(context, outcomes);
  return outcomes.flatMap((outcome) => {
    if (outcome.error !== undefined) return [];
    const { exitCode, stdout, stderr, pod } = outcome;
    try {
      return [{ node: pod.node, value: JSON.parse(stdout) as T }];
    } catch {
      // No such pod there is an answer.
      if (exitCode !== EXIT.notFound)
        note(context.env, printable(`node ${pod.node}: ${stderr.trim() || `exit code ${exitCode}`}`));
      return [];
    }
  });
}

/** 1 if a node has not answered, or its command has failed, though others have. */
const exitOf = (outcomes: readonly Outcome[]): number =>
  outcomes.some((each) => each.error !== undefined || isFailure(each.exitCode)) ? EXIT.error : EXIT.ok;

/** Answers are: no such object there; of `trace`, denied or a difference. */
const ANSWERS: readonly number[] = [EXIT.ok, EXIT.notFound, EXIT.denied, EXIT.differs];

const isFailure = (exitCode: number): boolean => !ANSWERS.includes(exitCode);

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
              left("DETAIL"),
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
      if (options.output === "table")
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
  readonly sortBy?: string;
}

const LIST_EXITS = `
Exit codes:
  0 done, 1 error (also of a single node), 2 wrong usage, 4 no agents, or no such object, 6 permission denied`;

export function addClusterEndpoints(parent: Command, exits: Exits): void {
  const command = parent
    .command("endpoints")
    .aliases(["endpoint", "ep", "pods", "pod", "po"])
    .description("list the pods of all nodes: isolation and state")
    .argument("[namespace/pod]", "only this pod")
    .addOption(namespaceOption())
    .addOption(allNamespacesOption())
    .option("-l, --selector <selector>", "only pods with these labels")
    .addOption(sortOption())
    .addOption(outputOption("table", "wide", "json", "yaml"))
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
      if (found.length === 0 && name !== undefined && exitOf(outcomes) === EXIT.ok)
        throw new CommandError(`no node has a pod ${name}`, EXIT.notFound);
      const rows = sortedBy(found, options.sortBy);
      const table = (wide: boolean) => {
        const { columns, rows: cells } = endpointsTable(rows, wide);
        return {
          columns: [left("NODE"), ...columns],
          rows: cells.map((each, at) => [rows[at]?.node ?? "", ...each]),
        };
      };
      await write(context.env, { table, value: rows }, options);
      return exitOf(outcomes);
    }),
  );
}

/** For the agents' command line, where a name that begins with a dash would be an option. */
function filtersOf(name: string | undefined, { namespace, selector }: ListOptions): string[] {
  if (name?.startsWith("-") === true) throw new CommandError(`${name} is not a name`, EXIT.usage);
  return [
    ...(name === undefined ? [] : [name]),
    ...(namespace === undefined ? [] : [`--namespace=${namespace}`]),
    ...(selector === undefined ? [] : [`--selector=${selector}`]),
  ];
}

interface ClusterPolicy {
  readonly namespace: string;
  readonly name: string;
  /** Pods that it selects, and on how many of them it is enforced, on how many nodes. */
  readonly selects: number;
  readonly enforced: number;
  readonly nodes: number;
  readonly audit?: true;
  readonly unreadable?: string;
}

export function addClusterPolicies(parent: Command, exits: Exits): void {
  const command = parent
    .command("policies")
    .aliases(["policy", "netpol", "networkpolicies", "networkpolicy"])
    .description("list policies, and on how many pods of the cluster they are enforced")
    .argument("[namespace/policy]", "only this policy")
    .addOption(namespaceOption())
    .addOption(allNamespacesOption())
    .addOption(sortOption())
    .addOption(outputOption("table", "json", "yaml"))
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
      if (found.length === 0 && name !== undefined && exitOf(outcomes) === EXIT.ok)
        throw new CommandError(`no policy ${name}`, EXIT.notFound);
      const rows = sortedBy(found, options.sortBy);
      await write(
        context.env,
        {
          table: () => ({
            columns: [...["NAMESPACE", "NAME"].map(left), ...["PODS", "NODES"].map(right), left("STATE")],
            rows: rows.map((row) => [
              row.namespace,
              row.name,
              String(row.selects),
              String(row.nodes),
              policyText(row),
            ]),
          }),
          value: rows,
        },
        options,
      );
      return exitOf(outcomes);
    }),
  );
}

function summed(lists: readonly (readonly PolicyView[])[]): ClusterPolicy[] {
  const sums = new Map<string, ClusterPolicy>();
  for (const { namespace, name, selects, enforced, audit, unreadable } of lists.flat()) {
    const key = `${namespace}/${name}`;
    const before = sums.get(key) ?? { selects: 0, enforced: 0, nodes: 0 };
    sums.set(key, {
      namespace,
      name,
      selects: before.selects + selects.length,
      enforced: before.enforced + enforced,
      nodes: before.nodes + (selects.length > 0 ? 1 : 0),
      ...(audit === undefined ? {} : { audit }),
      ...(unreadable === undefined ? {} : { unreadable }),
    });
  }
  return [...sums].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, each]) => each);
}

/** "enforced on 12 of 12 pods, 5 nodes". */
function policyText({ selects, enforced, nodes, audit, unreadable }: ClusterPolicy): string {
  if (selects === 0) return "selects no pod";
  const done = audit === true ? "audited" : "enforced";
  const reach = `${done} on ${enforced} of ${countText(selects, "pod")}, ${countText(nodes, "node")}`;
  return unreadable === undefined ? reach : `${reach}; unreadable, so allows nothing`;
}

interface MonitorOptions {
  readonly last: string;
  readonly output: "compact" | "wide" | "json";
}

const PASSED_ON = ["verdict", "reason", "from", "to", "pod", "policy", "port"] as const;

export function addClusterMonitor(parent: Command, exits: Exits): void {
  const command = parent
    .command("monitor")
    .description("show recently dropped packets of all nodes, ordered by time")
    .addOption(new Option("--last <count>", "the latest events, at most 1000").default("20"))
    .option("--verdict <verdict>", "only this verdict: dropped, audit")
    .option("--reason <reason>", "only this reason")
    .option("--from <end>", "only packets from this end")
    .option("--to <end>", "only packets to this end")
    .option("--pod <namespace/name>", "only packets from or to this pod")
    .option("--policy <namespace/policy>", "only packets that this policy dropped")
    .option("--port <number>", "only packets with this port at either end")
    .addOption(
      new Option("-o, --output <format>", "output format")
        .choices(["compact", "wide", "json"])
        .default("compact"),
    )
    .addHelpText(
      "after",
      `
A packet between pods of two nodes may be reported by either. A node without a pod or policy of the name in a filter has
no events of it.

Examples:
  kubectl weir monitor
  kubectl weir monitor --to shop/ --last 100 -o wide
${LIST_EXITS}`,
    );
  command.action(
    exits(async (context: Context, { last, output, ...given }: MonitorOptions) => {
      const agents = await agentsOf(command);
      const filters = given as Readonly<Record<string, string | undefined>>;
      const passed = PASSED_ON.flatMap((name) => {
        const value = filters[name];
        return value === undefined ? [] : [`--${name}=${value}`];
      });
      const outcomes = await agents.run(["monitor", "-o", "json", `--last=${last}`, ...passed]);
      remarkFailures(context, outcomes);
      const answered = outcomes.filter((each) => each.error === undefined);
      const refused = answered.filter(({ exitCode }) => exitCode !== 0);
      const [first] = refused;
      if (first !== undefined && refused.length === answered.length)
        throw new CommandError(first.stderr.trim().replace(/^weir: /, ""), first.exitCode);
      for (const { pod, exitCode, stderr } of refused)
        if (isFailure(exitCode)) note(context.env, printable(`node ${pod.node}: ${stderr.trim()}`));
      const events = answered
        .flatMap(({ stdout }) => stdout.split("\n").filter((line) => line !== ""))
        .map((line) => JSON.parse(line) as EventView)
        .sort((a, b) => (a.time < b.time ? -1 : 1));
      const width = context.env.stdout.columns ?? 120;
      for (const event of events.slice(-Number(last)))
        context.env.stdout.write(
          output === "json"
            ? jsonText(event, 0)
            : `${output === "wide" ? wideEventLine(event) : eventLine(event, width)}\n`,
        );
      return exitOf(outcomes);
    }),
  );
}

export function addClusterTrace(parent: Command, exits: Exits): void {
  const command = parent
    .command("trace")
    .description("show whether one end reaches another, by the nodes of both")
    .requiredOption("--from <end>", "source: NAMESPACE/POD or an address")
    .requiredOption("--to <end>", "destination: NAMESPACE/NAME of a pod or Service, or an address")
    .option("--port <port>", "destination port: a number, a range or a name")
    .option("--protocol <protocol>", "TCP, UDP, SCTP or ICMP")
    .addHelpText(
      "after",
      `
Queries the nodes of both ends: policies are the same there, and each kernel judges its own end. Without a node (an
address, a Service) any agent answers.

Examples:
  kubectl weir trace --from shop/web-0 --to shop/db-0 --port 5432

Exit codes:
  0 allowed, 1 error, 2 wrong usage, 3 denied (or partly), 4 no such end, 5 a kernel disagrees, 6 permission denied`,
    );
  command.action(
    exits(async (context: Context, options: Readonly<Record<string, string | undefined>>) => {
      const agents = await agentsOf(command);
      const ends = [options["from"], options["to"]].filter((end) => end?.includes("/")) as string[];
      const nodes = new Set((await Promise.all(ends.map((end) => agents.nodeOf(end)))).filter(Boolean));
      const own = agents.pods.filter(({ node }) => nodes.has(node));
      const asked = own.length > 0 ? own : agents.pods.filter(({ phase }) => phase === undefined).slice(0, 1);
      const words = ["from", "to", "port", "protocol"].flatMap((name) =>
        options[name] === undefined ? [] : [`--${name}=${options[name]}`],
      );
      const outcomes = await agents.run(["trace", ...words], asked);
      remarkFailures(context, outcomes);
      const answered = outcomes.filter((each) => each.error === undefined);
      for (const { pod, stdout, stderr } of answered) {
        if (asked.length > 1) context.env.stdout.write(`on node ${printable(pod.node)}:\n`);
        context.env.stdout.write(stdout);
        if (stderr !== "") note(context.env, printable(`node ${pod.node}: ${stderr.trim()}`));
      }
      return Math.max(exitOf(outcomes), ...answered.map(({ exitCode }) => exitCode));
    }),
  );
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
        remarkFailures(context, outcomes);
        const entries = outcomes.flatMap((outcome) => {
          if (outcome.error !== undefined) return [];
          const { pod, exitCode, bytes, stderr } = outcome;
          if (exitCode === EXIT.ok) return [{ name: `${pod.node}/sysdump.tar.gz`, content: bytes }];
          note(context.env, printable(`node ${pod.node}: ${stderr.trim()}`));
          return [];
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
