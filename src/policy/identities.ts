// Identities: addresses and prefixes grouped by the set of terms that match them.

import { type Address, type Cidr, cidrCovers, compareCidrs } from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import { findAddress, prefixTable } from "../base/prefix-table.ts";
import { holdersOf } from "../model/address-ownership.ts";
import { type Cluster, isSelectable, keyOf, type Pod } from "../model/cluster.ts";
import type { Labels } from "../model/selector.ts";
import {
  type Block,
  blocksOf,
  declares,
  type PeerSet,
  portsText,
  selectsPod,
  type Term,
} from "./peer-selectors.ts";

// Identities: addresses and prefixes grouped by the set of terms that match them.

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

export interface Classified {
  /** Pod address (canonical text) to the terms that match it and the pod that has it, "x/a or y/b" if that is not certain. */
  readonly addresses: ReadonlyMap<
    string,
    { readonly address: Address; readonly pod: string; readonly terms: TermSet }
  >;
  readonly cidrs: ReadonlyMap<string, { readonly cidr: Cidr; readonly terms: TermSet }>;
}

/** Every known pod address (except those left out) and every prefix with its term set. `numberOf` numbers the live terms. */
export function classify(
  cluster: Cluster,
  terms: readonly Term[],
  numberOf: ReadonlyMap<string, number>,
  leftOut: ReadonlySet<string> = new Set(),
): Classified {
  const sets = new Map(terms.map((term) => [term.set.key, term.set]));
  const intern = interner();
  const numberedTerms = terms.map((term) => ({ term, number: numberOf.get(term.key) as number }));
  const plain = new Map(
    numberedTerms.filter(({ term }) => !term.resolves).map(({ term, number }) => [term.set.key, number]),
  );

  const prefixes = prefixSets(blocksOf(sets.values()));
  const cidrs = new Map<string, { cidr: Cidr; terms: TermSet }>();
  for (const prefix of prefixes) {
    const numbers = prefix.sets.flatMap((set) => plain.get(set.key) ?? []);
    cidrs.set(prefix.cidr.text, { cidr: prefix.cidr, terms: intern(numbers) });
  }

  const covering = prefixTable(prefixes.map((prefix) => [prefix.cidr, prefix.sets] as const));
  const termsOf = termsMemo(cluster, { sets: [...sets.values()], terms: numberedTerms, intern });
  const addresses = new Map<string, { address: Address; pod: string; terms: TermSet }>();
  for (const [text, { address, pods }] of holdersOf(cluster)) {
    if (leftOut.has(text)) continue;
    const blocks = findAddress(covering, address);
    const [first, ...others] = pods;
    const terms =
      others.length === 0
        ? termsOf(first, blocks)
        : anyOf([termsOf(first, blocks), ...others.map((pod) => termsOf(pod, blocks))]);
    addresses.set(text, { address, pod: pods.map(keyOf).join(" or "), terms });
  }
  return { addresses, cidrs };
}

/** The sets whose blocks cover an address. */
type Covering = readonly PeerSet[] | undefined;

interface Asked {
  readonly sets: readonly PeerSet[];
  readonly terms: readonly { readonly term: Term; readonly number: number }[];
  readonly intern: (numbers: readonly number[]) => TermSet;
}

/**
 * The terms of a pod's address, given the sets whose blocks cover it. Pods of one workload have equal namespaces, labels and
 * ports: selectors run once for each of these, not for each pod.
 */
function termsMemo(
  cluster: Cluster,
  { sets, terms, intern }: Asked,
): (pod: Pod, covering: Covering) => TermSet {
  const workloads = new Map<string, Map<Covering, TermSet>>();
  const resolves = terms.some(({ term }) => term.resolves !== undefined);
  return (pod, covering) => {
    const ports = resolves ? portsText(pod.ports) : "";
    const isPeer = isSelectable(pod);
    const key = isPeer ? `${pod.namespace} ${labelsText(pod.labels)} ${ports}` : "";
    const known = workloads.get(key) ?? new Map<Covering, TermSet>();
    workloads.set(key, known);
    const found = known.get(covering);
    if (found !== undefined) return found;
    const belongs = new Set((covering ?? []).map((set) => set.key));
    for (const set of sets) if (selectsPod(set, cluster, pod)) belongs.add(set.key);
    const numbers = terms.flatMap(({ term, number }) =>
      belongs.has(term.set.key) && (!term.resolves || (isPeer && declares(pod, term.resolves))) ? number : [],
    );
    const made = intern(numbers);
    known.set(covering, made);
    return made;
  };
}

/** Equal labels have equal texts. */
const labelsText = memo((labels: Labels) => JSON.stringify([...labels].sort(([a], [b]) => (a < b ? -1 : 1))));

function interner(): (numbers: readonly number[]) => TermSet {
  const known = new Map<string, TermSet>();
  return (numbers) => {
    const terms = [...numbers].sort((a, b) => a - b);
    const content = terms.join(",");
    const found = known.get(content) ?? { content, terms };
    known.set(content, found);
    return found;
  };
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
    const sets = [...inForce].filter(([, count]) => count > 0).map(([set]) => set);
    for (const [set, count] of inForce) if (count === 0) inForce.delete(set);
    result.push({ cidr: place.cidr, sets });
  }
  return result;
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
