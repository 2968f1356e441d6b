// Several values for a key. Most keys have one, which is kept without a set around it.

export interface Multimap<K, V extends NonNullable<unknown>> {
  add(key: K, value: V): void;
  delete(key: K, value: V): void;
  /** In the order in which they were added. */
  get(key: K): readonly V[];
  keys(): MapIterator<K>;
  /** How many keys have a value. */
  size(): number;
}

const NONE: readonly never[] = [];

/** Values are never sets. */
export function openMultimap<K, V extends NonNullable<unknown>>(): Multimap<K, V> {
  const map = new Map<K, V | Set<V>>();
  return {
    add(key, value) {
      const known = map.get(key);
      if (known === undefined) map.set(key, value);
      else if (known instanceof Set) known.add(value);
      else if (known !== value) map.set(key, new Set([known, value]));
    },
    delete(key, value) {
      const known = map.get(key);
      if (!(known instanceof Set)) {
        if (known === value) map.delete(key);
        return;
      }
      known.delete(value);
      const [first, second] = known;
      if (first !== undefined && second === undefined) map.set(key, first);
    },
    get(key) {
      const known = map.get(key);
      if (known === undefined) return NONE;
      return known instanceof Set ? [...known] : [known];
    },
    keys: () => map.keys(),
    size: () => map.size,
  };
}
