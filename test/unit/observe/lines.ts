// Expected output in a test's own indentation.

/** The lines of a text without the indentation of the first one, nor the line breaks around it. */
export function lines(text: string): string[] {
  const all = text.replace(/^\n/, "").trimEnd().split("\n");
  const indentation = /^ */.exec(all[0] ?? "")?.[0].length ?? 0;
  return all.map((line) => line.slice(indentation));
}
