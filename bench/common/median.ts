// The middle of several measurements, which a machine's noise moves less than their mean.

import { present } from "../../src/base/assert.ts";

/** Of an even number of values, the mean of the middle two. */
export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length / 2;
  const low = present(sorted[Math.ceil(middle) - 1], "a value to take the median of");
  return (low + (sorted[Math.floor(middle)] ?? low)) / 2;
}

/** The mean of the middle half: finer than the median where values have few digits, and as deaf to outliers. */
export function midmean(values: readonly number[]): number {
  const quarter = Math.floor(values.length / 4);
  const middle = values.toSorted((a, b) => a - b).slice(quarter, values.length - quarter);
  return middle.reduce((sum, value) => sum + value, 0) / middle.length;
}
