// Equal texts, labels and ports kept once: most pods of a cluster differ from the next in little more than their name.

import type { ContainerPort } from "../../model/cluster.ts";
import type { Labels } from "../../model/selector.ts";
import { labelsBytes, ORDINARY_PARTS } from "./label-memory.ts";

export interface Interner {
  text(text: string): string;
  labels(labels: Labels): Labels;
  ports(ports: readonly ContainerPort[]): readonly ContainerPort[];
}

const NO_LABELS: Labels = new Map();
const NO_PORTS: readonly ContainerPort[] = [];

/** Of texts, sets of labels and lists of ports that are known at a time, at least; at most twice as many. */
const TEXTS = 16_384;
const LABEL_SETS = 8_192;
const PORT_LISTS = 1_024;

/** Sets of labels that are larger count as several: in bytes, as labelsBytes() has it. */
const LABEL_SET_BYTES = 2_048;

/** Longer lists of ports, and sets of labels that no ordinary pod has, are not kept: they would be after their pods are gone. */
const PORTS_MAX = 64;

/** What has not come for long is forgotten: with every rollout come labels that no pod has any more after the next one. */
export function openInterner(): Interner {
  const texts = openRecent<string, string>(TEXTS);
  const labelSets = openRecent<number, Labels>(LABEL_SETS);
  const portLists = openRecent<number, readonly ContainerPort[]>(PORT_LISTS);
  const text = (value: string): string => {
    const known = texts.get(value);
    if (known === undefined) texts.set(value, value);
    return known ?? value;
  };
  const keptLabels = (labels: Labels): Labels => {
    if (labels.size === 0) return NO_LABELS;
    const bytes = labelsBytes(labels);
    if (bytes > ORDINARY_PARTS) return labels;
    const hash = hashOf([...labels].flat());
    const known = labelSets.get(hash);
    if (known !== undefined && sameLabels(known, labels)) return known;
    const kept = new Map([...labels].map(([key, value]) => [text(key), text(value)]));
    labelSets.set(hash, kept, Math.max(1, bytes / LABEL_SET_BYTES));
    return kept;
  };
  const keptPorts = (ports: readonly ContainerPort[]): readonly ContainerPort[] => {
    if (ports.length === 0) return NO_PORTS;
    if (ports.length > PORTS_MAX) return ports;
    const hash = hashOf(ports.map(portText));
    const known = portLists.get(hash);
    if (known !== undefined && samePorts(known, ports)) return known;
    portLists.set(hash, ports);
    return ports;
  };
  return { text, labels: remembering(keptLabels), ports: remembering(keptPorts) };
}

/** A map that forgets what was neither set nor read since so many others were. A value may count as several. */
function openRecent<K, V>(most: number) {
  let recent = new Map<K, { readonly value: V; readonly count: number }>();
  let earlier: typeof recent = new Map();
  let counted = 0;
  const set = (key: K, value: V, count = 1): void => {
    if (counted >= most) {
      earlier = recent;
      recent = new Map();
      counted = 0;
    }
    counted += count;
    recent.set(key, { value, count });
  };
  return {
    get(key: K): V | undefined {
      const known = recent.get(key);
      if (known !== undefined) return known.value;
      const before = earlier.get(key);
      if (before !== undefined) set(key, before.value, before.count);
      return before?.value;
    },
    set,
  };
}

/** Pods come in the order of their names: most have the labels and ports of the one before. */
function remembering<T extends object>(keep: (value: T) => T): (value: T) => T {
  let last: { readonly value: T; readonly kept: T } | undefined;
  return (value) => {
    if (last?.value !== value) last = { value, kept: keep(value) };
    return last.kept;
  };
}

const portText = ({ name, port, protocol }: ContainerPort): string => `${name} ${port} ${protocol}`;

/** FNV-1a with 32 bits, over UTF-16 units, with a mark between the texts. A collision only shares nothing. */
function hashOf(texts: readonly string[]): number {
  let hash = 0x811c9dc5;
  for (const text of texts) {
    for (let index = 0; index < text.length; index += 1)
      hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
    hash = Math.imul(hash ^ 0xffff, 0x01000193);
  }
  return hash >>> 0;
}

/** In the same order, too: the order of labels is that of the source, which sorts them. */
function sameLabels(a: Labels, b: Labels): boolean {
  if (a.size !== b.size) return false;
  const others = b.entries();
  return a.entries().every(([key, value]) => {
    const [otherKey, otherValue] = others.next().value ?? [];
    return key === otherKey && value === otherValue;
  });
}

const samePorts = (a: readonly ContainerPort[], b: readonly ContainerPort[]): boolean =>
  a.length === b.length && a.every((port, index) => portText(port) === portText(b[index] as ContainerPort));
