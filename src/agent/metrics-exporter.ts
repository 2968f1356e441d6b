// What the agent exports to Prometheus: the kernel's counters, its own state, and the process; read at each
// scrape.

import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Log } from "../base/log.ts";
import type { Fault } from "../datapath/attachments.ts";
import { readNameStatistics } from "../datapath/domain-names.ts";
import { entriesIn } from "../datapath/per-cpu-counters.ts";
import type { CapacityView } from "../observe/api-views.ts";
import { type Endpoint, openListener, serveMetrics } from "../observe/http-pages.ts";
import { openMetrics } from "../observe/metrics-registry.ts";
import type { HistogramKey } from "../observe/metrics-table.ts";
import type { CniCounts } from "./cni/cni-server.ts";
import type { Kernel } from "./datapath-handle.ts";
import type { FlowUsage } from "./flow-usage.ts";
import { type Probed, probesOf } from "./kubelet-probes.ts";
import type { EventCount } from "./kubernetes/event-recorder.ts";
import {
  cniSamples,
  type EventSample,
  enforcementSamples,
  eventSamples,
  flowSamples,
  kubernetesSamples,
  nameSamples,
  processSamples,
  sourceSamples,
  statusSamples,
  trafficSamples,
  uplinkSamples,
} from "./metrics-samples.ts";
import type { TrafficAccounting } from "./traffic-accounting.ts";

export interface Measured extends Probed {
  readonly kernel: () => Kernel | undefined;
  readonly accounting: Pick<TrafficAccounting, "traffic" | "take" | "eventTotals" | "persist">;
  /** Findings of the last integrity check. */
  readonly faults: () => readonly Fault[];
  readonly flows: FlowUsage;
  readonly events: () => Promise<EventSample>;
  readonly cni: () => CniCounts;
  readonly kubernetes: () => readonly EventCount[];
  /** Connections refused, by listener, except for the metrics listener. */
  readonly refused: () => Readonly<Record<string, number>>;
}

export interface MetricsOptions {
  readonly listen: Endpoint;
  /** Whether each policy has series of its own. */
  readonly policies: boolean;
}

/** What a reconciliation reports: the duration of its steps, and its result. */
export interface Meter {
  took(step: HistogramKey, seconds: number): void;
  ended(settled: boolean, repaired: number): void;
}

export interface AgentMetrics extends Meter {
  close(): Promise<void>;
}

/** A map that packets fill, beside the flow table: only the kernel has its number of entries. */
const FRAGMENTS = "fragments";
/** Counting walks the whole map, so it happens at most this often. */
const COUNT_EVERY_MS = 10_000;

export function openAgentMetrics(measured: Measured, options: MetricsOptions, log: Log): AgentMetrics {
  const rounds = { settled: 0, failed: 0, repaired: 0 };
  const floor = { suppressed: 0 };
  const filled = fillReader(measured);
  const delay = monitorEventLoopDelay();
  delay.enable();
  const metrics = openMetrics(async () => {
    await measured.accounting.take();
    const { traffic } = measured.accounting;
    const events = await measured.events();
    const totals = { ...events, ...measured.accounting.eventTotals(events) };
    measured.accounting.persist();
    const lag = delay.max / 1e9;
    delay.reset();
    const flows = await measured.flows();
    return {
      ...statusSamples(measured.status(), [
        ...flows.map(({ table: name, used, max }) => ({ name, used, max })),
        ...(await filled()),
      ]),
      ...flowSamples(flows),
      ...nameSamples(await namesOf(measured.kernel())),
      ...uplinkSamples(measured.status().uplinks),
      ...sourceSamples(measured.status().following),
      ...enforcementSamples(measured.force(), measured.faults()),
      ...trafficSamples(traffic, options.policies ? measured.force() : undefined),
      ...eventSamples(totals, traffic, floor),
      ...cniSamples(measured.status().cni, measured.cni()),
      ...kubernetesSamples(measured.kubernetes()),
      refused: Object.entries({ ...measured.refused(), metrics: listener.refused() }).map(
        ([name, value]) => ({ labels: { listener: name }, value }),
      ),
      rounds: [
        { labels: { result: "settled" }, value: rounds.settled },
        { labels: { result: "failed" }, value: rounds.failed },
      ],
      repairs: [{ value: rounds.repaired }],
      ...processSamples(lag),
    };
  });
  const pages = { contentType: metrics.contentType, metrics: () => metrics.text(), ...probesOf(measured) };
  const open = () => serveMetrics(options.listen, pages);
  const listener = openListener("metrics", open, options.listen, log);
  return {
    took: (step, seconds) => metrics.observe(step, seconds),
    ended(settled, repaired) {
      rounds[settled ? "settled" : "failed"] += 1;
      rounds.repaired += repaired;
    },
    async close() {
      delay.disable();
      await listener.close();
    },
  };
}

const namesOf = async (kernel: Kernel | undefined) => kernel && readNameStatistics(kernel.maps.tables);

function fillReader({ kernel }: Measured): () => Promise<readonly CapacityView[]> {
  let last: readonly CapacityView[] = [];
  let countedAt = Number.NEGATIVE_INFINITY;
  return async () => {
    const { datapath } = kernel() ?? {};
    if (datapath === undefined || performance.now() < countedAt + COUNT_EVERY_MS) return last;
    countedAt = performance.now();
    const map = datapath.map(FRAGMENTS);
    last = [{ name: FRAGMENTS, used: await entriesIn(map), max: map.info.maxEntries }];
    return last;
  };
}
