// Texts for people: what others named may hold anything, so nothing of it may steer a terminal; and durations in short.

const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** The text in one line, with control, format and direction characters spelt out as \u{…}. */
export const printable = (text: string): string =>
  text.replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);

const UNITS: readonly (readonly [string, number])[] = [
  ["d", 86_400],
  ["h", 3_600],
  ["m", 60],
  ["s", 1],
];

/** As kubectl writes ages: the two largest units, "3d4h", "12m5s", "0s"; negative spans are 0. */
export function durationText(milliseconds: number): string {
  let seconds = Math.max(0, Math.floor(milliseconds / 1_000));
  const parts: string[] = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(seconds / size);
    seconds %= size;
    if (count > 0) parts.push(`${count}${unit}`);
    else if (parts.length === 1) break;
    if (parts.length === 2) break;
  }
  return parts.join("") || "0s";
}

/** "1 pod", "2 pods", "2 policies". */
export const countText = (count: number, noun: string, plural = `${noun}s`): string =>
  `${count} ${count === 1 ? noun : plural}`;

/** The first few of a list, and how many more there are. */
export function someOf(texts: readonly string[], max: number, separator: string): string {
  if (texts.length <= max) return texts.join(separator);
  return [...texts.slice(0, max), `and ${texts.length - max} more`].join(separator);
}
