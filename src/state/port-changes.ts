// Which places of the port line change their class, as runs of places that change alike.

import { CLASS_OTHER, type ClassSpan, PORT_LINE_SIZE, type Span } from "./desired-state.ts";

/** One value in both versions: `live` stays as it is, `next` comes into force with the flip. */
export interface Versions<T> {
  readonly live: T;
  readonly next: T;
}

export type PortChange = Span & Versions<number>;

/** Places of the port line whose class changes; every place where `all`. */
export function portChanges(
  have: readonly ClassSpan[],
  want: readonly ClassSpan[],
  all: boolean,
): PortChange[] {
  const edges = new Set([0, PORT_LINE_SIZE]);
  for (const span of [...have, ...want]) edges.add(span.first).add(span.last + 1);
  const sorted = [...edges].sort((a, b) => a - b);
  const changes: PortChange[] = [];
  const classIn = spanReader();
  for (const [index, first] of sorted.entries()) {
    const next = sorted[index + 1];
    if (next === undefined) break;
    const versions = { live: classIn(have, first), next: classIn(want, first) };
    if (all || versions.live !== versions.next) changes.push({ first, last: next - 1, ...versions });
  }
  return changes;
}

/** Reads classes at rising places: one step forward in each list, never a search. */
function spanReader() {
  const positions = new Map<readonly ClassSpan[], number>();
  return (spans: readonly ClassSpan[], place: number): number => {
    let at = positions.get(spans) ?? 0;
    while (at < spans.length && (spans[at] as ClassSpan).last < place) at += 1;
    positions.set(spans, at);
    const span = spans[at];
    return span !== undefined && span.first <= place ? span.class : CLASS_OTHER;
  };
}
