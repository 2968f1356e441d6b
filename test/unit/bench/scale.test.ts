// bench/scale without a kernel: its cluster, and how its figures are written.
import { describe, expect, it } from "vitest";
import { chartOf } from "../../../bench/scale/chart.ts";
import type { Stored } from "../../../bench/scale/cluster-objects.ts";
import { type CrowdSize, NODE, openCrowd } from "../../../bench/scale/crowd.ts";
import { scaleText } from "../../../bench/scale/report.ts";
import { growthIn, type ScaleRow, type Times } from "../../../bench/scale/run.ts";
import { openInterner } from "../../../src/source/apiserver/interning.ts";
import { type Kind, readItem, SERVED } from "../../../src/source/apiserver/resource-kinds.ts";

const SIZE: CrowdSize = { pods: 1_000, policies: 67, locals: 20, seed: 7 };

interface Change {
  readonly kind: Kind;
  readonly key: string;
  readonly object: Stored | undefined;
}

/** The objects of a crowd, and all that happens to them. */
function recorded(size = SIZE) {
  const changes: Change[] = [];
  const objects = new Map<string, Change>();
  let version = 0;
  const note = (change: Change): void => {
    changes.push(change);
    const id = `${change.kind} ${change.key}`;
    if (change.object === undefined) objects.delete(id);
    else objects.set(id, change);
  };
  const crowd = openCrowd(size, {
    put(kind, make) {
      version += 1;
      const object = make(version);
      note({ kind, key: object.key, object });
    },
    remove: (kind, key) => note({ kind, key, object: undefined }),
  });
  const of = (kind: Kind) => [...objects.values()].filter((each) => each.kind === kind);
  return { crowd, changes, of };
}

const kindsOf = (changes: readonly Change[]): string[] => changes.map(({ kind, key }) => `${kind} ${key}`);

describe("the cluster", () => {
  it("has so many pods and policies, and every object is as the agent reads it", () => {
    const { of, crowd } = recorded();
    // Those of the probe are additional.
    expect([of("Pod").length, of("NetworkPolicy").length]).toEqual([1_001, 68]);
    expect(crowd.locals).toHaveLength(21);
    expect(new Set(crowd.locals).size).toBe(21);
    for (const kind of ["Pod", "NetworkPolicy", "Namespace", "Service", "EndpointSlice", "Node"] as const) {
      const reader = { kind, served: SERVED[kind][0], node: NODE, interner: openInterner() };
      const items = of(kind).map(({ object }) => readItem(JSON.parse(object?.text() ?? ""), reader));
      expect(items.flatMap(({ problems }) => problems)).toEqual([]);
      expect(items.map(({ key }) => key)).toEqual(of(kind).map(({ key }) => key));
    }
  });

  it("has pods of about 3 kB, each with an address of its own", () => {
    const { of } = recorded();
    const texts = of("Pod").map(({ object }) => object?.text() ?? "");
    const mean = texts.reduce((sum, { length }) => sum + length, 0) / texts.length;
    expect(mean).toBeGreaterThan(2_800);
    expect(mean).toBeLessThan(3_600);
    const addresses = texts.map((text) => JSON.parse(text).status.podIP);
    expect(new Set(addresses).size).toBe(addresses.length);
  });

  it("changes in the same way with the same seed, and in another with another", () => {
    const history = (seed: number) => {
      const { crowd, changes } = recorded({ ...SIZE, seed });
      crowd.churn(2_000);
      return kindsOf(changes);
    };
    expect(history(7)).toEqual(history(7));
    expect(history(7)).not.toEqual(history(8));
  });

  it("has as many pods after a long churn, none of two with one address, and the measured node's as they were", () => {
    const { crowd, changes, of } = recorded();
    const locals = new Set(crowd.locals);
    const before = changes.length;
    crowd.churn(20_000);
    const states = of("Pod").map(({ object }) => JSON.parse(object?.text() ?? ""));
    // At most one pod is being replaced.
    expect(Math.abs(states.length - 1_001)).toBeLessThanOrEqual(1);
    const addresses = states.flatMap(({ status }) => status.podIP ?? []);
    expect(new Set(addresses).size).toBe(addresses.length);
    const own = states.filter(({ spec }) => spec.nodeName === NODE);
    expect(new Set(own.map(({ status }) => status.podIP))).toEqual(locals);
    const kinds = new Set(changes.slice(before).map(({ kind }) => kind));
    expect(kinds).toEqual(new Set(["Pod", "EndpointSlice", "NetworkPolicy", "Namespace"]));
  });
});

const TIMES: Times = { median: 4.25, p99: 14.5, worst: 120.4 };
const rowOf = (pods: number): ScaleRow => ({
  pods,
  policies: pods / 10,
  locals: 100,
  startMs: 8_040,
  startCpuMs: 6_500,
  listedBytes: 4_000_000,
  memoryMiB: 155,
  peakMiB: 350,
  remotePod: TIMES,
  compileMs: pods === 1_000 ? 0.5 : undefined,
  churn: [{ rate: 100, cpu: 0.082, lag: TIMES, bytes: { Pod: 480_000.4, EndpointSlice: 20_000 } }],
  growth:
    pods === 1_000
      ? undefined
      : {
          rate: 100,
          minutes: 15.004,
          resident: { settledMiB: 150, endMiB: 151, mostMiB: 160, perHourMiB: 1.456 },
          live: { settledMiB: 50, endMiB: 51, mostMiB: 52, perHourMiB: 0.1 },
          residentThen: { settledMiB: 140, endMiB: 141, mostMiB: 142, perHourMiB: 0 },
        },
});
const ROWS = [rowOf(1_000), rowOf(10_000)];
const CONDITIONS = { machine: "a <machine>", kernel: "6.18", load: 1.5 };

describe("the growth of memory", () => {
  it("is the slope of the samples after the first third", () => {
    const samples = Array.from({ length: 90 }, (_, index) => ({
      minutes: (index + 1) / 6,
      miB: index < 30 ? 100 + index * 3 : 200 + (index - 30) / 6,
    }));
    const { perHourMiB, ...rest } = growthIn(samples);
    expect(perHourMiB).toBeCloseTo(60);
    expect(rest).toEqual({
      settledMiB: 200,
      endMiB: samples[89]?.miB,
      mostMiB: samples[89]?.miB,
    });
  });

  it("of one sample is none", () => {
    expect(growthIn([{ minutes: 1, miB: 80 }])).toMatchObject({ perHourMiB: 0, settledMiB: 80, endMiB: 80 });
  });
});

describe("the report", () => {
  it("has a column for each size", () => {
    const lines = scaleText("table", CONDITIONS, ROWS).split("\n");
    expect(lines[0]).toMatch(
      /^ +1,000 PODS, 100 POLICIES, 100 LOCAL +10,000 PODS, 1,000 POLICIES, 100 LOCAL$/,
    );
    expect(lines).toContainEqual(expect.stringMatching(/^start to enforced +8\.0 s +8\.0 s$/));
    expect(lines).toContainEqual(expect.stringMatching(/^compile alone, one pod changed +0\.5 ms +-$/));
    expect(lines).toContainEqual(
      expect.stringMatching(/^100 pod events a second, of a CPU +8\.2 % +8\.2 %$/),
    );
    expect(lines).toContainEqual(
      expect.stringMatching(
        /^long churn, resident memory +- +150 to 151 MiB \(most 160\), 1\.5 MiB an hour$/,
      ),
    );
    expect(lines).toContainEqual(expect.stringMatching(/^long churn +- +15 minutes at 100\/s$/));
    expect(lines.at(-2)).toBe("a <machine>, Linux 6.18, load average 1.5");
    expect(scaleText("markdown", CONDITIONS, ROWS)).toContain(
      "| one remote pod comes, until in force | 4.3 ms median, 14.5 ms p99, 120 ms worst | 4.3 ms",
    );
  });

  it("is JSON in plain units", () => {
    expect(JSON.parse(scaleText("json", CONDITIONS, ROWS.slice(1)))).toEqual({
      ...CONDITIONS,
      rows: [
        {
          pods: 10_000,
          policies: 1_000,
          locals: 100,
          start_ms: 8_040,
          start_cpu_ms: 6_500,
          listed_bytes: 4_000_000,
          memory_mib: 155,
          peak_mib: 350,
          remote_pod: { median_ms: 4.25, p99_ms: 14.5, worst_ms: 120.4 },
          compile_ms: null,
          growth: {
            pod_events_per_second: 100,
            minutes: 15,
            resident: { settled_mib: 150, end_mib: 151, most_mib: 160, mib_per_hour: 1.46 },
            live_heap_after_collection: { settled_mib: 50, end_mib: 51, most_mib: 52, mib_per_hour: 0.1 },
            resident_after_collection: { settled_mib: 140, end_mib: 141, most_mib: 142, mib_per_hour: 0 },
          },
          churn: [
            {
              pod_events_per_second: 100,
              cpu_share: 0.08,
              lag: { median_ms: 4.25, p99_ms: 14.5, worst_ms: 120.4 },
              watched_bytes_per_second: { Pod: 480_000, EndpointSlice: 20_000 },
            },
          ],
        },
      ],
    });
  });

  it("is a chart in which every value is a point, and names are escaped", () => {
    const chart = chartOf(CONDITIONS, ROWS);
    expect(chart).toMatch(/^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" [^>]*>\n[\s\S]*<\/svg>\n$/);
    // Start, two of memory, median and worst, and one rate, for two sizes; compile is known of one.
    expect(chart.match(/<circle /g)).toHaveLength(6 * 2 + 1);
    expect(chart).toContain("a &lt;machine&gt;");
    expect(chart).not.toContain("NaN");
  });
});
