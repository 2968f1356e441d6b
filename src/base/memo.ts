// What is found in a value once and kept for as long as the value is: for plain data that never changes, as most of it is here.

/** `make`, asked once for each object. What it gives must be no undefined, and depend on nothing but the object. */
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
