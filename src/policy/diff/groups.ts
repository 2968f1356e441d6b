// Flips put together for people: as few lines as come to the same.

import { portSetKey } from "../port-classes.ts";
import type { Flip } from "./policy-diff.ts";
import type { Unit } from "./traffic-classes.ts";

/** Everyone of `from` to everyone of `to`, but for pods to themselves. */
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

/** Units of one end that flip towards the very same units of the other are one group. */
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
