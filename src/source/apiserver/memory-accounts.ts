// Shares of memory: which objects are beyond the share of their namespace, kept up to date object by object.
//
// Stateless by its result: the weights of all objects and the capacity decide. A further object only lowers shares, so while a list
// comes in, an object that is beyond its share stays beyond it.

import { waterLevel } from "../../base/water-level.ts";
import { namespaceOf } from "../../model/cluster.ts";
import type { Problem } from "../../model/problem.ts";
import { type Memory, megabytes } from "./object-memory.ts";

type Terms = Pick<Memory, "kind" | "plural" | "ordinary" | "effect" | "fix">;

/**
 * Of each namespace the smallest objects stay, as many as fit into its share; of equal ones the first by name. Objects that weigh
 * no more than an ordinary one are counted, and always stay.
 */
export interface Accounts {
  /** `isKnown`: whether the object has been counted before. Without a weight it is gone. */
  set(key: string, weight: number | undefined, isKnown: boolean): void;
  /**
   * Determines what is beyond its share; returns the keys that were not before. In the time of the namespaces, and none where
   * everything fits.
   */
  settle(capacity: number): readonly string[];
  isBeyond(key: string): boolean;
  /** How many objects are. */
  beyond(): number;
  /** Bytes of all that is not beyond its share. */
  fitting(): number;
  /** Of what is beyond its share, as of the last settle(). */
  problems(): readonly Problem[];
  /** Changes whenever problems() may. */
  version(): number;
}

/** An object that weighs more than an ordinary one. */
interface Entry {
  readonly key: string;
  readonly weight: number;
  isBeyond: boolean;
}

interface Own {
  /** Of all objects of the namespace. */
  demand: number;
  /** Of those that are not beyond its share. */
  fitting: number;
  /** Those that weigh more than an ordinary one, the smallest first; `kept` of them are not beyond the share. */
  readonly entries: Entry[];
  kept: number;
}

/** The problems that name an object, of each namespace, the largest first; one more has the number of the others. */
const LISTED_MAX = 100;

export function openAccounts(terms: Terms): Accounts {
  const { ordinary } = terms;
  const entries = new Map<string, Entry>();
  const namespaces = new Map<string, Own>();
  let demand = 0;
  let fitting = 0;
  let beyond = 0;
  let level = Number.POSITIVE_INFINITY;
  let capacity = Number.POSITIVE_INFINITY;
  let version = 0;
  /** Nothing has changed since the last settle(). */
  let settled = true;

  const addTo = (own: Own, bytes: number): void => {
    own.fitting += bytes;
    fitting += bytes;
  };
  const remove = (own: Own, entry: Entry): void => {
    const at = placeOf(own.entries, entry);
    own.entries.splice(at, 1);
    entries.delete(entry.key);
    if (entry.isBeyond) {
      beyond -= 1;
      version += 1;
    } else {
      own.kept -= 1;
      addTo(own, -entry.weight);
    }
  };
  const add = (own: Own, key: string, weight: number): void => {
    const entry: Entry = { key, weight, isBeyond: false };
    const at = placeOf(own.entries, entry);
    own.entries.splice(at, 0, entry);
    entries.set(key, entry);
    if (at <= own.kept && (at < own.kept || own.kept === own.entries.length - 1)) {
      own.kept += 1;
      addTo(own, weight);
    } else {
      entry.isBeyond = true;
      beyond += 1;
      version += 1;
    }
  };
  const shareOut = (own: Own, crossed: Set<string>): void => {
    while (own.fitting > level && own.kept > 0) {
      own.kept -= 1;
      const entry = own.entries[own.kept] as Entry;
      entry.isBeyond = true;
      beyond += 1;
      addTo(own, -entry.weight);
      crossed.add(entry.key);
    }
    for (let next = own.entries[own.kept]; next !== undefined; next = own.entries[own.kept]) {
      if (own.fitting + next.weight > level) break;
      own.kept += 1;
      next.isBeyond = false;
      beyond -= 1;
      addTo(own, next.weight);
      crossed.delete(next.key);
    }
  };

  return {
    set(key, weight, isKnown) {
      const namespace = namespaceOf(key);
      const own = namespaces.get(namespace) ?? { demand: 0, fitting: 0, entries: [], kept: 0 };
      const entry = entries.get(key);
      const before = entry?.weight ?? (isKnown ? ordinary : 0);
      const after = weight ?? 0;
      if (entry?.weight === after || (entry === undefined && before === after)) return;
      settled = false;
      own.demand += after - before;
      demand += after - before;
      if (entry !== undefined) remove(own, entry);
      else addTo(own, -before);
      if (after > ordinary) add(own, key, after);
      else addTo(own, after);
      if (own.demand === 0 && own.entries.length === 0) namespaces.delete(namespace);
      else namespaces.set(namespace, own);
    },
    settle(now) {
      if (settled && now === capacity) return [];
      settled = true;
      capacity = now;
      if (beyond === 0 && demand <= capacity) {
        level = Number.POSITIVE_INFINITY;
        return [];
      }
      version += 1;
      level = levelOf(namespaces, demand, capacity);
      const crossed = new Set<string>();
      for (const own of namespaces.values())
        if (own.demand > level || own.kept < own.entries.length) shareOut(own, crossed);
      return [...crossed];
    },
    isBeyond: (key) => entries.get(key)?.isBeyond === true,
    beyond: () => beyond,
    fitting: () => fitting,
    version: () => version,
    problems() {
      const facts = { terms, level, capacity, namespaces: namespaces.size };
      return [...namespaces]
        .filter(([, own]) => own.kept < own.entries.length)
        .sort(([a], [b]) => compare(a, b))
        .flatMap(([namespace, own]) => problemsOf(namespace, own, facts));
    },
  };
}

/** Where an entry is, or is to be, among sorted ones. */
function placeOf(sorted: readonly Entry[], { key, weight }: Entry): number {
  let [first, last] = [0, sorted.length];
  while (first < last) {
    const middle = (first + last) >>> 1;
    const each = sorted[middle] as Entry;
    if (each.weight < weight || (each.weight === weight && each.key < key)) first = middle + 1;
    else last = middle;
  }
  return first;
}

/** The level of waterLevel(). Without sorting the many that need no more than an equal part. */
function levelOf(namespaces: ReadonlyMap<string, Own>, demand: number, capacity: number): number {
  if (demand <= capacity) return Number.POSITIVE_INFINITY;
  const least = Math.max(0, capacity) / namespaces.size;
  const larger: number[] = [];
  let left = Math.max(0, capacity);
  for (const { demand: own } of namespaces.values())
    if (own > least) larger.push(own);
    else left -= own;
  return waterLevel(larger, left);
}

interface Facts {
  readonly terms: Terms;
  readonly level: number;
  readonly capacity: number;
  readonly namespaces: number;
}

function problemsOf(namespace: string, own: Own, { terms, level, capacity, namespaces }: Facts): Problem[] {
  const { kind, plural, effect, fix } = terms;
  const among = namespaces === 1 ? "" : `, which ${namespaces} namespaces share`;
  const needs = `${megabytes(own.demand)} for its ${plural}, and ${megabytes(level)} fit (the agent has ${megabytes(capacity)} for ${plural}${among})`;
  const rest = { effect, fix: `${fix}, or give the agent more memory`, topic: "capacity" } as const;
  const listed = own.entries.slice(Math.max(own.kept, own.entries.length - LISTED_MAX)).map(
    ({ key, weight }): Problem => ({
      severity: "error",
      object: `${kind} ${key}`,
      reason: `takes ${megabytes(weight)} of the agent's memory; namespace ${namespace} needs ${needs}`,
      ...rest,
    }),
  );
  listed.reverse();
  const more = own.entries.length - own.kept - listed.length;
  if (more === 0) return listed;
  const reason = `${more} more ${plural} do not fit into its share of the agent's memory: it needs ${needs}`;
  return [...listed, { severity: "error", object: `Namespace ${namespace}`, reason, ...rest }];
}

/** The problem of an object that fits, and of which only a part is there yet. */
export const fitsAgain = (key: string, { kind, effect }: Terms): Problem => ({
  severity: "error",
  object: `${kind} ${key}`,
  reason:
    "fits into its namespace's share of the agent's memory again; what is missing comes with the next list",
  effect,
  topic: "capacity",
});

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
