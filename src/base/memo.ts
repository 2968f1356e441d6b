// Memoization by object: a value is computed once and kept as long as the object exists. For immutable plain
// data, which most data here is.

/**
 * Calls `make` once for each object. Its result must not be undefined, and must depend on nothing but the
 * object.
 */
export function memo<K extends object, V>(make: (value: K) => V): (value: K) => V {
  const kept = new WeakMap<K, V>();
  return (value) => {
    const known = kept.get(value);
    if (known !== undefined) return known;
    const made = make(value);
    kept.set(value, made);
    return made;
  };
}
