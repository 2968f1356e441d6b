// Identities: sets of terms that match an address, and the sets of peers that cover each prefix.

import { type Cidr, cidrCovers, compareCidrs } from "../base/ip.ts";
import type { Block, PeerSet } from "./peer-selectors.ts";

/** A set of terms as sorted term numbers; an identity is numbered by its text. "" matches nothing. */
export interface TermSet {
  readonly content: string;
  /** Of an address that several pods may have, the terms that match any of them. */
  readonly terms: readonly number[];
  /** Of such an address, the distinct sets of the pods: it gets only what every one of them is allowed. */
  readonly candidates?: readonly TermSet[];
  /** Of a pod whose labels are not known: further terms that may match. Rules that deny by one count, and no others but those that pass. */
  readonly perhaps?: Perhaps;
}

export interface Perhaps {
  readonly terms: readonly number[];
  /** Whether rules that pass count, too: they may lead to a Deny, or past one. So there is always another candidate. */
  readonly passes: boolean;
}

/** `terms` in any order. */
export function termSetOf(terms: readonly number[], perhaps?: Perhaps): TermSet {
  const sorted = [...terms].sort((a, b) => a - b);
  if (perhaps === undefined || perhaps.terms.length === 0)
    return { content: sorted.join(","), terms: sorted };
  const more = [...perhaps.terms].sort((a, b) => a - b);
  const content = `${sorted.join(",")} perhaps ${perhaps.passes ? "past " : ""}${more.join(",")}`;
  return { content, terms: sorted, perhaps: { ...perhaps, terms: more } };
}

/** All that may match. */
const allTerms = ({ terms, perhaps }: TermSet): readonly number[] =>
  perhaps === undefined ? terms : [...terms, ...perhaps.terms];

/** The set of an address that may belong to pods with these sets. */
export function anyOf(sets: readonly [TermSet, ...TermSet[]]): TermSet {
  const candidates = [...new Map(sets.map((set) => [set.content, set])).values()].sort((a, b) =>
    a.content < b.content ? -1 : 1,
  );
  if (candidates.length === 1) return sets[0];
  const terms = [...new Set(candidates.flatMap(allTerms))].sort((a, b) => a - b);
  return { content: candidates.map(({ content }) => content).join("&"), terms, candidates };
}

/** The set with one more term. */
export function withTerm({ terms, candidates, perhaps }: TermSet, term: number): TermSet {
  if (candidates !== undefined) {
    const [first, ...others] = candidates as [TermSet, ...TermSet[]];
    return anyOf([withTerm(first, term), ...others.map((set) => withTerm(set, term))]);
  }
  return termSetOf([...terms, term], perhaps);
}

// Which peer sets cover which addresses by their IP blocks: every prefix with all the sets that apply to it, so that one
// longest match gives the union over rules. An exception cuts only the block that it belongs to.

/** The sets whose blocks cover a prefix and do not except it. */
export interface PrefixSets {
  readonly cidr: Cidr;
  /** The same list for all prefixes with the same sets. */
  readonly sets: readonly PeerSet[];
}

export interface AllPrefixSets {
  /** Undefined where the distinct lists have more sets than may be. */
  readonly prefixes: readonly PrefixSets[] | undefined;
  /** How many distinct lists have each set. */
  readonly uses: ReadonlyMap<PeerSet, number>;
}

interface Place {
  readonly cidr: Cidr;
  readonly opens: Block[];
  readonly cuts: Block[];
}

/**
 * One walk over all prefixes, outer before inner. Going into a prefix opens the blocks that start there and cuts those
 * that except it; leaving it undoes that. A block applies from its own prefix inwards until the first of its
 * exceptions. O(prefixes log prefixes) plus the size of the distinct lists, which is `most` at most in memory.
 */
export function prefixSets(blocks: readonly Block[], most = Number.POSITIVE_INFINITY): AllPrefixSets {
  const prefixes: PrefixSets[] = [];
  const uses = new Map<PeerSet, number>();
  const inForce = openCounted<PeerSet>();
  const lists = new Map<number, readonly PeerSet[]>();
  let size = 0;
  const cut = new Set<Block>();
  const path: { place: Place; closes: Block[]; uncuts: Block[] }[] = [];
  const leave = () => {
    const { closes, uncuts } = path.pop() as (typeof path)[number];
    for (const block of uncuts) {
      cut.delete(block);
      inForce.add(block.set, 1);
    }
    for (const block of closes) inForce.add(block.set, -1);
  };
  for (const place of placesOf(blocks)) {
    while (path.length > 0 && !cidrCovers((path.at(-1) as (typeof path)[number]).place.cidr, place.cidr))
      leave();
    const uncuts = place.cuts.filter((block) => !cut.has(block));
    for (const block of place.opens) inForce.add(block.set, 1);
    for (const block of uncuts) {
      cut.add(block);
      inForce.add(block.set, -1);
    }
    path.push({ place, closes: place.opens, uncuts });
    const mark = inForce.mark();
    const known = lists.get(mark);
    if (known !== undefined && (size > most || inForce.isEqual(known))) {
      prefixes.push({ cidr: place.cidr, sets: known });
      continue;
    }
    const sets = inForce.items();
    size += sets.length;
    for (const set of sets) uses.set(set, (uses.get(set) ?? 0) + 1);
    lists.set(mark, size > most ? [] : sets);
    prefixes.push({ cidr: place.cidr, sets });
    if (size > most) prefixes.length = 0;
  }
  return { prefixes: size > most ? undefined : prefixes, uses };
}

/** Items that are counted, and a number for the set of those that count: of other sets it is hardly ever equal. */
function openCounted<T>() {
  const counts = new Map<T, number>();
  const marks = new Map<T, readonly [number, number]>();
  let [high, low] = [0, 0];
  const toggle = (item: T): void => {
    const known = marks.get(item) ?? [mixed(2 * marks.size) & 0x1fffff, mixed(2 * marks.size + 1)];
    marks.set(item, known);
    high ^= known[0];
    low ^= known[1];
  };
  return {
    add(item: T, by: 1 | -1): void {
      const before = counts.get(item) ?? 0;
      if (before + by === 0) counts.delete(item);
      else counts.set(item, before + by);
      if (before === 0 || before + by === 0) toggle(item);
    },
    items: (): T[] => [...counts.keys()],
    isEqual: (items: readonly T[]): boolean =>
      items.length === counts.size && items.every((item) => counts.has(item)),
    mark: (): number => high * 2 ** 32 + (low >>> 0),
  };
}

/** A number from which the sum of others cannot be seen: the finalizer of MurmurHash3. */
function mixed(number: number): number {
  const first = Math.imul(number ^ (number >>> 16) ^ 0x9e3779b9, 0x85ebca6b);
  const second = Math.imul(first ^ (first >>> 13), 0xc2b2ae35);
  return second ^ (second >>> 16);
}

function placesOf(blocks: readonly Block[]): Place[] {
  const places = new Map<string, Place>();
  const placeAt = (cidr: Cidr): Place => {
    const found = places.get(cidr.text) ?? { cidr, opens: [], cuts: [] };
    places.set(cidr.text, found);
    return found;
  };
  for (const block of blocks) {
    placeAt(block.cidr).opens.push(block);
    for (const cidr of new Map(block.except.map((except) => [except.text, except])).values())
      placeAt(cidr).cuts.push(block);
  }
  return [...places.values()].sort((a, b) => compareCidrs(a.cidr, b.cidr));
}
