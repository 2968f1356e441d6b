// Elements of the map closed_filter to and from the words of a state's filter.

import { CLOSED_FILTER_WORDS as ALL_WORDS, type FilterWords, NO_WORDS } from "../base/address-filter.ts";
import { CLOSED_FILTER_WORDS, type ClosedFilter } from "../gen/layout.ts";

/** Words of 32 bits in one element. */
const ELEMENT_WORDS = 2 * CLOSED_FILTER_WORDS;
const HALF_BITS = 32n;
const HALF = 0xffff_ffffn;

type Element = readonly [index: number, value: ClosedFilter];

/** The elements that differ between two filters, as in the second one. */
export function closedElements({
  from,
  to,
}: {
  readonly from: FilterWords;
  readonly to: FilterWords;
}): Element[] {
  const elements: Element[] = [];
  for (let first = 0; first < ALL_WORDS; first += ELEMENT_WORDS) {
    const [before, after] = [from, to].map((words) => words.subarray(first, first + ELEMENT_WORDS));
    const isSame = Array.from({ length: ELEMENT_WORDS }).every(
      (_, at) => (before?.[at] ?? 0) === (after?.[at] ?? 0),
    );
    if (isSame) continue;
    const words = Array.from({ length: CLOSED_FILTER_WORDS }, (_, at) => {
      const [low, high] = [after?.[2 * at] ?? 0, after?.[2 * at + 1] ?? 0];
      return BigInt(low) | (BigInt(high) << HALF_BITS);
    });
    elements.push([first / ELEMENT_WORDS, { words }]);
  }
  return elements;
}

/** The words of elements; those that are not among them are 0. */
export function closedWordsOf(elements: readonly Element[]): FilterWords {
  if (elements.length === 0) return NO_WORDS;
  const all = new Uint32Array(ALL_WORDS);
  for (const [index, { words }] of elements)
    for (const [at, word] of words.entries()) {
      all[index * ELEMENT_WORDS + 2 * at] = Number(word & HALF);
      all[index * ELEMENT_WORDS + 2 * at + 1] = Number(word >> HALF_BITS);
    }
  return all;
}
