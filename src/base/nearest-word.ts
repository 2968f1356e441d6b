// How similar two words are, and which of several words a misspelt one probably means.

/** Number of letters to insert, remove or replace to turn one word into the other (Levenshtein). */
export function distance(a: string, b: string): number {
  let row = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (const [i, letter] of [...a].entries()) {
    const next = [i + 1];
    for (let j = 0; j < b.length; j++) {
      const replaced = (row[j] ?? 0) + (letter === b[j] ? 0 : 1);
      next.push(Math.min(replaced, (row[j + 1] ?? 0) + 1, (next[j] ?? 0) + 1));
    }
    row = next;
  }
  return row[b.length] ?? 0;
}

/** The word most similar to the given one; undefined if there are none. */
export const nearestWord = <T extends string>(word: string, words: readonly T[]): T | undefined =>
  words.toSorted((a, b) => distance(word, a) - distance(word, b))[0];
