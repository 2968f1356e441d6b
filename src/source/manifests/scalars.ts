// What a plain (unquoted) YAML scalar means, where YAML 1.1, YAML 1.2 and kubectl agree; where they do not, never text.

const NULLS = new Set(["", "~", "null", "Null", "NULL"]);
const TRUES = new Set(["true", "True", "TRUE"]);
const FALSES = new Set(["false", "False", "FALSE"]);
// kubectl reads YAML 1.1 booleans (goyaml.v2's resolve.go), YAML 1.2 reads text.
const TRUES_OF_1_1 = new Set(["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"]);
const FALSES_OF_1_1 = new Set(["n", "N", "no", "No", "NO", "off", "Off", "OFF"]);

/** Numbers that everyone reads alike: decimal without leading zeros, and 0x and 0o. */
const PLAIN_NUMBER = /^[-+]?(0|[1-9][0-9]*)?(\.[0-9]*)?([eE][-+]?[0-9]+)?$|^0x[0-9a-fA-F]+$|^0o[0-7]+$/;
/** What kubectl takes for a number once underscores are taken out: more notations, and leading zeros (octal or not). */
const ANY_NUMBER =
  /^[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?$|^[-+]?0(x[0-9a-fA-F]+|o[0-7]+|b[01]+)$/;

/**
 * The value as kubectl resolves it: null, a boolean, a number or text. NaN is a number in a notation that has another
 * value, or is text, in YAML 1.2 (`0123`, `1_000`, `0b1`). So a label `on` or a port `010` is a value of the wrong type,
 * which the parser refuses, and not one that is quietly another. Dates and base 60 (`1:30`) are text, as in kubectl.
 */
export function resolvePlain(text: string): string | number | boolean | null {
  if (NULLS.has(text)) return null;
  if (TRUES.has(text) || TRUES_OF_1_1.has(text)) return true;
  if (FALSES.has(text) || FALSES_OF_1_1.has(text)) return false;
  if (/^[-+]?\.(inf|Inf|INF)$/.test(text)) return text.startsWith("-") ? -Infinity : Infinity;
  if (/^\.(nan|NaN|NAN)$/.test(text)) return Number.NaN;
  if (!/^[-+.0-9]/.test(text) || !ANY_NUMBER.test(text.replaceAll("_", ""))) return text;
  return PLAIN_NUMBER.test(text) ? Number(text) : Number.NaN;
}
