// One size after the other: a scripted API server, the agent as it is run on a node, and what it takes for changes to be in force.

import { type ChildProcess, fork } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as immediate, setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { OperationError } from "../../src/base/errors.ts";
import { Teardown } from "../../src/lab/teardown.ts";
import { Agent, cleanUp, type ProductPaths } from "../../src/lab/weir-process.ts";
import { median } from "../common/median.ts";
import type { Answer, Command, ServerSpec, Traffic } from "./api-server.ts";
import { NODE } from "./crowd.ts";
import type { LiveHeap } from "./live-heap.ts";
import { makeLinks, openProbe, type Probe, removeLinks } from "./local-node.ts";

export interface ScaleOptions {
  readonly pods: readonly number[];
  readonly podsPerPolicy: number;
  readonly locals: number;
  readonly seed: number;
  readonly streaming: boolean;
  /** Pods that come one at a time. */
  readonly probes: number;
  /** Pod events a second. */
  readonly rates: readonly number[];
  /** For each rate. */
  readonly seconds: number;
  /** Of churn at the first rate afterwards, for the growth of memory. */
  readonly churnMinutes: number;
  readonly object: string;
  readonly progress: (text: string) => void;
}

/** Of times in milliseconds. */
export interface Times {
  readonly median: number;
  readonly p99: number;
  readonly worst: number;
}

export interface Churn {
  readonly rate: number;
  /** Of one CPU. */
  readonly cpu: number;
  /** From writing a pod to its verdict, while others change. */
  readonly lag: Times;
  /** Bytes a second that the watches brought, by kind. */
  readonly bytes: Readonly<Record<string, number>>;
}

/** One kind of memory under a long churn, in MiB. */
export interface Slope {
  /** At the end of the first third, in which buffers and caches fill, and at the end. */
  readonly settledMiB: number;
  readonly endMiB: number;
  readonly mostMiB: number;
  /** The slope of the straight line through the samples of the last two thirds (least squares). */
  readonly perHourMiB: number;
}

/** Memory under a long churn. */
export interface Growth {
  readonly rate: number;
  readonly minutes: number;
  /** As it is, with garbage. */
  readonly resident: Slope;
  /** Once a minute all garbage is collected: the objects that are left in V8's heap, and what is resident then. */
  readonly live: Slope;
  readonly residentThen: Slope;
}

export interface ScaleRow {
  readonly pods: number;
  readonly policies: number;
  readonly locals: number;
  /** From starting the agent until its first state is enforced, in milliseconds. */
  readonly startMs: number;
  /** CPU time of the agent until then, which other programs' load affects less. */
  readonly startCpuMs: number;
  /** Bytes that the lists of the start had. */
  readonly listedBytes: number;
  /** Resident memory in MiB: after the start, and the most under churn. */
  readonly memoryMiB: number;
  readonly peakMiB: number;
  /** From writing one remote pod to the kernel's verdict. */
  readonly remotePod: Times;
  /** Of those reconciliations, the part that is the compiler's, in milliseconds; undefined where none was counted. */
  readonly compileMs: number | undefined;
  readonly churn: readonly Churn[];
  /** Undefined if it was not asked for. */
  readonly growth: Growth | undefined;
}

const BIN = fileURLToPath(new URL("../../bin/weir", import.meta.url));
const SERVER = fileURLToPath(new URL("api-server.ts", import.meta.url));
const LIVE_HEAP = new URL("live-heap.ts", import.meta.url).href;
const METRICS_PORT = 9469;
const START_MS_MAX = 600_000;
/** A change that is not in force by then is reported as so late. */
const VERDICT_MS_MAX = 60_000;
const POLL_MS = 0.25;
/** Between two probes under churn. */
const PROBE_EVERY_MS = 100;
/** Between two samples of memory. */
const SAMPLE_MS = 5_000;
/** A collection that is requested is done by then. */
const COLLECTION_MS_MAX = 60_000;
const COLLECTION_POLL_MS = 50;
/** Between two pods that come alone: the debounce of the one before is over. */
const ALONE_MS = 60;

/** @throws OperationError, BpfError */
export async function runScale(options: ScaleOptions): Promise<ScaleRow[]> {
  const rows: ScaleRow[] = [];
  for (const pods of options.pods) rows.push(await runSize(pods, options));
  return rows;
}

async function runSize(pods: number, options: ScaleOptions): Promise<ScaleRow> {
  const { progress } = options;
  const policies = Math.max(1, Math.round(pods / options.podsPerPolicy));
  const locals = Math.min(options.locals, pods);
  progress(`${pods} pods, ${policies} policies, ${locals} local`);
  const teardown = new Teardown();
  try {
    const directory = mkdtempSync(join(tmpdir(), "weir-scale-"));
    teardown.defer(() => rmSync(directory, { recursive: true }));
    const { seed, streaming } = options;
    const server = await openServer({ pods, policies, locals, seed, streaming });
    teardown.defer(() => server.close());
    makeLinks(server.locals);
    teardown.defer(removeLinks);
    const paths: ProductPaths = {
      bin: BIN,
      bpffs: "/sys/fs/bpf/weir-scale",
      socket: join(directory, "agent.sock"),
    };
    teardown.defer(() => cleanUp(paths));
    const kubeconfig = join(directory, "kubeconfig");
    writeFileSync(kubeconfig, kubeconfigTo(server.port));
    const begun = performance.now();
    const args = ["--kubeconfig", kubeconfig, "--node-name", NODE, "--no-kubernetes-events"];
    const heapFile = join(directory, "live-heap.json");
    const listens = ["--metrics-listen", `127.0.0.1:${METRICS_PORT}`, "--probe-listen", "off"];
    const agent = Agent.run(
      paths,
      [...args, ...listens],
      options.churnMinutes === 0
        ? {}
        : { NODE_OPTIONS: `--import=${LIVE_HEAP}`, WEIR_BENCH_LIVE_HEAP: heapFile },
    );
    teardown.defer(() => agent.killNow());
    return { pods, policies, locals, ...(await measure({ server, agent, paths, begun, heapFile }, options)) };
  } finally {
    teardown.close();
  }
}

interface Running {
  readonly server: Server;
  readonly agent: Agent;
  readonly paths: ProductPaths;
  readonly begun: number;
  readonly heapFile: string;
}

async function measure(
  { server, agent, paths, begun, heapFile }: Running,
  options: ScaleOptions,
): Promise<Omit<ScaleRow, "pods" | "policies" | "locals">> {
  const { progress } = options;
  const isStarted = await untilStarted(agent);
  const startMs = performance.now() - begun;
  const startCpuMs = cpuSecondsOf(agent) * 1_000;
  const memory = memoryOf(agent);
  const listed = await server.traffic();
  const probe = openProbe(paths.bpffs, options.object, server.locals.length);
  if (probe === undefined) throw failure(agent, "has pinned no programs");
  try {
    progress(`enforced after ${Math.round(startMs)} ms (CPU ${startCpuMs} ms), ${memory.now} MiB`);
    const clients = { last: 0 };
    const before = isStarted.compile;
    const alone: number[] = [];
    for (let index = 0; index < options.probes; index += 1) {
      await sleep(ALONE_MS);
      alone.push(await probeOnce(server, probe, clients, agent));
    }
    const after = (await metricsOf()).compile;
    const remotePod = timesOf(alone);
    progress(`one remote pod: ${text(remotePod)}`);
    const churn: Churn[] = [];
    for (const rate of options.rates) {
      const measured = await underChurn({ server, probe, clients, agent }, rate, options.seconds);
      progress(
        `${rate} pod events a second: ${Math.round(measured.cpu * 100)} % of a CPU, ${text(measured.lag)}`,
      );
      churn.push(measured);
    }
    const growth = await growthOf({ server, agent, heapFile }, options);
    return {
      startMs,
      startCpuMs,
      listedBytes: Object.values(listed).reduce((sum, { listed: bytes }) => sum + bytes, 0),
      memoryMiB: memory.now,
      // The kernel counts in batches for each CPU, so its peak may be a little below what it showed before.
      peakMiB: Math.max(memory.now, memoryOf(agent).peak),
      remotePod,
      compileMs:
        after.count > before.count ? (after.sum - before.sum) / (after.count - before.count) : undefined,
      churn,
      growth,
    };
  } finally {
    probe.close();
  }
}

const text = ({ median: middle, p99, worst }: Times): string =>
  `${middle.toFixed(1)} ms median, ${p99.toFixed(1)} p99, ${worst.toFixed(1)} worst`;

const failure = (agent: Agent, reason: string): OperationError =>
  new OperationError(`${reason}: ${agent.stderr.trim().slice(-2_000)}`, {
    operation: "run",
    object: "the agent",
  });

/** From the metrics, since asking for the status takes a process. */
async function untilStarted(agent: Agent): Promise<Metrics> {
  const deadline = performance.now() + START_MS_MAX;
  for (;;) {
    const metrics = await metricsOf().catch(() => undefined);
    if (metrics !== undefined && metrics.appliedAt > 0) return metrics;
    if (!isRunning(agent)) throw failure(agent, "ended");
    if (performance.now() > deadline) throw failure(agent, `enforced nothing within ${START_MS_MAX} ms`);
    await sleep(20);
  }
}

interface Clients {
  last: number;
}

/** One more remote pod comes: the milliseconds until the kernel admits it. It goes again. */
async function probeOnce(server: Server, probe: Probe, clients: Clients, agent: Agent): Promise<number> {
  clients.last += 1;
  const number = clients.last;
  if (probe.admits(number)) throw failure(agent, `admits client ${number} before it exists`);
  const writtenAt = await server.tell({ do: "put client", number });
  for (;;) {
    const isAdmitted = probe.admits(number);
    const elapsed = Number(process.hrtime.bigint() - writtenAt) / 1e6;
    if (isAdmitted || elapsed > VERDICT_MS_MAX) {
      await server.tell({ do: "remove client", number });
      return elapsed;
    }
    if (!isRunning(agent)) throw failure(agent, "ended");
    await immediate();
    pauseThread(POLL_MS);
  }
}

const UNCHANGED = new Int32Array(new SharedArrayBuffer(4));
const pauseThread = (ms: number): void => void Atomics.wait(UNCHANGED, 0, 0, ms);

interface Churning {
  readonly server: Server;
  readonly probe: Probe;
  readonly clients: Clients;
  readonly agent: Agent;
}

async function underChurn(
  { server, probe, clients, agent }: Churning,
  rate: number,
  seconds: number,
): Promise<Churn> {
  const before = await server.traffic();
  await server.tell({ do: "churn", rate });
  const begun = performance.now();
  const cpu = cpuSecondsOf(agent);
  const lags: number[] = [];
  while (performance.now() - begun < seconds * 1_000) {
    await sleep(PROBE_EVERY_MS);
    lags.push(await probeOnce(server, probe, clients, agent));
  }
  const elapsed = (performance.now() - begun) / 1_000;
  const used = cpuSecondsOf(agent) - cpu;
  await server.tell({ do: "churn", rate: 0 });
  const after = await server.traffic();
  const bytes = Object.entries(after).map(([kind, { watched }]) => [
    kind,
    (watched - (before[kind as keyof Traffic]?.watched ?? 0)) / elapsed,
  ]);
  // What the agent is behind with is not the next rate's.
  await probeOnce(server, probe, clients, agent);
  return { rate, cpu: used / elapsed, lag: timesOf(lags), bytes: Object.fromEntries(bytes) };
}

async function growthOf(
  { server, agent, heapFile }: Pick<Running, "server" | "agent" | "heapFile">,
  { churnMinutes, rates, progress }: ScaleOptions,
): Promise<Growth | undefined> {
  const [rate] = rates;
  if (churnMinutes === 0 || rate === undefined) return undefined;
  await server.tell({ do: "churn", rate });
  const begun = performance.now();
  const resident: Sample[] = [];
  const collected: (LiveHeap & { readonly minutes: number })[] = [];
  const minutesNow = (): number => (performance.now() - begun) / 60_000;
  while (minutesNow() < churnMinutes) {
    await sleep(SAMPLE_MS);
    if (!isRunning(agent)) throw failure(agent, "ended");
    const { now } = memoryOf(agent);
    resident.push({ minutes: minutesNow(), miB: now });
    if (minutesNow() < collected.length + 1) continue;
    const heap = await collect(agent, heapFile, collected.length + 1);
    collected.push({ ...heap, minutes: minutesNow() });
    progress(
      `${collected.length} minutes of churn: ${now} MiB; of it live ${inMiB(heap.live)}, without garbage ${inMiB(heap.resident)}`,
    );
  }
  await server.tell({ do: "churn", rate: 0 });
  const of = (bytes: (heap: LiveHeap) => number): Slope =>
    growthIn(collected.map((heap) => ({ minutes: heap.minutes, miB: inMiB(bytes(heap)) })));
  return {
    rate,
    minutes: minutesNow(),
    resident: growthIn(resident),
    live: of(({ live }) => live),
    residentThen: of((heap) => heap.resident),
  };
}

const inMiB = (bytes: number): number => Math.round((bytes / 2 ** 20) * 10) / 10;

/** Has the agent collect its garbage. The first `turn` is 1. */
async function collect(agent: Agent, file: string, turn: number): Promise<LiveHeap> {
  process.kill(agent.pid as number, "SIGUSR2");
  const deadline = performance.now() + COLLECTION_MS_MAX;
  for (;;) {
    const answer = existsSync(file) ? (JSON.parse(readFileSync(file, "utf8")) as LiveHeap) : undefined;
    if (answer?.turn === turn) return answer;
    if (!isRunning(agent)) throw failure(agent, "ended");
    if (performance.now() > deadline) throw failure(agent, `collected nothing in ${COLLECTION_MS_MAX} ms`);
    await sleep(COLLECTION_POLL_MS);
  }
}

export interface Sample {
  readonly minutes: number;
  readonly miB: number;
}

/** `samples` in the order of time, at least one. */
export function growthIn(samples: readonly Sample[]): Slope {
  const settled = samples.slice(Math.floor(samples.length / 3));
  const mean = (of: (sample: Sample) => number): number =>
    settled.reduce((sum, sample) => sum + of(sample), 0) / settled.length;
  const middle = { minutes: mean(({ minutes }) => minutes), miB: mean(({ miB }) => miB) };
  const spread = mean(({ minutes }) => (minutes - middle.minutes) ** 2);
  const together = mean(({ minutes, miB }) => (minutes - middle.minutes) * (miB - middle.miB));
  return {
    settledMiB: settled[0]?.miB ?? 0,
    endMiB: settled.at(-1)?.miB ?? 0,
    mostMiB: Math.max(...samples.map(({ miB }) => miB)),
    perHourMiB: spread === 0 ? 0 : (together / spread) * 60,
  };
}

function timesOf(times: readonly number[]): Times {
  const sorted = times.toSorted((a, b) => a - b);
  return {
    median: median(times),
    p99: sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? 0,
    worst: sorted.at(-1) ?? 0,
  };
}

// The agent, seen from outside.

const isRunning = ({ pid }: Agent): boolean => {
  try {
    return !/^State:\s+[ZX]/m.test(readFileSync(`/proc/${pid}/status`, "utf8"));
  } catch {
    // Its directory is gone with it.
    return false;
  }
};

function memoryOf({ pid }: Agent): { readonly now: number; readonly peak: number } {
  const status = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (field: string): number =>
    Math.round(Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) / 1024);
  return { now: of("VmRSS"), peak: of("VmHWM") };
}

/** User and system time, in seconds: 100 ticks each on all Linux systems. */
function cpuSecondsOf({ pid }: Agent): number {
  const fields = readFileSync(`/proc/${pid}/stat`, "utf8")
    .replace(/^.*\) /, "")
    .split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

interface Metrics {
  readonly appliedAt: number;
  /** Milliseconds, and how many. */
  readonly compile: { readonly sum: number; readonly count: number };
}

async function metricsOf(): Promise<Metrics> {
  const answer = await fetch(`http://127.0.0.1:${METRICS_PORT}/metrics`);
  const values = new Map(
    (await answer.text()).split("\n").map((line) => line.split(/ (?=\S+$)/) as [string, string]),
  );
  const value = (name: string): number => Number(values.get(name) ?? 0);
  return {
    appliedAt: value("weir_applied_timestamp_seconds"),
    compile: {
      sum: value("weir_compile_duration_seconds_sum") * 1_000,
      count: value("weir_compile_duration_seconds_count"),
    },
  };
}

// The API server.

interface Server {
  readonly port: number;
  readonly locals: readonly string[];
  /** Resolves to when it was done, in nanoseconds of the machine's monotonic clock. */
  tell(command: Command): Promise<bigint>;
  traffic(): Promise<Traffic>;
  close(): void;
}

async function openServer(spec: ServerSpec): Promise<Server> {
  const child = fork(SERVER, [JSON.stringify(spec)], { stdio: ["ignore", "inherit", "inherit", "ipc"] });
  const first = await answerOf(child);
  if (!("ready" in first)) throw new Error(`assertion failed: ${JSON.stringify(first)} is the first answer`);
  const { port, locals } = first.ready;
  const ask = async (command: Command): Promise<Answer> => {
    const answer = answerOf(child);
    child.send(command);
    return answer;
  };
  return {
    port,
    locals,
    async tell(command) {
      const answer = await ask(command);
      return BigInt("at" in answer ? answer.at : 0);
    },
    async traffic() {
      const answer = await ask({ do: "traffic" });
      if (!("traffic" in answer)) throw new Error("assertion failed: the answer has the traffic");
      return answer.traffic;
    },
    close: () => child.kill("SIGKILL"),
  };
}

async function answerOf(child: ChildProcess): Promise<Answer> {
  const ended = new AbortController();
  const late = once(child, "exit", { signal: ended.signal }).then(
    () => {
      throw new OperationError("it ended", { operation: "run", object: "the scripted API server" });
    },
    () => undefined,
  );
  try {
    const [answer] = (await Promise.race([once(child, "message"), late])) as [Answer];
    return answer;
  } finally {
    ended.abort();
  }
}

/** A kubeconfig is YAML, which JSON is too. */
const kubeconfigTo = (port: number): string =>
  JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    // client-node refuses HTTP without it.
    clusters: [
      {
        name: "bench",
        cluster: { server: `http://127.0.0.1:${port}`, "insecure-skip-tls-verify": true },
      },
    ],
    users: [{ name: "weir", user: { token: "of-the-bench" } }],
    contexts: [{ name: "bench", context: { cluster: "bench", user: "weir" } }],
    "current-context": "bench",
  });
