// The frontends of Services, and the backends behind them, shared by namespaces: Services beyond their namespace's share are left out.
//
// Stateless: the sizes of all Services and the capacities decide.

import { FAMILIES, type Family } from "../base/ip.ts";
import { waterLevel } from "../base/water-level.ts";
import { namespaceOf } from "./cluster.ts";

export interface FrontendCapacities {
  /** Ports of Services of each family, each once for every address of its Service. */
  readonly services: number;
  /** Endpoints of Services, each once for every port that it is behind. */
  readonly backends: number;
}

/** `services` is the size of a table; `backends` take memory of the agent. */
export const FRONTEND_CAPACITIES: FrontendCapacities = { services: 65_536, backends: 262_144 };

/** How many a Service has of one family. */
export interface FamilySize {
  readonly frontends: number;
  readonly backends: number;
}

export type ServiceSize = Readonly<Record<Family, FamilySize>>;

/** A Service beyond its namespace's share. */
export interface FrontendExcess {
  /** The family of its frontends, or its backends. */
  readonly limit: Family | "backends";
  /** `namespace/name`. */
  readonly service: string;
  /** The namespace's demand, the part that fits, and the node's capacity for all. */
  readonly wanted: number;
  readonly share: number;
  readonly capacity: number;
  /** How many namespaces have a demand. */
  readonly askers: number;
}

export interface FrontendShares {
  /** A Service's size; undefined removes it. */
  set(service: string, size: ServiceSize | undefined): void;
  update(capacities: FrontendCapacities): {
    /** Services whose frontends of a family are too many. */
    readonly unlisted: Readonly<Record<Family, ReadonlyMap<string, FrontendExcess>>>;
    /** Services whose backends are too many. */
    readonly refused: ReadonlyMap<string, FrontendExcess>;
    /** Those that are in one of these now or were at the last update, and not both. */
    readonly changed: ReadonlySet<string>;
    /** The same list while nothing changes. */
    readonly excesses: readonly FrontendExcess[];
  };
}

export function openFrontendShares(): FrontendShares {
  const frontends = { 4: openDemand(4), 6: openDemand(6) };
  const backends = openDemand("backends");
  const sizes = new Map<string, ServiceSize>();
  let touched = new Set<string>();
  let unlisted: Record<Family, Beyond> = { 4: NOTHING, 6: NOTHING };
  let refused: Beyond = NOTHING;
  let excesses: readonly FrontendExcess[] = [];
  return {
    set(service, size) {
      if (size === undefined) sizes.delete(service);
      else sizes.set(service, size);
      for (const family of FAMILIES) frontends[family].set(service, size?.[family].frontends ?? 0);
      touched.add(service);
    },
    update({ services, backends: capacity }) {
      const before = [unlisted[4], unlisted[6], refused] as const;
      unlisted = { 4: frontends[4].beyond(services), 6: frontends[6].beyond(services) };
      const changed = new Set(
        FAMILIES.flatMap((family, at) => differing(before[at] as Beyond, unlisted[family])),
      );
      // What is not listed has no backends either.
      for (const key of touched.union(changed)) {
        const size = sizes.get(key);
        const listed = FAMILIES.filter((family) => !unlisted[family].has(key));
        backends.set(
          key,
          size === undefined ? 0 : listed.reduce((sum, family) => sum + size[family].backends, 0),
        );
      }
      touched = new Set();
      refused = backends.beyond(capacity);
      const after = [unlisted[4], unlisted[6], refused];
      if (after.some((each, at) => each !== before[at]))
        excesses = after.flatMap((each) => [...each.values()]);
      for (const key of differing(before[2], refused)) changed.add(key);
      return { unlisted, refused, changed, excesses };
    },
  };
}

type Beyond = ReadonlyMap<string, FrontendExcess>;

const NOTHING: Beyond = new Map();

const differing = (a: Beyond, b: Beyond): string[] =>
  a === b ? [] : [...a.keys().filter((key) => !b.has(key)), ...b.keys().filter((key) => !a.has(key))];

/** The demand of Services for one capacity. */
function openDemand(limit: FrontendExcess["limit"]) {
  const sizes = new Map<string, number>();
  const demands = new Map<string, number>();
  let total = 0;
  let last: { readonly capacity: number; readonly beyond: Beyond } | undefined;
  return {
    set(service: string, size: number): void {
      const change = size - (sizes.get(service) ?? 0);
      if (change === 0) return;
      last = undefined;
      total += change;
      if (size === 0) sizes.delete(service);
      else sizes.set(service, size);
      const namespace = namespaceOf(service);
      const demand = (demands.get(namespace) ?? 0) + change;
      if (demand === 0) demands.delete(namespace);
      else demands.set(namespace, demand);
    },
    /** Of each namespace the smallest Services stay, as many as fit into its share; of equal ones the first by name. */
    beyond(capacity: number): Beyond {
      if (total <= capacity) return NOTHING;
      if (last?.capacity === capacity) return last.beyond;
      const level = waterLevel(demands.values(), Math.max(0, capacity));
      const demandOf = (service: string): number => demands.get(namespaceOf(service)) as number;
      const greedy = [...sizes].filter(([service]) => demandOf(service) > level).sort(bySize);
      const left = new Map<string, number>();
      const beyond = new Map<string, FrontendExcess>();
      for (const [service, size] of greedy) {
        const rest = (left.get(namespaceOf(service)) ?? level) - size;
        left.set(namespaceOf(service), rest);
        const facts = { share: level, capacity, askers: demands.size };
        if (rest < 0) beyond.set(service, { limit, service, wanted: demandOf(service), ...facts });
      }
      last = { capacity, beyond };
      return beyond;
    },
  };
}

const bySize = ([a, x]: readonly [string, number], [b, y]: readonly [string, number]): number =>
  x - y || (a < b ? -1 : 1);
