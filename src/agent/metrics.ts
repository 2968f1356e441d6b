// What the agent says to Prometheus: the kernel's counters, its own state, and the process; read when it is asked.

import { readdirSync } from "node:fs";
import { monitorEventLoopDelay } from "node:perf_hooks";
import { DIRECTIONS } from "../base/direction.ts";
import type { Log } from "../base/log.ts";
import { entriesIn, readCounts } from "../datapath/counting.ts";
import type { EventTotals } from "../datapath/events.ts";
import { COUNTED_FAMILY_NAMES, COUNTED_FAMILY_NAMES, REASON_NAMES, REASON_NAMES, Reason, Reason, SCREENED_NAMES, Screened } from "../gen/layout.ts";
import { keyOf } from "../model/cluster.ts";
import { type Metrics, openMetrics, type Readings, type Sample } from "../observe/metrics/registry.ts";
import { type Endpoint, type MetricsServer, serveMetrics } from "../observe/metrics/server.ts";
import type { HistogramKey } from "../observe/metrics/table.ts";
import { type Cell, openTraffic, type PoliciesOf, type Traffic } from "../observe/metrics/traffic.ts";
import type { CapacityView, StatusView, UplinkView } from "../observe/view.ts";
import type { Kernel } from "./kernel.ts";
import type { InForce } from "./views.ts";

export interface Measured {
  readonly status: () => StatusView;
  readonly kernel: () => Kernel | undefined;
  readonly force: () => InForce | undefined;
  readonly events: () => Promise<EventTotals & { readonly unwritten: number }>;
}

export interface MetricsOptions {
  readonly listen: Endpoint;
  /** Whether each policy has series of its own. */
  readonly policies: boolean;
}

/** What a round tells: how long its steps took, and when endpoints are about to change. */
export interface Meter {
  took(step: HistogramKey, seconds: number): void;
  ended(settled: boolean, repaired: number): void;
  /** Before something is written: endpoints that go take their counters with them. */
  beforeApply(): Promise<void>;
}

export interface AgentMetrics extends Meter {
  close(): Promise<void>;
}

/** Maps that packets fill: nobody but the kernel knows how full they are. */
const FILLED_BY_PACKETS = ["conntrack_v4", "conntrack_v6", "fragments"] as const;
/** Counting them walks them, so it is done at most so often. */
const COUNT_EVERY_MS = 10_000;
const LISTEN_AGAIN_MS = 10_000;

/** Listens from now on; where that fails, it is logged, and tried again and again: enforcement does not wait for it. */
export function openAgentMetrics(measured: Measured, options: MetricsOptions, log: Log): AgentMetrics {
  const traffic = openTraffic();
  const rounds = { settled: 0, failed: 0, repaired: 0 };
  const filled = fillReader(measured);
  const delay = monitorEventLoopDelay();
  delay.enable();
  async function take(): Promise<void> {
    const kernel = measured.kernel();
    if (kernel === undefined) return;
    const cells = cellsOf(await readCounts(kernel.datapath.map("counters")));
    traffic.take(cells, policiesOf(measured.force()));
  }
  const metrics = openMetrics(async () => {
    await take();
    const lag = delay.max / 1e9;
    delay.reset();
    return {
      ...statusReadings(measured.status(), await filled()),
      ...uplinkReadings(measured.status().uplinks),
      ...forceReadings(measured.force()),
      ...trafficReadings(traffic, options.policies ? measured.force() : undefined),
      ...eventReadings(await measured.events(), traffic),
      rounds: [
        { labels: { result: "settled" }, value: rounds.settled },
        { labels: { result: "failed" }, value: rounds.failed },
      ],
      repairs: [{ value: rounds.repaired }],
      ...processReadings(lag),
    };
  });
  const listener = listenUntilClosed(measured, metrics, options.listen, log);
  return {
    took: (step, seconds) => metrics.observe(step, seconds),
    ended(settled, repaired) {
      rounds[settled ? "settled" : "failed"] += 1;
      rounds.repaired += repaired;
    },
    beforeApply: take,
    async close() {
      delay.disable();
      await listener.close();
    },
  };
}

function listenUntilClosed(measured: Measured, metrics: Metrics, at: Endpoint, log: Log) {
  let retry: NodeJS.Timeout | undefined;
  let closed = false;
  const pages = {
    contentType: metrics.contentType,
    metrics: () => metrics.text(),
    // It answers, so its event loop turns.
    dead: () => undefined,
    unready: () => unreadyReason(measured),
  };
  const open = async (): Promise<MetricsServer | undefined> => {
    try {
      const server = await serveMetrics(at, pages);
      log.info("metrics", { host: at.host, port: server.port });
      return server;
    } catch (error) {
      if (retry === undefined) log.error(String(error instanceof Error ? error.message : error));
      retry = setTimeout(() => {
        if (!closed) server = open();
      }, LISTEN_AGAIN_MS).unref();
      return undefined;
    }
  };
  let server = open();
  return {
    async close() {
      closed = true;
      clearTimeout(retry);
      await (await server)?.close();
    },
  };
}

function unreadyReason({ status, force }: Measured): string | undefined {
  if (force() === undefined) return "nothing has been brought into force yet";
  const { wanted, applied } = status().generation;
  return wanted === applied ? undefined : `generation ${wanted} is wanted, ${applied} is in force`;
}

function cellsOf(counts: Awaited<ReturnType<typeof readCounts>>): Cell[] {
  return counts.flatMap(({ id, families }) =>
    families.flatMap((sides, family) =>
      sides.flatMap((cells, side) =>
        cells.flatMap(({ packets, bytes }, reason): Cell[] => {
          if (packets === 0n) return [];
          return [
            {
              endpoint: id,
              family: COUNTED_FAMILY_NAMES[family] ?? String(family),
              direction: DIRECTIONS[side] ?? String(side),
              reason: REASON_NAMES[reason] ?? String(reason),
              packets,
              bytes,
            },
          ];
        }),
      ),
    ),
  );
}

/** The policies that isolate an endpoint in a direction, by the endpoint's id. */
function policiesOf(force: InForce | undefined): PoliciesOf {
  const names = new Map<string, readonly string[]>();
  for (const { local, sides } of force?.compiled.meaning.sides ?? []) {
    const id = force?.compiled.state.endpoints.get(local.ifindex)?.id;
    for (const direction of DIRECTIONS)
      names.set(`${id} ${direction}`, (sides[direction]?.policies ?? []).map(keyOf));
  }
  return (endpoint, direction) => names.get(`${endpoint} ${direction}`) ?? [];
}

const DROPPING: ReadonlySet<string> = new Set(
  Object.entries(REASON_NAMES).flatMap(([reason, name]) => (Number(reason) >= Reason.DROPS ? [name] : [])),
);

function trafficReadings(traffic: Traffic, force: InForce | undefined): Readings {
  const rows = traffic.totals().map(({ packets, bytes, ...labels }) => ({
    labels: { ...labels, verdict: verdictOf(labels.reason) },
    packets: Number(packets),
    bytes: Number(bytes),
  }));
  const known = (policy: string): boolean => force?.cluster.policies.has(policy) === true;
  return {
    packets: rows.map(({ labels, packets }) => ({ labels, value: packets })),
    bytes: rows.map(({ labels, bytes }) => ({ labels, value: bytes })),
    ...(force === undefined
      ? {}
      : {
          policyPackets: traffic.policies(known).map(({ policy, direction, reason, packets }): Sample => {
            const [namespace = "", name = ""] = policy.split("/");
            return { labels: { namespace, policy: name, direction, reason }, value: Number(packets) };
          }),
        }),
  };
}

/** What is dropped and not told of, nor lost, was suppressed. */
function eventReadings(events: Awaited<ReturnType<Measured["events"]>>, traffic: Traffic): Readings {
  const dropped = traffic
    .totals()
    .reduce((sum, { reason, packets }) => (DROPPING.has(reason) ? sum + packets : sum), 0n);
  const suppressed = Number(dropped - events.dropsWritten - events.lost);
  return {
    eventsWritten: [{ value: Number(events.written) }],
    eventsSuppressed: [{ value: Math.max(0, suppressed) }],
    eventsLost: [
      { labels: { where: "ring" }, value: Number(events.lost) },
      { labels: { where: "file" }, value: events.unwritten },
    ],
  };
}

const verdictOf = (reason: string): string => (DROPPING.has(reason) ? "dropped" : "passed");

function statusReadings(status: StatusView, filled: readonly CapacityView[]): Readings {
  const tables = [...status.capacity, ...filled];
  const ofTables = (value: (table: CapacityView) => number): Sample[] =>
    tables.map((table) => ({ labels: { table: table.name }, value: value(table) }));
  return {
    build: [{ labels: { version: status.version, hook: status.hook }, value: 1 }],
    generationWanted: [{ value: status.generation.wanted }],
    generationApplied: [{ value: status.generation.applied }],
    ...(status.appliedAt === undefined
      ? {}
      : { appliedAt: [{ value: Date.parse(status.appliedAt) / 1_000 }] }),
    problems: (["error", "warning"] as const).map((severity) => ({
      labels: { severity },
      value: status.problems.filter((problem) => problem.severity === severity).length,
    })),
    entries: ofTables(({ used }) => used),
    capacity: ofTables(({ max }) => max),
    pressure: ofTables(({ used, max }) => used / max),
    started: [{ value: Date.parse(status.startedAt) / 1_000 }],
  };
}

const DROPPING_ON_UPLINKS: ReadonlySet<string> = new Set(
  Object.entries(SCREENED_NAMES).flatMap(([number, name]) =>
    Number(number) >= Screened.DROPS ? [name] : [],
  ),
);

function uplinkReadings(uplinks: UplinkView | undefined): Readings {
  if (uplinks === undefined) return {};
  const modes = ["native", "generic", "none"] as const;
  return {
    uplinks: modes.map((mode) => ({
      labels: { mode },
      value: uplinks.interfaces.filter((each) => each.mode === mode).length,
    })),
    uplinkFrames: Object.entries(uplinks.frames).map(([reason, value]) => ({
      labels: { verdict: DROPPING_ON_UPLINKS.has(reason) ? "dropped" : "passed", reason },
      value,
    })),
    deniedPrefixes: [{ value: uplinks.prefixes }],
  };
}

function forceReadings(force: InForce | undefined): Readings {
  const sides = force?.compiled.meaning.sides ?? [];
  const policies = [...(force?.cluster.policies.values() ?? [])];
  const unreadable = policies.filter((policy) => policy.unreadable !== undefined).length;
  return {
    endpoints: [
      { labels: { state: "enforced" }, value: sides.length },
      { labels: { state: "no-interface" }, value: force?.missing.length ?? 0 },
    ],
    isolated: DIRECTIONS.map((direction) => ({
      labels: { direction },
      value: sides.filter((entry) => entry.sides[direction] !== undefined).length,
    })),
    policies: [
      { labels: { state: "readable" }, value: policies.length - unreadable },
      { labels: { state: "unreadable" }, value: unreadable },
    ],
  };
}

function fillReader({ kernel }: Measured): () => Promise<readonly CapacityView[]> {
  let last: readonly CapacityView[] = [];
  let countedAt = Number.NEGATIVE_INFINITY;
  return async () => {
    const { datapath } = kernel() ?? {};
    if (datapath === undefined || performance.now() < countedAt + COUNT_EVERY_MS) return last;
    countedAt = performance.now();
    last = await Promise.all(
      FILLED_BY_PACKETS.map(async (name) => {
        const map = datapath.map(name);
        return { name, used: await entriesIn(map), max: map.info.maxEntries };
      }),
    );
    return last;
  };
}

function processReadings(lag: number): Readings {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  return {
    cpu: [{ value: (user + system) / 1e6 }],
    memory: [{ value: rss }],
    heap: [{ value: heapUsed }],
    files: [{ value: readdirSync("/proc/self/fd").length }],
    lag: [{ value: lag }],
  };
}
