// The agent's loop, and the only place that knows the order: manifests and interfaces → compile → diff → kernel.

import { setTimeout as sleep } from "node:timers/promises";
import { apply, type Kernel } from "./agent/apply.ts";
import { numberingOver } from "./agent/reserve.ts";
import { capacityViews, endpointViews, type InForce, namesView, policyViews } from "./agent/views.ts";
import { messageOf } from "./base/errors.ts";
import type { Log } from "./base/log.ts";
import { openBell } from "./base/wake.ts";
import { hookOf } from "./datapath/attach.ts";
import { openMaps } from "./datapath/maps.ts";
import { openDatapath } from "./datapath/object.ts";
import { removeOtherDigests } from "./datapath/pins.ts";
import { type Problem, problemText } from "./model/problem.ts";
import { serve } from "./observe/server.ts";
import type { StatusView } from "./observe/view.ts";
import { compile } from "./policy/compile.ts";
import type { Numbering } from "./policy/numbers.ts";
import { resolveInterfaces } from "./source/interfaces.ts";
import { watchLinks } from "./source/links.ts";
import { type Reading, readManifests, watchManifests } from "./source/manifests.ts";
import type { Held } from "./state/diff.ts";

export interface AgentOptions {
  /** Directory or file of manifests. */
  readonly manifests: string;
  /** Apply once and leave; enforcement goes on without an agent. */
  readonly once: boolean;
  /** Pin root on a BPF filesystem. */
  readonly bpffs: string;
  /** Path of the Unix socket that commands ask. */
  readonly socket: string;
  /** The built BPF object. */
  readonly object: string;
}

export interface AgentEnv {
  readonly log: Log;
  readonly signal: AbortSignal;
  readonly now: () => Date;
  readonly version: string;
}

/** Changes that come within this time are applied together. */
const COALESCE_MS = 20;
/** How often the kernel is read back and repaired. */
const RESYNC_MS = 30_000;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 30_000;

/** What the loop carries from one round to the next. */
interface Progress {
  held: Held;
  numbering: Numbering;
  force: InForce | undefined;
  problems: readonly Problem[];
  /** Generation whose round is done: what `status` shows as applied. */
  applied: number;
  wanted: number;
  appliedAt: Date | undefined;
}

/** Runs until the signal aborts. Returns the exit code: with `once`, 1 where there were errors, else 0. */
export async function runAgent(options: AgentOptions, env: AgentEnv): Promise<number> {
  const datapath = await openDatapath(options.bpffs, options.object);
  const maps = openMaps(datapath);
  const kernel: Kernel = { datapath, maps, hook: hookOf() };
  try {
    await maps.initialise();
    const held = await maps.read();
    const progress: Progress = {
      held,
      numbering: numberingOver(held),
      force: undefined,
      problems: [],
      applied: maps.generation(),
      wanted: maps.generation(),
      appliedAt: undefined,
    };
    if (options.once) {
      await reconcile(kernel, progress, await readManifests(options.manifests), env);
      return progress.problems.some(({ severity }) => severity === "error") ? 1 : 0;
    }
    await loop(options, env, kernel, progress);
    return 0;
  } finally {
    datapath.close();
  }
}

async function loop(options: AgentOptions, env: AgentEnv, kernel: Kernel, progress: Progress): Promise<void> {
  const startedAt = env.now();
  const server = await serve(options.socket, {
    status: () => statusView(options, env, startedAt, { kernel, progress }),
    endpoints: () => (progress.force === undefined ? [] : endpointViews(progress.force)),
    policies: () => (progress.force === undefined ? [] : policyViews(progress.force)),
    names: () => (progress.force === undefined ? NO_NAMES : namesView(progress.force)),
  });
  const bell = openBell();
  env.signal.addEventListener("abort", () => bell.ring(), { once: true });
  let reading: Reading | undefined;
  const watching = watchManifests(options.manifests, {
    signal: env.signal,
    onChange: (next) => {
      reading = next;
      bell.ring();
    },
  });
  watchLinks(() => bell.ring(), env.signal);
  let resync = false;
  const resyncTimer = setInterval(() => {
    resync = true;
    bell.ring();
  }, RESYNC_MS);
  let retryMs = RETRY_FIRST_MS;
  let retryTimer: NodeJS.Timeout | undefined;
  try {
    while (!env.signal.aborted) {
      await bell.wait();
      await sleep(COALESCE_MS);
      if (reading === undefined || env.signal.aborted) continue;
      // Where someone else has changed the maps, the next diff puts it right.
      if (resync) progress.held = await kernel.maps.read();
      resync = false;
      const settled = await reconcile(kernel, progress, reading, env);
      clearTimeout(retryTimer);
      if (!settled) retryTimer = setTimeout(() => bell.ring(), retryMs);
      retryMs = settled ? RETRY_FIRST_MS : Math.min(retryMs * 2, RETRY_LAST_MS);
    }
  } finally {
    clearInterval(resyncTimer);
    clearTimeout(retryTimer);
    await server.close();
    await watching;
  }
}

/** One round. Returns false where it should be tried again without waiting for a change. */
async function reconcile(
  kernel: Kernel,
  progress: Progress,
  reading: Reading,
  env: AgentEnv,
): Promise<boolean> {
  const problems: Problem[] = [...reading.problems];
  let settled = true;
  try {
    const resolved = await resolveInterfaces(reading.cluster.pods.values());
    problems.push(...resolved.problems);
    const compiled = compile(reading.cluster, resolved.found, progress.numbering);
    const applied = await applyOrReread(kernel, progress, compiled.state);
    progress.wanted = applied.generation;
    progress.held = settledState(compiled.state);
    progress.numbering = compiled.numbering;
    const first = progress.force === undefined;
    progress.force = {
      cluster: reading.cluster,
      compiled,
      interfaces: new Map(resolved.found.map(({ ifindex, name }) => [ifindex, name])),
      missing: resolved.missing,
    };
    removeOtherDigests(kernel.datapath.root);
    if (applied.changed || first) {
      progress.appliedAt = env.now();
      env.log.info("enforcing", {
        generation: applied.generation,
        endpoints: compiled.state.endpoints.size,
        policies: reading.cluster.policies.size,
      });
    }
    progress.applied = applied.generation;
    settled = applied.gone.length === 0;
  } catch (error) {
    settled = false;
    problems.push({ severity: "error", reason: messageOf(error), effect: "the state before stays in force" });
    if (progress.wanted === progress.applied) progress.wanted += 1;
  }
  report(progress, problems, env.log);
  return settled;
}

/** After a failure the kernel holds something between old and new: read it, and number by it from then on. */
async function applyOrReread(kernel: Kernel, progress: Progress, want: Held["state"]) {
  try {
    return await apply(kernel, progress.held, want);
  } catch (error) {
    progress.held = await kernel.maps.read();
    progress.numbering = numberingOver(progress.held, progress.numbering);
    throw error;
  }
}

const settledState = (state: Held["state"]): Held => ({
  state,
  unsettled: { addresses: new Set(), cidrs: new Set(), endpoints: new Set(), ports: false },
});

/** Logs what is newly wrong and what is right again; what stays wrong is not repeated. */
function report(progress: Progress, problems: readonly Problem[], log: Log): void {
  const before = new Set(progress.problems.map(problemText));
  const now = new Set(problems.map(problemText));
  for (const problem of problems) {
    const text = problemText(problem);
    if (!before.has(text)) log[problem.severity === "error" ? "error" : "warn"](text);
  }
  for (const text of before) if (!now.has(text)) log.info(`solved: ${text}`);
  progress.problems = problems;
}

function statusView(
  options: AgentOptions,
  env: AgentEnv,
  startedAt: Date,
  { kernel, progress }: { kernel: Kernel; progress: Progress },
): StatusView {
  return {
    version: env.version,
    pid: process.pid,
    startedAt: startedAt.toISOString(),
    // Between the flip and the end of its round a generation is wanted, not yet applied.
    generation: { wanted: Math.max(progress.wanted, kernel.maps.generation()), applied: progress.applied },
    ...(progress.appliedAt === undefined ? {} : { appliedAt: progress.appliedAt.toISOString() }),
    endpoints: progress.force?.compiled.state.endpoints.size ?? 0,
    policies: progress.force?.cluster.policies.size ?? 0,
    problems: progress.problems,
    capacity: capacityViews(progress.held.state),
    hook: kernel.hook,
    source: options.manifests,
  };
}

const NO_NAMES = {
  endpoints: {},
  addresses: {},
  identities: {},
  cidrs: {},
  policies: {},
  rows: {},
  classes: {},
};
