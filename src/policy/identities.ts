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
}

/** The set of an address that may belong to pods with these sets. */
export function anyOf(sets: readonly [TermSet, ...TermSet[]]): TermSet {
  const candidates = [...new Map(sets.map((set) => [set.content, set])).values()].sort((a, b) =>
    a.content < b.content ? -1 : 1,
  );
  if (candidates.length === 1) return sets[0];
  const terms = [...new Set(candidates.flatMap((set) => set.terms))].sort((a, b) => a - b);
  return { content: candidates.map(({ content }) => content).join("&"), terms, candidates };
}

/** The set with one more term. */
export function withTerm({ terms, candidates }: TermSet, term: number): TermSet {
  if (candidates !== undefined) {
    const [first, ...others] = candidates as [TermSet, ...TermSet[]];
    return anyOf([withTerm(first, term), ...others.map((set) => withTerm(set, term))]);
  }
  const more = [...terms, term].sort((a, b) => a - b);
  return { content: more.join(","), terms: more };
}

// Which peer sets cover which addresses by their IP blocks: every prefix with all the sets that apply to it, so that one
// longest match gives the union over rules. An exception cuts only the block that it belongs to.

/** The sets whose blocks cover a prefix and do not except it. */
export interface PrefixSets {
  readonly cidr: Cidr;
  readonly sets: readonly PeerSet[];
}

interface Place {
  readonly cidr: Cidr;
  readonly opens: Block[];
  readonly cuts: Block[];
}

/**
 * One walk over all prefixes, outer before inner. Going into a prefix opens the blocks that start there and cuts those
 * that except it; leaving it undoes that. A block applies from its own prefix inwards until the first of its
 * exceptions. O(prefixes log prefixes) plus the size of the result.
 */
export function prefixSets(blocks: readonly Block[]): PrefixSets[] {
  const result: PrefixSets[] = [];
  const inForce = new Map<PeerSet, number>();
  const cut = new Set<Block>();
  let sets: readonly PeerSet[] = [];
  const path: { place: Place; closes: Block[]; uncuts: Block[] }[] = [];
  const change = (block: Block, by: number) => inForce.set(block.set, (inForce.get(block.set) ?? 0) + by);
  const leave = () => {
    const { closes, uncuts } = path.pop() as (typeof path)[number];
    for (const block of uncuts) {
      cut.delete(block);
      change(block, 1);
    }
    for (const block of closes) change(block, -1);
  };
  for (const place of placesOf(blocks)) {
    while (path.length > 0 && !cidrCovers((path.at(-1) as (typeof path)[number]).place.cidr, place.cidr))
      leave();
    const uncuts = place.cuts.filter((block) => !cut.has(block));
    for (const block of place.opens) change(block, 1);
    for (const block of uncuts) {
      cut.add(block);
      change(block, -1);
    }
    path.push({ place, closes: place.opens, uncuts });
    sets = setsIn(inForce, sets);
    result.push({ cidr: place.cidr, sets });
  }
  return result;
}

/** The sets that count; the same list as before if they are the same, as most prefixes share few of them. */
function setsIn(inForce: Map<PeerSet, number>, before: readonly PeerSet[]): readonly PeerSet[] {
  let isSame = true;
  let at = 0;
  for (const [set, count] of inForce) {
    if (count === 0) inForce.delete(set);
    if (count <= 0) continue;
    isSame &&= before[at] === set;
    at += 1;
  }
  if (isSame && at === before.length) return before;
  return [...inForce].filter(([, count]) => count > 0).map(([set]) => set);
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
