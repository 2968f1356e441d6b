// The samples of each metric, computed from the agent's data; this module reads nothing itself.

import { readdirSync } from "node:fs";
import { DIRECTIONS } from "../base/direction.ts";
import { follow } from "../base/versioned-map.ts";
import type { Fault } from "../datapath/attachments.ts";
import type { NameStatistics } from "../datapath/domain-names.ts";
import type { EndpointCounts } from "../datapath/per-cpu-counters.ts";
import { verdictOfReason } from "../events/packet-event.ts";
import type { EventTotals } from "../events/packet-event-ring.ts";
import { COUNTED_FAMILY_NAMES, REASON_NAMES, SCREENED_NAMES, Screened } from "../gen/layout.ts";
import { type Cluster, EMPTY_CLUSTER } from "../model/cluster.ts";
import type { KindHealth, SourceHealth } from "../model/cluster-snapshot.ts";
import {
  type CapacityView,
  type CniView,
  ENDPOINT_STATES,
  type FlowTableView,
  type StatusView,
  type UplinkView,
} from "../observe/api-views.ts";
import type { Readings, Sample } from "../observe/metrics-registry.ts";
import type { Excess } from "../policy/limits/fair-shares.ts";
import { endpointViews, type InForce } from "./agent-views.ts";
import type { CniCounts } from "./cni/cni-server.ts";
import type { Cell } from "./counter-growth.ts";
import type { Traffic } from "./counter-totals.ts";
import type { EventCount } from "./kubernetes/event-recorder.ts";

/** Events by result; `unwritten` ones could not be written to the event file. */
export type EventSample = EventTotals & { readonly unwritten: number };

export function cellsOf(counts: readonly EndpointCounts[]): Cell[] {
  return counts.flatMap(({ id, families }) =>
    families.flatMap((sides, family) =>
      sides.flatMap((cells, side) =>
        cells.flatMap(({ packets, bytes }, reason): Cell[] => {
          if (packets === 0n) return [];
          return [
            {
              endpoint: id,
              family: COUNTED_FAMILY_NAMES[family] ?? String(family),
              direction: DIRECTIONS[side] ?? String(side),
              reason: REASON_NAMES[reason] ?? String(reason),
              packets,
              bytes,
            },
          ];
        }),
      ),
    ),
  );
}

export function trafficSamples(traffic: Traffic, force: InForce | undefined): Readings {
  const rows = traffic.totals().map(({ packets, bytes, ...labels }) => ({
    labels: { ...labels, verdict: verdictOfReason(labels.reason) },
    packets: Number(packets),
    bytes: Number(bytes),
  }));
  const known = (policy: string): boolean =>
    policy.startsWith("/")
      ? force?.cluster.clusterPolicies?.has(policy.slice(1)) === true
      : force?.cluster.policies.has(policy) === true;
  return {
    packets: rows.map(({ labels, packets }) => ({ labels, value: packets })),
    bytes: rows.map(({ labels, bytes }) => ({ labels, value: bytes })),
    ...(force === undefined
      ? {}
      : {
          policyPackets: traffic.policies(known).map(({ policy, direction, reason, packets }): Sample => {
            const [namespace = "", name = ""] = policy.split("/");
            return { labels: { namespace, policy: name, direction, reason }, value: Number(packets) };
          }),
        }),
  };
}

/**
 * Dropped packets that were neither reported nor lost were suppressed. `floor` has the largest number so far: counters are read one
 * after the other, and what is dropped in between must not make it fall.
 */
export function eventSamples(events: EventSample, traffic: Traffic, floor: { suppressed: number }): Readings {
  const dropped = traffic
    .totals()
    .reduce((sum, { reason, packets }) => (verdictOfReason(reason) === "dropped" ? sum + packets : sum), 0n);
  floor.suppressed = Math.max(floor.suppressed, Number(dropped - events.dropsWritten - events.lost));
  return {
    eventsWritten: [{ value: Number(events.written) }],
    eventsSuppressed: [{ value: floor.suppressed }],
    eventsLost: [
      { labels: { where: "ring" }, value: Number(events.lost) },
      { labels: { where: "file" }, value: events.unwritten },
    ],
  };
}

export const kubernetesSamples = (counts: readonly EventCount[]): Readings => ({
  kubernetesEvents: counts.map(({ result, reason, count }) => ({ labels: { result, reason }, value: count })),
});

export function statusSamples(status: StatusView, filled: readonly CapacityView[]): Readings {
  const tables = [...status.capacity, ...filled];
  const ofTables = (value: (table: CapacityView) => number): Sample[] =>
    tables.map((table) => ({ labels: { table: table.name }, value: value(table) }));
  return {
    build: [{ labels: { version: status.version, hook: status.hook }, value: 1 }],
    generationWanted: [{ value: status.generation.wanted }],
    generationApplied: [{ value: status.generation.applied }],
    ...(status.appliedAt === undefined
      ? {}
      : { appliedAt: [{ value: Date.parse(status.appliedAt) / 1_000 }] }),
    problems: (["error", "warning"] as const).map((severity) => ({
      labels: { severity },
      value: status.problems.filter((problem) => problem.severity === severity).length,
    })),
    entries: ofTables(({ used }) => used),
    capacity: ofTables(({ max }) => max),
    pressure: ofTables(({ used, max }) => used / max),
    auditMode: [{ value: status.mode === "audit" ? 1 : 0 }],
    bypasses: (["pod", "node"] as const).map((scope) => ({
      labels: { scope },
      value: (status.bypasses ?? []).filter(({ target }) => (target === "node") === (scope === "node"))
        .length,
    })),
    audited: [{ value: status.audited }],
    restored: [
      { labels: { object: "program" }, value: status.repairs.attached },
      { labels: { object: "pin" }, value: status.repairs.pinned },
    ],
    started: [{ value: Date.parse(status.startedAt) / 1_000 }],
  };
}

export function flowSamples(tables: readonly FlowTableView[]): Readings {
  const ofFamilies = (value: (table: FlowTableView) => number): Sample[] =>
    tables.map((table) => ({ labels: { family: table.family }, value: value(table) }));
  return {
    flowsInserted: ofFamilies(({ inserted }) => inserted),
    flowsEvicted: tables.flatMap(({ family, evicted }): Sample[] => [
      { labels: { family, victim: "same-owner" }, value: evicted.sameOwner },
      { labels: { family, victim: "unconfirmed" }, value: evicted.unconfirmed },
    ]),
    flowsRefused: ofFamilies(({ refused }) => refused),
  };
}

export const nameSamples = (statistics: NameStatistics | undefined): Readings =>
  statistics === undefined
    ? {}
    : {
        names: Object.entries(statistics).map(([result, value]) => ({
          labels: { result },
          value: Number(value),
        })),
      };

export function sourceSamples(following: SourceHealth | undefined): Readings {
  if (following === undefined) return {};
  // A kind that the server need not have is no kind that is not followed.
  const kinds = following.kinds.filter(({ state }) => state !== "absent");
  const ofKinds = (value: (kind: KindHealth) => number | undefined): Sample[] =>
    kinds.flatMap((each) => {
      const known = value(each);
      return known === undefined ? [] : [{ labels: { kind: each.kind }, value: known }];
    });
  const byReason = (counts: (kind: KindHealth) => Readonly<Record<string, number>>): Sample[] =>
    kinds.flatMap((each) =>
      Object.entries(counts(each)).map(([reason, value]) => ({ labels: { kind: each.kind, reason }, value })),
    );
  const seconds = (time: string | undefined) => (time === undefined ? undefined : Date.parse(time) / 1_000);
  return {
    sourceContact: ofKinds(({ contactAt }) => seconds(contactAt)),
    sourceListed: ofKinds(({ listedAt }) => seconds(listedAt)),
    sourceFollowed: ofKinds(({ state }) => (state === "following" ? 1 : 0)),
    sourceObjects: ofKinds(({ objects }) => objects),
    sourceLists: byReason(({ lists }) => lists),
    sourceWatches: byReason(({ watches }) => watches),
    sourceDifferences: ofKinds(({ differences }) => differences),
    sourceBytes: ofKinds(({ bytes }) => bytes),
  };
}

const DROPPING_ON_UPLINKS: ReadonlySet<string> = new Set(
  Object.entries(SCREENED_NAMES).flatMap(([number, name]) =>
    Number(number) >= Screened.DROPS ? [name] : [],
  ),
);

export function uplinkSamples(uplinks: UplinkView | undefined): Readings {
  if (uplinks === undefined) return {};
  const modes = ["native", "generic", "none"] as const;
  return {
    uplinks: modes.map((mode) => ({
      labels: { mode },
      value: uplinks.interfaces.filter((each) => each.mode === mode).length,
    })),
    uplinkFrames: Object.entries(uplinks.frames).map(([reason, value]) => ({
      labels: { verdict: DROPPING_ON_UPLINKS.has(reason) ? "dropped" : "passed", reason },
      value,
    })),
    deniedPrefixes: [{ value: uplinks.prefixes }],
  };
}

/** `faults` are the kernel's present state of the interfaces. */
export function enforcementSamples(force: InForce | undefined, faults: readonly Fault[]): Readings {
  const sides = force?.compiled.meaning.sides ?? [];
  const policies = [
    ...(force?.cluster.policies.values() ?? []),
    ...(force?.cluster.clusterPolicies?.values() ?? []),
  ];
  const unreadable = policies.filter((policy) => policy.unreadable !== undefined).length;
  const states = force === undefined ? [] : endpointViews(force, faults).map(({ state }) => state);
  return {
    endpoints: ENDPOINT_STATES.map((state) => ({
      labels: { state: state.replaceAll(" ", "-") },
      value: states.filter((each) => each === state).length,
    })),
    leftOut: [
      ...leftOutSamples(force?.compiled.excesses ?? []),
      ...reducedSamples(force?.source ?? EMPTY_CLUSTER),
    ],
    isolated: DIRECTIONS.map((direction) => ({
      labels: { direction },
      value: sides.filter((entry) => entry.sides[direction]?.isolated === true).length,
    })),
    policies: [
      { labels: { state: "readable" }, value: policies.length - unreadable },
      { labels: { state: "unreadable" }, value: unreadable },
    ],
  };
}

/** Counts a policy by its rules. */
function leftOutSamples(excesses: readonly Excess[]): Sample[] {
  const groups = Map.groupBy(excesses, ({ namespace, limit }) => JSON.stringify([namespace, limit]));
  return [...groups.values()].flatMap((own) => {
    const [first] = own;
    if (first === undefined) return [];
    const { namespace, limit } = first;
    return [
      { labels: { namespace, limit }, value: own.reduce((sum, { rules }) => sum + (rules?.length ?? 1), 0) },
    ];
  });
}

/** Counts what is kept in a reduced form, since it exceeds its namespace's share of the agent's memory. */
function reducedSamples({ policies, pods, services, slices }: Cluster): Sample[] {
  return Object.entries({ policies, pods, Services: services, slices }).flatMap(([plural, map]) =>
    [...reducedIn(map)].map(([namespace, value]) => ({
      labels: { namespace, limit: `memory of ${plural}` },
      value,
    })),
  );
}

interface Reducible {
  readonly namespace: string;
  readonly exceeds?: unknown;
}

/** The number of them by namespace. */
const reducedIn = follow<string, Reducible, Map<string, number>>(
  () => new Map(),
  (counts, { before, after }) => {
    for (const [object, by] of [
      [before, -1],
      [after, 1],
    ] as const) {
      if (object?.exceeds === undefined) continue;
      const count = (counts.get(object.namespace) ?? 0) + by;
      if (count === 0) counts.delete(object.namespace);
      else counts.set(object.namespace, count);
    }
  },
);

export function cniSamples(cni: CniView | undefined, counts: CniCounts): Readings {
  const { claims = 0, inForce = 0 } = cni ?? {};
  return {
    claims: [
      { labels: { state: "in-force" }, value: inForce },
      { labels: { state: "waiting" }, value: claims - inForce },
    ],
    cniRequests: Object.entries(counts).flatMap(([command, { done, failed }]) => [
      { labels: { command, result: "done" }, value: done },
      { labels: { command, result: "failed" }, value: failed },
    ]),
  };
}

export function processSamples(lag: number): Readings {
  const { user, system } = process.cpuUsage();
  const { rss, heapUsed } = process.memoryUsage();
  return {
    cpu: [{ value: (user + system) / 1e6 }],
    memory: [{ value: rss }],
    heap: [{ value: heapUsed }],
    files: [{ value: readdirSync("/proc/self/fd").length }],
    lag: [{ value: lag }],
  };
}
