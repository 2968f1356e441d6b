// Removes secrets from output that is handed to others. Weir reads none itself; but logs and names contain
// text from others.

const LEFT_OUT = "[left out]";

const WORDS = "(?:password|passwd|token|secret|api[-_]?key|credential)s?";

const PATTERNS: readonly (readonly [pattern: RegExp, replacement: string])[] = [
  [/-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?-----END [A-Z ]*PRIVATE KEY-----/g, LEFT_OUT],
  // A JSON Web Token, as used by service accounts.
  [/\beyJ[\w-]{5,}\.[\w-]{5,}(?:\.[\w-]*)?/g, LEFT_OUT],
  [/\b(Bearer|Basic)(\s+)[\w.~+/=-]{8,}/gi, `$1$2${LEFT_OUT}`],
  // User and password in a URL.
  [/([a-z][a-z0-9+.-]*:\/\/)[^\s/@"']+@/gi, `$1${LEFT_OUT}@`],
  // "token": "…" in JSON, and token=… elsewhere.
  [new RegExp(`("(?:[\\w.-]*[_.-])?${WORDS}"\\s*:\\s*)"(?:[^"\\\\]|\\\\.)*"`, "gi"), `$1"${LEFT_OUT}"`],
  [new RegExp(`(\\b(?:[\\w.-]*[_.-])?${WORDS}=)("[^"]*"|[^\\s"&]+)`, "gi"), `$1${LEFT_OUT}`],
];

export const withoutSecrets = (text: string): string =>
  PATTERNS.reduce((rest, [pattern, replacement]) => rest.replace(pattern, replacement), text);
