// Fair shares of a limited resource: max-min, by the demands alone.

/**
 * The highest level to which demands can be cut so that their sum fits: who asks for less than that keeps all of it, and what
 * those leave is shared by the others. Never below capacity divided by the number of askers; infinite where everything fits.
 */
export function waterLevel(demands: Iterable<number>, capacity: number): number {
  const sorted = [...demands].sort((a, b) => a - b);
  let left = capacity;
  for (const [index, demand] of sorted.entries()) {
    const askers = sorted.length - index;
    if (demand * askers > left) return Math.floor(left / askers);
    left -= demand;
  }
  return Number.POSITIVE_INFINITY;
}

/** How many of a list's first items fit: the greatest number found by halving for which `fits` holds. It holds for none. */
export function longestFit(length: number, fits: (count: number) => boolean): number {
  let [low, high] = [0, length + 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** Items of several owners beyond the owners' levels, in the order of the list: each owner's first ones stay. */
export function beyond<T>(
  items: readonly T[],
  ownerOf: (item: T) => string,
  capacity: number,
): { readonly surplus: readonly T[]; readonly level: number; readonly demands: ReadonlyMap<string, number> } {
  const byOwner = Map.groupBy(items, ownerOf);
  const demands = new Map([...byOwner].map(([owner, own]) => [owner, own.length]));
  const level = waterLevel(demands.values(), capacity);
  return { surplus: [...byOwner.values()].flatMap((own) => own.slice(level)), level, demands };
}
