// The agent's loop: changes of the source and of the interfaces trigger it, and it reconciles the kernel with
// the source.

import type { FromPodHook } from "../base/direction.ts";
import { codeOf, messageOf } from "../base/errors.ts";
import type { AdjustableLog } from "../base/log.ts";
import { NO_HARDWARE } from "../base/mac-address.ts";
import { openScheduler, type ScheduleOptions } from "../base/scheduler.ts";
import { lockRoot, type RootLock } from "../datapath/agent-lock.ts";
import { attachedProgram } from "../datapath/hooks.ts";
import { hasPins, pinnedDigests } from "../datapath/pins.ts";
import type { EventFileOptions } from "../events/packet-event-hub.ts";
import { type AgentEvents, openAgentEvents } from "../events/packet-events.ts";
import { keyOf } from "../model/cluster.ts";
import type { ClusterSnapshot } from "../model/cluster-snapshot.ts";
import type { Mode } from "../model/enforcement-mode.ts";
import type { Problem } from "../model/problem.ts";
import { userOf } from "../node/kernel-queries.ts";
import type { Endpoint, Listener } from "../observe/http-pages.ts";
import { type LocalApi, serve } from "../observe/socket-server.ts";
import { openSource, type Source, type SourceEnv, type SourceOptions } from "../source/source.ts";
import { isAudited, POLICY_NONE } from "../state/desired-state.ts";
import { type Running, routesOf, statusView, viewsOf } from "./agent-api.ts";
import { type Bypasses, openBypasses } from "./bypasses.ts";
import { unreadyReason } from "./cni/claim-outcome.ts";
import { type Cni, type CniOptions, openCni } from "./cni/cni-server.ts";
import { type Kernel, openKernel } from "./datapath-handle.ts";
import { openFlowUsage } from "./flow-usage.ts";
import { type Integrity, openIntegrity } from "./integrity.ts";
import { mayHaveHadClusterPolicies } from "./interface-history.ts";
import { interfaceOptions, type Left, openInterfaces, readInterfaces } from "./interface-tracking.ts";
import { openProbes, type Probed } from "./kubelet-probes.ts";
import {
  type Kubernetes,
  type KubernetesOptions,
  openKubernetes,
} from "./kubernetes/kubernetes-reporting.ts";
import type { AgentMetrics, MetricsOptions } from "./metrics-exporter.ts";
import { openPacketJudge } from "./packet-judge.ts";
import { firstProgress, type Progress, type ReconcileEnv, reconcile } from "./reconcile.ts";
import { openResyncs, type Resyncs } from "./resync-requests.ts";
import {
  type AccountingOptions,
  openTrafficAccounting,
  type TrafficAccounting,
} from "./traffic-accounting.ts";
import { gateOf } from "./unclaimed-default-deny.ts";
import { dropUplinks, openUplinks, type UplinkOptions, type Uplinks } from "./uplinks.ts";

export interface AgentOptions {
  readonly source: SourceOptions;
  /** Apply once and exit; enforcement continues without an agent. */
  readonly once: boolean;
  /** Pin root on a BPF filesystem. */
  readonly bpffs: string;
  /** Path of the Unix socket for commands. */
  readonly socket: string;
  /** Number of the group that may use the socket too. */
  readonly socketGroup?: number;
  /** Listen address for the kubelet's probes; none if absent. */
  readonly probes?: Endpoint;
  /** Metrics listen address; none if absent. */
  readonly metrics?: MetricsOptions;
  /** File for events, besides the clients of the socket. */
  readonly eventsFile?: EventFileOptions;
  /** The built BPF object. */
  readonly object: string;
  /** In audit mode no policy of the node drops anything; it only reports what it would deny. */
  readonly mode: Mode;
  /** Hook that filters what pods send. */
  readonly fromPodHook: FromPodHook;
  /** IPv4 flows that the flow table is sized for. */
  readonly conntrackFlows: number;
  /**
   * Unclaimed interfaces are denied everything, except for those with these names (`*` matches any
   * characters).
   */
  readonly denyUnknown?: { readonly ignored: readonly string[] };
  /** The node's own interfaces on which denied prefixes are dropped. */
  readonly uplinks?: UplinkOptions;
  /** Socket of the CNI plugin, and the file of its claims. */
  readonly cni: CniOptions;
  /** The file that keeps emergency bypasses while no agent runs. */
  readonly keptBypasses?: string;
  /** The file that keeps the interface history while no agent runs. */
  readonly kept?: string;
  /** The directory that keeps the last known good content of manifests while no agent runs. */
  readonly keptManifests?: string;
  readonly accounting: AccountingOptions;
  /** What is reported to the API server, if that is the source. */
  readonly kubernetes?: KubernetesOptions;
}

export interface AgentEnv {
  readonly log: AdjustableLog;
  readonly signal: AbortSignal;
  readonly now: () => Date;
  readonly version: string;
}

/** Runs until the signal aborts. Returns the exit code: with `once`, 1 if there were errors, else 0. */
export async function runAgent(options: AgentOptions, env: AgentEnv): Promise<number> {
  // Two agents would undo each other's work, so take the lock before anything else is touched.
  const lock = await lockRoot(options.bpffs, (paths) =>
    env.log.warn(
      "pins: another user could change these paths; they were taken over or removed. Mount the BPF filesystem with mode=700",
      { paths: paths.join(", ") },
    ),
  );
  try {
    return await (options.once ? runOnce(lock, options, env) : runLocked(lock, options, env));
  } finally {
    lock.close();
  }
}

async function runLocked(lock: RootLock, options: AgentOptions, env: AgentEnv): Promise<number> {
  // Before this agent pins its own.
  const isFresh = !pinnedDigests(options.bpffs).some((digest) => hasPins(options.bpffs, digest));
  const running: Running = {
    source: await openSource(options.source, {
      ...sourceEnv(options, env),
      mayEnforceEarlier: () => !isFresh && mayEnforceEarlier(options, running.progress),
    }),
    resyncs: openResyncs(),
    cni: openCni(options.cni),
    flows: openFlowUsage(() => running.kernel),
    bypasses: openBypasses(options.keptBypasses, env),
  };
  const bypassRoutes = running.bypasses.routes({
    isHere: (pod) =>
      running.progress?.force?.compiled.meaning.sides.some(({ local }) => keyOf(local.pod) === pod) === true,
    applied: () => running.resyncs.request(),
  });
  const accounting = await openTrafficAccounting(options.accounting, {
    kernel: () => (running.progress === undefined ? undefined : running.kernel),
    force: () => running.progress?.force,
    found: () => running.progress?.held.state.endpoints ?? new Map(),
    log: env.log,
    now: env.now,
  });
  running.accounting = accounting;
  const events = openAgentEvents(options.eventsFile, env.log, accounting.report);
  const server = await serve(options.socket, viewsOf(running, options, env), {
    routes: [...routesOf(running, env.log), ...bypassRoutes, ...events.routes, ...accounting.routes],
    peerOf: userOf,
    ...(options.socketGroup === undefined ? {} : { group: options.socketGroup }),
  });
  const kubernetes = await openKubernetes(options.source, options.kubernetes, env);
  let metrics: AgentMetrics | undefined;
  let probes: Listener | undefined;
  let cniServer: LocalApi | undefined;
  const refused = () => ({
    socket: server.refused(),
    cni: cniServer?.refused() ?? 0,
    probes: probes?.refused() ?? 0,
  });
  const startedAt = env.now();
  const probed: Probed = {
    status: () => statusView(running, options, env, startedAt),
    force: () => running.progress?.force,
  };
  const lost = new AbortController();
  const failed = new AbortController();
  const signal = AbortSignal.any([env.signal, lost.signal, failed.signal]);
  // The lists come while the verifier checks the programs, which takes seconds of another thread.
  const readings = followSource(running.source, signal);
  try {
    if (options.probes !== undefined) probes = openProbes(probed, options.probes, env.log);
    metrics = await metricsOf({ running, accounting, events, kubernetes, probed, refused }, options, env);
    cniServer = await running.cni.serve({
      log: env.log,
      unready: () => unreadyReason(running.progress),
      added: (seconds) => metrics?.took("cniAdd", seconds),
    });
    const kernel = await openKernel(lock, { ...options, screens: options.uplinks !== undefined });
    let integrity: Integrity | undefined;
    try {
      running.kernel = kernel;
      const { withoutConntrack } = kernel.datapath;
      if (withoutConntrack !== undefined)
        env.log.warn(
          "the programs cannot use the kernel's conntrack: connections opened before a pod was isolated are dropped",
          {
            reason: withoutConntrack,
          },
        );
      running.progress = await firstProgress(kernel);
      running.judge = openPacketJudge({
        root: options.bpffs,
        object: options.object,
        generation: () => kernel.maps.generation(),
      });
      accounting.start();
      events.start(kernel.datapath);
      integrity = openIntegrity(kernel, {
        log: env.log,
        now: env.now,
        nameOf: (ifindex) => running.progress?.force?.interfaces.get(ifindex)?.name,
        expected: () => appliedAtRest(running.progress),
        // If that fails, the next check calls this again.
        onOverwritten: () => void running.resyncs.request().catch(() => undefined),
        onLost: (error) => lost.abort(error),
      });
      running.integrity = integrity;
      const uplinks = await openUplinksOf(kernel, options);
      if (uplinks !== undefined) running.uplinks = uplinks;
      const { progress, resyncs, cni, bypasses } = running;
      const parts = {
        readings,
        kernel,
        progress,
        resyncs,
        cni,
        bypasses,
        uplinks,
        events,
        kubernetes,
        integrity,
      };
      await loop(parts, options, {
        ...env,
        signal,
        beforeApply: accounting.take,
        ...(metrics === undefined ? {} : { meter: metrics }),
      });
      lost.signal.throwIfAborted();
      await integrity.farewell();
    } finally {
      await running.judge?.close();
      await integrity?.close();
      events.close();
      await accounting.close();
      kernel.close();
    }
  } finally {
    failed.abort();
    await readings.ended;
    running.resyncs.end("the agent is ending");
    running.cni.close();
    running.bypasses.close();
    await cniServer?.close();
    await kubernetes.close();
    await probes?.close();
    await metrics?.close();
    await server.close();
  }
  return 0;
}

/**
 * Set after a reconciliation that succeeded; during one, and after one that failed, the kernel may be ahead.
 */
const appliedAtRest = (progress: Progress | undefined): number | undefined =>
  progress?.force === undefined || progress.busySince !== undefined || progress.wanted !== progress.applied
    ? undefined
    : progress.applied;

interface Reporting {
  readonly running: Running;
  readonly accounting: TrafficAccounting;
  readonly events: AgentEvents;
  readonly kubernetes: Kubernetes;
  readonly probed: Probed;
  readonly refused: () => Readonly<Record<string, number>>;
}

async function metricsOf(
  { running, accounting, events, kubernetes, probed, refused }: Reporting,
  options: AgentOptions,
  env: AgentEnv,
): Promise<AgentMetrics | undefined> {
  if (options.metrics === undefined) return undefined;
  const { openAgentMetrics } = await import("./metrics-exporter.ts");
  return openAgentMetrics(
    {
      ...probed,
      accounting,
      refused,
      kernel: () => running.kernel,
      faults: () => running.integrity?.faults() ?? [],
      flows: running.flows,
      events: () => events.totals(),
      cni: () => running.cni.counts(),
      kubernetes: () => kubernetes.counts(),
    },
    options.metrics,
    env.log,
  );
}

async function runOnce(lock: RootLock, options: AgentOptions, env: AgentEnv): Promise<number> {
  const kernel = await openKernel(lock, { ...options, screens: options.uplinks !== undefined });
  try {
    const progress = await firstProgress(kernel);
    const uplinks = await openUplinksOf(kernel, options);
    await uplinks?.read();
    const source = await openSource(options.source, {
      ...sourceEnv(options, env),
      mayEnforceEarlier: () => mayEnforceEarlier(options, progress),
    });
    // Without bypasses, which nothing would end.
    const read = inMode(await source.read(env.signal), options.mode);
    const matched = openCni(options.cni).match(withProblems(read, (await uplinks?.bring(false)) ?? []));
    const interfaces = await readInterfaces(interfaceOptions(options), {
      left: leftIn(kernel, progress),
      now: env.now,
    });
    await reconcile(kernel, progress, { ...matched, interfaces, resync: false }, env);
    // Everything unpinned ends with this process.
    kernel.pin();
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

/** What an earlier agent has left in the kernel. */
const leftIn = ({ datapath }: Kernel, { held }: Progress): Left => ({
  endpoints: new Map(
    [...held.state.endpoints].map(([ifindex, { addresses, policy, link }]) => {
      const isolated = [policy.ingress, policy.egress].some(
        (each) => each !== POLICY_NONE && !isAudited(each),
      );
      const hardware = link?.hardware.find((mac) => mac !== NO_HARDWARE);
      return [ifindex, { addresses, isolated, ...(hardware === undefined ? {} : { hardware }) }];
    }),
  ),
  isAttached: (ifindex) => attachedProgram(datapath.root, ifindex, "ingress") !== undefined,
});

const sourceEnv = ({ keptManifests: kept }: AgentOptions, env: AgentEnv): SourceEnv => ({
  ...env,
  ...(kept === undefined ? {} : { kept }),
});

/** Whether the kernel may enforce cluster policies from before this agent's first reconciliation. */
const mayEnforceEarlier = ({ kept }: AgentOptions, progress: Progress | undefined): boolean =>
  (progress === undefined || progress.held.state.endpoints.size > 0) && mayHaveHadClusterPolicies(kept);

const inMode = (reading: ClusterSnapshot, mode: Mode): ClusterSnapshot =>
  mode === "audit" ? { ...reading, cluster: { ...reading.cluster, mode } } : reading;

const withProblems = (reading: ClusterSnapshot, problems: readonly Problem[]): ClusterSnapshot => ({
  ...reading,
  problems: [...reading.problems, ...problems],
});

/** The snapshots of a source, as they come. */
interface Readings {
  /** The newest one. */
  latest(): ClusterSnapshot | undefined;
  /** Called for each one from now on, and at once if there is one. */
  onChange(listener: (reading: ClusterSnapshot) => void): void;
  /** Resolves after the signal has aborted. */
  readonly ended: Promise<void>;
}

function followSource(source: Source, signal: AbortSignal): Readings {
  let latest: ClusterSnapshot | undefined;
  let changed: (reading: ClusterSnapshot) => void = () => undefined;
  const ended = source.watch((reading) => {
    latest = reading;
    changed(reading);
  }, signal);
  return {
    latest: () => latest,
    onChange(listener) {
      changed = listener;
      if (latest !== undefined) listener(latest);
    },
    ended,
  };
}

/** What the loop works on. */
interface Parts {
  readonly readings: Readings;
  readonly kernel: Kernel;
  readonly progress: Progress;
  readonly resyncs: Resyncs;
  readonly cni: Cni;
  readonly bypasses: Bypasses;
  readonly uplinks: Uplinks | undefined;
  readonly events: AgentEvents;
  readonly kubernetes: Kubernetes;
  readonly integrity: Integrity;
}

const SCHEDULE: ScheduleOptions = {
  debounceMs: 1,
  // Each new generation has every flow judged again: at most 50 a second.
  intervalMsMin: 20,
  pauseMsMax: 250,
  retryMs: [500, 30_000],
  resyncMs: 30_000,
  quietMs: 2_000,
  postponeMsMax: 90_000,
};

async function loop(running: Parts, options: AgentOptions, env: AgentEnv & ReconcileEnv): Promise<void> {
  const scheduler = openScheduler(SCHEDULE, env.signal);
  const changed = (): void => scheduler.request();
  const interfaces = await openInterfaces(interfaceOptions(options), {
    onChange: changed,
    onError: (error) => env.log.warn("the interfaces cannot be read", { error: messageOf(error) }),
    ...gateOf(running.kernel, options, env.log),
    left: leftIn(running.kernel, running.progress),
    now: env.now,
  });
  const onLate = (ifindex: number, error: unknown): void => {
    // It has gone already.
    if (codeOf(error) === "ENODEV") return;
    env.log.warn("an interface is enforced by filters, its links cannot be created", {
      ifindex,
      error: messageOf(error),
    });
    scheduler.request();
  };
  let brought: ClusterSnapshot | undefined;
  running.readings.onChange(({ cluster }) => {
    running.progress.services.note(cluster.services);
    changed();
  });
  const watchingDenied = running.uplinks?.watch(changed, env.signal);
  running.resyncs.onRequest(changed);
  running.cni.onChange(scheduler.request);
  running.bypasses.onChange(changed);
  running.integrity.onChange(changed);
  try {
    // An agent that reports what it enforces enforces this, too.
    await watchingDenied?.first;
    while (!env.signal.aborted) {
      await scheduler.next();
      if (env.signal.aborted) continue;
      const reading = running.readings.latest();
      if (reading === undefined) {
        // Nothing to reconcile yet; a resync that is due counts as done, else the next run would always be due at once.
        scheduler.begin({ changed: false, resyncRequested: false });
        scheduler.end(true);
        continue;
      }
      const requests = running.resyncs.take();
      const resync = scheduler.begin({ changed: reading !== brought, resyncRequested: requests.length > 0 });
      if (resync) running.integrity.checkPins();
      const problems = (await running.uplinks?.bring(resync)) ?? [];
      brought = reading;
      const opened = running.bypasses.applied(inMode(reading, options.mode));
      const matched = running.cni.match(withProblems(opened, problems));
      const settled = await reconcile(
        running.kernel,
        running.progress,
        { ...matched, interfaces, resync },
        { ...env, onLate, onEnforced: running.cni.answer },
      );
      running.cni.settle(running.progress);
      running.events.settle(running.progress.applied, running.progress.force);
      const wrong = [...running.progress.problems, ...running.integrity.problems()];
      running.kubernetes.update(wrong, running.integrity.incidents(), reading);
      if (settled && reading.readable) running.bypasses.settled();
      for (const answer of requests) answer(running.progress, settled && reading.readable);
      scheduler.end(settled);
    }
  } finally {
    interfaces.close();
    await watchingDenied?.ended;
  }
}
