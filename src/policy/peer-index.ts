// The peer sets that may select a pod, by a label that their selectors need: of thousands of selectors few are evaluated.

import { memo } from "../base/memo.ts";
import { EVERYTHING, type Labels, matches, type Selector } from "../model/selector.ts";
import type { PeerSet } from "./peer-selectors.ts";

/** A peer set, and the numbers of the terms that are made of it. */
export interface Peers {
  /** No other one has it, nor had one before. */
  readonly id: number;
  readonly set: PeerSet;
  /** Of the term without a port name. */
  readonly plain: number | undefined;
  /** Of the terms with one, by `resolutionText`. */
  readonly resolving: ReadonlyMap<string, number>;
}

/** What the pods of a workload have in common. */
export interface Selectable {
  readonly namespace: string;
  readonly namespaceLabels: Labels;
  /** Undefined where they are not known: then every selector of pods matches. */
  readonly labels: Labels | undefined;
  /** How many port names the pods declare. */
  readonly names: number;
}

/** One peer of a peer set. */
interface Selection {
  readonly peers: Peers;
  /** Undefined: the namespace of the set. */
  readonly namespaces: Selector | undefined;
  readonly pods: Selector;
}

interface Bucket {
  readonly selections: Set<Selection>;
  /** How many of them are of sets with port names. */
  resolving: number;
}

export interface PeerIndex {
  add(peers: Peers): void;
  delete(peers: Peers): void;
  /** The sets that select these pods, in the order of their ids. */
  matching(pods: Selectable): readonly Peers[];
  /** How many selectors `matching` evaluates for these pods, and how many of their port names may be looked up. */
  costOf(pods: Selectable): number;
  /** The sums of the costs of all these, by the set that causes them. */
  costs(all: Iterable<Selectable>): ReadonlyMap<Peers, number>;
}

export function openPeerIndex(): PeerIndex {
  /** Of peers in the namespace of their set. */
  const ofNamespaces = new Map<string, PodIndex>();
  /** Of the others, by a label of namespaces first. */
  const byNamespaceLabel = openLabelIndex(newPodIndex, isEmpty);
  const podIndexesFor = (selection: Selection, use: (index: PodIndex) => void): void => {
    const { namespaces, peers } = selection;
    if (namespaces !== undefined) {
      byNamespaceLabel.visit(neededLabel(namespaces), use);
      return;
    }
    const { namespace } = peers.set;
    const own = ofNamespaces.get(namespace) ?? newPodIndex();
    ofNamespaces.set(namespace, own);
    use(own);
    if (own.isEmpty()) ofNamespaces.delete(namespace);
  };
  const visit = (selection: Selection, use: (bucket: Bucket) => void): void =>
    podIndexesFor(selection, (index) => index.visit(neededLabel(selection.pods), use));
  function* bucketsFor({ namespace, namespaceLabels, labels }: Selectable): Generator<Bucket, undefined> {
    const own = ofNamespaces.get(namespace);
    if (own !== undefined) yield* own.at(labels);
    for (const index of byNamespaceLabel.at(namespaceLabels)) yield* index.at(labels);
    return undefined;
  }
  return {
    add(peers) {
      for (const selection of selectionsOf(peers))
        visit(selection, (bucket) => {
          bucket.selections.add(selection);
          if (peers.resolving.size > 0) bucket.resolving += 1;
        });
    },
    delete(peers) {
      for (const selection of selectionsOf(peers))
        visit(selection, (bucket) => {
          bucket.selections.delete(selection);
          if (peers.resolving.size > 0) bucket.resolving -= 1;
        });
    },
    matching(pods) {
      const found = new Set<Peers>();
      for (const { selections } of bucketsFor(pods))
        for (const selection of selections) if (selects(selection, pods)) found.add(selection.peers);
      return [...found].sort((a, b) => a.id - b.id);
    },
    costOf: (pods) =>
      bucketsFor(pods).reduce(
        (sum, { selections, resolving }) => sum + selections.size + resolving * pods.names,
        0,
      ),
    costs(all) {
      const visits = new Map<Bucket, { pods: number; names: number }>();
      for (const pods of all)
        for (const bucket of bucketsFor(pods)) {
          const known = visits.get(bucket) ?? { pods: 0, names: 0 };
          visits.set(bucket, known);
          known.pods += 1;
          known.names += pods.names;
        }
      const costs = new Map<Peers, number>();
      for (const [{ selections }, { pods, names }] of visits)
        for (const { peers } of selections)
          costs.set(peers, (costs.get(peers) ?? 0) + pods + (peers.resolving.size > 0 ? names : 0));
      return costs;
    },
  };
}

const selectionsOf = memo((peers: Peers): readonly Selection[] =>
  peers.set.peers === "anyone"
    ? [{ peers, namespaces: EVERYTHING, pods: EVERYTHING }]
    : peers.set.peers.flatMap((peer) =>
        peer.kind === "block" ? [] : [{ peers, namespaces: peer.namespaces, pods: peer.pods }],
      ),
);

const selects = (
  { namespaces, pods }: Selection,
  { namespaceLabels, labels }: Pick<Selectable, "namespaceLabels" | "labels">,
): boolean =>
  (namespaces === undefined || matches(namespaces, namespaceLabels)) &&
  (labels === undefined || matches(pods, labels));

/** A label without which a selector does not match, whatever its value or with one of these. */
interface NeededLabel {
  readonly key: string;
  readonly values: readonly string[] | undefined;
}

/** With more values only the key counts: a bucket for each takes more memory than the value. */
const VALUES_MAX = 16;

/** The one with the fewest values; undefined where the selector may match without any label. */
function neededLabel({ requirements }: Selector): NeededLabel | undefined {
  let found: NeededLabel | undefined;
  for (const each of requirements) {
    if (each.operator !== "In" && each.operator !== "Exists") continue;
    const all = each.operator === "In" ? new Set(each.values) : undefined;
    // One without values has its place by the key: where labels are not known, every selector counts.
    const isListed = all !== undefined && all.size > 0 && all.size <= VALUES_MAX;
    const values = isListed ? [...all] : undefined;
    const isFewer = values !== undefined && values.length < (found?.values?.length ?? VALUES_MAX + 1);
    if (found === undefined || isFewer) found = { key: each.key, values };
  }
  return found;
}

interface LabelIndex<T> {
  /** What there is for a label that is needed, made where it is not there; afterwards it is kept unless it is empty. */
  visit(label: NeededLabel | undefined, use: (item: T) => void): void;
  /** All that pods or namespaces with these labels are to be compared with; all there is where the labels are not known. */
  at(labels: Labels | undefined): Generator<T, undefined>;
  isEmpty(): boolean;
}
type PodIndex = LabelIndex<Bucket>;

const newPodIndex = (): PodIndex =>
  openLabelIndex(
    () => ({ selections: new Set(), resolving: 0 }),
    ({ selections }) => selections.size === 0,
  );

const isEmpty = (index: PodIndex): boolean => index.isEmpty();

/** Things by a label that is needed for them. */
function openLabelIndex<T>(make: () => T, isVoid: (item: T) => boolean): LabelIndex<T> {
  interface OfKey {
    /** For any value of the label. */
    any: T | undefined;
    readonly byValue: Map<string, T>;
  }
  let without: T | undefined;
  const byKey = new Map<string, OfKey>();
  /** What is left of it. */
  const used = (item: T | undefined, use: (item: T) => void): T | undefined => {
    const there = item ?? make();
    use(there);
    return isVoid(there) ? undefined : there;
  };
  function* ofKey(here: OfKey | undefined, value: string): Generator<T, undefined> {
    if (here?.any !== undefined) yield here.any;
    const found = here?.byValue.get(value);
    if (found !== undefined) yield found;
    return undefined;
  }
  return {
    visit(label, use) {
      if (label === undefined) {
        without = used(without, use);
        return;
      }
      const here: OfKey = byKey.get(label.key) ?? { any: undefined, byValue: new Map() };
      if (label.values === undefined) here.any = used(here.any, use);
      for (const value of label.values ?? []) {
        const left = used(here.byValue.get(value), use);
        if (left === undefined) here.byValue.delete(value);
        else here.byValue.set(value, left);
      }
      if (here.any === undefined && here.byValue.size === 0) byKey.delete(label.key);
      else byKey.set(label.key, here);
    },
    *at(labels) {
      if (without !== undefined) yield without;
      if (labels === undefined)
        for (const { any, byValue } of byKey.values()) {
          if (any !== undefined) yield any;
          yield* byValue.values();
        }
      else if (labels.size <= byKey.size)
        for (const [key, value] of labels) yield* ofKey(byKey.get(key), value);
      else
        for (const [key, here] of byKey) {
          const value = labels.get(key);
          if (value !== undefined) yield* ofKey(here, value);
        }
      return undefined;
    },
    isEmpty: () => without === undefined && byKey.size === 0,
  };
}
