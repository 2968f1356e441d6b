// Sets of ports cut by each other.

import type { Span } from "../../state/desired-state.ts";
import { ALL_PORTS, type PortSet } from "../port-classes.ts";

/** What both sets hold. */
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

/** What `a` holds and `b` does not. */
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
