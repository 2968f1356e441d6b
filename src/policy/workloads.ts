// Workloads: pods of one namespace with equal labels and ports, and the terms that match them; and the identities of addresses that
// follow. The stage keeps its result: a pod that comes, goes or changes is a member of another workload and changes the entries of
// its own addresses, and selectors are evaluated over workloads, not over pods; of new and changed rules only theirs.
//
// Selectors times workloads, and terms times identities, may be more than fits in memory. What that takes is counted, before or while it
// is made; beyond the limit the stage keeps nothing and says which peer sets cause how much.

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
import type { Labels } from "../model/selector.ts";
import { anyOf, prefixSets, type TermSet, termSetOf } from "./identities.ts";
import { openPeerIndex, type PeerIndex, type Peers, type Selectable } from "./peer-index.ts";
import {
  blocksOf,
  type PeerSet,
  portsText,
  resolutionsOf,
  resolutionText,
  type Term,
} from "./peer-selectors.ts";

/** Terms with their numbers: equal terms have equal numbers for as long as they exist. */
export interface NumberedTerms {
  readonly terms: readonly Term[];
  readonly termNumbers: ReadonlyMap<string, number>;
  /** The numbers of those by which rules deny or pass: of these, pods whose labels are not known may have any. */
  readonly closing?: ReadonlySet<number>;
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
  /** Set where there is too much to classify: then no address has any terms. */
  readonly excess?: Matches;
}

/**
 * What peer sets take, by their keys: one for each pod (those with equal labels once) to which a selector of the set is to be compared,
 * one for each distinct list of peer sets that prefixes have with it, or one for each identity with a term of the set.
 */
export interface Matches {
  readonly ofSets: ReadonlyMap<string, number>;
}

export const NO_TERMS: TermSet = { content: "", terms: [] };

/** Addresses in `leftOut` are treated as if no pod had them. */
export function classify(
  cluster: Cluster,
  numbered: NumberedTerms,
  leftOut: ReadonlySet<string> = new Set(),
): Classification {
  return openWorkloads()(cluster, numbered, { leftOut, capacity: Number.POSITIVE_INFINITY });
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
  /** By the key of the set; the same object as before where its terms are. */
  readonly peers: ReadonlyMap<string, Peers>;
  readonly covering: PrefixTable<Covering>;
  readonly coverings: readonly Covering[];
  readonly cidrs: Classified["cidrs"];
  readonly excess: Matches | undefined;
  readonly closing: NumberedTerms["closing"];
}

interface Workload {
  readonly namespace: string;
  readonly labels: Labels;
  readonly ports: Pod["ports"];
  /** What the labels are is not known. */
  readonly exceeds: boolean;
  readonly members: Set<Pod>;
  /** The cost of evaluating it, as of `PeerIndex`. */
  cost: number;
  /** Peer sets whose selectors match, in the order of their ids; the same list for all workloads with the same ones. Undefined until known. */
  selected: readonly Peers[] | undefined;
  /** The terms of its addresses, by what covers these: nearly always all are covered alike. */
  terms: { readonly covering: Covering | undefined; readonly set: TermSet } | undefined;
}

/** What the pods of a workload have in common. */
type Common = Pick<Pod, "namespace" | "labels" | "ports"> & { readonly exceeds?: boolean };

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
  (a.exceeds === true) === (b.exceeds === true) &&
  (a.labels === b.labels || sameEntries(a.labels, b.labels)) &&
  (a.ports === b.ports || portsText(a.ports) === portsText(b.ports));

const FNV_BASIS = 0x811c9dc5;

/** Hardly ever equal for other texts. */
const fingerprintOf = (text: string): number =>
  (hashText(FNV_BASIS, text) >>> 0) * 2 ** 21 + (hashText(1, text) >>> 11);

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
  exceeds: false,
  members: new Set(),
  cost: 0,
  selected: NO_PEERS,
  terms: undefined,
});

const NO_PEERS: readonly Peers[] = [];
const NO_CLOSING: ReadonlySet<number> = new Set();

export interface Limits {
  /** Addresses that are treated as if no pod had them. */
  readonly leftOut: ReadonlySet<string>;
  /** Of `Matches`, for all sets together. */
  readonly capacity: number;
}

export function openWorkloads(): (
  cluster: Cluster,
  numbered: NumberedTerms,
  limits: Limits,
) => Classification {
  let leftOut: ReadonlySet<string> = new Set();
  const workloads = openIndex();
  const inNamespace = new Map<string, Set<Workload>>();
  const nobody = unselected();
  const askedOf = openStage<Asked>();
  const index = openPeerIndex();
  let lists = openLists();
  /** What evaluating all workloads costs. */
  let cost = 0;
  /** Workloads that are not evaluated yet. */
  const fresh = new Set<Workload>();
  const counts = new Map<string, { readonly terms: TermSet; count: number }>();
  /** The sizes of all sets in `counts`. */
  let size = 0;
  let distinct = openDistinct();
  let entries: ReadonlyMap<string, TermSet> = new Map();
  let cluster: Cluster = EMPTY_CLUSTER;
  let asked: Asked | undefined;
  /** Whether the last run has found too much: then nothing of it is kept, but workloads and what they cost. */
  let isBeyond = false;
  /** Contents that entries had or have since the last run, where the first came or the last went. */
  const renewed = new Set<string>();

  const selectableOf = ({ namespace, labels, ports, exceeds }: Workload): Selectable => ({
    namespace,
    namespaceLabels: namespaceLabels(cluster, namespace),
    labels: exceeds ? undefined : labels,
    names: resolutionsOf(ports).size,
  });
  const costIn = (peers: PeerIndex, workload: Workload): number => peers.costOf(selectableOf(workload));
  const workloadOf = (pod: Pod): Workload => {
    if (!isSelectable(pod)) return nobody;
    const known = workloads.get(pod);
    if (known !== undefined) return known;
    const { namespace, labels, ports, exceeds = false } = pod;
    const made = { ...unselected(), namespace, labels, ports, exceeds, selected: undefined };
    made.cost = costIn(index, made);
    cost += made.cost;
    workloads.add(made);
    const others = inNamespace.get(namespace);
    if (others === undefined) inNamespace.set(namespace, new Set([made]));
    else others.add(made);
    fresh.add(made);
    return made;
  };
  const forget = (workload: Workload): void => {
    cost -= workload.cost;
    fresh.delete(workload);
    workloads.delete(workload);
    const others = inNamespace.get(workload.namespace);
    others?.delete(workload);
    if (others?.size === 0) inNamespace.delete(workload.namespace);
  };
  const evaluate = (workload: Workload): void => {
    workload.selected = lists.shared(index.matching(selectableOf(workload)));
    workload.terms = undefined;
  };
  /** What the removal of some peer sets and the addition of others changes. Returns whether other sets select it than before. */
  const update = (
    workload: Workload,
    { removed, ofAdded }: PeerChanges,
    moved: ReadonlySet<Workload>,
  ): boolean => {
    const before = workload.selected;
    if (before === undefined || moved.has(workload) || workload.exceeds) {
      evaluate(workload);
      return true;
    }
    const left = removed.size === 0 ? before : before.filter((each) => !removed.has(each));
    // Their ids are greater than those of all before.
    const more = ofAdded.matching(selectableOf(workload));
    const isSame = more.length === 0 && left.length === before.length;
    workload.selected = lists.shared(isSame ? before : [...left, ...more]);
    workload.terms = undefined;
    return !isSame;
  };
  /** Counts the costs again, and keeps the index. Returns the workloads of namespaces that have changed. */
  const chargeAll = (
    { removed, ofRemoved, added, ofAdded }: PeerChanges,
    namespaces: Iterable<{ readonly key: string }>,
  ): Set<Workload> => {
    const charge = (workload: Workload, by: number): void => {
      workload.cost += by;
      cost += by;
    };
    for (const each of removed) index.delete(each);
    for (const each of added) index.add(each);
    const moved = new Set<Workload>();
    for (const { key } of namespaces)
      for (const workload of inNamespace.get(key) ?? []) {
        charge(workload, costIn(index, workload) - workload.cost);
        moved.add(workload);
      }
    if (removed.size + added.length > 0)
      for (const workload of workloads.values())
        if (!moved.has(workload)) charge(workload, costIn(ofAdded, workload) - costIn(ofRemoved, workload));
    return moved;
  };
  const termsAt = (workload: Workload, covering: Covering | undefined): TermSet => {
    if (workload.terms !== undefined && workload.terms.covering === covering) return workload.terms.set;
    const selected = workload.selected as readonly Peers[];
    const peers =
      covering === undefined || covering.peers.length === 0
        ? selected
        : new Set([...selected, ...covering.peers]);
    const made = termSetOf(numbersIn(peers, workload));
    // Workloads with equal terms share them.
    const known = counts.get(made.content)?.terms ?? covering?.terms;
    const set = known?.content === made.content ? known : made;
    workload.terms = { covering, set };
    return set;
  };
  /** Of a workload whose labels are not known: prefixes that cover its addresses are certain, and selectors may match. */
  const unknownAt = (workload: Workload, covering: Covering | undefined, passes: boolean): TermSet => {
    const certain = termsAt(nobody, covering).terms;
    const { closing = NO_CLOSING } = asked as Asked;
    const all = new Set([...(workload.selected as readonly Peers[]), ...(covering?.peers ?? [])]);
    const perhaps = [...all]
      .flatMap(numbersOfPeers)
      .filter((each) => closing.has(each) && !certain.includes(each));
    return termSetOf(certain, { terms: perhaps, passes });
  };
  /** Where the labels are not certain, several: it gets only what every one of them is allowed, and not what one is denied. */
  const setsOfPod = (pod: Pod, covering: Covering | undefined): readonly TermSet[] => {
    if (pod.exceeds === true && isSelectable(pod))
      return [false, true].map((passes) => unknownAt(workloadOf(pod), covering, passes));
    const own = termsAt(workloadOf(pod), covering);
    if (pod.retained === undefined || !isSubject(pod)) return [own];
    // What only its ports would need has no terms.
    const { namespace, labels, exceeds = false } = pod;
    const last = { ...unselected(), namespace, labels, exceeds };
    evaluate(last);
    if (exceeds) return [false, true].map((passes) => unknownAt(last, covering, passes));
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
    const isFirst = by === 1 && known.count === 1;
    if (isFirst || known.count === 0) {
      renewed.add(terms.content);
      size += by * sizeOf(terms);
    }
  };
  const join = (pods: ReadonlyMap<string, Pod>, before: ReadonlyMap<string, Pod>): void => {
    for (const { before: was, after: is } of changesBetween(before, pods)) {
      const left = was !== undefined && isSelectable(was) ? workloads.get(was) : undefined;
      left?.members.delete(was as Pod);
      if (is !== undefined && isSelectable(is)) workloadOf(is).members.add(is);
      if (left?.members.size === 0) forget(left);
    }
  };
  /** Keeps nothing that depends on terms. */
  const drop = (): void => {
    lists = openLists();
    for (const workload of workloads.values()) {
      workload.selected = undefined;
      workload.terms = undefined;
    }
    nobody.terms = undefined;
    fresh.clear();
    counts.clear();
    size = 0;
    renewed.clear();
    distinct = openDistinct();
    entries = new Map();
  };
  /** What identities take, without keeping them. */
  const identitiesTake = (texts: Iterable<string>, holders: Holders): Matches => {
    const found = new Set<number>();
    const ofTerms = new Map<number, number>();
    for (const text of texts) {
      const set = entryOf(holders, text);
      if (set === undefined || found.has(fingerprintOf(set.content))) continue;
      found.add(fingerprintOf(set.content));
      for (const each of [set, ...(set.candidates ?? [])])
        for (const term of each.terms) ofTerms.set(term, (ofTerms.get(term) ?? 0) + 1);
      // Not kept for the workload either.
      for (const pod of holders.get(text)?.pods ?? []) workloadOf(pod).terms = undefined;
    }
    const { peers } = asked as Asked;
    return {
      ofSets: new Map(
        peers
          .entries()
          .map(([key, each]) => [
            key,
            numbersOfPeers(each).reduce((sum, number) => sum + (ofTerms.get(number) ?? 0), 0),
          ]),
      ),
    };
  };

  return (next, numbered, { leftOut: without, capacity }) => {
    const before = cluster;
    const last = asked;
    const wasBeyond = isBeyond;
    const isWhole = wasBeyond || last === undefined;
    cluster = next;
    asked = askedOf([numbered.terms, numbered.termNumbers, numbered.closing, capacity], () =>
      askedBy(numbered, { known: last?.peers ?? new Map(), capacity }),
    );
    const { covering, cidrs } = asked;
    const touched = changedHolders(before, next);
    for (const text of leftOut.symmetricDifference(without)) touched.add(text);
    leftOut = new Set(without);
    const holders = holdersOf(next);
    const changes = last === asked ? NO_CHANGES : changesOfPeers(last?.peers ?? new Map(), asked.peers);
    const moved = chargeAll(changes, changesBetween(before.namespaces, next.namespaces));
    join(next.pods, before.pods);
    const beyond = (excess: Matches): Classification => {
      drop();
      isBeyond = true;
      return {
        ...NOTHING_CLASSIFIED,
        holders: leftOut.size === 0 ? holders : withoutSome(holders, leftOut),
        changed: wasBeyond ? touched : undefined,
        excess,
      };
    };
    if (asked.excess !== undefined) return beyond(asked.excess);
    if (cost > capacity) return beyond(costsBySet(index.costs(workloads.values().map(selectableOf))));
    const all = new Set<Workload>();
    if (isWhole || last !== asked) {
      lists = openLists();
      nobody.terms = undefined;
      for (const workload of workloads.values()) if (update(workload, changes, moved)) all.add(workload);
    } else
      for (const workload of moved.union(fresh)) {
        evaluate(workload);
        all.add(workload);
      }
    fresh.clear();
    for (const { members } of all)
      for (const { ips } of members) for (const { text } of ips) touched.add(text);
    // An address may be a pod's by this node's evidence alone.
    const isOther = last !== asked || before.namespaces !== next.namespaces;
    if (all.size > 0 || isOther) for (const text of next.ownership?.held.keys() ?? []) touched.add(text);
    const blocks = isWhole ? [] : changedCoverings(last, asked);
    if (blocks.length > 0) for (const text of addressesInside(next, blocks)) touched.add(text);
    const texts = isWhole ? addressTexts(next) : touched;
    // What was too much before probably still is: it is counted first.
    const takes = wasBeyond ? identitiesTake(texts, holders) : undefined;
    if (takes !== undefined && sumOf(takes) > capacity) return beyond(takes);
    const patch = new Map<string, TermSet | undefined>();
    for (const text of texts) {
      const [was, is] = [entries.get(text), entryOf(holders, text)];
      if (was?.content === is?.content) continue;
      patch.set(text, is);
      count(is, 1);
      count(was, -1);
      if (size > capacity) return beyond(identitiesTake(addressTexts(next), holders));
    }
    isBeyond = false;
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
      changed: isWhole || blocks.length > 0 ? undefined : touched,
    };
  };
}

const NOTHING_CLASSIFIED: Omit<Classification, "holders" | "changed"> = {
  addresses: new Map(),
  cidrs: new Map(),
  termSets: new Map(),
  termsOf: () => NO_TERMS,
  uses: () => 0,
};

const sizeOf = ({ terms, candidates = [] }: TermSet): number =>
  candidates.reduce((sum, each) => sum + each.terms.length, terms.length);

const sumOf = ({ ofSets }: Matches): number => ofSets.values().reduce((sum, of) => sum + of, 0);

const costsBySet = (costs: ReadonlyMap<Peers, number>): Matches => ({
  ofSets: new Map(costs.entries().map(([{ set }, of]) => [set.key, of])),
});

/** Lists of peer sets by content, so that equal ones are kept once. */
function openLists() {
  const byHash = new Map<number, readonly Peers[][]>();
  return {
    shared(list: readonly Peers[]): readonly Peers[] {
      if (list.length === 0) return NO_PEERS;
      const hash = list.reduce((sum, { id }) => Math.imul(sum ^ id, 0x01000193), FNV_BASIS);
      const there = byHash.get(hash) ?? [];
      const known = there.find((each) => sameItems(each, list));
      if (known === undefined) byHash.set(hash, [...there, list as Peers[]]);
      return known ?? list;
    },
  };
}

interface PeerChanges {
  readonly removed: ReadonlySet<Peers>;
  readonly ofRemoved: PeerIndex;
  readonly added: readonly Peers[];
  readonly ofAdded: PeerIndex;
}

const NO_CHANGES: PeerChanges = {
  removed: new Set(),
  ofRemoved: openPeerIndex(),
  added: [],
  ofAdded: openPeerIndex(),
};

function changesOfPeers(before: ReadonlyMap<string, Peers>, after: ReadonlyMap<string, Peers>): PeerChanges {
  const changes = [...changesBetween(before, after)].filter((each) => each.before !== each.after);
  const removed = changes.flatMap((each) => each.before ?? []);
  const added = changes.flatMap((each) => each.after ?? []);
  const [ofRemoved, ofAdded] = [openPeerIndex(), openPeerIndex()];
  for (const each of removed) ofRemoved.add(each);
  for (const each of added) ofAdded.add(each);
  return { removed: new Set(removed), ofRemoved, added, ofAdded };
}

/** All that pods have, by their objects or by this node's evidence. */
function addressTexts({ pods, ownership }: Cluster): ReadonlySet<string> {
  const texts = new Set(ownership?.held.keys() ?? []);
  for (const { ips } of pods.values()) for (const { text } of ips) texts.add(text);
  return texts;
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

/** The numbers of the terms of these peer sets for pods of a workload. */
function numbersIn(sets: Iterable<Peers>, { ports }: Workload): number[] {
  const declared = resolutionsOf(ports);
  const numbers: number[] = [];
  for (const { plain, resolving } of sets) {
    if (plain !== undefined) numbers.push(plain);
    for (const text of resolving.size > 0 ? declared : []) {
      const number = resolving.get(text);
      if (number !== undefined) numbers.push(number);
    }
  }
  return numbers;
}

const numbersOfPeers = ({ plain, resolving }: Peers): readonly number[] => [
  ...(plain === undefined ? [] : [plain]),
  ...resolving.values(),
];

/** `known`: the peer sets of the last run. */
function askedBy(
  { terms, termNumbers, closing }: NumberedTerms,
  { known, capacity }: { readonly known: Asked["peers"]; readonly capacity: number },
): Asked {
  const peers = new Map(
    Map.groupBy(terms, ({ set }) => set.key)
      .entries()
      .map(([key, own]) => [key, peersOf(own, termNumbers, known.get(key))]),
  );
  const { prefixes, uses } = prefixSets(blocksOf(peers.values().map(({ set }) => set)), capacity);
  const ofSets = (): Matches["ofSets"] => new Map(uses.entries().map(([{ key }, of]) => [key, of]));
  // Prefixes that are covered by the same sets have the same list of these.
  const coveredBy = memo((sets: readonly PeerSet[]): Omit<Covering, "cidr"> => {
    const own = sets.map((set) => peers.get(set.key) as Peers);
    return { peers: own, terms: termSetOf(own.flatMap(({ plain }) => plain ?? [])) };
  });
  const coverings = (prefixes ?? []).map(({ cidr, sets }): Covering => ({ cidr, ...coveredBy(sets) }));
  return {
    peers,
    closing,
    coverings,
    covering: prefixTable(coverings.map((each) => [each.cidr, each] as const)),
    cidrs: new Map(coverings.map(({ cidr, terms: set }) => [cidr.text, { cidr, terms: set }])),
    excess: prefixes === undefined ? { ofSets: ofSets() } : undefined,
  };
}

let lastId = 0;

/** Of the terms of one peer set: as before where nothing has changed. */
function peersOf(
  terms: readonly Term[],
  termNumbers: NumberedTerms["termNumbers"],
  before: Peers | undefined,
): Peers {
  const { set } = terms[0] as Term;
  let plain: number | undefined;
  const resolving = new Map<string, number>();
  for (const { key, resolves } of terms) {
    const number = termNumbers.get(key) as number;
    if (resolves === undefined) plain = number;
    else resolving.set(resolutionText(resolves), number);
  }
  if (before !== undefined && before.plain === plain && sameEntries(before.resolving, resolving))
    return before;
  lastId += 1;
  return { id: lastId, set, plain, resolving };
}

/** Prefixes that are covered by other terms than before, or cover others. */
function changedCoverings(before: Asked | undefined, after: Asked): readonly Covering[] {
  if (before === undefined || before === after) return [];
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
    .flatMap(numbersOfPeers)
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
