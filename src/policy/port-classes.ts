// Sets of (protocol, port) as sorted spans on the port line, and the classes of ports that no live set distinguishes.

import { PROTOCOLS, type Protocol } from "../model/protocol.ts";
import {
  type ClassSpan,
  PORT_LINE_OTHER,
  PORT_LINE_SIZE,
  PORTS_PER_PROTOCOL,
  type Span,
} from "../state/desired-state.ts";

/** Sorted, disjoint, not adjacent: equal sets are equal lists. */
export type PortSet = readonly Span[];

export const NO_PORTS: PortSet = [];
export const ALL_PORTS: PortSet = [{ first: 0, last: PORT_LINE_SIZE - 1 }];

/** The index of a destination port on the port line; protocols without ports share the last one. */
export function placeOf(protocol: Protocol | "other", port: number): number {
  if (protocol === "other") return PORT_LINE_OTHER;
  return PROTOCOLS.indexOf(protocol) * PORTS_PER_PROTOCOL + port;
}

/** Ports first to last of a protocol. */
export function rangeOf(protocol: Protocol, first: number, last: number): Span {
  return { first: placeOf(protocol, first), last: placeOf(protocol, last) };
}

export function union(spans: readonly Span[]): PortSet {
  const sorted = [...spans].sort((a, b) => a.first - b.first);
  const merged: { first: number; last: number }[] = [];
  for (const span of sorted) {
    const top = merged.at(-1);
    if (top !== undefined && span.first <= top.last + 1) top.last = Math.max(top.last, span.last);
    else merged.push({ ...span });
  }
  return merged;
}

/** Whether the set contains a place, by binary search. */
export function holds(set: PortSet, place: number): boolean {
  let low = 0;
  let high = set.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const span = set[middle] as Span;
    if (place < span.first) high = middle - 1;
    else if (place > span.last) low = middle + 1;
    else return true;
  }
  return false;
}

export function intersection(a: PortSet, b: PortSet): PortSet {
  const spans: Span[] = [];
  for (let i = 0, j = 0; i < a.length && j < b.length; ) {
    const [one, other] = [a[i] as Span, b[j] as Span];
    const first = Math.max(one.first, other.first);
    const last = Math.min(one.last, other.last);
    if (first <= last) spans.push({ first, last });
    if (one.last < other.last) i += 1;
    else j += 1;
  }
  return spans;
}

/** The places of `a` that are not in `b`. */
export function subtraction(a: PortSet, b: PortSet): PortSet {
  if (b.length === 0) return a;
  const spans: Span[] = [];
  let next = 0;
  for (const { first, last } of a) {
    while (next < b.length && (b[next] as Span).last < first) next += 1;
    let start = first;
    for (let at = next; at < b.length && (b[at] as Span).first <= last; at += 1) {
      const cut = b[at] as Span;
      if (cut.first > start) spans.push({ first: start, last: cut.first - 1 });
      start = Math.max(start, cut.last + 1);
    }
    if (start <= last) spans.push({ first: start, last });
  }
  return spans;
}

/** Canonical text of a set: equal sets have equal text. */
export const portSetKey = (set: PortSet): string => set.map((span) => `${span.first}-${span.last}`).join(",");

export const isAll = (set: PortSet): boolean =>
  set.length === 1 && set[0]?.first === 0 && set[0].last === PORT_LINE_SIZE - 1;

/** A set as readable text: "all", "nothing", "TCP/80,TCP/8000-8080,UDP/*". */
export function portSetText(set: PortSet): string {
  if (set.length === 0) return "nothing";
  if (isAll(set)) return "all";
  return set.flatMap(spanTexts).join(",");
}

function spanTexts(span: Span): string[] {
  const texts: string[] = [];
  for (const protocol of PROTOCOLS) {
    const start = placeOf(protocol, 0);
    const first = Math.max(span.first, start) - start;
    const last = Math.min(span.last, start + PORTS_PER_PROTOCOL - 1) - start;
    if (first > last) continue;
    if (first === 0 && last === PORTS_PER_PROTOCOL - 1) texts.push(`${protocol}/*`);
    else texts.push(first === last ? `${protocol}/${first}` : `${protocol}/${first}-${last}`);
  }
  if (span.last === PORT_LINE_OTHER) texts.push("other protocols");
  return texts;
}

/** A class of ports: the spans that belong to exactly the same sets. */
export interface PortClass {
  readonly spans: PortSet;
  /** The sets that hold it: indexes into the list given to `classesOf`. */
  readonly sets: readonly number[];
}

/**
 * Splits the port line into classes: two ports are in one class if every given set contains both or neither. Ports in no set
 * are in no class. Partition refinement over the atoms between all boundaries: each set moves its atoms
 * out of their classes into new ones. Linear in the total number of atoms in the sets.
 */
export function classesOf(sets: readonly PortSet[]): PortClass[] {
  const boundaries = new Set<number>();
  for (const set of sets) for (const { first, last } of set) boundaries.add(first).add(last + 1);
  const places = [...boundaries].sort((a, b) => a - b);
  const atomAt = new Map(places.map((place, atom) => [place, atom]));
  // Class 0 is in no set. A class that has lost all its atoms frees its number.
  const classOf = new Int32Array(places.length);
  const sizes = [places.length];
  const free: number[] = [];
  const movedTo: number[] = [];
  const movedBy: number[] = [];
  const atomsOf = function* (set: PortSet): Generator<number> {
    for (const { first, last } of set)
      for (
        let atom = atomAt.get(first) as number, end = atomAt.get(last + 1) as number;
        atom < end;
        atom += 1
      )
        yield atom;
  };
  for (const [index, set] of sets.entries()) {
    const left: number[] = [];
    for (const atom of atomsOf(set)) {
      const from = classOf[atom] as number;
      if (movedBy[from] !== index) {
        movedBy[from] = index;
        const to = free.pop() ?? sizes.length;
        movedTo[from] = to;
        // A new class takes atoms from one class only, and gives none to this set.
        movedBy[to] = -1;
        sizes[to] = 0;
        left.push(from);
      }
      const to = movedTo[from] as number;
      classOf[atom] = to;
      sizes[from] = (sizes[from] as number) - 1;
      sizes[to] = (sizes[to] as number) + 1;
    }
    for (const from of left) if (from !== 0 && sizes[from] === 0) free.push(from);
  }
  return gathered(sets, { places, classOf, atomsOf });
}

/** The classes in the order of their first ports, with their spans and the sets that hold them. */
function gathered(
  sets: readonly PortSet[],
  {
    places,
    classOf,
    atomsOf,
  }: {
    readonly places: readonly number[];
    readonly classOf: Int32Array;
    readonly atomsOf: (set: PortSet) => Iterable<number>;
  },
): PortClass[] {
  const classes = new Map<number, { readonly spans: Span[]; readonly sets: number[] }>();
  for (const [atom, first] of places.entries()) {
    const number = classOf[atom] as number;
    const next = places[atom + 1];
    if (number === 0 || next === undefined) continue;
    const found = classes.get(number) ?? { spans: [], sets: [] };
    classes.set(number, found);
    found.spans.push({ first, last: next - 1 });
  }
  for (const [index, set] of sets.entries()) {
    for (const atom of atomsOf(set)) {
      const { sets: holders } = classes.get(classOf[atom] as number) as { readonly sets: number[] };
      if (holders.at(-1) !== index) holders.push(index);
    }
  }
  return [...classes.values()].map(({ spans, sets: holders }) => ({ spans: union(spans), sets: holders }));
}

/** The spans of numbered classes, in the order of the port line. */
export function classSpans(
  classes: readonly { readonly spans: PortSet; readonly number: number }[],
): ClassSpan[] {
  return classes
    .flatMap(({ spans, number }) => spans.map((span) => ({ ...span, class: number })))
    .sort((a, b) => a.first - b.first);
}
