// The agent's loop: a source and the interfaces say "look again", and every round goes from source to kernel.

import { setTimeout as sleep } from "node:timers/promises";
import { unreadyReason } from "./agent/cni/outcome.ts";
import { type Cni, type CniOptions, openCni } from "./agent/cni.ts";
import { type AgentEvents, openAgentEvents } from "./agent/events.ts";
import { gateOf } from "./agent/gate.ts";
import { interfaceOptions, openInterfaces, readInterfaces } from "./agent/interfaces.ts";
import { type Kernel, openKernel } from "./agent/kernel.ts";
import type { AgentMetrics, MetricsOptions } from "./agent/metrics.ts";
import { openPace } from "./agent/pace.ts";
import { openResyncs, type Resyncs } from "./agent/resync.ts";
import { firstProgress, type Progress, type RoundEnv, round } from "./agent/round.ts";
import { routesOf } from "./agent/routes.ts";
import { openTimers } from "./agent/timers.ts";
import { dropUplinks, openUplinks, type UplinkOptions, type Uplinks } from "./agent/uplinks.ts";
import { capacityViews, endpointViews, namesView, policyViews, unknownInterfaces } from "./agent/views.ts";
import { messageOf } from "./base/errors.ts";
import type { FromPodHook } from "./base/hooks.ts";
import type { AdjustableLog } from "./base/log.ts";
import { openBell } from "./base/wake.ts";
import { hookOf } from "./datapath/attach.ts";
import type { Mode } from "./model/mode.ts";
import type { Problem } from "./model/problem.ts";
import { toWire } from "./model/wire.ts";
import type { EventFileOptions } from "./observe/events/file.ts";
import { type LocalApi, serve, type Views } from "./observe/server.ts";
import type { StatusView } from "./observe/view.ts";
import type { Reading } from "./source/reading.ts";
import { openSource, type Source, type SourceOptions } from "./source/source.ts";
import { EMPTY_STATE } from "./state/state.ts";

export interface AgentOptions {
  readonly source: SourceOptions;
  /** Apply once and leave; enforcement goes on without an agent. */
  readonly once: boolean;
  /** Pin root on a BPF filesystem. */
  readonly bpffs: string;
  /** Path of the Unix socket that commands ask. */
  readonly socket: string;
  /** Number of the group that may ask too. */
  readonly socketGroup?: number;
  /** Where Prometheus may ask; nowhere if absent. */
  readonly metrics?: MetricsOptions;
  /** Where events are written, besides who asks for them. */
  readonly eventsFile?: EventFileOptions;
  /** The built BPF object. */
  readonly object: string;
  /** Whether all policies of the node only tell what they would deny. */
  readonly mode: Mode;
  /** Where what pods send is filtered. */
  readonly fromPodHook: FromPodHook;
  /** Interfaces of no known pod are denied everything, but for those of these names (`*` stands for any characters). */
  readonly denyUnknown?: { readonly ignored: readonly string[] };
  /** The node's own interfaces on which denied prefixes are dropped. */
  readonly uplinks?: UplinkOptions;
  /** Where the CNI plugin asks, and where its claims are kept. */
  readonly cni: CniOptions;
}

export interface AgentEnv {
  readonly log: AdjustableLog;
  readonly signal: AbortSignal;
  readonly now: () => Date;
  readonly version: string;
}

/** Set once the datapath is open; before, the agent only says that it is coming up. */
interface Running {
  readonly source: Source;
  readonly resyncs: Resyncs;
  readonly cni: Cni;
  kernel?: Kernel;
  uplinks?: Uplinks;
  progress?: Progress;
}

/** Runs until the signal aborts. Returns the exit code: with `once`, 1 where there were errors, else 0. */
export async function runAgent(options: AgentOptions, env: AgentEnv): Promise<number> {
  if (options.once) return runOnce(options, env);
  const running: Running = {
    source: await openSource(options.source, env),
    resyncs: openResyncs(),
    cni: openCni(options.cni),
  };
  const events = openAgentEvents(options.eventsFile, env.log);
  // The socket is also the lock that keeps a second agent from the maps, so it comes first.
  const server = await serve(options.socket, viewsOf(running, options, env), {
    routes: [...routesOf(running, env.log), ...events.routes],
    ...(options.socketGroup === undefined ? {} : { group: options.socketGroup }),
  });
  let metrics: AgentMetrics | undefined;
  let cniServer: LocalApi | undefined;
  try {
    metrics = await metricsOf({ running, events }, options, env);
    cniServer = await running.cni.serve({
      unready: () => unreadyReason(running.progress),
      added: (seconds) => metrics?.took("cniAdd", seconds),
    });
    const kernel = await openKernel({ ...options, screens: options.uplinks !== undefined });
    try {
      running.kernel = kernel;
      running.progress = await firstProgress(kernel);
      events.start(kernel);
      const uplinks = await openUplinksOf(kernel, options);
      if (uplinks !== undefined) running.uplinks = uplinks;
      const { source, progress, resyncs, cni } = running;
      await loop({ source, kernel, progress, resyncs, cni, uplinks, events }, options, {
        ...env,
        ...(metrics === undefined ? {} : { meter: metrics }),
      });
    } finally {
      events.close();
      kernel.close();
    }
  } finally {
    running.resyncs.end("the agent is ending");
    await cniServer?.close();
    await metrics?.close();
    await server.close();
  }
  return 0;
}

async function metricsOf(
  { running, events }: { readonly running: Running; readonly events: AgentEvents },
  options: AgentOptions,
  env: AgentEnv,
): Promise<AgentMetrics | undefined> {
  if (options.metrics === undefined) return undefined;
  const { openAgentMetrics } = await import("./agent/metrics.ts");
  const startedAt = env.now();
  return openAgentMetrics(
    {
      status: () => statusView(running, options, env, startedAt),
      kernel: () => running.kernel,
      force: () => running.progress?.force,
      events: () => events.totals(),
      cni: () => running.cni.counts(),
    },
    options.metrics,
    env.log,
  );
}

async function runOnce(options: AgentOptions, env: AgentEnv): Promise<number> {
  const kernel = await openKernel({ ...options, screens: options.uplinks !== undefined });
  try {
    const progress = await firstProgress(kernel);
    const uplinks = await openUplinksOf(kernel, options);
    await uplinks?.read();
    const read = inMode(await (await openSource(options.source, env)).read(env.signal), options.mode);
    const reading = openCni(options.cni).lay(withProblems(read, (await uplinks?.bring(false)) ?? []));
    const interfaces = await readInterfaces(interfaceOptions(options));
    await round(kernel, progress, { reading, interfaces, resync: false }, env);
    return progress.problems.some(({ severity }) => severity === "error") ? 1 : 0;
  } finally {
    kernel.close();
  }
}

async function openUplinksOf(kernel: Kernel, { uplinks }: AgentOptions): Promise<Uplinks | undefined> {
  if (uplinks !== undefined) return openUplinks(kernel, uplinks);
  await dropUplinks(kernel);
  return undefined;
}

const inMode = (reading: Reading, mode: Mode): Reading =>
  mode === "audit" ? { ...reading, cluster: { ...reading.cluster, mode } } : reading;

const withProblems = (reading: Reading, problems: readonly Problem[]): Reading => ({
  ...reading,
  problems: [...reading.problems, ...problems],
});

/** What the loop works on. */
interface Parts {
  readonly source: Source;
  readonly kernel: Kernel;
  readonly progress: Progress;
  readonly resyncs: Resyncs;
  readonly cni: Cni;
  readonly uplinks: Uplinks | undefined;
  readonly events: AgentEvents;
}

async function loop(running: Parts, options: AgentOptions, env: AgentEnv & RoundEnv): Promise<void> {
  const bell = openBell();
  env.signal.addEventListener("abort", () => bell.ring(), { once: true });
  const interfaces = await openInterfaces(interfaceOptions(options), {
    onChange: () => bell.ring(),
    onError: (error) => env.log.warn("the interfaces cannot be read", { error: messageOf(error) }),
    ...gateOf(running.kernel, options, env.log),
  });
  let reading: Reading | undefined;
  const watching = running.source.watch((next) => {
    reading = next;
    bell.ring();
  }, env.signal);
  const watchingDenied = running.uplinks?.watch(() => bell.ring(), env.signal);
  const timers = openTimers(bell);
  const pace = openPace();
  running.resyncs.onRequest(() => bell.ring());
  running.cni.onChange(() => bell.ring());
  try {
    while (!env.signal.aborted) {
      await bell.wait();
      await sleep(pace.wait(performance.now()));
      if (reading === undefined || env.signal.aborted) continue;
      const begun = performance.now();
      const asked = running.resyncs.take();
      const resync = timers.resyncIsDue() || asked.length > 0;
      const problems = (await running.uplinks?.bring(resync)) ?? [];
      const read = running.cni.lay(withProblems(inMode(reading, options.mode), problems));
      const settled = await round(
        running.kernel,
        running.progress,
        { reading: read, interfaces, resync },
        env,
      );
      running.cni.settle(running.progress);
      running.events.settle(running.progress.applied, running.progress.force);
      for (const answer of asked) answer(running.progress, settled && reading.readable);
      timers.retryUnless(settled);
      pace.ended(begun, performance.now());
    }
  } finally {
    timers.close();
    interfaces.close();
    await Promise.all([watching, watchingDenied]);
  }
}

const NO_NAMES = {
  endpoints: {},
  addresses: {},
  services: {},
  identities: {},
  cidrs: {},
  policies: {},
  rows: {},
  classes: {},
};

function viewsOf(running: Running, options: AgentOptions, env: AgentEnv): Views {
  const startedAt = env.now();
  const force = () => running.progress?.force;
  const view = <T>(of: (from: NonNullable<Progress["force"]>) => T, otherwise: T): T => {
    const from = force();
    return from === undefined ? otherwise : of(from);
  };
  return {
    status: () => statusView(running, options, env, startedAt),
    endpoints: () => view(endpointViews, []),
    policies: () => view(policyViews, []),
    names: () => view(namesView, NO_NAMES),
    cluster: () => {
      const cluster = force()?.cluster;
      if (cluster === undefined) throw new Error("nothing is in force yet");
      return { generation: running.progress?.applied ?? 0, cluster: toWire(cluster) };
    },
  };
}

/** Between the flip and the end of its round a generation is wanted, not yet applied; so is the first, at start. */
const generationOf = ({ kernel, progress }: Running): Pick<StatusView, "generation"> => ({
  generation: {
    wanted: Math.max(progress?.wanted ?? 1, kernel?.maps.generation() ?? 0),
    applied: progress?.applied ?? 0,
  },
});

function statusView(running: Running, options: AgentOptions, env: AgentEnv, startedAt: Date): StatusView {
  const { kernel, progress } = running;
  return {
    version: env.version,
    pid: process.pid,
    startedAt: startedAt.toISOString(),
    ...generationOf(running),
    ...(progress?.appliedAt === undefined ? {} : { appliedAt: progress.appliedAt.toISOString() }),
    endpoints: progress?.force?.compiled.state.endpoints.size ?? 0,
    policies: progress?.force?.cluster.policies.size ?? 0,
    problems: progress?.problems ?? [],
    capacity: capacityViews(progress?.held.state ?? EMPTY_STATE),
    hook: kernel?.hook ?? hookOf(),
    fromPodHook: options.fromPodHook,
    ...(running.uplinks === undefined ? {} : { uplinks: running.uplinks.view() }),
    cni: running.cni.view(),
    ...(options.denyUnknown === undefined || progress?.force === undefined
      ? {}
      : { unknownInterfaces: unknownInterfaces(progress.force) }),
    source: running.source.text,
    ...(running.source.health === undefined ? {} : { following: running.source.health() }),
    ...(options.mode === "audit" ? { mode: "audit" } : {}),
  };
}
