// Untrusted text made fit for a message: one line of printable ASCII that a terminal shows as it is.

const QUOTED_MAX = 80;

/** The text in quotes, cut where it is long. */
export function quote(text: string): string {
  const cut = text.length > QUOTED_MAX;
  const shown = printable(cut ? text.slice(0, QUOTED_MAX) : text).replaceAll('"', '\\"');
  return `"${shown}"${cut ? "..." : ""}`;
}

/** Everything but printable ASCII escaped: control characters, line ends, look-alikes, bidirectional marks. */
export const printable = (text: string): string =>
  text.replaceAll(/[^\x20-\x7e]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);

/** A file's name: as it is, but for control characters and line ends. */
export const visible = (text: string): string =>
  text.replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
