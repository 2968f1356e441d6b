// The text of a CNI network configuration: where its plugins are in it, and the same text with Weir's entry or without.

export const PLUGIN_TYPE = "weir-cni";

/** Plugins that make no network themselves, but call those of other configurations: nothing can be chained to them here. */
const META_TYPES: readonly unknown[] = ["multus", "multus-shim", "genie", "danm"];

/** The plugin's settings in its entry (cni/src/request.h). */
export interface Entry {
  /** The socket's path on the node. */
  readonly socket: string;
  /** Where it is missing, the plugin's own default applies. */
  readonly timeoutMs?: number;
  readonly failOpen?: true;
}

interface Span {
  readonly begin: number;
  readonly end: number;
}

export type Configuration =
  /** A list of plugins (*.conflist), with the spans of each. */
  | { readonly kind: "list"; readonly plugins: readonly Plugin[]; readonly isMeta: boolean }
  /** One plugin on its own (*.conf), not yet a list. */
  | { readonly kind: "single"; readonly isMeta: boolean }
  | { readonly kind: "wrong"; readonly reason: string };

export interface Plugin extends Span {
  readonly type: unknown;
}

const STRING = /"(?:[^"\\]|\\.)*"/y;
const SCALAR = /[^\s,\]}]+/y;
const SPACE = /\s*/y;

function matchEnd(pattern: RegExp, text: string, at: number): number {
  pattern.lastIndex = at;
  return pattern.test(text) ? pattern.lastIndex : at;
}

/** The end of the value that begins there, in a text that JSON.parse takes. */
function valueEnd(text: string, begin: number): number {
  if (text[begin] === '"') return matchEnd(STRING, text, begin);
  if (text[begin] !== "{" && text[begin] !== "[") return matchEnd(SCALAR, text, begin);
  let depth = 0;
  for (let at = begin; at < text.length; at += 1) {
    const character = text[at];
    if (character === '"') at = matchEnd(STRING, text, at) - 1;
    if (character === "{" || character === "[") depth += 1;
    if (character === "}" || character === "]") depth -= 1;
    if (depth === 0) return at + 1;
  }
  return text.length;
}

/** Spans of the parts of an object or list, between its commas: values, and for an object "name: value" as two. */
function partsOf(text: string, begin: number): Span[] {
  const parts: Span[] = [];
  let at = matchEnd(SPACE, text, begin + 1);
  while (at < text.length && text[at] !== "}" && text[at] !== "]") {
    const end = valueEnd(text, at);
    parts.push({ begin: at, end });
    at = matchEnd(SPACE, text, end);
    if (text[at] === "," || text[at] === ":") at = matchEnd(SPACE, text, at + 1);
  }
  return parts;
}

/** Where the value of a member is; all of them, where the name is there several times. */
function membersNamed(text: string, name: string): Span[] {
  const parts = partsOf(text, matchEnd(SPACE, text, 0));
  return parts.filter((_, index) => {
    const key = index % 2 === 1 ? parts[index - 1] : undefined;
    return key !== undefined && JSON.parse(text.slice(key.begin, key.end)) === name;
  });
}

export function readConfiguration(text: string): Configuration {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return { kind: "wrong", reason: "it is not JSON" };
  }
  if (typeof value !== "object" || value === null || Array.isArray(value))
    return { kind: "wrong", reason: "expected an object" };
  const { plugins, type, name } = value as Readonly<Record<string, unknown>>;
  if (typeof name !== "string" || name === "") return { kind: "wrong", reason: "name: expected a text" };
  if (plugins === undefined) {
    if (typeof type === "string") return { kind: "single", isMeta: META_TYPES.includes(type) };
    return { kind: "wrong", reason: "expected plugins, or the type of one" };
  }
  const [span, second] = membersNamed(text, "plugins");
  if (!Array.isArray(plugins) || span === undefined || second !== undefined)
    return { kind: "wrong", reason: "plugins: expected one list" };
  const types = plugins.map((plugin: unknown) => (plugin as { readonly type?: unknown } | null)?.type);
  const spans = partsOf(text, span.begin);
  const list = spans.map((each, index) => ({ ...each, type: types[index] }));
  if (list.every((each) => each.type === PLUGIN_TYPE))
    return { kind: "wrong", reason: "plugins: expected one that makes the pod's interface" };
  return { kind: "list", plugins: list, isMeta: META_TYPES.includes(types[0]) };
}

const entryText = (entry: Entry): string => JSON.stringify({ type: PLUGIN_TYPE, ...entry });

/**
 * The text with the entry after the last plugin, and no other entry of ours; the same text where that is so already.
 * Everything else stays as it is, byte by byte.
 */
export function withEntry(text: string, entry: Entry): string {
  const configuration = readConfiguration(text);
  if (configuration.kind !== "list") return text;
  const ours = configuration.plugins.filter(({ type }) => type === PLUGIN_TYPE);
  const [only] = ours;
  const wanted = entryText(entry);
  // A plugin was added after ours for a reason; only the first one makes what ours needs.
  const isChained = configuration.plugins[0]?.type !== PLUGIN_TYPE;
  if (only !== undefined && ours.length === 1 && isChained)
    return text.slice(0, only.begin) + wanted + text.slice(only.end);
  const bare = withoutEntry(text);
  const plain = readConfiguration(bare);
  const last = plain.kind === "list" ? plain.plugins.at(-1) : undefined;
  if (last === undefined) return text;
  // On a line of its own where the last one begins one.
  const line = /\n[ \t]*$/.exec(bare.slice(0, last.begin))?.[0] ?? "";
  return `${bare.slice(0, last.end)},${line}${wanted}${bare.slice(last.end)}`;
}

/** The text without entries of ours: what it was before `withEntry`, byte by byte. */
export function withoutEntry(text: string): string {
  const configuration = readConfiguration(text);
  if (configuration.kind !== "list") return text;
  const { plugins } = configuration;
  let bare = text;
  for (let index = plugins.length - 1; index >= 0; index -= 1) {
    const plugin = plugins[index];
    if (plugin?.type !== PLUGIN_TYPE) continue;
    const before = plugins[index - 1];
    const after = plugins[index + 1];
    // With the comma before it, or where it is the first the one after it.
    const begin = before?.end ?? plugin.begin;
    const end = before === undefined && after !== undefined ? after.begin : plugin.end;
    bare = bare.slice(0, begin) + bare.slice(end);
  }
  return bare;
}

export const hasEntry = (text: string): boolean => withoutEntry(text) !== text;

/** A list of the one plugin that a text is, and ours. */
export function listOf(single: string, entry: Entry): string {
  const { cniVersion, name } = JSON.parse(single) as Readonly<Record<string, unknown>>;
  const head = JSON.stringify({ ...(cniVersion === undefined ? {} : { cniVersion }), name }).slice(0, -1);
  return `${head},"plugins":[${single.trim()},${entryText(entry)}]}\n`;
}
