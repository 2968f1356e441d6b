// Identities: addresses and prefixes grouped by the set of terms that match them.

import type { Address, Cidr } from "../base/ip.ts";
import { findAddress, prefixTable } from "../base/prefixes.ts";
import { type Cluster, keyOf, type Pod } from "../model/cluster.ts";
import type { Labels } from "../model/selector.ts";
import { blocksOf, declares, type PeerSet, podsByAddress, selectsPod, type Term } from "./peers.ts";
import { prefixSets } from "./prefixes.ts";

/** A set of terms as sorted term numbers; its text is the content that an identity is numbered by. "" matches nothing. */
export interface TermSet {
  readonly content: string;
  readonly terms: readonly number[];
}

export interface Classified {
  /** Pod address (canonical text) to the terms that match it and the pod that owns it. */
  readonly addresses: ReadonlyMap<
    string,
    { readonly address: Address; readonly pod: string; readonly terms: TermSet }
  >;
  readonly cidrs: ReadonlyMap<string, { readonly cidr: Cidr; readonly terms: TermSet }>;
}

/** Every known pod address and every prefix with its term set. `numberOf` numbers the live terms. */
export function classify(
  cluster: Cluster,
  terms: readonly Term[],
  numberOf: ReadonlyMap<string, number>,
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
  const selected = selectionMemo(cluster, [...sets.values()]);
  const addresses = new Map<string, { address: Address; pod: string; terms: TermSet }>();
  for (const [text, { address, pod }] of podsByAddress(cluster)) {
    const belongs = new Set(selected(pod));
    for (const set of findAddress(covering, address) ?? []) belongs.add(set.key);
    const numbers = numberedTerms
      .filter(({ term }) => belongs.has(term.set.key) && (!term.resolves || declares(pod, term.resolves)))
      .map(({ number }) => number);
    addresses.set(text, { address, pod: keyOf(pod), terms: intern(numbers) });
  }
  return { addresses, cidrs };
}

/** Pods of one workload have equal labels: selectors run once for each distinct (namespace, labels). */
function selectionMemo(cluster: Cluster, sets: readonly PeerSet[]): (pod: Pod) => readonly string[] {
  const memo = new Map<string, readonly string[]>();
  return (pod) => {
    const key = JSON.stringify([pod.namespace, ...sortedLabels(pod.labels)]);
    const known = memo.get(key);
    if (known !== undefined) return known;
    const keys = sets.filter((set) => selectsPod(set, cluster, pod)).map((set) => set.key);
    memo.set(key, keys);
    return keys;
  };
}

const sortedLabels = (labels: Labels): string[][] => [...labels].sort(([a], [b]) => (a < b ? -1 : 1));

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
