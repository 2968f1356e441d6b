// The metrics for Prometheus: filled at each scrape with what the agent reads from the kernel.

import { setTimeout as sleep } from "node:timers/promises";
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { present } from "../base/assert.ts";
import {
  DURATION_BOUNDS,
  type HistogramKey,
  METRICS,
  type MetricKey,
  type MetricSpec,
} from "./metrics-table.ts";

export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** Present values of counters and gauges. A missing metric has no series. */
export type Readings = Readonly<Partial<Record<Exclude<MetricKey, HistogramKey>, readonly Sample[]>>>;

export interface Metrics {
  readonly contentType: string;
  /** The page of a scrape. Concurrent scrapes share one read of the kernel. */
  text(): Promise<string>;
  observe(metric: HistogramKey, seconds: number): void;
}

export function openMetrics(read: () => Promise<Readings>): Metrics {
  const registry = new Registry();
  const values = new Map<string, Counter | Gauge>();
  const histograms = new Map<string, Histogram>();
  for (const [key, spec] of Object.entries<MetricSpec>(METRICS)) {
    const { name, help, labels, kind } = spec;
    const options = { name, help, labelNames: [...labels], registers: [registry] };
    if (kind === "histogram")
      histograms.set(key, new Histogram({ ...options, buckets: [...DURATION_BOUNDS] }));
    else values.set(key, kind === "counter" ? new Counter(options) : new Gauge(options));
  }
  async function scrape(): Promise<string> {
    const readings: Readings = await read();
    for (const [key, metric] of values) {
      metric.reset();
      // A metric with labels and no samples has no series; for one without labels prom-client returns 0.
      for (const { labels = {}, value } of readings[key as keyof Readings] ?? []) metric.inc(labels, value);
    }
    return registry.metrics();
  }
  const paced = paceOf(scrape);
  let running: Promise<string> | undefined;
  return {
    contentType: registry.contentType,
    text() {
      running ??= paced().finally(() => {
        running = undefined;
      });
      return running;
    },
    observe: (metric, seconds) => present(histograms.get(metric), metric).observe(seconds),
  };
}

/** The share of the time that scrapes may take, and the budget for a burst of them. */
const SCRAPE_SHARE = 0.2;
const SCRAPE_BURST_MS = 2_000;

/**
 * Runs the work at once as long as it has taken at most SCRAPE_SHARE of the time; more frequent calls wait.
 * Otherwise a client that scrapes without pause would block the event loop.
 */
function paceOf<T>(work: () => Promise<T>): () => Promise<T> {
  let budgetMs = SCRAPE_BURST_MS;
  let countedAt = performance.now();
  const earn = (): void => {
    const now = performance.now();
    budgetMs = Math.min(SCRAPE_BURST_MS, budgetMs + (now - countedAt) * SCRAPE_SHARE);
    countedAt = now;
  };
  return async () => {
    earn();
    if (budgetMs < 0) await sleep(-budgetMs / SCRAPE_SHARE);
    const begun = performance.now();
    try {
      return await work();
    } finally {
      earn();
      budgetMs -= performance.now() - begun;
    }
  };
}
