// Workloads: pods of one namespace with equal labels and ports, and the terms that match them; and the identities of addresses that
// follow. The stage keeps its result: a pod that comes, goes or changes is a member of another workload and changes the entries of
// its own addresses, and selectors are evaluated over workloads, not over pods.

import type { Address, Cidr } from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import { findAddress, type PrefixTable, prefixTable } from "../base/prefix-table.ts";
import { openStage, sameEntries, sameItems } from "../base/stage.ts";
import { changesBetween, patched } from "../base/versioned-map.ts";
import { changedHolders, type Holders, holdersOf } from "../model/address-ownership.ts";
import {
  type Cluster,
  EMPTY_CLUSTER,
  isSelectable,
  isSubject,
  namespaceLabels,
  type Pod,
} from "../model/cluster.ts";
import { type Labels, matches, type Selector, selectorText } from "../model/selector.ts";
import { anyOf, prefixSets, type TermSet } from "./identities.ts";
import { blocksOf, declares, type PeerSet, portsText, type Term } from "./peer-selectors.ts";

/** Terms with their numbers: equal terms have equal numbers for as long as they exist. */
export interface NumberedTerms {
  readonly terms: readonly Term[];
  readonly termNumbers: ReadonlyMap<string, number>;
}

export interface Classified {
  /**
   * Addresses of pods whose terms differ from those of the longest prefix. The others need no entry: the programs find the same
   * identity by the prefix.
   */
  readonly addresses: ReadonlyMap<string, TermSet>;
  readonly cidrs: ReadonlyMap<string, { readonly cidr: Cidr; readonly terms: TermSet }>;
  /** Of any address: an entry's, else those of the longest prefix. */
  termsOf(address: Address): TermSet;
  /** The pods that have an address; not of those left out. */
  readonly holders: Holders;
}

/** What a run of the stage has changed. */
export interface Classification extends Classified {
  /** All distinct sets of terms, by content; not the one of no term. The same map as long as they are the same. */
  readonly termSets: ReadonlyMap<string, TermSet>;
  /** Addresses whose terms may have changed since the last run; undefined if they may be any. */
  readonly changed: ReadonlySet<string> | undefined;
  /** How many addresses have a set of terms; infinitely many where a prefix has it. */
  uses(content: string): number;
}

export const NO_TERMS: TermSet = { content: "", terms: [] };

/** Addresses in `leftOut` are treated as if no pod had them. */
export function classify(
  cluster: Cluster,
  numbered: NumberedTerms,
  leftOut: ReadonlySet<string> = new Set(),
): Classification {
  return openWorkloads()(cluster, numbered, leftOut);
}

/** A peer set, and the terms that are made of it. */
interface Peers {
  readonly index: number;
  readonly set: PeerSet;
  readonly terms: readonly { readonly term: Term; readonly number: number }[];
}

interface Selection {
  readonly peers: Peers;
  readonly pods: Selector;
}

/** Which peer sets may select pods of a namespace. */
interface Selections {
  readonly everyone: readonly Peers[];
  readonly byNamespace: ReadonlyMap<string, readonly Selection[]>;
  /** By the text of their namespace selector. */
  readonly bySelector: readonly {
    readonly namespaces: Selector;
    readonly selections: readonly Selection[];
  }[];
}

/** The peer sets that cover a prefix. */
interface Covering {
  readonly cidr: Cidr;
  readonly peers: readonly Peers[];
  /** The terms of the prefix itself. */
  readonly terms: TermSet;
}

/** What a run's terms give, before any pod. */
interface Asked {
  readonly selections: Selections;
  /** Workloads that the same peer sets select share one set, by the numbers of these. */
  readonly selected: Map<string, ReadonlySet<Peers>>;
  readonly covering: PrefixTable<Covering>;
  readonly coverings: readonly Covering[];
  readonly cidrs: Classified["cidrs"];
}

interface Workload {
  readonly namespace: string;
  readonly labels: Labels;
  readonly ports: Pod["ports"];
  readonly members: Set<Pod>;
  /** Peer sets whose selectors match, and the numbers of the terms that match by selectors alone. */
  selected: ReadonlySet<Peers>;
  numbers: readonly number[];
  /** The terms of its addresses, by what covers these: nearly always all are covered alike. */
  terms: { readonly covering: Covering | undefined; readonly set: TermSet } | undefined;
}

/** What the pods of a workload have in common. */
type Common = Pick<Pod, "namespace" | "labels" | "ports">;

/**
 * Workloads by what their pods have in common: in a large cluster with labels that are different for each pod, texts of it would take
 * more memory than the pods.
 */
function openIndex() {
  const byHash = new Map<number, Workload | Workload[]>();
  const withHash = (hash: number): readonly Workload[] => {
    const known = byHash.get(hash);
    if (known === undefined) return [];
    return Array.isArray(known) ? known : [known];
  };
  const put = (hash: number, [first, ...others]: readonly Workload[]): void => {
    if (first === undefined) byHash.delete(hash);
    else byHash.set(hash, others.length === 0 ? first : [first, ...others]);
  };
  return {
    get: (common: Common): Workload | undefined =>
      withHash(hashOf(common)).find((each) => isSameCommon(each, common)),
    add(workload: Workload): void {
      const hash = hashOf(workload);
      put(hash, [...withHash(hash), workload]);
    },
    delete(workload: Workload): void {
      const hash = hashOf(workload);
      put(
        hash,
        withHash(hash).filter((each) => each !== workload),
      );
    },
    *values(): Generator<Workload, undefined> {
      for (const each of byHash.values())
        if (Array.isArray(each)) yield* each;
        else yield each;
      return undefined;
    },
  };
}

const hashOf = ({ namespace, labels, ports }: Common): number =>
  hashText(hashOfLabels(labels) ^ ports.length, namespace);

/** Equal for equal labels, in whatever order. */
const hashOfLabels = memo((labels: Labels) =>
  labels.entries().reduce((sum, [key, value]) => (sum + hashText(hashText(FNV_BASIS, key), value)) | 0, 0),
);

const isSameCommon = (a: Common, b: Common): boolean =>
  a.namespace === b.namespace &&
  (a.labels === b.labels || sameEntries(a.labels, b.labels)) &&
  (a.ports === b.ports || portsText(a.ports) === portsText(b.ports));

const FNV_BASIS = 0x811c9dc5;

/** FNV-1a with 32 bits, over UTF-16 units. */
function hashText(start: number, text: string): number {
  let hash = start;
  for (let index = 0; index < text.length; index += 1)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  return Math.imul(hash ^ 0xffff, 0x01000193);
}

/** Of pods that no selector matches. */
const unselected = (): Workload => ({
  namespace: "",
  labels: new Map(),
  ports: [],
  members: new Set(),
  selected: new Set(),
  numbers: [],
  terms: undefined,
});

/** `leftOut`: see `classify`. */
export function openWorkloads(): (
  cluster: Cluster,
  numbered: NumberedTerms,
  leftOut: ReadonlySet<string>,
) => Classification {
  let leftOut: ReadonlySet<string> = new Set();
  const workloads = openIndex();
  const inNamespace = new Map<string, Set<Workload>>();
  const nobody = unselected();
  const askedOf = openStage<Asked>();
  const counts = new Map<string, { readonly terms: TermSet; count: number }>();
  const distinct = openDistinct();
  let entries: ReadonlyMap<string, TermSet> = new Map();
  let cluster: Cluster = EMPTY_CLUSTER;
  let asked: Asked | undefined;
  /** Contents that entries had or have since the last run, where the first came or the last went. */
  const renewed = new Set<string>();

  const workloadOf = (pod: Pod): Workload => {
    if (!isSelectable(pod)) return nobody;
    const known = workloads.get(pod);
    if (known !== undefined) return known;
    const { namespace, labels, ports } = pod;
    const made = { ...unselected(), namespace, labels, ports };
    workloads.add(made);
    const others = inNamespace.get(namespace);
    if (others === undefined) inNamespace.set(namespace, new Set([made]));
    else others.add(made);
    evaluate(made);
    return made;
  };
  const forget = (workload: Workload): void => {
    workloads.delete(workload);
    const others = inNamespace.get(workload.namespace);
    others?.delete(workload);
    if (others?.size === 0) inNamespace.delete(workload.namespace);
  };
  /** Returns whether other terms match it than before. */
  const evaluate = (workload: Workload): boolean => {
    const selected = selectedBy(asked as Asked, cluster, workload);
    const numbers = numbersIn(selected, workload);
    const same = sameItems(workload.numbers, numbers);
    workload.selected = selected;
    workload.numbers = numbers;
    workload.terms = undefined;
    return !same;
  };
  const termsAt = (workload: Workload, covering: Covering | undefined): TermSet => {
    if (workload.terms !== undefined && workload.terms.covering === covering) return workload.terms.set;
    const set = setOf([
      ...workload.numbers,
      ...(covering?.peers ?? []).flatMap((each) =>
        workload.selected.has(each) ? [] : numbersIn([each], workload),
      ),
    ]);
    workload.terms = { covering, set };
    return set;
  };
  /** Of one without an object two: it gets nothing that its last labels would allow, and not what they deny. */
  const setsOfPod = (pod: Pod, covering: Covering | undefined): readonly TermSet[] => {
    const own = termsAt(workloadOf(pod), covering);
    if (pod.retained === undefined || !isSubject(pod)) return [own];
    // What only its ports would need has no terms.
    const { namespace, labels } = pod;
    const last = { ...unselected(), namespace, labels };
    evaluate(last);
    return [own, termsAt(last, covering)];
  };
  /** The terms of an address, where they differ from those of the longest prefix. */
  const entryOf = (holders: Holders, text: string): TermSet | undefined => {
    const held = leftOut.has(text) ? undefined : holders.get(text);
    if (held === undefined) return undefined;
    const covering = findAddress((asked as Asked).covering, held.address);
    const sets = held.pods.flatMap((pod) => setsOfPod(pod, covering));
    const terms = anyOf(sets as [TermSet, ...TermSet[]]);
    return terms.content === (covering?.terms.content ?? "") ? undefined : terms;
  };
  const count = (terms: TermSet | undefined, by: 1 | -1): void => {
    if (terms === undefined) return;
    const known = counts.get(terms.content) ?? { terms, count: 0 };
    known.count += by;
    if (known.count === 0) counts.delete(terms.content);
    else counts.set(terms.content, known);
    if (known.count === 0 || (by === 1 && known.count === 1)) renewed.add(terms.content);
  };
  const join = (pods: ReadonlyMap<string, Pod>, before: ReadonlyMap<string, Pod>): void => {
    for (const { before: was, after: is } of changesBetween(before, pods)) {
      const left = was !== undefined && isSelectable(was) ? workloads.get(was) : undefined;
      left?.members.delete(was as Pod);
      if (is !== undefined && isSelectable(is)) workloadOf(is).members.add(is);
      if (left?.members.size === 0) forget(left);
    }
  };

  return (next, numbered, without) => {
    const before = cluster;
    const last = asked;
    cluster = next;
    asked = askedOf([numbered.terms, numbered.termNumbers], () => askedBy(numbered));
    const { covering, cidrs } = asked;
    const touched = changedHolders(before, next);
    for (const text of leftOut.symmetricDifference(without)) touched.add(text);
    leftOut = new Set(without);
    const all = new Set<Workload>();
    if (last !== asked) {
      nobody.terms = undefined;
      for (const workload of workloads.values()) if (evaluate(workload)) all.add(workload);
    } else
      for (const { key } of changesBetween(before.namespaces, next.namespaces))
        for (const workload of inNamespace.get(key) ?? []) if (evaluate(workload)) all.add(workload);
    join(next.pods, before.pods);
    for (const { members } of all)
      for (const { ips } of members) for (const { text } of ips) touched.add(text);
    // An address may be a pod's by this node's evidence alone.
    const isOther = last !== asked || before.namespaces !== next.namespaces;
    if (all.size > 0 || isOther) for (const text of next.ownership?.held.keys() ?? []) touched.add(text);
    const holders = holdersOf(next);
    const blocks = last === undefined ? [] : changedCoverings(last, asked);
    if (blocks.length > 0) for (const text of addressesInside(next, blocks)) touched.add(text);
    const patch = new Map<string, TermSet | undefined>();
    for (const text of touched) {
      const [was, is] = [entries.get(text), entryOf(holders, text)];
      if (was?.content === is?.content) continue;
      patch.set(text, is);
      count(is, 1);
      count(was, -1);
    }
    entries = patched(entries, patch);
    const addresses = entries;
    return {
      addresses,
      cidrs,
      termSets: distinct(cidrs, counts, renewed),
      termsOf: (address) => addresses.get(address.text) ?? findAddress(covering, address)?.terms ?? NO_TERMS,
      holders: leftOut.size === 0 ? holders : withoutSome(holders, leftOut),
      uses: (content) =>
        contentsOf(cidrs).has(content) ? Number.POSITIVE_INFINITY : (counts.get(content)?.count ?? 0),
      changed: last === undefined || blocks.length > 0 ? undefined : touched,
    };
  };
}

const withoutSome = (holders: Holders, leftOut: ReadonlySet<string>): Holders => ({
  get: (text) => (leftOut.has(text) ? undefined : holders.get(text)),
  keys: () => holders.keys().difference(leftOut),
});

const contentsOf = memo(
  (cidrs: Classified["cidrs"]): ReadonlySet<string> =>
    new Set(cidrs.values().map(({ terms }) => terms.content)),
);

/** The distinct sets of prefixes and entries, in the time of those that may have come or gone: `renewed`, which is emptied. */
function openDistinct(): (
  cidrs: Classified["cidrs"],
  counts: ReadonlyMap<string, { readonly terms: TermSet }>,
  renewed: Set<string>,
) => Classification["termSets"] {
  let ofPrefixes: { readonly cidrs: Classified["cidrs"]; readonly sets: ReadonlyMap<string, TermSet> } = {
    cidrs: new Map(),
    sets: new Map(),
  };
  let all: Classification["termSets"] = new Map();
  return (cidrs, counts, renewed) => {
    if (ofPrefixes.cidrs !== cidrs) {
      for (const content of ofPrefixes.sets.keys()) renewed.add(content);
      ofPrefixes = { cidrs, sets: new Map(cidrs.values().map(({ terms }) => [terms.content, terms])) };
      for (const content of ofPrefixes.sets.keys()) renewed.add(content);
    }
    const patch = new Map<string, TermSet | undefined>();
    for (const content of renewed) {
      if (content === "") continue;
      const is = counts.get(content)?.terms ?? ofPrefixes.sets.get(content);
      // Equal sets are interchangeable.
      if (is === undefined || !all.has(content)) patch.set(content, is);
    }
    renewed.clear();
    all = patched(all, patch);
    return all;
  };
}

function setOf(numbers: readonly number[]): TermSet {
  const terms = [...numbers].sort((a, b) => a - b);
  return { content: terms.join(","), terms };
}

/** The numbers of the terms of these peer sets for pods of a workload, sorted. */
function numbersIn(sets: Iterable<Peers>, { namespace, ports }: Workload): number[] {
  const numbers: number[] = [];
  for (const { terms } of sets)
    for (const { term, number } of terms)
      if (term.resolves === undefined || (namespace !== "" && declares({ ports }, term.resolves)))
        numbers.push(number);
  return numbers.sort((a, b) => a - b);
}

function selectedBy(
  { selections: { everyone, byNamespace, bySelector }, selected: kept }: Asked,
  cluster: Cluster,
  { namespace, labels }: Workload,
): ReadonlySet<Peers> {
  const selected = new Set(everyone);
  const select = (selections: readonly Selection[]): void => {
    for (const { peers, pods } of selections) if (matches(pods, labels)) selected.add(peers);
  };
  select(byNamespace.get(namespace) ?? []);
  const own = namespaceLabels(cluster, namespace);
  for (const { namespaces, selections } of bySelector) if (matches(namespaces, own)) select(selections);
  const key = [...selected].map(({ index }) => index).join(",");
  const known = kept.get(key) ?? selected;
  if (known === selected) kept.set(key, selected);
  return known;
}

function askedBy({ terms, termNumbers }: NumberedTerms): Asked {
  const bySet = Map.groupBy(terms, ({ set }) => set.key);
  const peers = [...bySet.values()].map(
    (own, index): Peers => ({
      index,
      set: (own[0] as Term).set,
      terms: own.map((term) => ({ term, number: termNumbers.get(term.key) as number })),
    }),
  );
  const bySetKey = new Map(peers.map((each) => [each.set.key, each]));
  // Most prefixes are covered by the same few sets: what follows from these is kept once.
  const known = new Map<string, Omit<Covering, "cidr">>();
  const coveredBy = (sets: readonly PeerSet[]): Omit<Covering, "cidr"> => {
    const own = sets.map((set) => bySetKey.get(set.key) as Peers);
    const key = own.map(({ index }) => index).join(",");
    const found = known.get(key);
    if (found !== undefined) return found;
    const plain = own.flatMap((each) => each.terms.filter(({ term }) => term.resolves === undefined));
    const covered = { peers: own, terms: setOf(plain.map(({ number }) => number)) };
    known.set(key, covered);
    return covered;
  };
  const coverings = prefixSets(blocksOf(peers.map(({ set }) => set))).map(({ cidr, sets }): Covering => {
    const { peers: own, terms: numbers } = coveredBy(sets);
    return { cidr, peers: own, terms: numbers };
  });
  return {
    selections: selectionsOf(peers),
    selected: new Map(),
    coverings,
    covering: prefixTable(coverings.map((each) => [each.cidr, each] as const)),
    cidrs: new Map(coverings.map(({ cidr, terms: set }) => [cidr.text, { cidr, terms: set }])),
  };
}

function selectionsOf(all: readonly Peers[]): Selections {
  const everyone: Peers[] = [];
  const byNamespace = new Map<string, Selection[]>();
  const bySelector = new Map<string, { readonly namespaces: Selector; readonly selections: Selection[] }>();
  for (const peers of all) {
    const { set } = peers;
    if (set.peers === "anyone") everyone.push(peers);
    else
      for (const peer of set.peers) {
        if (peer.kind === "block") continue;
        const selection = { peers, pods: peer.pods };
        if (peer.namespaces === undefined) {
          const known = byNamespace.get(set.namespace);
          if (known === undefined) byNamespace.set(set.namespace, [selection]);
          else known.push(selection);
          continue;
        }
        const text = selectorText(peer.namespaces);
        const known = bySelector.get(text) ?? { namespaces: peer.namespaces, selections: [] };
        bySelector.set(text, known);
        known.selections.push(selection);
      }
  }
  return { everyone, byNamespace, bySelector: [...bySelector.values()] };
}

/** Prefixes that are covered by other terms than before, or cover others. */
function changedCoverings(before: Asked, after: Asked): readonly Covering[] {
  if (before === after) return [];
  const known = new Map(before.coverings.map((each) => [each.cidr.text, each]));
  const changed: Covering[] = [];
  for (const each of after.coverings) {
    const was = known.get(each.cidr.text);
    known.delete(each.cidr.text);
    if (was === undefined || numbersText(was.peers) !== numbersText(each.peers)) changed.push(each);
  }
  return [...changed, ...known.values()];
}

/** Of all terms that may match an address there: those with a port name, too. */
const numbersText = memo((peers: Covering["peers"]): string =>
  peers
    .flatMap(({ terms }) => terms.map(({ number }) => number))
    .sort((a, b) => a - b)
    .join(","),
);

function* addressesInside(cluster: Cluster, prefixes: readonly Covering[]): Generator<string> {
  const inside = prefixTable(prefixes.map(({ cidr }) => [cidr, true] as const));
  for (const { ips } of cluster.pods.values())
    for (const address of ips) if (findAddress(inside, address)) yield address.text;
  for (const [text, { address }] of cluster.ownership?.held ?? [])
    if (findAddress(inside, address)) yield text;
}
