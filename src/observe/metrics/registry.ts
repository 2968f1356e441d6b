// The metrics as Prometheus reads them: filled anew at each scrape with what the agent reads from the kernel.

import { Counter, Gauge, Histogram, Registry } from "prom-client";
import { present } from "../../base/assert.ts";
import { DURATION_BOUNDS, type HistogramKey, METRICS, type MetricKey, type MetricSpec } from "./table.ts";

export interface Sample {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}

/** What counters and gauges say now. A metric that is missing has no series. */
export type Readings = Readonly<Partial<Record<Exclude<MetricKey, HistogramKey>, readonly Sample[]>>>;

export interface Metrics {
  readonly contentType: string;
  /** The page of a scrape. Scrapes that come together share one reading. */
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
      // A metric with labels and nothing to say has no series; without labels prom-client says 0.
      for (const { labels = {}, value } of readings[key as keyof Readings] ?? []) metric.inc(labels, value);
    }
    return registry.metrics();
  }
  let running: Promise<string> | undefined;
  return {
    contentType: registry.contentType,
    text() {
      running ??= scrape().finally(() => {
        running = undefined;
      });
      return running;
    },
    observe: (metric, seconds) => present(histograms.get(metric), metric).observe(seconds),
  };
}
