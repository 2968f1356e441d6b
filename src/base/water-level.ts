// Fair shares of a limited resource: max-min fairness, by the demands alone.

/**
 * The highest level to which demands can be cut so that their sum fits: a smaller demand is met in full, and the others
 * share the rest. Never below capacity divided by the number of demands; infinite if everything fits.
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
