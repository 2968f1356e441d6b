// The answers of all nodes as one: what each workload may send is on the nodes of its pods, what the other may receive on those of its
// own. A cell is what both allow.

import { memo } from "../../base/memo.ts";
import { OUTSIDE, type ReachabilityView, type ReachSide } from "../../model/reachability-view.ts";
import {
  ALL_PORTS,
  intersection,
  isAll,
  NO_PORTS,
  type PortSet,
  portSetKey,
  portSetText,
  union,
} from "../../policy/port-classes.ts";
import type { CellKind, CellView, LabelView } from "./page-views.ts";

export interface ReachIndex {
  readonly workloads: readonly LabelView[];
  /** Of workloads by index, or of several at each end. */
  cell(from: readonly number[], to: readonly number[]): CellView;
  /** The same for one port of the port line. */
  cellAt(place: number | undefined): (from: readonly number[], to: readonly number[]) => CellView;
}

type Direction = ReachSide["direction"];

/** What one end allows against each workload: numbers of port sets, or of what would be allowed if audited policies were enforced. */
interface End {
  /** Of its pods, how many sides are known, and how many are isolated. */
  known: number;
  isolated: number;
  audit: boolean;
  readonly every: Int32Array;
  readonly some: Int32Array;
  /** The same with audited policies enforced. */
  readonly strict: Int32Array;
}

export function reachIndex(views: readonly ReachabilityView[]): ReachIndex {
  const sets = openSets();
  const { workloads, numberOf } = workloadsIn(views);
  const ends: Record<Direction, (End | undefined)[]> = { ingress: [], egress: [] };
  for (const view of views) {
    const [own, numbers] = [
      view.workloads.map(numberOf),
      view.ports.map((spans) => sets.numberOf(spansOf(spans))),
    ];
    for (const side of view.sides) {
      const all = ends[side.direction];
      const workload = own[side.workload] as number;
      all[workload] = merged(all[workload], denseSide(side, { own, numbers, count: workloads.length }), sets);
    }
  }
  const cellAt = (place: number | undefined) => {
    const pair = pairOf(ends, workloads, { sets, place });
    return (from: readonly number[], to: readonly number[]): CellView => combined(from, to, pair, sets);
  };
  return {
    workloads: workloads.map((each, index) => ({
      ...each,
      isolated: { ingress: ends.ingress[index]?.isolated ?? 0, egress: ends.egress[index]?.isolated ?? 0 },
    })),
    cell: cellAt(undefined),
    cellAt,
  };
}

const spansOf = (spans: ReachabilityView["ports"][number]): PortSet =>
  spans.map(([first, last]) => ({ first, last }));

function workloadsIn(views: readonly ReachabilityView[]) {
  const byKey = new Map<string, Omit<LabelView, "isolated">>();
  const keyOf = ({ namespace, name }: { readonly namespace: string; readonly name: string }): string =>
    JSON.stringify([namespace, name]);
  // The newest generation of each node sees the same cluster; where they differ, the larger number of pods.
  for (const { workloads } of views)
    for (const each of workloads) {
      const key = keyOf(each);
      const known = byKey.get(key);
      if (known === undefined || known.pods < each.pods)
        byKey.set(key, {
          namespace: each.namespace,
          workload: each.name,
          pods: each.pods,
          example: each.example,
        });
    }
  const sorted = [...byKey].sort(([a], [b]) => (a < b ? -1 : 1));
  const numbers = new Map(sorted.map(([key], index) => [key, index]));
  return {
    workloads: sorted.map(([, each]) => each),
    numberOf: (each: { readonly namespace: string; readonly name: string }) =>
      numbers.get(keyOf(each)) as number,
  };
}

interface Sets {
  readonly none: number;
  readonly all: number;
  numberOf(set: PortSet): number;
  at(number: number): PortSet;
  text(number: number): string;
  both(a: number, b: number): number;
  either(a: number, b: number): number;
}

/** Sets of ports by number; what two of them have in common, or together, is computed once. */
function openSets(): Sets {
  const numbers = new Map<string, number>();
  const sets: PortSet[] = [];
  const numberOf = (set: PortSet): number => {
    const key = portSetKey(set);
    const known = numbers.get(key);
    if (known !== undefined) return known;
    numbers.set(key, sets.length);
    sets.push(set);
    return sets.length - 1;
  };
  const text = memo(portSetText);
  const kept = (make: (a: PortSet, b: PortSet) => PortSet) => {
    const results = new Map<number, number>();
    return (a: number, b: number): number => {
      if (a === b) return a;
      const key = a < b ? a * 2 ** 24 + b : b * 2 ** 24 + a;
      const known = results.get(key);
      if (known !== undefined) return known;
      const result = numberOf(make(sets[a] as PortSet, sets[b] as PortSet));
      results.set(key, result);
      return result;
    };
  };
  return {
    none: numberOf(NO_PORTS),
    all: numberOf(ALL_PORTS),
    numberOf,
    at: (number) => sets[number] as PortSet,
    text: (number) => text(sets[number] as PortSet),
    both: kept(intersection),
    either: kept((a, b) => union([...a, ...b])),
  };
}

function denseSide(
  { others, peers, pods, open, audit }: ReachSide,
  {
    own,
    numbers,
    count,
  }: { readonly own: readonly number[]; readonly numbers: readonly number[]; readonly count: number },
): End {
  const set = (index: number): number => numbers[index] as number;
  const every = new Int32Array(count).fill(set(others[0]));
  const some = new Int32Array(count).fill(set(others[1]));
  for (const [peer, all, any] of peers) {
    const at = own[peer] as number;
    every[at] = set(all);
    some[at] = set(any);
  }
  const strict = every.slice();
  return { known: pods, isolated: open === true ? 0 : pods, audit: audit === true, every, some, strict };
}

/** Of all pods of a workload: what all allow, and what any allows. An audited side lets everything pass. */
function merged(before: End | undefined, side: End, sets: Sets): End {
  const passing = side.audit
    ? {
        every: new Int32Array(side.every.length).fill(sets.all),
        some: new Int32Array(side.some.length).fill(sets.all),
      }
    : side;
  if (before === undefined) return { ...side, ...passing };
  const join = (a: Int32Array, b: Int32Array, by: Sets["both"]): Int32Array =>
    a.map((each, at) => by(each, b[at] as number));
  return {
    known: before.known + side.known,
    isolated: before.isolated + side.isolated,
    audit: before.audit || side.audit,
    every: join(before.every, passing.every, sets.both),
    some: join(before.some, passing.some, sets.either),
    strict: join(before.strict, side.strict, sets.both),
  };
}

/** Of one workload to another, as numbers. */
interface Pair {
  readonly every: number;
  readonly some: number;
  readonly isUnknown: boolean;
  readonly isOpen: boolean;
  readonly isAudited: boolean;
  /** One pod alone: there is no connection to speak of. */
  readonly isSelf: boolean;
}

function pairOf(
  ends: Readonly<Record<Direction, readonly (End | undefined)[]>>,
  workloads: readonly Omit<LabelView, "isolated">[],
  { sets, place }: { readonly sets: Sets; readonly place: number | undefined },
): (from: number, to: number) => Pair {
  const only = place === undefined ? sets.all : sets.numberOf([{ first: place, last: place }]);
  const isKnown = (end: End | undefined, workload: number): boolean =>
    workloads[workload]?.namespace === "" ||
    (end !== undefined && end.known >= (workloads[workload]?.pods ?? 0));
  return (from, to) => {
    const [egress, ingress] = [ends.egress[from], ends.ingress[to]];
    const both = (field: "every" | "some" | "strict"): number =>
      sets.both(only, sets.both(egress?.[field][to] ?? sets.all, ingress?.[field][from] ?? sets.all));
    const every = both("every");
    return {
      every,
      some: both("some"),
      isUnknown: !isKnown(egress, from) || !isKnown(ingress, to),
      isOpen: (egress?.isolated ?? 0) === 0 && (ingress?.isolated ?? 0) === 0,
      isAudited: (egress?.audit === true || ingress?.audit === true) && both("strict") !== every,
      isSelf: from === to && (workloads[from]?.pods ?? 0) <= 1,
    };
  };
}

function combined(
  from: readonly number[],
  to: readonly number[],
  pair: ReturnType<typeof pairOf>,
  sets: Sets,
): CellView {
  let [every, some] = [-1, sets.none];
  let [isUnknown, isAudited, isOpen] = [false, false, true];
  let [reached, all] = [0, 0];
  for (const a of from)
    for (const b of to) {
      const each = pair(a, b);
      if (each.isSelf) continue;
      all += 1;
      every = every < 0 ? each.every : sets.both(every, each.every);
      some = sets.either(some, each.some);
      if (each.some !== sets.none) reached += 1;
      isUnknown ||= each.isUnknown && each.some !== sets.none;
      isAudited ||= each.isAudited;
      isOpen &&= each.isOpen;
    }
  return {
    kind: kindOf({ every, some, isUnknown, isOpen }, sets),
    every: every < 0 ? "" : sets.text(every),
    some: sets.text(some),
    ...(isAudited ? { audit: true } : {}),
    ...(from.length * to.length === 1 ? {} : { pairs: [reached, all] }),
  };
}

function kindOf(
  {
    every,
    some,
    isUnknown,
    isOpen,
  }: { readonly every: number; readonly some: number; readonly isUnknown: boolean; readonly isOpen: boolean },
  sets: Sets,
): CellKind {
  if (every < 0) return "self";
  if (some === sets.none) return "none";
  if (isUnknown) return "unknown";
  if (every !== some) return "some";
  if (isOpen) return "open";
  return isAll(sets.at(some)) ? "all" : "ports";
}

export const isOutside = ({ namespace, workload }: LabelView): boolean =>
  namespace === "" && workload === OUTSIDE;
