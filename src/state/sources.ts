// What endpoints may send from besides their own addresses: prefixes, as few as say it, and how they change with an update.

import { type Cidr, cidrCovers, compareCidrs } from "../base/ip.ts";
import { cidrFrom } from "./lookup.ts";
import type { State } from "./state.ts";

/** One entry of the kernel's map. */
export interface SourceKey {
  readonly ifindex: number;
  readonly cidr: string;
}

/** Whether the entry allows what it covers, in the version in force and in the next. */
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
  /** Interfaces of the endpoints that are written; an endpoint whose sources change is among them. */
  readonly changed: readonly number[];
  /** Entries that an update cut short has left in some other way. */
  readonly leftovers: readonly SourceKey[];
}

/** What becomes of the entries before the flip, after it, and in the end. */
export function sourceChanges(have: State, want: State, { changed, leftovers }: Touched): SourceChanges {
  const writes = changed.flatMap((ifindex) =>
    writesOf({
      ifindex,
      live: have.endpoints.get(ifindex)?.sources,
      next: want.endpoints.get(ifindex)?.sources ?? [],
      leftovers: leftovers.filter((each) => each.ifindex === ifindex).map(({ cidr }) => cidr),
    }),
  );
  const isWanted = ({ ifindex, cidr }: SourceKey): boolean =>
    want.endpoints.get(ifindex)?.sources.includes(cidr) ?? false;
  const held = [...have.endpoints].flatMap(([ifindex, { sources }]) =>
    sources.map((cidr) => ({ ifindex, cidr })),
  );
  const there = new Map([...held, ...leftovers].map((each) => [`${each.ifindex} ${each.cidr}`, each]));
  return {
    prepare: writes,
    cleanup: writes.filter(isWanted).map((write) => ({ ...write, live: write.next })),
    remove: [...there.values()].filter((each) => !isWanted(each)),
  };
}

interface SourcesOf {
  readonly ifindex: number;
  /** In force; undefined where the endpoint is not there yet. */
  readonly live: readonly string[] | undefined;
  readonly next: readonly string[];
  readonly leftovers: readonly string[];
}

function writesOf({ ifindex, live, next, leftovers }: SourcesOf): SourceWrite[] {
  // What is not attached yet may say the same in both versions from the start.
  const before = live ?? next;
  // The longest prefix decides: each says what covers it too.
  const covered = (by: readonly string[], cidr: string): boolean =>
    by.some((outer) => cidrCovers(cidrFrom(outer), cidrFrom(cidr)));
  return [...new Set([...before, ...next, ...leftovers])].flatMap((cidr) => {
    const isThere = live?.includes(cidr) && next.includes(cidr) && !leftovers.includes(cidr);
    return isThere ? [] : [{ ifindex, cidr, live: covered(before, cidr), next: covered(next, cidr) }];
  });
}
