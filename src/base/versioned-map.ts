// Maps that are values, with cheap versions: a changed map shares its content with the one before, and the difference of two
// versions takes as long as the changes between them, whatever the size of the map.
//
// All versions of a line share one native map, which has the content of the newest version. Every other view is a patch on a newer
// view: the values that differ there. Reading the newest version costs a lookup in the native map; an older one, a lookup or two more.

/** The value of a key before and after; undefined where it is not there. */
export interface Change<K, V> {
  readonly key: K;
  readonly before: V | undefined;
  readonly after: V | undefined;
}

/** New values by key; undefined removes the key. */
export type Patch<K, V> = ReadonlyMap<K, V | undefined>;

interface Line<K, V> {
  readonly map: Map<K, V>;
}

/** Values are never undefined. */
class VersionedMap<K, V> implements ReadonlyMap<K, V> {
  /** That of the view that this one patches. */
  line: Line<K, V>;
  readonly size: number;
  /** The view that this one patches; undefined for the newest version of the line. */
  newer: VersionedMap<K, V> | undefined;
  patch: Map<K, V | undefined>;

  constructor(
    line: Line<K, V>,
    size: number,
    newer?: VersionedMap<K, V>,
    patch: Map<K, V | undefined> = new Map(),
  ) {
    this.line = line;
    this.size = size;
    this.newer = newer;
    this.patch = patch;
  }

  /** Afterwards it is the newest version, or patches it. A chain of views is followed once. */
  settle(): void {
    for (let next = this.newer; next?.newer !== undefined; next = this.newer) {
      for (const [key, value] of next.patch) if (!this.patch.has(key)) this.patch.set(key, value);
      this.newer = next.newer;
    }
    if (this.newer !== undefined) this.line = this.newer.line;
  }

  /** Where its differences from the newest version have become more than itself, it gets a map of its own. */
  compact(): void {
    this.settle();
    if (this.newer === undefined || this.patch.size <= this.size) return;
    this.line = { map: new Map(this.entries()) };
    this.newer = undefined;
    this.patch = new Map();
  }

  get(key: K): V | undefined {
    if (this.newer === undefined) return this.line.map.get(key);
    this.settle();
    return this.patch.has(key) ? this.patch.get(key) : this.line.map.get(key);
  }

  has(key: K): boolean {
    return this.get(key) !== undefined;
  }

  *entries(): Generator<[K, V], undefined> {
    this.settle();
    const { patch } = this;
    if (patch.size === 0) yield* this.line.map;
    else for (const entry of this.line.map) if (!patch.has(entry[0])) yield entry;
    for (const [key, value] of patch) if (value !== undefined) yield [key, value];
    return undefined;
  }

  *keys(): Generator<K, undefined> {
    for (const [key] of this.entries()) yield key;
    return undefined;
  }

  *values(): Generator<V, undefined> {
    for (const [, value] of this.entries()) yield value;
    return undefined;
  }

  [Symbol.iterator](): Generator<[K, V], undefined> {
    return this.entries();
  }

  forEach(each: (value: V, key: K, map: ReadonlyMap<K, V>) => void): void {
    for (const [key, value] of this.entries()) each(value, key, this);
  }
}

function versioned<K, V>(map: ReadonlyMap<K, V>): VersionedMap<K, V> {
  if (map instanceof VersionedMap) return map as VersionedMap<K, V>;
  return newLine(new Map(map));
}

function newLine<K, V>(map: Map<K, V>): VersionedMap<K, V> {
  return new VersionedMap({ map }, map.size);
}

/** A map as the first version of a line, without a copy: it must not be changed any more. */
export const versionOf = <K, V>(map: Map<K, V>): ReadonlyMap<K, V> => newLine(map);

/** A version of a map is no instance of Map. */
export const isMapping = (value: unknown): value is ReadonlyMap<unknown, unknown> =>
  value instanceof Map || value instanceof VersionedMap;

/** What of a patch differs from the map, as what the map has there; and the size with the patch. */
function undoOf<K, V>(map: ReadonlyMap<K, V>, patch: Patch<K, V>) {
  const undo = new Map<K, V | undefined>();
  let { size } = map;
  for (const [key, value] of patch) {
    const before = map.get(key);
    if (before === value) continue;
    undo.set(key, before);
    if (before === undefined) size += 1;
    if (value === undefined) size -= 1;
  }
  return { undo, size };
}

/**
 * The next version of a map: as long as this is the newest one, in the time of the patch. A plain map is copied, and so is a version
 * that already has a next one. The same map if nothing changes.
 */
export function patched<K, V>(map: ReadonlyMap<K, V>, patch: Patch<K, V>): ReadonlyMap<K, V> {
  // The difference from an empty map is the other one, of whatever line: a first state needs no record of it.
  if (map.size === 0) {
    const first = new Map<K, V>();
    for (const [key, value] of patch) if (value !== undefined) first.set(key, value);
    return first.size === 0 ? map : newLine(first);
  }
  const { undo, size } = undoOf(map, patch);
  if (undo.size === 0) return map;
  const before = versioned(map);
  const from = before.newer === undefined ? before : newLine(new Map(before));
  const { line } = from;
  for (const key of undo.keys()) {
    const value = patch.get(key);
    if (value === undefined) line.map.delete(key);
    else line.map.set(key, value);
  }
  const next = new VersionedMap(line, size);
  from.newer = next;
  from.patch = undo;
  return next;
}

/** A map with some values replaced, added or removed, beside the map itself: its next version does not have them. */
export function overlaid<K, V>(map: ReadonlyMap<K, V>, patch: Patch<K, V>): ReadonlyMap<K, V> {
  const { undo, size } = undoOf(map, patch);
  if (undo.size === 0) return map;
  const on = versioned(map);
  return new VersionedMap(on.line, size, on, new Map(undo.keys().map((key) => [key, patch.get(key)])));
}

/**
 * A map with the values of another one before its own, in the time of what has changed in either since the last call. Unlike
 * `overlaid`, it keeps a map of its own.
 */
export function openLayers<K, V>(): (base: ReadonlyMap<K, V>, over: ReadonlyMap<K, V>) => ReadonlyMap<K, V> {
  const nothing: ReadonlyMap<K, V> = new Map();
  let last = { base: nothing, over: nothing, both: nothing };
  return (base, over) => {
    if (over.size === 0) {
      last = { base: nothing, over: nothing, both: nothing };
      return base;
    }
    const keys = new Set<K>();
    for (const { key } of changesBetween(last.base, base)) keys.add(key);
    for (const { key } of changesBetween(last.over, over)) keys.add(key);
    const patch = new Map(keys.values().map((key) => [key, over.get(key) ?? base.get(key)] as const));
    last = { base, over, both: patched(last.both, patch) };
    return last.both;
  };
}

/**
 * To be called from time to time for a version that is kept while many others follow: what it keeps is then no more than
 * twice its content.
 */
export function compactVersion(map: ReadonlyMap<unknown, unknown>): void {
  if (map instanceof VersionedMap) map.compact();
}

/** Equal for maps whose differences are cheap. */
function lineOf(map: ReadonlyMap<unknown, unknown>): object {
  if (!(map instanceof VersionedMap)) return map;
  map.settle();
  return map.line;
}

/** The keys whose values are not identical. In the time of the changes between versions of one line, else of both maps. */
export function* changesBetween<K, V>(
  before: ReadonlyMap<K, V>,
  after: ReadonlyMap<K, V>,
): Generator<Change<K, V>, undefined> {
  if (before === after) return undefined;
  for (const key of keysToCompare(before, after)) {
    const change = { key, before: before.get(key), after: after.get(key) };
    if (change.before !== change.after) yield change;
  }
  return undefined;
}

function keysToCompare<K, V>(before: ReadonlyMap<K, V>, after: ReadonlyMap<K, V>): Iterable<K> {
  if (before.size === 0) return after.keys();
  if (after.size === 0) return before.keys();
  if (before instanceof VersionedMap && after instanceof VersionedMap) {
    before.settle();
    after.settle();
    if (before.line === after.line) return new Set([...before.patch.keys(), ...after.patch.keys()]);
  }
  return new Set([...before.keys(), ...after.keys()]);
}

/**
 * Something computed from all entries of a map, and kept up to date by the changes: `step` applies one change. The result is valid
 * until the next call for a version of the same line.
 */
export function follow<K, V, S>(
  start: () => S,
  step: (state: S, change: Change<K, V>) => void,
): (map: ReadonlyMap<K, V>) => S {
  // Weakly: a version that nobody else has any more would keep all later ones.
  const kept = new WeakMap<object, { readonly map: WeakRef<ReadonlyMap<K, V>>; readonly state: S }>();
  return (map) => {
    const line = lineOf(map);
    const known = kept.get(line);
    const before = known?.map.deref();
    const state = known === undefined || before === undefined ? start() : known.state;
    // A step that throws leaves nothing behind.
    kept.delete(line);
    for (const change of changesBetween(before ?? new Map<K, V>(), map)) step(state, change);
    kept.set(line, { map: new WeakRef(map), state });
    return state;
  };
}
