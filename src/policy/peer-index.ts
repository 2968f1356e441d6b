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
  /** How many selectors `matching` evaluates for these pods, and how many of their port names may be asked for. */
  costOf(pods: Selectable): number;
  /** The sums of the costs of all these, by the set that causes them. */
  costs(all: Iterable<Selectable>): ReadonlyMap<Peers, number>;
}

export function openPeerIndex(): PeerIndex {
  /** Of peers in the namespace of their set. */
  const ofNamespaces = new Map<string, LabelIndex>();
  const byPodLabel = openLabelIndex();
  const byNamespaceLabel = openLabelIndex();
  const placeOf = ({
    namespaces,
    pods,
    peers,
  }: Selection): readonly [LabelIndex, NeededLabel | undefined] => {
    const ofPods = neededLabel(pods);
    if (namespaces === undefined) {
      const { namespace } = peers.set;
      const own = ofNamespaces.get(namespace) ?? openLabelIndex();
      ofNamespaces.set(namespace, own);
      return [own, ofPods];
    }
    const ofSpaces = neededLabel(namespaces);
    if (ofPods !== undefined && (ofPods.values !== undefined || ofSpaces?.values === undefined))
      return [byPodLabel, ofPods];
    return [byNamespaceLabel, ofSpaces];
  };
  function* bucketsFor({ namespace, namespaceLabels, labels }: Selectable): Generator<Bucket, undefined> {
    const own = ofNamespaces.get(namespace);
    if (own !== undefined) yield* own.at(labels);
    yield* byPodLabel.at(labels);
    yield* byNamespaceLabel.at(namespaceLabels);
    return undefined;
  }
  return {
    add(peers) {
      for (const selection of selectionsOf(peers)) {
        const [index, label] = placeOf(selection);
        index.add(label, selection);
      }
    },
    delete(peers) {
      for (const selection of selectionsOf(peers)) {
        const [index, label] = placeOf(selection);
        index.delete(label, selection);
      }
      const { namespace } = peers.set;
      if (ofNamespaces.get(namespace)?.isEmpty() === true) ofNamespaces.delete(namespace);
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
    const values = all !== undefined && all.size <= VALUES_MAX ? [...all] : undefined;
    const isFewer = values !== undefined && values.length < (found?.values?.length ?? VALUES_MAX + 1);
    if (found === undefined || isFewer) found = { key: each.key, values };
  }
  return found;
}

/** Selections by a label that they need. */
function openLabelIndex() {
  const without = newBucket();
  const byKey = new Map<string, { readonly any: Bucket; readonly byValue: Map<string, Bucket> }>();
  const bucketsAt = (label: NeededLabel | undefined): readonly Bucket[] => {
    if (label === undefined) return [without];
    const here = byKey.get(label.key) ?? { any: newBucket(), byValue: new Map<string, Bucket>() };
    byKey.set(label.key, here);
    if (label.values === undefined) return [here.any];
    return label.values.map((value) => {
      const bucket = here.byValue.get(value) ?? newBucket();
      here.byValue.set(value, bucket);
      return bucket;
    });
  };
  const isEmpty = ({ selections }: Bucket): boolean => selections.size === 0;
  return {
    add(label: NeededLabel | undefined, selection: Selection): void {
      for (const bucket of bucketsAt(label)) {
        bucket.selections.add(selection);
        if (selection.peers.resolving.size > 0) bucket.resolving += 1;
      }
    },
    delete(label: NeededLabel | undefined, selection: Selection): void {
      for (const bucket of bucketsAt(label)) {
        bucket.selections.delete(selection);
        if (selection.peers.resolving.size > 0) bucket.resolving -= 1;
      }
      if (label === undefined) return;
      const { any, byValue } = byKey.get(label.key) as { any: Bucket; byValue: Map<string, Bucket> };
      for (const value of label.values ?? [])
        if (isEmpty(byValue.get(value) as Bucket)) byValue.delete(value);
      if (byValue.size === 0 && isEmpty(any)) byKey.delete(label.key);
    },
    isEmpty: (): boolean => byKey.size === 0 && isEmpty(without),
    /** All that pods or namespaces with these labels need to be compared with; all there are where the labels are not known. */
    *at(labels: Labels | undefined): Generator<Bucket, undefined> {
      if (!isEmpty(without)) yield without;
      if (labels === undefined)
        for (const { any, byValue } of byKey.values()) {
          yield any;
          yield* byValue.values();
        }
      else if (labels.size <= byKey.size)
        for (const [key, value] of labels) yield* bucketsOf(byKey.get(key), value);
      else
        for (const [key, here] of byKey) {
          const value = labels.get(key);
          if (value !== undefined) yield* bucketsOf(here, value);
        }
      return undefined;
    },
  };
}
type LabelIndex = ReturnType<typeof openLabelIndex>;

const newBucket = (): Bucket => ({ selections: new Set(), resolving: 0 });

function* bucketsOf(
  here: { readonly any: Bucket; readonly byValue: ReadonlyMap<string, Bucket> } | undefined,
  value: string,
): Generator<Bucket, undefined> {
  if (here === undefined) return undefined;
  if (here.any.selections.size > 0) yield here.any;
  const bucket = here.byValue.get(value);
  if (bucket !== undefined) yield bucket;
  return undefined;
}
