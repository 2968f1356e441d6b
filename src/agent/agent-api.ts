// What the agent answers with when it is asked: from the parts that run, as far as they have come up.

import type { FromPodHook } from "../base/hooks.ts";
import { hookOf } from "../datapath/hooks.ts";
import { toWire } from "../model/cluster-json.ts";
import type { Mode } from "../model/enforcement-mode.ts";
import type { Problem } from "../model/problem.ts";
import type { StatusView } from "../observe/api-views.ts";
import type { Views } from "../observe/socket-server.ts";
import type { Source } from "../source/source.ts";
import { EMPTY_STATE } from "../state/desired-state.ts";
import type { Cni } from "./cni/cni-server.ts";
import type { Kernel } from "./datapath-handle.ts";
import type { Integrity } from "./integrity.ts";
import type { Progress } from "./reconcile.ts";
import type { Resyncs } from "./resync.ts";
import type { Uplinks } from "./uplinks.ts";
import {
  auditedEndpoints,
  capacityViews,
  endpointViews,
  type InForce,
  namesView,
  policyViews,
  retainedViews,
  unknownInterfaces,
} from "./views.ts";

/** Set once the datapath is open; before, the agent only says that it is coming up. */
export interface Running {
  readonly source: Source;
  readonly resyncs: Resyncs;
  readonly cni: Cni;
  kernel?: Kernel;
  uplinks?: Uplinks;
  progress?: Progress;
  integrity?: Integrity;
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

export function viewsOf(running: Running, options: StatusOptions, env: StatusEnv): Views {
  const startedAt = env.now();
  const force = () => running.progress?.force;
  const view = <T>(of: (from: NonNullable<Progress["force"]>) => T, otherwise: T): T => {
    const from = force();
    return from === undefined ? otherwise : of(from);
  };
  return {
    // Not what the last check found: what the kernel says now.
    async status() {
      await running.integrity?.check();
      return statusView(running, options, env, startedAt);
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

/** Between the flip and the end of its round a generation is wanted, not yet applied; so is the first, at start. */
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

/** What is said of a reconciliation that began then and has not ended; undefined while it may take its time. */
export function stuckProblem(since: Date | undefined, now: Date): Problem | undefined {
  const ms = since === undefined ? 0 : now.getTime() - since.getTime();
  if (ms <= UPDATE_MS_MAX) return undefined;
  return {
    severity: "error",
    reason: `the reconciliation that began ${Math.round(ms / 1_000)} s ago has not ended`,
    effect: "changes since then are not enforced",
  };
}

/** Of the input, of the kernel, and of the agent itself. */
function problemsOf({ progress, integrity }: Running, now: Date): readonly Problem[] {
  const stuck = stuckProblem(progress?.busySince, now);
  return [
    ...(progress?.problems ?? []),
    ...(integrity?.problems() ?? []),
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
  return {
    version: env.version,
    pid: process.pid,
    startedAt: startedAt.toISOString(),
    ...generationOf(running),
    ...(progress?.appliedAt === undefined ? {} : { appliedAt: progress.appliedAt.toISOString() }),
    endpoints: progress?.force?.compiled.state.endpoints.size ?? 0,
    policies: progress?.force?.cluster.policies.size ?? 0,
    problems: problemsOf(running, env.now()),
    capacity: capacityViews(progress?.held.state ?? EMPTY_STATE),
    hook: kernel?.attachments.hook ?? hookOf(),
    fromPodHook: options.fromPodHook,
    audited: progress?.force === undefined ? 0 : auditedEndpoints(progress.force),
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
