// The agent's socket: status, views of the state in force, and routes that change something.

import type { FromPodHook } from "../base/direction.ts";
import { type AdjustableLog, isLogLevel, LOG_LEVELS } from "../base/log.ts";
import { memo } from "../base/memo.ts";
import { readKnownNames } from "../datapath/domain-names.ts";
import { hookOf } from "../datapath/hooks.ts";
import { ticksNow } from "../datapath/node-settings.ts";
import { toWire } from "../model/cluster.ts";
import type { Mode } from "../model/enforcement-mode.ts";
import type { Problem } from "../model/problem.ts";
import type { ReachabilityView } from "../model/reachability-view.ts";
import type { KnownNamesView, LogLevelView, LogView, StateView, StatusView } from "../observe/api-views.ts";
import { RequestError, type Route } from "../observe/socket-routes.ts";
import type { Views } from "../observe/socket-server.ts";
import { reachabilityOf } from "../policy/reach/reachability.ts";
import type { Source } from "../source/source.ts";
import { EMPTY_STATE, plainState } from "../state/desired-state.ts";
import {
  auditedEndpoints,
  capacityViews,
  endpointViews,
  type InForce,
  namesView,
  policyViews,
  retainedViews,
  unknownInterfaces,
} from "./agent-views.ts";
import type { Bypasses } from "./bypasses.ts";
import type { Cni } from "./cni/cni-server.ts";
import type { Kernel } from "./datapath-handle.ts";
import type { FlowUsage } from "./flow-usage.ts";
import type { Integrity } from "./integrity.ts";
import { judgeRoute, type PacketJudge } from "./packet-judge.ts";
import type { Progress } from "./reconcile.ts";
import type { Resyncs } from "./resync-requests.ts";
import type { TrafficAccounting } from "./traffic-accounting.ts";
import type { Uplinks } from "./uplinks.ts";

/** Set once the datapath is open; before that, the agent only reports that it is starting. */
export interface Running {
  readonly source: Source;
  readonly resyncs: Resyncs;
  readonly cni: Cni;
  readonly flows: FlowUsage;
  readonly bypasses: Bypasses;
  kernel?: Kernel;
  uplinks?: Uplinks;
  progress?: Progress;
  integrity?: Integrity;
  judge?: PacketJudge;
  accounting?: Pick<TrafficAccounting, "problems">;
}

export interface StatusOptions {
  readonly fromPodHook: FromPodHook;
  readonly mode: Mode;
  readonly denyUnknown?: object;
}

export interface StatusEnv {
  readonly version: string;
  readonly now: () => Date;
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

/** Of what status says of the flow table. */
const FLOWS_AGE_MS_MAX = 1_000;

export function viewsOf(running: Running, options: StatusOptions, env: StatusEnv): Views {
  const startedAt = env.now();
  const force = () => running.progress?.force;
  const view = <T>(of: (from: NonNullable<Progress["force"]>) => T, otherwise: T): T => {
    const from = force();
    return from === undefined ? otherwise : of(from);
  };
  return {
    // Reads the kernel now, instead of returning the result of the last check.
    async status() {
      await running.integrity?.check();
      const flows = await running.flows(FLOWS_AGE_MS_MAX);
      return {
        ...statusView(running, options, env, startedAt),
        ...(flows.length === 0 ? {} : { flows }),
      };
    },
    async endpoints() {
      await running.integrity?.check();
      return view((from) => endpointViews(from, running.integrity?.faults() ?? []), []);
    },
    policies: () => view(policyViews, []),
    names: () => view(namesView, NO_NAMES),
    cluster: () => {
      const cluster = force()?.compiled.enforced;
      if (cluster === undefined) throw new Error("nothing is in force yet");
      return { generation: running.progress?.applied ?? 0, cluster: toWire(cluster) };
    },
  };
}

/**
 * From the flip to the end of its reconciliation a generation is desired but not yet applied; so is the first
 * one at start.
 */
const generationOf = ({ kernel, progress }: Running): Pick<StatusView, "generation"> => ({
  generation: {
    wanted: Math.max(progress?.wanted ?? 1, kernel?.maps.generation() ?? 0),
    applied: progress?.applied ?? 0,
  },
});

function retainedOf(force: InForce | undefined): Pick<StatusView, "retained"> {
  const retained = force === undefined ? [] : retainedViews(force);
  return retained.length === 0 ? {} : { retained };
}

/** An update takes some milliseconds, on a loaded machine a second or two. */
const UPDATE_MS_MAX = 10_000;

/**
 * The problem of a reconciliation that started at `since` and has not ended; undefined while it is within its
 * time limit.
 */
export function stuckProblem(since: Date | undefined, now: Date): Problem | undefined {
  const ms = since === undefined ? 0 : now.getTime() - since.getTime();
  if (ms <= UPDATE_MS_MAX) return undefined;
  return {
    severity: "error",
    reason: `the reconciliation that began ${Math.round(ms / 1_000)} s ago has not ended`,
    effect: "changes since then are not enforced",
  };
}

/** Problems of the input, of the kernel, and of the agent itself. */
function problemsOf({ progress, integrity, accounting }: Running, now: Date): readonly Problem[] {
  const stuck = stuckProblem(progress?.busySince, now);
  return [
    ...(progress?.problems ?? []),
    ...(integrity?.problems() ?? []),
    ...(accounting?.problems() ?? []),
    ...(stuck === undefined ? [] : [stuck]),
  ];
}

export function statusView(
  running: Running,
  options: StatusOptions,
  env: StatusEnv,
  startedAt: Date,
): StatusView {
  const { kernel, progress } = running;
  const bypasses = running.bypasses.views();
  return {
    version: env.version,
    pid: process.pid,
    startedAt: startedAt.toISOString(),
    ...generationOf(running),
    ...(progress?.appliedAt === undefined ? {} : { appliedAt: progress.appliedAt.toISOString() }),
    endpoints: progress?.force?.compiled.state.endpoints.size ?? 0,
    policies:
      (progress?.force?.cluster.policies.size ?? 0) + (progress?.force?.cluster.clusterPolicies?.size ?? 0),
    problems: problemsOf(running, env.now()),
    capacity: capacityViews(progress?.held.state ?? EMPTY_STATE),
    hook: kernel?.attachments.hook ?? hookOf(),
    fromPodHook: options.fromPodHook,
    audited: progress?.force === undefined ? 0 : auditedEndpoints(progress.force),
    ...(bypasses.length === 0 ? {} : { bypasses }),
    repairs: running.integrity?.repairs() ?? { attached: 0, pinned: 0 },
    ...(running.uplinks === undefined ? {} : { uplinks: running.uplinks.view() }),
    cni: running.cni.view(),
    ...(options.denyUnknown === undefined || progress?.force === undefined
      ? {}
      : { unknownInterfaces: unknownInterfaces(progress.force) }),
    ...retainedOf(progress?.force),
    source: running.source.text,
    ...(running.source.health === undefined ? {} : { following: running.source.health() }),
    ...(options.mode === "audit" ? { mode: "audit" } : {}),
  };
}

// The socket's routes besides the views: the desired state, the agent's log, and resync.

export interface Asked {
  readonly resyncs: Resyncs;
  readonly progress?: Progress;
  readonly kernel?: Pick<Kernel, "maps">;
  readonly judge?: PacketJudge;
}

export function routesOf(asked: Asked, log: AdjustableLog): Route[] {
  const level = (): LogLevelView => ({ level: log.level() });
  return [
    { method: "GET", path: "state", answer: () => stateView(asked) },
    { method: "GET", path: "log", answer: (): LogView => ({ lines: log.recent() }) },
    { method: "GET", path: "log-level", answer: level },
    {
      method: "POST",
      path: "log-level",
      parameters: ["level"],
      answer: (parameters) => {
        const wanted = parameters.get("level");
        if (!isLogLevel(wanted)) throw new RequestError(`level: expected one of ${LOG_LEVELS.join(", ")}`);
        log.setLevel(wanted);
        return level();
      },
    },
    { method: "POST", path: "resync", answer: () => asked.resyncs.request() },
    { method: "GET", path: "reachability", answer: () => reachabilityView(asked.progress) },
    { method: "GET", path: "known-names", answer: () => knownNames(asked) },
    judgeRoute(() => asked.judge),
  ];
}

/** Once for each state in force, at its first request. */
const reachabilityIn = memo(({ compiled }: InForce) => reachabilityOf(compiled, compiled.enforced));

function reachabilityView(progress: Progress | undefined): ReachabilityView {
  if (progress?.force === undefined) throw new Error("nothing is in force yet");
  return { generation: progress.applied, ...reachabilityIn(progress.force) };
}

async function knownNames({ kernel }: Asked): Promise<KnownNamesView> {
  if (kernel === undefined) return { names: [] };
  const { tables } = kernel.maps;
  const { ticksPerSecond = 1 } = tables.node.get(0) ?? {};
  const now = ticksNow(ticksPerSecond);
  const endpoints = (await tables.endpoints.read({ skipZero: true })).map(([, each]) => each);
  const interfacesOf = Map.groupBy(endpoints, ({ incarnation }) => incarnation);
  const known = await readKnownNames(tables);
  return {
    names: known.flatMap(({ incarnation, address, name, expires }) =>
      (interfacesOf.get(incarnation) ?? []).map(({ ifindex }) => ({
        ...{ ifindex, name, address: address.text },
        expiresMs: Math.round((Number(expires - now) * 1_000) / ticksPerSecond),
      })),
    ),
  };
}

/**
 * The state in force as recorded by the agent; before its first reconciliation there is no desired state, and
 * the generation is 0.
 */
const stateView = ({ progress, kernel }: Asked): StateView => ({
  generation: progress?.force === undefined ? 0 : progress.applied,
  settled:
    progress?.force !== undefined && progress.busySince === undefined && progress.wanted === progress.applied,
  settings: kernel?.maps.settings().wanted ?? {},
  state: plainState(progress?.force?.compiled.state ?? EMPTY_STATE),
});
