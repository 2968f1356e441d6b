// The page's questions, answered by commands on the nodes: one function for each path below /api/.

import { setImmediate } from "node:timers/promises";
import { parseAddress } from "../../base/ip.ts";
import type { EventView } from "../../events/packet-event.ts";
import { PROTOCOLS } from "../../model/protocol.ts";
import type { ReachabilityView } from "../../model/reachability-view.ts";
import type { PolicyView } from "../../observe/api-views.ts";
import type { HistoryView } from "../../observe/history-views.ts";
import type { StatusReport } from "../../observe/status-report.ts";
import { placeOf } from "../../policy/port-classes.ts";
import type { Outcome } from "../plugin/agent-pods.ts";
import type { TraceReport } from "../trace-report.ts";
import type { AgentRunner } from "./agent-runner.ts";
import type {
  Answered,
  CellView,
  DropsView,
  EventsView,
  GraphView,
  LabelView,
  MatrixView,
  NodeFailure,
  OverviewView,
  PoliciesView,
  PolicyRowView,
  TraceView,
} from "./page-views.ts";
import { type ReachIndex, reachIndex } from "./reach-index.ts";

/** The question cannot be answered as it is; for a person. */
export class PageQuestionError extends Error {}

export type PageData = Readonly<Record<string, (parameters: URLSearchParams) => Promise<Answered>>>;

/** Maximum age of an answer that is used again: several views of one page need the same. */
const AGE_MS_MAX = 2_000;
/** Reachability changes with policies and pods, and costs a large cluster seconds. */
const REACH_AGE_MS_MAX = 5_000;

/** Rows and columns of a matrix, nodes and edges of a graph, and rows of lists. */
const SIDE_MAX = 300;
const NODES_MAX = 120;
const EDGES_MAX = 400;
const ROWS_MAX = 500;
const PODS_SHOWN_MAX = 20;
const EVENTS_MAX = 200;

export function pageData(runner: AgentRunner, now: () => Date): PageData {
  const commands = openCommands(runner, now);
  const reach = openReach(commands);
  return {
    overview: async () => {
      const { outcomes, at } = await commands(["status", "-o", "json"], AGE_MS_MAX);
      // A node that is down or degraded has a report, and another exit code than 0.
      const nodes = outcomes.map((outcome) => {
        const report = reportIn<StatusReport>(outcome);
        const { node } = outcome.pod;
        return report === undefined ? { node, error: failureOf(outcome) } : { node, report };
      });
      return { title: runner.title, nodes, failures: [], at } satisfies OverviewView;
    },
    policies: async () => {
      const { values, ...answered } = await commands.values<readonly PolicyView[]>([
        "get",
        "policies",
        "-o",
        "json",
      ]);
      return { policies: policyRows(values), ...answered } satisfies PoliciesView;
    },
    matrix: async (asked) => matrixOf(await reach(), asked),
    graph: async (asked) => graphOf(await reach(), asked),
    trace: (asked) => traceOf(runner, commands, asked),
    drops: async (asked) => dropsOf(commands, asked),
    events: async (asked) => {
      const pod = asked.get("pod");
      const filter = pod === null || pod === "" ? [] : [`--pod=${pod}`];
      const args = ["monitor", "-o", "json", `--last=${EVENTS_MAX}`, ...filter];
      const { outcomes, at } = await commands(args, AGE_MS_MAX);
      const lines = outcomes.flatMap((outcome) =>
        outcome.error === undefined && outcome.exitCode === 0
          ? outcome.stdout
              .split("\n")
              .filter((line) => line !== "")
              .map((line) => ({ ...(JSON.parse(line) as EventView), node: outcome.pod.node }))
          : [],
      );
      const events = lines.sort((a, b) => (a.time < b.time ? 1 : -1)).slice(0, EVENTS_MAX);
      // A node without the pod of a filter is no failure.
      return { events, failures: failuresIn(outcomes, [0, 4]), at } satisfies EventsView;
    },
  };
}

// Commands on the nodes, each run once for simultaneous requests.

interface Ran {
  readonly outcomes: readonly Outcome[];
  readonly at: string;
}

interface Commands {
  (args: readonly string[], ageMs: number): Promise<Ran>;
  /** JSON of the nodes that have an answer. */
  values<T>(
    args: readonly string[],
    ageMs?: number,
  ): Promise<Answered & { readonly values: readonly { readonly node: string; readonly value: T }[] }>;
}

function openCommands(runner: AgentRunner, now: () => Date): Commands {
  const kept = new Map<string, { readonly since: number; readonly ran: Promise<Ran> }>();
  const commands = (args: readonly string[], ageMs: number): Promise<Ran> => {
    const [key, time] = [args.join("\0"), now().getTime()];
    for (const [old, { since }] of kept) if (time - since > REACH_AGE_MS_MAX) kept.delete(old);
    const known = kept.get(key);
    if (known !== undefined && time - known.since <= ageMs) return known.ran;
    const ran = runner
      .pods()
      .then((pods) => runner.run(args, pods))
      .then((outcomes) => ({ outcomes, at: now().toISOString() }));
    kept.set(key, { since: time, ran });
    return ran;
  };
  return Object.assign(commands, {
    async values<T>(args: readonly string[], ageMs = AGE_MS_MAX) {
      const { outcomes, at } = await commands(args, ageMs);
      const values = outcomes.flatMap((outcome) => {
        if (outcome.error !== undefined || outcome.exitCode !== 0) return [];
        return [{ node: outcome.pod.node, value: JSON.parse(outcome.stdout) as T }];
      });
      return { values, failures: failuresIn(outcomes, [0]), at };
    },
  });
}

function reportIn<T>(outcome: Outcome): T | undefined {
  if (outcome.error !== undefined) return undefined;
  try {
    return JSON.parse(outcome.stdout) as T;
  } catch {
    return undefined;
  }
}

const failuresIn = (outcomes: readonly Outcome[], expected: readonly number[]): NodeFailure[] =>
  outcomes.flatMap((outcome) =>
    outcome.error === undefined && expected.includes(outcome.exitCode)
      ? []
      : [{ node: outcome.pod.node, error: failureOf(outcome) }],
  );

const failureOf = (outcome: Outcome): string =>
  outcome.error ?? (outcome.stderr.trim().replace(/^weir: /, "") || `exit code ${outcome.exitCode}`);

// Policies.

function policyRows(
  answers: readonly { readonly node: string; readonly value: readonly PolicyView[] }[],
): PolicyRowView[] {
  const rows = new Map<string, PolicyRowView>();
  for (const { node, value } of answers)
    for (const { selects, ...policy } of value) {
      const key = `${policy.namespace}/${policy.name}`;
      const before = rows.get(key);
      const own = {
        node,
        pods: selects.length,
        enforced: policy.enforced,
        some: selects.slice(0, PODS_SHOWN_MAX),
      };
      rows.set(key, {
        ...policy,
        pods: (before?.pods ?? 0) + selects.length,
        enforced: (before?.enforced ?? 0) + policy.enforced,
        nodes: [...(before?.nodes ?? []), ...(selects.length === 0 ? [] : [own])],
      });
    }
  return [...rows].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, row]) => row);
}

// Who may reach whom.

interface Reach extends Answered {
  readonly index: ReachIndex;
  /** Indexes of the workloads of each namespace, the one outside of the cluster under "". */
  readonly namespaces: ReadonlyMap<string, readonly number[]>;
  readonly matrices: Map<string, Promise<Omit<MatrixView, keyof Answered>>>;
}

/** Combined once for each set of answers. */
function openReach(commands: Commands): () => Promise<Reach> {
  let last: { readonly at: string; readonly reach: Reach } | undefined;
  return async () => {
    const args = ["get", "reachability", "-o", "ndjson"];
    const { values, ...answered } = await commands.values<ReachabilityView>(args, REACH_AGE_MS_MAX);
    if (last?.at !== answered.at) {
      const index = reachIndex(values.map(({ value }) => value));
      const namespaces = new Map<string, number[]>();
      for (const [number, { namespace }] of index.workloads.entries()) {
        const own = namespaces.get(namespace);
        if (own === undefined) namespaces.set(namespace, [number]);
        else own.push(number);
      }
      last = { at: answered.at, reach: { ...answered, index, namespaces, matrices: new Map() } };
    }
    return last.reach;
  };
}

async function matrixOf(reach: Reach, asked: URLSearchParams): Promise<MatrixView> {
  const { matrices, at, failures } = reach;
  const key = `${asked.get("from")} ${asked.get("to")} ${asked.get("port")}`;
  const known = matrices.get(key) ?? computeMatrix(reach, asked);
  matrices.set(key, known);
  return { at, failures, ...(await known) };
}

async function computeMatrix(
  { index, namespaces }: Reach,
  asked: URLSearchParams,
): Promise<Omit<MatrixView, keyof Answered>> {
  const cellAt = index.cellAt(placeIn(asked.get("port")));
  const side = (name: "from" | "to") => {
    const namespace = asked.get(name);
    if (namespace === null) return [...namespaces].sort(byOutsideLast).map(([, numbers]) => numbers);
    const own = namespaces.get(namespace);
    if (own === undefined) throw new PageQuestionError(`no namespace ${namespace} has pods`);
    return own.map((number) => [number]);
  };
  const [from, to] = [side("from"), side("to")];
  const [rows, columns] = [from.slice(0, SIDE_MAX), to.slice(0, SIDE_MAX)];
  const distinct = new Map<string, { readonly number: number; readonly cell: CellView }>();
  const cells: number[][] = [];
  for (const row of rows) {
    cells.push(
      columns.map((column) => {
        const cell = cellAt(row, column);
        const content = JSON.stringify(cell);
        const known = distinct.get(content) ?? { number: distinct.size, cell };
        distinct.set(content, known);
        return known.number;
      }),
    );
    // Other requests in between.
    await setImmediate();
  }
  const labels = (groups: readonly (readonly number[])[], isWhole: boolean): LabelView[] =>
    groups.map((numbers) => labelOf(index, numbers, isWhole));
  return {
    rows: labels(rows, !asked.has("from")),
    columns: labels(columns, !asked.has("to")),
    cells,
    distinct: [...distinct.values()].map(({ cell }) => cell),
    left: { rows: from.length - rows.length, columns: to.length - columns.length },
    totals: totalsOf(index, namespaces),
  };
}

const byOutsideLast = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]): number =>
  a === "" ? 1 : b === "" ? -1 : a < b ? -1 : 1;

const totalsOf = ({ workloads }: ReachIndex, namespaces: Reach["namespaces"]): MatrixView["totals"] => ({
  pods: workloads.reduce((sum, { pods }) => sum + pods, 0),
  workloads: workloads.filter(({ namespace }) => namespace !== "").length,
  namespaces: namespaces.size - (namespaces.has("") ? 1 : 0),
});

function labelOf({ workloads }: ReachIndex, numbers: readonly number[], isWhole: boolean): LabelView {
  const own = numbers.map((number) => workloads[number] as LabelView);
  const [first] = own as [LabelView, ...LabelView[]];
  if (!isWhole || first.namespace === "") return first;
  const sum = (of: (each: LabelView) => number): number => own.reduce((total, each) => total + of(each), 0);
  return {
    namespace: first.namespace,
    pods: sum(({ pods }) => pods),
    example: first.example,
    isolated: {
      ingress: sum(({ isolated }) => isolated.ingress),
      egress: sum(({ isolated }) => isolated.egress),
    },
  };
}

/** "TCP/80"; undefined for every port. */
function placeIn(text: string | null): number | undefined {
  if (text === null || text === "") return undefined;
  const [, name, number] = /^(?:(TCP|UDP|SCTP)\/)?(\d{1,5})$/i.exec(text.trim()) ?? [];
  const protocol = PROTOCOLS.find((each) => each === (name ?? "TCP").toUpperCase());
  const port = Number(number ?? Number.NaN);
  if (protocol === undefined || !(port >= 0 && port <= 65_535))
    throw new PageQuestionError(`${text} is not a port: write 80, TCP/80 or UDP/53`);
  return placeOf(protocol, port);
}

interface Edge {
  readonly from: number;
  readonly to: number;
  readonly cell: CellView;
}

/** Whether a rule allows it: without one there is nothing to draw. */
const isRuled = ({ kind }: CellView): boolean => ["all", "ports", "some", "unknown"].includes(kind);

/** What all others may send, where they all may: one remark instead of a line from each. The most frequent set of ports. */
function commonPorts(into: readonly Edge[]): string | undefined {
  if (into.length < 3 || into.some(({ cell: { kind } }) => kind === "none")) return undefined;
  const counts = new Map<string, number>();
  for (const { cell } of into) if (isRuled(cell)) counts.set(cell.some, (counts.get(cell.some) ?? 0) + 1);
  return [...counts].sort(([, a], [, b]) => b - a)[0]?.[0];
}

/** The namespaces, or the workloads of one with the other namespaces around them. */
async function graphOf(reach: Reach, asked: URLSearchParams): Promise<GraphView> {
  const { index, namespaces, at, failures } = reach;
  const cellAt = index.cellAt(placeIn(asked.get("port")));
  const chosen = asked.get("namespace");
  if (chosen !== null && !namespaces.has(chosen))
    throw new PageQuestionError(`no namespace ${chosen} has pods`);
  const groups = [...namespaces]
    .sort(byOutsideLast)
    .flatMap(([namespace, numbers]) =>
      namespace === chosen
        ? numbers.map((number) => ({ numbers: [number], isWhole: false }))
        : [{ numbers, isWhole: true }],
    );
  const isInner = (at: number): boolean => chosen === null || groups[at]?.isWhole === false;
  const edges: Edge[] = [];
  const fromEverywhere = new Map<number, string>();
  for (const [to, destination] of groups.entries()) {
    const into = groups.flatMap((source, from) =>
      from === to || !(isInner(from) || isInner(to))
        ? []
        : [{ from, to, cell: cellAt(source.numbers, destination.numbers) }],
    );
    const common = isInner(to) ? commonPorts(into) : undefined;
    if (common !== undefined) fromEverywhere.set(to, common);
    edges.push(...into.filter(({ cell }) => isRuled(cell) && cell.some !== common));
    await setImmediate();
  }
  // The most particular ones come first.
  const order = { ports: 0, some: 1, all: 2 } as Readonly<Record<string, number>>;
  const sorted = edges.sort((a, b) => (order[a.cell.kind] ?? 3) - (order[b.cell.kind] ?? 3));
  const shown = sorted.slice(0, EDGES_MAX);
  const used = new Set(shown.flatMap(({ from, to }) => [from, to]));
  const kept = groups
    .map((_, at) => at)
    .filter((at) => used.has(at) || isInner(at))
    .slice(0, NODES_MAX);
  const numbers = new Map(kept.map((at, number) => [at, number]));
  const drawn = shown.filter(({ from, to }) => numbers.has(from) && numbers.has(to));
  return {
    at,
    failures,
    nodes: kept.map((each) => {
      const { numbers: own, isWhole } = groups[each] as (typeof groups)[number];
      const common = fromEverywhere.get(each);
      return { ...labelOf(index, own, isWhole), ...(common === undefined ? {} : { fromEverywhere: common }) };
    }),
    edges: drawn.map(({ from, to, cell: { kind, some, audit } }) => ({
      from: numbers.get(from) as number,
      to: numbers.get(to) as number,
      ports: some,
      kind,
      ...(audit === undefined ? {} : { audit }),
    })),
    left: edges.length - drawn.length,
  };
}

// One connection, with the rules on both sides.

async function traceOf(runner: AgentRunner, commands: Commands, asked: URLSearchParams): Promise<TraceView> {
  const [from, to] = ["from", "to"].map((name) => {
    const end = asked.get(name)?.trim() ?? "";
    if (end === "") throw new PageQuestionError(`${name}: a pod (namespace/name) or an address`);
    return end;
  }) as [string, string];
  const more = ["port", "protocol"].flatMap((name) => {
    const value = asked.get(name)?.trim() ?? "";
    return value === "" ? [] : [`--${name}=${value}`];
  });
  const ends = [from, to].filter((end) => end.includes("/") && !parseAddress(end).ok);
  const nodes = new Set(await Promise.all(ends.map((end) => runner.nodeOf(end))));
  const pods = await runner.pods();
  const own = pods.filter(({ node }) => nodes.has(node));
  const chosen = own.length > 0 ? own : pods.filter(({ phase }) => phase === undefined).slice(0, 1);
  const outcomes = await runner.run(["trace", `--from=${from}`, `--to=${to}`, "-o", "json", ...more], chosen);
  const reports = outcomes.flatMap((outcome) => {
    const report = reportIn<TraceReport>(outcome);
    return report === undefined ? [] : [{ node: outcome.pod.node, report }];
  });
  const failures = outcomes.flatMap((outcome) =>
    reportIn(outcome) === undefined ? [{ node: outcome.pod.node, error: failureOf(outcome) }] : [],
  );
  const { at } = await commands(["status", "-o", "json"], REACH_AGE_MS_MAX);
  return { at, failures, reports };
}

// What was dropped.

const SINCE = /^(?:\d{1,4}[mhd])$/;

async function dropsOf(commands: Commands, asked: URLSearchParams): Promise<DropsView> {
  const since = asked.get("since") ?? "1h";
  if (!SINCE.test(since)) throw new PageQuestionError(`${since} is not a duration: write 15m, 1h or 24h`);
  const pod = asked.get("pod") ?? "";
  const base = ["drops", "-o", "json", `--since=${since}`, ...(pod === "" ? [] : [`--pod=${pod}`])];
  const [sums, minutes, audited] = await Promise.all([
    commands.values<HistoryView>(base),
    commands.values<HistoryView>([...base, "--by=minute"]),
    commands.values<HistoryView>([...base, "--by=minute", "--audit"]),
  ]);
  const views = sums.values.map(({ value }) => value);
  const rows = sums.values
    .flatMap(({ node, value }) => value.rows.map((row) => ({ ...row, node })))
    .sort((a, b) => b.packets - a.packets);
  const omitted = views.reduce((sum, view) => sum + (view.omitted?.rows ?? 0), 0);
  const shown = rows.slice(0, ROWS_MAX);
  const times = (all: readonly string[], first: boolean): string =>
    [...all].sort().at(first ? 0 : -1) ?? sums.at;
  const range = {
    since: times(
      views.map((view) => view.since),
      true,
    ),
    until: times(
      views.map((view) => view.until),
      false,
    ),
  };
  return {
    at: sums.at,
    failures: sums.failures,
    ...range,
    total: {
      packets: views.reduce((sum, { total }) => sum + total.packets, 0),
      bytes: views.reduce((sum, { total }) => sum + total.bytes, 0),
    },
    rows: shown,
    left: rows.length - shown.length + omitted,
    minutes: minuteSeries(
      range,
      [minutes, audited].map(({ values }) => values.map(({ value }) => value)),
    ),
    remarks: sums.values.flatMap(({ node, value }) => remarksOn(node, value)),
  };
}

const MINUTE_MS = 60_000;
/** A day, and some. */
const MINUTES_MAX = 3_000;

function minuteSeries(
  { since, until }: { readonly since: string; readonly until: string },
  views: readonly (readonly HistoryView[])[],
): DropsView["minutes"] {
  // Rows have the beginning of their minute.
  const minuteOf = (iso: string): number => Math.floor(Date.parse(iso) / MINUTE_MS);
  const last = minuteOf(until);
  const first = Math.max(minuteOf(since), last - MINUTES_MAX);
  const [dropped = [], audit = []] = views.map((all) => {
    const sums = new Array<number>(last - first + 1).fill(0);
    for (const { rows } of all)
      for (const { time, packets } of rows) {
        const at = time === undefined ? -1 : Math.min(minuteOf(time), last) - first;
        if (at >= 0) sums[at] = (sums[at] ?? 0) + packets;
      }
    return sums;
  });
  return { time: dropped.map((_, at) => (first + at) * 60), dropped, audit };
}

function remarksOn(node: string, { covered, since, gaps, away, damaged, lost }: HistoryView): string[] {
  const late = covered === undefined || Date.parse(covered.from) - Date.parse(since) > 2 * MINUTE_MS;
  return [
    ...(late
      ? [`${node}: the history begins at ${covered?.from.slice(0, 19) ?? "none of these minutes"}`]
      : []),
    ...(gaps.length > 0 ? [`${node}: ${gaps.length} gaps were not recorded`] : []),
    ...(away.length > 0 ? [`${node}: no agent ran for a part of the time; its packets have no peers`] : []),
    ...(damaged > 0 ? [`${node}: ${damaged} bytes of the history are damaged`] : []),
    ...(lost > 0 ? [`${node}: ${lost} minutes could not be written`] : []),
  ];
}
