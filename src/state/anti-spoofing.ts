// Prefix scopes: sources of endpoints besides their own addresses, the addresses of nodes, prefixes on a bridge's link. The
// smallest equivalent set of prefixes, and how it changes with an update.

import { type Cidr, cidrCovers, compareCidrs } from "../base/ip.ts";
import { prefixTable } from "../base/prefix-table.ts";
import type { State } from "./desired-state.ts";
import { cidrFrom } from "./state-lookup.ts";

/** One entry of the kernel's map. */
export interface SourceKey {
  readonly ifindex: number;
  readonly cidr: string;
}

/** Whether the entry allows what it covers, in the active version and in the next. */
export interface SourceWrite extends SourceKey {
  readonly live: boolean;
  readonly next: boolean;
}

/** Canonical texts, sorted; none covers another. */
export function sourceTexts(prefixes: readonly Cidr[]): string[] {
  const sorted = [...prefixes].sort(compareCidrs);
  const outer: Cidr[] = [];
  for (const prefix of sorted) {
    const last = outer.at(-1);
    if (last === undefined || !cidrCovers(last, prefix)) outer.push(prefix);
  }
  return outer.map(({ text }) => text);
}

export interface SourceChanges {
  readonly prepare: readonly SourceWrite[];
  readonly cleanup: readonly SourceWrite[];
  readonly remove: readonly SourceKey[];
}

export interface Touched {
  /** Interfaces of the endpoints that are written, including every endpoint whose sources change. */
  readonly changed: readonly number[];
  /** Entries that an interrupted update has left in another state. */
  readonly leftovers: readonly SourceKey[];
}

/** The prefixes of one scope: an endpoint's interface, a bridge's, or NODE_SCOPE. */
const prefixesOf = ({ endpoints, scopes }: State, scope: number): readonly string[] | undefined =>
  endpoints.get(scope)?.sources ?? scopes.get(scope);

/** The prefixes of all entries; one for each scope that has it. */
export const prefixTexts = ({ endpoints, scopes }: Pick<State, "endpoints" | "scopes">): string[] =>
  [...[...endpoints.values()].map(({ sources }) => sources), ...scopes.values()].flat();

/** The changes of the entries before the flip and after it, and the result. */
export function sourceChanges(have: State, want: State, { changed, leftovers }: Touched): SourceChanges {
  const left = Map.groupBy(leftovers, ({ ifindex }) => ifindex);
  const gone = [...have.endpoints.keys()].filter((ifindex) => !want.endpoints.has(ifindex));
  const scopes = new Set([...have.scopes.keys(), ...want.scopes.keys()]).values().filter((scope) => {
    const [before = [], after = []] = [have.scopes.get(scope), want.scopes.get(scope)];
    return left.has(scope) || !sameTexts(before, after);
  });
  const touched = [...new Set([...changed, ...gone, ...scopes, ...left.keys()])].map((scope) =>
    changesOf(scope, {
      live: prefixesOf(have, scope),
      next: prefixesOf(want, scope) ?? [],
      leftovers: (left.get(scope) ?? []).map(({ cidr }) => cidr),
      isNew: want.endpoints.has(scope) && !have.endpoints.has(scope),
      isKept: want.endpoints.has(scope) || want.scopes.has(scope) || have.scopes.has(scope),
    }),
  );
  return {
    prepare: touched.flatMap(({ prepare }) => prepare),
    cleanup: touched.flatMap(({ cleanup }) => cleanup),
    remove: touched.flatMap(({ remove }) => remove),
  };
}

const sameTexts = (a: readonly string[], b: readonly string[]): boolean =>
  a === b || (a.length === b.length && a.every((text, index) => text === b[index]));

interface Scope {
  /** The active one; undefined if there is none yet. */
  readonly live: readonly string[] | undefined;
  readonly next: readonly string[];
  readonly leftovers: readonly string[];
  /** An endpoint that is not attached yet: both versions may be equal from the start. */
  readonly isNew: boolean;
  /** False for an endpoint that is detached after the flip, before its prefixes are removed. */
  readonly isKept: boolean;
}

function changesOf(ifindex: number, { live, next, leftovers, isNew, isKept }: Scope): SourceChanges {
  const [held, wanted, left] = [new Set(live), new Set(next), new Set(leftovers)];
  const all = [...held.union(wanted).union(left)];
  const changing = all.filter((cidr) => left.has(cidr) || !held.has(cidr) || !wanted.has(cidr));
  if (changing.length === 0) return { prepare: [], cleanup: [], remove: [] };
  // The longest prefix decides, so each must repeat what covers it.
  const isLive = coverage(isNew ? next : (live ?? []));
  const isNext = coverage(next);
  const writes = changing.map((cidr) => ({ ifindex, cidr, live: isLive(cidr), next: isNext(cidr) }));
  return {
    prepare: isKept ? writes : [],
    cleanup: writes.filter(({ cidr }) => wanted.has(cidr)).map((write) => ({ ...write, live: write.next })),
    remove: changing.filter((cidr) => !wanted.has(cidr)).map((cidr) => ({ ifindex, cidr })),
  };
}

/** Whether a prefix is one of these, or covered by one. */
function coverage(prefixes: readonly string[]): (cidr: string) => boolean {
  const table = prefixTable(prefixes.map((text) => [cidrFrom(text), true] as const));
  return (text) => {
    const { family, value, length } = cidrFrom(text);
    return table.find(family, value, length) === true;
  };
}
