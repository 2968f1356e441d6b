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

/** The word that a misspelt one probably means: the most similar one; undefined if none is similar enough. */
export function nearestWord<T extends string>(word: string, words: readonly T[]): T | undefined {
  const nearest = mostSimilar(word, words);
  if (nearest === undefined) return undefined;
  // What both begin with says nothing: the same namespace does not make names similar.
  const slash = word.lastIndexOf("/") + 1;
  const from = nearest.startsWith(word.slice(0, slash)) ? slash : 0;
  const [a, b] = [word.slice(from), nearest.slice(from)];
  const isPart = a.length >= 3 && (b.startsWith(a) || b.endsWith(a));
  const most = Math.max(a.length, b.length);
  return isPart || distance(a, b) <= (most < 3 ? 1 : Math.max(2, Math.floor(most / 3))) ? nearest : undefined;
}

/** "; did you mean WORD?", or nothing if no word is similar enough. */
export function hintText(word: string, words: readonly string[]): string {
  const nearest = nearestWord(word, words);
  return nearest === undefined ? "" : `; did you mean ${nearest}?`;
}

/** The word most similar to the given one, however different it is; undefined if there are none. */
export const mostSimilar = <T extends string>(word: string, words: readonly T[]): T | undefined =>
  words.toSorted((a, b) => distance(word, a) - distance(word, b))[0];
