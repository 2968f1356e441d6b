// One reconciliation: applies a snapshot of the source, or keeps the last state and reports why.

import { getHeapStatistics } from "node:v8";
import { append } from "../base/append.ts";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { compactVersion } from "../base/versioned-map.ts";
import { type CarriedFlows, type CarryOver, openCarryOver } from "../datapath/flow-carry-over.ts";
import { removeEarlierTables } from "../datapath/flow-table-pins.ts";
import { type Attached, attachedProgram } from "../datapath/hooks.ts";
import { carryNames } from "../datapath/name-carry-over.ts";
import { removeOtherLayouts } from "../datapath/pins.ts";
import { NO_SURROUNDINGS } from "../model/cluster.ts";
import type { ClusterSnapshot } from "../model/cluster-snapshot.ts";
import type { Problem } from "../model/problem.ts";
import { identityOf, isSameLink, type LinkIdentity } from "../node/link-identity.ts";
import { type Compiled, type Compiler, openCompiler } from "../policy/compile.ts";
import { NOTHING_NUMBERED, type Numbering } from "../policy/identity-allocation.ts";
import { capacitiesFor } from "../policy/limits/capacity-fit.ts";
import { excessProblems } from "../policy/limits/fair-shares.ts";
import type { ClaimedInterface } from "../source/interface-discovery.ts";
import { NO_INCARNATION } from "../state/desired-state.ts";
import {
  type Difference,
  differences,
  differencesText,
  settingsDifferences,
} from "../state/state-compare.ts";
import { type Held, settledState } from "../state/state-diff.ts";
import type { InForce } from "./agent-views.ts";
import { type Applied, type ApplyOptions, apply } from "./apply-changes.ts";
import type { Kernel } from "./datapath-handle.ts";
import type { Interfaces, Tracked } from "./interface-tracking.ts";
import type { Meter } from "./metrics-exporter.ts";
import { addressProblems, attachProblems, logProblems, refusalProblems } from "./node-problems.ts";
import { numberingOver } from "./reserved-numbers.ts";
import { openServiceAddresses, type ServiceAddresses } from "./service-addresses.ts";

/** State that one reconciliation passes to the next. */
export interface Progress {
  /** Keeps what it has compiled: each compile takes the time of what has changed. */
  compiler: Compiler;
  held: Held;
  numbering: Numbering;
  force: InForce | undefined;
  problems: readonly Problem[];
  /** Generation of the last successful reconciliation. */
  applied: number;
  /** The same, or the generation that a failed reconciliation would have applied. */
  wanted: number;
  appliedAt: Date | undefined;
  /** When the reconciliation in progress began; undefined if there is none. */
  busySince: Date | undefined;
  /** Active values may have been written without a later generation: by an agent that ended, or by an update that failed. */
  mustAdvance: boolean;
  /** An update has failed, and what it has left in the kernel has not been read yet. */
  mustReread?: boolean;
  /** By interface index, where the programs were attached, and the link by then; undefined if all must be examined again. */
  attachments?: KnownAttachments | undefined;
  /** Interfaces whose links could not be created since: they are attached again. */
  readonly late: Set<number>;
  /** Differences that the last resync found. */
  repaired: readonly Difference[];
  readonly services: ServiceAddresses;
  /** Maps of another layout whose programs still run. */
  carryOver?: CarryOver | undefined;
  /** Pins of other layouts are removed as soon as no link runs their programs. */
  hasRemovedLayouts?: boolean;
}

type KnownAttachments = ReadonlyMap<number, { readonly attached: Attached; readonly link: LinkIdentity }>;

const OWN_CAPACITIES = capacitiesFor(getHeapStatistics().heap_size_limit);

export interface ReconcileEnv {
  readonly log: Log;
  readonly now: () => Date;
  readonly meter?: Meter;
  /** Called before endpoints change: those that are removed take their counters with them. */
  readonly beforeApply?: () => Promise<void>;
  /** See ApplyOptions. */
  readonly onLate?: ApplyOptions["onLate"];
  /** Called as soon as a state is enforced; the reconciliation goes on, and may still fail. */
  readonly onEnforced?: (force: InForce) => void;
}

/** The kernel's state when the agent starts. Errors: OperationError. */
export async function firstProgress({ maps, datapath }: Kernel): Promise<Progress> {
  await maps.initialise();
  const held = await maps.read();
  await maps.carryFrontends();
  // Programs are removed with the link that they were attached to.
  const isSameLink = (ifindex: number): boolean =>
    attachedProgram(datapath.root, ifindex, "ingress") !== undefined;
  const carryOver = await openCarryOver(datapath);
  const carried = (carryOver?.endpoints ?? []).filter(({ ifindex }) => isSameLink(ifindex));
  const incarnations = {
    last: carryOver?.lastIncarnation ?? NO_INCARNATION,
    of: new Map(
      carried.map(({ ifindex, incarnation: number, addresses }) => [
        ifindex,
        { number, addresses, pods: undefined },
      ]),
    ),
  };
  return {
    compiler: openCompiler(),
    held,
    carryOver,
    numbering: numberingOver(held, { ...NOTHING_NUMBERED, incarnations }, isSameLink),
    force: undefined,
    problems: [],
    applied: maps.generation(),
    wanted: maps.generation(),
    appliedAt: undefined,
    busySince: undefined,
    mustAdvance: true,
    late: new Set(),
    repaired: [],
    services: openServiceAddresses(),
  };
}

export interface ReconcileInput {
  readonly reading: ClusterSnapshot;
  /** Claims received from the CNI plugin. */
  readonly claims?: readonly ClaimedInterface[];
  readonly interfaces: Interfaces;
  readonly resync: boolean;
}

/**
 * Applies a snapshot. With `resync` the kernel is read first, so that external changes are repaired. Never
 * throws: a failure is a Problem. Returns false if it should be retried without waiting for a change.
 */
export async function reconcile(
  kernel: Kernel,
  progress: Progress,
  { reading, claims = [], interfaces, resync }: ReconcileInput,
  env: ReconcileEnv,
): Promise<boolean> {
  const problems: Problem[] = [...reading.problems];
  let settled = true;
  progress.busySince = env.now();
  progress.repaired = [];
  if (resync) progress.attachments = undefined;
  // If an unreadable directory were treated as empty, every pod that an earlier agent has isolated would be
  // opened.
  if (reading.readable) {
    try {
      if (progress.mustReread === true) await reread(kernel, progress);
      if (resync) await readBack(kernel, progress, env.log);
      progress.services.note(reading.cluster.services);
      if (await progress.services.pass(kernel.maps.addFrontends)) progress.mustAdvance = true;
      settled = await bringIntoForce(kernel, progress, { reading, claims, interfaces }, { problems, env });
    } catch (error) {
      settled = false;
      problems.push({
        severity: "error",
        reason: messageOf(error),
        effect: "the previous state stays in force",
      });
      if (progress.wanted === progress.applied) progress.wanted += 1;
    }
  }
  if (!settled || !reading.readable) compactKept(progress);
  progress.busySince = undefined;
  env.meter?.ended(settled, progress.repaired.length);
  logProblems(progress.problems, problems, env.log);
  progress.problems = problems;
  return settled;
}

/** What stays in force while the cluster goes on: without this, it would keep all that has changed since. */
function compactKept({ force, held }: Progress): void {
  if (force === undefined) return;
  const { source, cluster, compiled } = force;
  const maps: ReadonlyMap<unknown, unknown>[] = [source, cluster].flatMap(
    ({ namespaces, pods, policies, clusterPolicies, services, slices, nodes }) => [
      ...[namespaces, pods, policies, services, slices],
      ...[clusterPolicies, nodes].filter((map) => map !== undefined),
    ],
  );
  for (const { addresses, services, policies } of [compiled.state, held.state])
    maps.push(addresses, services, policies);
  for (const map of [...maps, compiled.meaning.classified.addresses]) compactVersion(map);
}

function settingsOf(maps: Kernel["maps"]): Difference[] {
  const { held, wanted } = maps.settings();
  return settingsDifferences(held, wanted);
}

/** From here on the kernel's actual state counts, regardless of its writer. */
async function readBack({ maps }: Kernel, progress: Progress, log: Log): Promise<void> {
  // After a reconciliation that failed half-way the kernel differs because of the agent itself.
  const ours = progress.held.state === progress.force?.compiled.state ? progress.held.state : undefined;
  const settings = settingsOf(maps);
  await maps.initialise();
  const generation = maps.generation();
  if (ours !== undefined && generation !== progress.applied) {
    // Between reconciliations both versions of everything are equal, so it does not matter which one is in
    // force.
    if (generation < progress.applied) await maps.flip(progress.applied);
    log.warn("the active generation was modified externally; repaired", {
      found: generation,
      expected: progress.applied,
      now: maps.generation(),
    });
  }
  progress.held = await maps.read();
  progress.repaired = ours === undefined ? [] : [...differences(progress.held, ours), ...settings];
  if (progress.repaired.length === 0) {
    // The same objects, so that the next diff sees at once what has not changed.
    if (ours !== undefined) progress.held = { ...progress.held, state: ours };
    return;
  }
  log.warn("maps were modified externally; repaired", {
    entries: progress.repaired.length,
    tables: differencesText(progress.repaired),
  });
}

async function bringIntoForce(
  kernel: Kernel,
  progress: Progress,
  { reading, claims, interfaces }: Omit<ReconcileInput, "resync">,
  { problems, env }: { readonly problems: Problem[]; readonly env: ReconcileEnv },
): Promise<boolean> {
  const resolved = interfaces.resolve(reading.cluster, claims);
  const { cluster } = resolved;
  append(problems, resolved.problems);
  append(problems, addressProblems(cluster));
  const begun = performance.now();
  const { surroundings = NO_SURROUNDINGS } = resolved;
  const previous = progress.numbering;
  const { compiler } = progress;
  // One that throws half-way has kept part of the changes.
  progress.compiler = openCompiler();
  const compiled = compiler.compile({
    ...{ cluster, locals: resolved.found, previous, surroundings },
    capacities: OWN_CAPACITIES,
  });
  progress.compiler = compiler;
  env.meter?.took("compile", (performance.now() - begun) / 1_000);
  // It reads all counters, which a change elsewhere in the cluster is not worth.
  if (progress.force?.compiled.state.endpoints !== compiled.state.endpoints) await env.beforeApply?.();
  const { attachments: known, late } = progress;
  const stillAttached = known && attachedOnSameLinks(known, resolved.links, late);
  // Until it is done.
  progress.attachments = undefined;
  late.clear();
  const forceOn = (attached: InForce["attached"]): InForce => ({
    source: reading.cluster,
    cluster,
    compiled,
    interfaces: new Map(resolved.found.map((each) => [each.ifindex, each])),
    missing: resolved.missing,
    attached,
  });
  const { generation, changed, gone, attached, failed, seconds } = await applyOrReread(
    kernel,
    progress,
    compiled,
    {
      gate: interfaces.gate,
      copyFlows: flowCopier(kernel, progress.carryOver, env.log),
      onLate:
        env.onLate &&
        ((ifindex, error) => {
          late.add(ifindex);
          env.onLate?.(ifindex, error);
        }),
      attached: stillAttached,
      onEnforced: (attached) => env.onEnforced?.(forceOn(attached)),
    },
  );
  progress.carryOver = undefined;
  if (gone.length === 0 && failed.size === 0) progress.attachments = attachmentsOn(resolved.links, attached);
  env.meter?.took("apply", seconds.apply);
  env.meter?.took("attach", seconds.attach);
  append(problems, refusalProblems(resolved.found, attached));
  append(problems, attachProblems(resolved.found, failed));
  append(problems, excessProblems(compiled.excesses));
  const first = progress.force === undefined;
  progress.held = settledState(compiled.state);
  progress.numbering = compiled.numbering;
  progress.force = forceOn(attached);
  interfaces.settle(cluster, compiled.meaning.sides);
  if (progress.hasRemovedLayouts !== true && failed.size === 0) {
    const layouts = removeOtherLayouts(kernel.datapath.root);
    removeEarlierTables(kernel.datapath.root);
    progress.hasRemovedLayouts = true;
    if (layouts.length > 0) env.log.info("pins of another layout removed", { layouts: layouts.join(",") });
  }
  if (changed || first) {
    progress.appliedAt = env.now();
    env.log.info("enforcing", {
      generation,
      endpoints: compiled.state.endpoints.size,
      policies: reading.cluster.policies.size,
    });
  }
  progress.wanted = generation;
  progress.applied = generation;
  return gone.length === 0 && failed.size === 0 && !compiled.isTransitional;
}

const attachedOnSameLinks = (
  known: KnownAttachments,
  links: Tracked["links"],
  late: ReadonlySet<number>,
): InForce["attached"] =>
  new Map(
    [...known].flatMap(([ifindex, { attached, link }]) => {
      const now = links.get(ifindex);
      const isSame = now !== undefined && isSameLink(link, now) && !late.has(ifindex);
      return isSame ? [[ifindex, attached] as const] : [];
    }),
  );

const attachmentsOn = (links: Tracked["links"], attached: InForce["attached"]): KnownAttachments =>
  new Map(
    [...attached].flatMap(([ifindex, each]) => {
      const link = links.get(ifindex);
      return link === undefined ? [] : [[ifindex, { attached: each, link: identityOf(link) }] as const];
    }),
  );

async function reread({ maps }: Kernel, progress: Progress): Promise<void> {
  progress.held = await maps.read();
  progress.numbering = numberingOver(progress.held, progress.numbering);
  progress.mustReread = false;
}

/** After a failure the kernel is between old and new: read it, and take numbers from it from then on. */
async function applyOrReread(
  kernel: Kernel,
  progress: Progress,
  { state, shut, retiresIdentities }: Compiled,
  options: ApplyOptions,
): Promise<Applied> {
  try {
    const shutInterfaces = shut.map(({ ifindex }) => ifindex);
    const { mustAdvance } = progress;
    const repairs = progress.repaired.length > 0;
    const all = { ...options, shut: shutInterfaces, retiresIdentities, mustAdvance, repairs };
    const applied = await apply(kernel, progress.held, state, all);
    progress.mustAdvance = false;
    return applied;
  } catch (error) {
    progress.mustAdvance = true;
    progress.mustReread = true;
    await reread(kernel, progress);
    throw error;
  }
}

/** Its second call reports the outcome for the flows and resolved addresses of the other layout. */
function flowCopier(
  { datapath }: Kernel,
  carryOver: CarryOver | undefined,
  log: Log,
): ApplyOptions["copyFlows"] {
  if (carryOver === undefined) return undefined;
  let before: readonly CarriedFlows[] | undefined;
  return async (want, generation) => {
    const tenants = new Map(
      [...want.endpoints.values()].map(({ incarnation, tenant = 0 }) => [incarnation, tenant]),
    );
    // Before the flows: whether one goes on may depend on them.
    const names = await carryNames(datapath, tenants);
    const carried = await carryOver.copy(tenants, generation);
    if (before !== undefined) {
      for (const { layout, addresses, reason } of names) {
        if (addresses > 0) log.info("resolved addresses of another layout migrated", { layout, addresses });
        if (reason !== undefined)
          log.warn("resolved addresses of another layout cannot be migrated", { layout, reason });
      }
      for (const { layout, flows, ended, lost, reason } of carried) {
        log.info("flows of another layout migrated", { layout, flows, ended });
        if (reason !== undefined)
          log.warn("flows of another layout cannot be migrated", { layout, flows: lost, reason });
      }
    }
    before = carried;
  };
}
