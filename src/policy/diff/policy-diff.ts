// The verdicts that a change of policies flips: sources, destinations and ports, by classes instead of one by one.

import type { Family } from "../../base/ip.ts";
import type { Cluster } from "../../model/cluster.ts";
import type { Span } from "../../state/desired-state.ts";
import { ALL_PORTS, type PortSet, portSetKey } from "../port-classes.ts";
import {
  addressUnits,
  FAMILIES,
  namesOf,
  nameUnits,
  podUnits,
  type Reach,
  reachOf,
  type Twice,
  type Unit,
} from "./traffic-classes.ts";

/** Ports on which every member of `from` reaches every member of `to` after the change and not before, or the reverse. */
export interface Flip {
  readonly from: Unit;
  readonly to: Unit;
  /** Undefined if it applies to every family that both ends have. */
  readonly family: Family | undefined;
  readonly allowed: boolean;
  readonly ports: PortSet;
}

export interface Comparison {
  readonly flips: readonly Flip[];
  readonly units: readonly Unit[];
}

/**
 * Compares the verdicts of two clusters between their pods, and between these and addresses outside, and from them to what they have
 * resolved from rules' domain names. Pods that only one of
 * them has are left out, and so are the second and further addresses of one family. Time: the square of the number of
 * classes of pods.
 */
export function compare(before: Cluster, after: Cluster): Comparison {
  const clusters = [before, after] as const;
  const names = namesOf(clusters);
  const reaches = [reachOf(before, names), reachOf(after, names)] as const;
  const pods = podUnits(clusters, reaches);
  const units = [...pods, ...addressUnits(reaches), ...nameUnits(clusters, reaches)];
  const cells = cellsOf(reaches);
  const flips = pods.flatMap((unit) =>
    units.flatMap((other) =>
      // Each pair of pods occurs twice, once from either side; a domain name is a destination.
      other.kind !== "addresses"
        ? flipsOf(unit, other, cells)
        : [...flipsOf(unit, other, cells), ...flipsOf(other, unit, cells)],
    ),
  );
  return { flips, units };
}

/** The ports that two policies (before and after) allow to two term sets, each pair looked up once. */
type Cells = (policies: Twice<string>, terms: Twice<string>, name?: string) => Cell;

interface Cell {
  readonly ports: Twice<PortSet>;
  readonly same: boolean;
}

const OPEN_CELL: Cell = { ports: [ALL_PORTS, ALL_PORTS], same: true };

function cellsOf(reaches: Twice<Reach>): Cells {
  const known = new Map<string, Cell>();
  return (policies, terms, name) => {
    const key = JSON.stringify([policies, terms, name]);
    const found = known.get(key);
    if (found !== undefined) return found;
    const ports = [
      reaches[0].ports(policies[0], terms[0], name),
      reaches[1].ports(policies[1], terms[1], name),
    ] as const;
    const cell = { ports, same: portSetKey(ports[0]) === portSetKey(ports[1]) };
    known.set(key, cell);
    return cell;
  };
}

function flipsOf(from: Unit, to: Unit, cells: Cells): Flip[] {
  // A pod always reaches itself.
  if (from === to && from.kind === "pods" && from.pods.length === 1) return [];
  const common = FAMILIES.filter(
    (family) => from.terms[family] !== undefined && to.terms[family] !== undefined,
  );
  const flips = common.flatMap((family) => flipsOver(family, { from, to, cells }));
  const alike = Map.groupBy(flips, ({ allowed, ports }) => `${allowed} ${portSetKey(ports)}`);
  return [...alike.values()].flatMap((same) => {
    const [first] = same;
    return first !== undefined && same.length === common.length ? [{ ...first, family: undefined }] : same;
  });
}

function flipsOver(
  family: Family,
  { from, to, cells }: { readonly from: Unit; readonly to: Unit; readonly cells: Cells },
): Flip[] {
  const [source, destination] = [from.terms[family], to.terms[family]];
  if (source === undefined || destination === undefined) return [];
  const name = to.kind === "name" ? to.name : undefined;
  const egress = from.kind === "pods" ? cells(from.policy.egress, destination, name) : OPEN_CELL;
  const ingress = to.kind === "pods" ? cells(to.policy.ingress, source) : OPEN_CELL;
  if (egress.same && ingress.same) return [];
  const was = intersection(egress.ports[0], ingress.ports[0]);
  const is = intersection(egress.ports[1], ingress.ports[1]);
  const flips = [
    { from, to, family, allowed: true, ports: difference(is, was) },
    { from, to, family, allowed: false, ports: difference(was, is) },
  ];
  return flips.filter(({ ports }) => ports.length > 0);
}

// Flips merged into as few lines as possible.

/** Every member of `from` to every member of `to`, except pods to themselves. */
export interface FlipGroup extends Omit<Flip, "from" | "to"> {
  readonly from: readonly Unit[];
  readonly to: readonly Unit[];
}

/** Newly allowed first; in the order of the units. */
export function groupsOf(flips: readonly Flip[], units: readonly Unit[]): FlipGroup[] {
  const order = new Map(units.map((unit, index) => [unit, index]));
  const byOutcome = Map.groupBy(flips, ({ allowed, family, ports }) =>
    JSON.stringify([allowed, family, portSetKey(ports)]),
  );
  const groups = [...byOutcome.values()].flatMap((alike) => {
    const [bySource, byTarget] = [rectangles(alike, "from", order), rectangles(alike, "to", order)];
    return bySource.length <= byTarget.length ? bySource : byTarget;
  });
  return groups.sort(
    (a, b) => Number(b.allowed) - Number(a.allowed) || placeOf(a, order) - placeOf(b, order),
  );
}

type Order = ReadonlyMap<Unit, number>;

const numberOf = (unit: Unit, order: Order): number => order.get(unit) ?? 0;

/** By the first of its sources, then by the first of its destinations. */
const placeOf = ({ from, to }: FlipGroup, order: Order): number => {
  const first = (units: readonly Unit[]): number => Math.min(...units.map((unit) => numberOf(unit, order)));
  return first(from) * order.size + first(to);
};

/** Units of one end that flip towards exactly the same units of the other are one group. */
function rectangles(flips: readonly Flip[], end: "from" | "to", order: Order): FlipGroup[] {
  const other = end === "from" ? "to" : "from";
  const sorted = (units: readonly Unit[]): Unit[] =>
    units.toSorted((a, b) => numberOf(a, order) - numberOf(b, order));
  const partners = [...Map.groupBy(flips, (flip) => flip[end])].map(([unit, each]) => ({
    unit,
    flip: each[0] as Flip,
    others: sorted(each.map((flip) => flip[other])),
  }));
  const alike = Map.groupBy(partners, ({ others }) => others.map((unit) => numberOf(unit, order)).join(","));
  return [...alike.values()].flatMap((members): FlipGroup[] => {
    const [first] = members;
    if (first === undefined) return [];
    const own = sorted(members.map(({ unit }) => unit));
    const ends = end === "from" ? { from: own, to: first.others } : { from: first.others, to: own };
    return [{ ...first.flip, ...ends }];
  });
}

// Set operations on ports.

/** The intersection of both sets. */
export function intersection(a: PortSet, b: PortSet): PortSet {
  if (a === ALL_PORTS) return b;
  if (b === ALL_PORTS) return a;
  const common: Span[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const [x, y] = [a[i] as Span, b[j] as Span];
    const [first, last] = [Math.max(x.first, y.first), Math.min(x.last, y.last)];
    if (first <= last) common.push({ first, last });
    if (x.last < y.last) i += 1;
    else j += 1;
  }
  return common;
}

/** `a` without `b`. */
export function difference(a: PortSet, b: PortSet): PortSet {
  const rest: Span[] = [];
  for (const span of a) {
    let { first } = span;
    for (const cut of b) {
      if (cut.last < first || cut.first > span.last) continue;
      if (cut.first > first) rest.push({ first, last: cut.first - 1 });
      first = cut.last + 1;
    }
    if (first <= span.last) rest.push({ first, last: span.last });
  }
  return rest;
}
