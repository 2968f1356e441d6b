// Domain names of rules, in canonical text: in lower case, without a final dot; "*.example.com" is every name below example.com.

const WILDCARD = "*.";

/** The pattern of DomainName in the API, where a final dot and capitals are the same name. */
const PATTERN =
  /^(?:\*\.)?(?:[a-zA-Z0-9](?:[-a-zA-Z0-9_]*[a-zA-Z0-9])?\.)+[a-zA-Z0-9](?:[-a-zA-Z0-9_]*[a-zA-Z0-9])?\.?$/;

/** RFC 1035 3.1, as text. */
const NAME_MAX = 253;
const LABEL_MAX = 63;

export type ParsedName =
  | { readonly ok: true; readonly value: string }
  | { readonly ok: false; readonly reason: string };

/** The canonical text of a rule's name, or why it is not one. */
export function parseDomainName(text: string): ParsedName {
  if (!PATTERN.test(text))
    return {
      ok: false,
      reason: 'expected a name of at least two labels, as in "www.example.com" or "*.example.com"',
    };
  const value = text.toLowerCase().replace(/\.$/, "");
  if (value.length > NAME_MAX) return { ok: false, reason: `it is longer than ${NAME_MAX} characters` };
  const long = value.split(".").find((label) => label.length > LABEL_MAX);
  if (long !== undefined) return { ok: false, reason: `a label is longer than ${LABEL_MAX} characters` };
  return { ok: true, value };
}

/**
 * Whether a rule's name has a name, or all names that another rule's name has: "*.example.com" has "www.example.com" and
 * "*.www.example.com", and not "example.com".
 */
export const hasName = (pattern: string, name: string): boolean =>
  pattern === name || (pattern.startsWith(WILDCARD) && name.endsWith(pattern.slice(1)) && name !== pattern);

/** The names of rules that could have this name, the most specific one first. */
export function* patternsOf(name: string): Generator<string> {
  yield name;
  const labels = name.split(".");
  for (let first = name.startsWith(WILDCARD) ? 2 : 1; first < labels.length; first += 1)
    yield `${WILDCARD}${labels.slice(first).join(".")}`;
}

/** The most specific one of these that has the name: what it does not have, no other has either. */
export function mostSpecific(patterns: { has(pattern: string): boolean }, name: string): string | undefined {
  for (const pattern of patternsOf(name)) if (patterns.has(pattern)) return pattern;
  return undefined;
}
