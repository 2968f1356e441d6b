// The nodes of one YAML document as plain values, bounded in depth and size, and the way back from a path to a position.

import { type Document, isAlias, isMap, isScalar, isSeq, type Node, type Pair, type YAMLMap } from "yaml";
import type { FieldPath, Issue, Place } from "../parse/parse-document.ts";
import { quote } from "../parse/text.ts";
import { resolvePlain } from "./scalars.ts";

/** Maps and lists inside each other. The objects that are read need about 10. */
export const DEPTH_MAX = 64;

/** Values that aliases (`*name`) may make of one document, so that a few lines cannot become gigabytes. */
export const ALIASED_VALUES_MAX = 10_000;

const MERGE_KEY = "<<";

export interface Converted {
  /** Null, booleans, numbers, text, lists, and maps without a prototype. */
  readonly value: unknown;
  /** Duplicate keys, unknown tags and the like: the fields at these paths have no value. */
  readonly flaws: readonly Issue[];
  readonly where: (path: FieldPath) => Place;
}

interface Walk {
  /** The newest node of each anchor, in the order of the text: what an alias means. */
  readonly anchors: Map<string, Node>;
  readonly targets: Map<Node, Node>;
  /** The maps and lists around the node. */
  readonly around: Set<Node>;
  readonly flaws: Issue[];
  readonly placeAt: (offset: number) => Place;
  aliasedValues: number;
}

interface Spot {
  readonly path: FieldPath;
  readonly depth: number;
  /** Inside what an alias stands for. */
  readonly aliased: boolean;
}

export function convert(document: Document.Parsed, placeAt: (offset: number) => Place): Converted {
  const walk: Walk = {
    anchors: new Map(),
    targets: new Map(),
    around: new Set(),
    flaws: [],
    placeAt,
    aliasedValues: 0,
  };
  const root: Node | null = document.contents;
  const value = plainValue(root, { path: [], depth: 0, aliased: false }, walk) ?? null;
  return { value, flaws: walk.flaws, where: (path) => placeAt(locate(root, path, walk.targets)) };
}

/** Undefined where there is a flaw. */
function plainValue(node: unknown, spot: Spot, walk: Walk): unknown {
  if (spot.aliased) walk.aliasedValues += 1;
  if (isAlias(node)) return aliasedValue(node, spot, walk);
  if (spot.depth > DEPTH_MAX) return flaw(`nested deeper than ${DEPTH_MAX} levels`, node, spot, walk);
  if (isScalar(node)) {
    setAnchor(node, spot, walk);
    const text = String(node.value);
    if (node.type !== "PLAIN") return untagged(node) ? text : flaw(tagReason(node), node, spot, walk);
    if (node.tag === undefined) return resolvePlain(text);
    return untagged(node) ? text : flaw(tagReason(node), node, spot, walk);
  }
  if (!isMap(node) && !isSeq(node)) return null;
  setAnchor(node, spot, walk);
  if (!untagged(node)) return flaw(tagReason(node), node, spot, walk);
  walk.around.add(node);
  const value = isMap(node)
    ? mapOf(node, spot, walk)
    : node.items.map((item, index) => plainValue(item, below(spot, index), walk));
  walk.around.delete(node);
  return value;
}

function aliasedValue(alias: Node & { source: string }, spot: Spot, walk: Walk): unknown {
  const target = walk.anchors.get(alias.source);
  if (target === undefined)
    return flaw(`alias ${quote(alias.source)} has no anchor before it`, alias, spot, walk);
  if (walk.around.has(target))
    return flaw(`alias ${quote(alias.source)} stands for what it is in`, alias, spot, walk);
  walk.targets.set(alias, target);
  if (walk.aliasedValues >= ALIASED_VALUES_MAX) {
    return flaw(`aliases make more than ${ALIASED_VALUES_MAX} values of this document`, alias, spot, walk);
  }
  return plainValue(target, { ...spot, depth: spot.depth + 1, aliased: true }, walk);
}

function mapOf(node: YAMLMap, spot: Spot, walk: Walk): unknown {
  const map: Record<string, unknown> = Object.create(null);
  const first = new Map<string, Pair>();
  for (const pair of node.items) {
    const key = keyTextOf(pair, walk.targets);
    const at = below(spot, key.text);
    const earlier = first.get(key.text);
    if (key.wrong !== undefined) {
      flaw(key.wrong, pair.key, at, walk);
    } else if (earlier !== undefined) {
      const { line } = walk.placeAt(startOf(earlier.key) ?? 0);
      flaw(`duplicate key; the first one is in line ${line}`, pair.key, at, walk);
      delete map[key.text];
    } else {
      first.set(key.text, pair);
      const value = plainValue(pair.value, at, walk);
      if (value !== undefined) map[key.text] = value;
    }
  }
  const merge = first.get(MERGE_KEY);
  if (merge !== undefined && isMergeKey(merge)) {
    const source = map[MERGE_KEY];
    delete map[MERGE_KEY];
    mergeInto(map, { source, taken: first, node: merge.key, spot: below(spot, MERGE_KEY) }, walk);
  }
  return map;
}

interface Merge {
  readonly source: unknown;
  /** The map's own keys: they win, and among several sources the first one does. */
  readonly taken: ReadonlyMap<string, Pair>;
  readonly node: unknown;
  readonly spot: Spot;
}

function mergeInto(map: Record<string, unknown>, { source, taken, node, spot }: Merge, walk: Walk): void {
  if (source === undefined) return;
  const sources: readonly unknown[] = Array.isArray(source) ? source : [source];
  for (const one of sources) {
    if (typeof one !== "object" || one === null || Array.isArray(one)) {
      flaw("a merge key (<<) takes a map or a list of maps", node, spot, walk);
      return;
    }
    for (const [key, value] of Object.entries(one))
      if (!taken.has(key) && !Object.hasOwn(map, key)) map[key] = value;
  }
}

const isMergeKey = (pair: Pair): boolean => isScalar(pair.key) && pair.key.type === "PLAIN";

/** A key's text. One that YAML reads as another thing than is written (`on`, `010`, `~`, a list) is wrong. */
function keyTextOf(
  pair: Pair,
  targets: ReadonlyMap<Node, Node>,
): { readonly text: string; readonly wrong?: string } {
  const node = deref(pair.key, targets);
  if (!isScalar(node)) return { text: "?", wrong: "a key must be text" };
  const text = String(node.value);
  if (!untagged(node)) return { text, wrong: tagReason(node) };
  if (node.type !== "PLAIN" || node.tag !== undefined || String(resolvePlain(text)) === text) return { text };
  return { text, wrong: `the key ${quote(text)} is not text to every reader of YAML; quote it` };
}

function setAnchor(node: Node & { anchor?: string }, spot: Spot, walk: Walk): void {
  if (node.anchor !== undefined && !spot.aliased) walk.anchors.set(node.anchor, node);
}

/** Without a tag, or with one that says what the node is anyway. */
function untagged(node: Node): boolean {
  if (node.tag === undefined || node.tag === "!") return true;
  const kind = isMap(node) ? "map" : isSeq(node) ? "seq" : "str";
  return node.tag === `tag:yaml.org,2002:${kind}`;
}

const tagReason = (node: Node): string => `the tag ${quote(node.tag ?? "")} is not supported`;

function flaw(reason: string, node: unknown, spot: Spot, walk: Walk): undefined {
  const start = startOf(node);
  const place = start === undefined ? {} : { place: walk.placeAt(start) };
  walk.flaws.push({ path: spot.path, reason, severity: "error", ...place });
}

const below = (spot: Spot, segment: string | number): Spot => ({
  ...spot,
  path: [...spot.path, segment],
  depth: spot.depth + 1,
});

const deref = (node: unknown, targets: ReadonlyMap<Node, Node>): unknown =>
  isAlias(node) ? targets.get(node) : node;

function startOf(node: unknown): number | undefined {
  return isAlias(node) || isScalar(node) || isMap(node) || isSeq(node) ? node.range?.[0] : undefined;
}

/** The offset of the field at the path, or of the nearest thing around it that is there. Of a map's field, the key's. */
function locate(root: unknown, path: FieldPath, targets: ReadonlyMap<Node, Node>): number {
  let offset = startOf(root) ?? 0;
  let node = deref(root, targets);
  for (const segment of path) {
    const pair = isMap(node) && typeof segment === "string" ? pairOf(node, segment, targets) : undefined;
    const next: unknown = isSeq(node) && typeof segment === "number" ? node.items[segment] : pair?.value;
    if (pair === undefined && next === undefined) break;
    offset = startOf(pair?.key ?? next) ?? offset;
    node = deref(next, targets);
  }
  return offset;
}

/** The pair of a key, in the map itself or in what is merged into it. */
function pairOf(map: YAMLMap, key: string, targets: ReadonlyMap<Node, Node>, depth = 0): Pair | undefined {
  const own = map.items.find((pair) => keyTextOf(pair, targets).text === key);
  if (own !== undefined || depth > DEPTH_MAX) return own;
  const merged = deref(
    map.items.find((pair) => isMergeKey(pair) && keyTextOf(pair, targets).text === MERGE_KEY)?.value,
    targets,
  );
  const sources = isSeq(merged) ? merged.items.map((item) => deref(item, targets)) : [merged];
  for (const source of sources) {
    const pair = isMap(source) ? pairOf(source, key, targets, depth + 1) : undefined;
    if (pair !== undefined) return pair;
  }
  return undefined;
}
