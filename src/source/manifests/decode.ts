// The bytes of a file as text.

export const NOT_TEXT = "is not UTF-8 text";

/** Undefined where they are no UTF-8. */
export function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
