// YAML text to plain values, one document at a time.

import {
  Composer,
  type CST,
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  Lexer,
  LineCounter,
  type Node,
  type Pair,
  Parser,
  type YAMLError,
  type YAMLMap,
} from "yaml";
import { messageOf } from "../../base/errors.ts";
import { printable, quote } from "../parse/fields.ts";
import type { FieldPath, Issue, Place } from "../parse/parse-document.ts";

export type YamlDocument =
  | ({ readonly ok: true } & Converted)
  /** Not YAML: its meaning can only be guessed. */
  | { readonly ok: false; readonly errors: readonly { readonly place: Place; readonly reason: string }[] };

/** Errors of one text that are listed. What comes after them is not read: there is no end to them, and each takes time and memory. */
export const SYNTAX_ERRORS_MAX = 100;

/** Collections inside each other that the library may hold: it recurses, and takes time and memory for each. Far above DEPTH_MAX. */
const STACK_MAX = 500;

/** Tokens of one document, about four to a line: each takes 150 to 300 bytes until the document is read. */
export const DOCUMENT_TOKENS_MAX = 1_500_000;

const NESTED = "nested too deeply";

/**
 * The documents of a text. The syntax is YAML 1.2; what plain scalars mean, resolvePlain() says. Merge keys (`<<`) and
 * aliases work as in kubectl. Unlike there, where the last one wins, a key that is there twice is a flaw, and so is a
 * tag (`!!binary`). Takes time in proportion to the text, whatever it says.
 */
export function* readYaml(text: string): Generator<YamlDocument> {
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  const documents = documentsOf(text, lines);
  for (;;) {
    const document = nextOf(documents);
    if (document === undefined) return;
    if (document instanceof Stopped) {
      const { offset, errors, message } = document;
      const place = offset === undefined ? {} : placeAt(offset);
      yield { ok: false, errors: [...errors.map(problemOf), { place, reason: message }] };
      return;
    }
    yield document.errors.length > 0
      ? { ok: false, errors: document.errors.map(problemOf) }
      : { ok: true, ...convert(document, placeAt) };
  }

  function problemOf(error: YAMLError) {
    return { place: placeAt(error.pos[0]), reason: reasonOf(error) };
  }
}

/** Ends readYaml() before the end of the text. */
class Stopped extends Error {
  readonly offset: number | undefined;
  /** Those before it that belong to no document yet. */
  readonly errors: readonly YAMLError[];

  constructor(reason: string, offset?: number, errors: readonly YAMLError[] = []) {
    super(reason);
    this.offset = offset;
    this.errors = errors;
  }
}

function* documentsOf(text: string, lines: LineCounter): Generator<Document.Parsed, void> {
  // The failsafe schema leaves scalars as written: no directive (%YAML 1.1) or tag of the text changes what they mean.
  const composer = new Composer({
    schema: "failsafe",
    resolveKnownTags: false,
    merge: false,
    uniqueKeys: false,
    prettyErrors: false,
  });
  const parser = new Parser(lines.addNewLine);
  const counted = countErrors(composer);
  lines.addNewLine(0);
  let tokens = 0;
  for (const lexeme of new Lexer().lex(text)) {
    tokens += 1;
    for (const token of parser.next(lexeme)) {
      if (token.type === "document") tokens = 0;
      yield* counted(token);
    }
    if (tokens > DOCUMENT_TOKENS_MAX)
      throw new Stopped(
        `the document is too large (${DOCUMENT_TOKENS_MAX} tokens); divide it`,
        parser.offset,
      );
    if (parser.stack.length > STACK_MAX) throw new Stopped(`not valid YAML: ${NESTED}`, parser.offset);
  }
  for (const token of parser.end()) yield* counted(token);
  yield* composer.end(false, text.length);
}

type ComposeError = (source: unknown, code: unknown, message: string, warning?: boolean) => void;

/** Hands tokens to the composer, and throws Stopped where there are too many errors. */
function countErrors(composer: Composer): (token: CST.Token) => Generator<Document.Parsed, void> {
  let count = 0;
  const add = (): void => {
    count += 1;
    if (count <= SYNTAX_ERRORS_MAX) return;
    const errors = [...(composer["doc"]?.errors ?? []), ...composer["errors"]];
    throw new Stopped("has more errors than are listed; the rest of the file is not read", undefined, errors);
  };
  // The library has no limit of its own, and calls this for each error inside a document.
  const report: ComposeError = composer["onError"];
  composer["onError"] = ((source, code, message, warning) => {
    if (warning === true) return;
    add();
    report(source, code, message);
  }) satisfies ComposeError;
  return function* (token) {
    if (token.type === "error") add();
    yield* composer.next(token);
  };
}

/** The next document, or why there is none: whatever the text, the library may not stop the agent. */
function nextOf(documents: Iterator<Document.Parsed, void>): Document.Parsed | Stopped | undefined {
  // The library gives each error a stack trace, which is not used and takes most of the time.
  const limit = Error.stackTraceLimit;
  Error.stackTraceLimit = 0;
  try {
    return documents.next().value ?? undefined;
  } catch (error) {
    if (error instanceof Stopped) return error;
    return new Stopped(`not valid YAML: ${printable(messageOf(error).slice(0, 200))}`);
  } finally {
    Error.stackTraceLimit = limit;
  }
}

function reasonOf(error: YAMLError): string {
  const message = error.code === "RESOURCE_EXHAUSTION" ? NESTED : error.message;
  return `not valid YAML: ${printable(message.slice(0, 200))}`;
}

// The nodes of one YAML document as plain values, bounded in depth and size, and the way back from a path to a position.

/** Maps and lists inside each other. The objects that are read need about 10. */
export const DEPTH_MAX = 64;

/** Values that aliases (`*name`) may make of one document, so that a few lines cannot become gigabytes. */
export const ALIASED_VALUES_MAX = 10_000;

const MERGE_KEY = "<<";

export interface Converted {
  /** Null, booleans, numbers, text, lists, and maps without a prototype. */
  readonly value: unknown;
  /** Duplicate keys, unknown tags and the like: the fields at these paths have no value. */
  readonly flaws: readonly Issue[];
  readonly where: (path: FieldPath) => Place;
}

interface Walk {
  /** The newest node of each anchor, in the order of the text: what an alias means. */
  readonly anchors: Map<string, Node>;
  readonly targets: Map<Node, Node>;
  /** The maps and lists around the node. */
  readonly around: Set<Node>;
  readonly flaws: Issue[];
  readonly placeAt: (offset: number) => Place;
  aliasedValues: number;
}

interface Spot {
  readonly path: FieldPath;
  readonly depth: number;
  /** Inside what an alias refers to. */
  readonly aliased: boolean;
}

export function convert(document: Document.Parsed, placeAt: (offset: number) => Place): Converted {
  const walk: Walk = {
    anchors: new Map(),
    targets: new Map(),
    around: new Set(),
    flaws: [],
    placeAt,
    aliasedValues: 0,
  };
  const root: Node | null = document.contents;
  const value = plainValue(root, { path: [], depth: 0, aliased: false }, walk) ?? null;
  return { value, flaws: walk.flaws, where: (path) => placeAt(locate(root, path, walk.targets)) };
}

/** Undefined where there is a flaw. */
function plainValue(node: unknown, spot: Spot, walk: Walk): unknown {
  if (spot.aliased) walk.aliasedValues += 1;
  if (isAlias(node)) return aliasedValue(node, spot, walk);
  if (spot.depth > DEPTH_MAX) return flaw(`nested deeper than ${DEPTH_MAX} levels`, node, spot, walk);
  if (isScalar(node)) {
    setAnchor(node, spot, walk);
    const text = String(node.value);
    if (node.type !== "PLAIN") return untagged(node) ? text : flaw(tagReason(node), node, spot, walk);
    if (node.tag === undefined) return resolvePlain(text);
    return untagged(node) ? text : flaw(tagReason(node), node, spot, walk);
  }
  if (!isMap(node) && !isSeq(node)) return null;
  setAnchor(node, spot, walk);
  if (!untagged(node)) return flaw(tagReason(node), node, spot, walk);
  walk.around.add(node);
  const value = isMap(node)
    ? mapOf(node, spot, walk)
    : node.items.map((item, index) => plainValue(item, below(spot, index), walk));
  walk.around.delete(node);
  return value;
}

function aliasedValue(alias: Node & { source: string }, spot: Spot, walk: Walk): unknown {
  const target = walk.anchors.get(alias.source);
  if (target === undefined)
    return flaw(`alias ${quote(alias.source)} has no anchor before it`, alias, spot, walk);
  if (walk.around.has(target))
    return flaw(`alias ${quote(alias.source)} refers to its own container`, alias, spot, walk);
  walk.targets.set(alias, target);
  if (walk.aliasedValues >= ALIASED_VALUES_MAX) {
    return flaw(`aliases make more than ${ALIASED_VALUES_MAX} values of this document`, alias, spot, walk);
  }
  return plainValue(target, { ...spot, depth: spot.depth + 1, aliased: true }, walk);
}

function mapOf(node: YAMLMap, spot: Spot, walk: Walk): unknown {
  const map: Record<string, unknown> = Object.create(null);
  const first = new Map<string, Pair>();
  for (const pair of node.items) {
    const key = keyTextOf(pair, walk.targets);
    const at = below(spot, key.text);
    const earlier = first.get(key.text);
    if (key.wrong !== undefined) {
      flaw(key.wrong, pair.key, at, walk);
    } else if (earlier !== undefined) {
      const { line } = walk.placeAt(startOf(earlier.key) ?? 0);
      flaw(`duplicate key; the first one is in line ${line}`, pair.key, at, walk);
      delete map[key.text];
    } else {
      first.set(key.text, pair);
      const value = plainValue(pair.value, at, walk);
      if (value !== undefined) map[key.text] = value;
    }
  }
  const merge = first.get(MERGE_KEY);
  if (merge !== undefined && isMergeKey(merge)) {
    const source = map[MERGE_KEY];
    delete map[MERGE_KEY];
    mergeInto(map, { source, taken: first, node: merge.key, spot: below(spot, MERGE_KEY) }, walk);
  }
  return map;
}

interface Merge {
  readonly source: unknown;
  /** The map's own keys: they win, and among several sources the first one does. */
  readonly taken: ReadonlyMap<string, Pair>;
  readonly node: unknown;
  readonly spot: Spot;
}

function mergeInto(map: Record<string, unknown>, { source, taken, node, spot }: Merge, walk: Walk): void {
  if (source === undefined) return;
  const sources: readonly unknown[] = Array.isArray(source) ? source : [source];
  for (const one of sources) {
    if (typeof one !== "object" || one === null || Array.isArray(one)) {
      flaw("a merge key (<<) takes a map or a list of maps", node, spot, walk);
      return;
    }
    for (const [key, value] of Object.entries(one))
      if (!taken.has(key) && !Object.hasOwn(map, key)) map[key] = value;
  }
}

const isMergeKey = (pair: Pair): boolean => isScalar(pair.key) && pair.key.type === "PLAIN";

/** A key's text. One that YAML reads as another thing than is written (`on`, `010`, `~`, a list) is wrong. */
function keyTextOf(
  pair: Pair,
  targets: ReadonlyMap<Node, Node>,
): { readonly text: string; readonly wrong?: string } {
  const node = deref(pair.key, targets);
  if (!isScalar(node)) return { text: "?", wrong: "a key must be text" };
  const text = String(node.value);
  if (!untagged(node)) return { text, wrong: tagReason(node) };
  if (node.type !== "PLAIN" || node.tag !== undefined || String(resolvePlain(text)) === text) return { text };
  return { text, wrong: `the key ${quote(text)} is not text to every reader of YAML; quote it` };
}

function setAnchor(node: Node & { anchor?: string }, spot: Spot, walk: Walk): void {
  if (node.anchor !== undefined && !spot.aliased) walk.anchors.set(node.anchor, node);
}

/** Without a tag, or with one that changes nothing. */
function untagged(node: Node): boolean {
  if (node.tag === undefined || node.tag === "!") return true;
  const kind = isMap(node) ? "map" : isSeq(node) ? "seq" : "str";
  return node.tag === `tag:yaml.org,2002:${kind}`;
}

const tagReason = (node: Node): string => `the tag ${quote(node.tag ?? "")} is not supported`;

function flaw(reason: string, node: unknown, spot: Spot, walk: Walk): undefined {
  const start = startOf(node);
  const place = start === undefined ? {} : { place: walk.placeAt(start) };
  walk.flaws.push({ path: spot.path, reason, severity: "error", ...place });
}

const below = (spot: Spot, segment: string | number): Spot => ({
  ...spot,
  path: [...spot.path, segment],
  depth: spot.depth + 1,
});

const deref = (node: unknown, targets: ReadonlyMap<Node, Node>): unknown =>
  isAlias(node) ? targets.get(node) : node;

function startOf(node: unknown): number | undefined {
  return isAlias(node) || isScalar(node) || isMap(node) || isSeq(node) ? node.range?.[0] : undefined;
}

/** The offset of the field at the path, or of the nearest thing around it that is there. Of a map's field, the key's. */
function locate(root: unknown, path: FieldPath, targets: ReadonlyMap<Node, Node>): number {
  let offset = startOf(root) ?? 0;
  let node = deref(root, targets);
  for (const segment of path) {
    const pair = isMap(node) && typeof segment === "string" ? pairOf(node, segment, targets) : undefined;
    const next: unknown = isSeq(node) && typeof segment === "number" ? node.items[segment] : pair?.value;
    if (pair === undefined && next === undefined) break;
    offset = startOf(pair?.key ?? next) ?? offset;
    node = deref(next, targets);
  }
  return offset;
}

/** The pair of a key, in the map itself or in what is merged into it. */
function pairOf(map: YAMLMap, key: string, targets: ReadonlyMap<Node, Node>, depth = 0): Pair | undefined {
  const own = map.items.find((pair) => keyTextOf(pair, targets).text === key);
  if (own !== undefined || depth > DEPTH_MAX) return own;
  const merged = deref(
    map.items.find((pair) => isMergeKey(pair) && keyTextOf(pair, targets).text === MERGE_KEY)?.value,
    targets,
  );
  const sources = isSeq(merged) ? merged.items.map((item) => deref(item, targets)) : [merged];
  for (const source of sources) {
    const pair = isMap(source) ? pairOf(source, key, targets, depth + 1) : undefined;
    if (pair !== undefined) return pair;
  }
  return undefined;
}

// What a plain (unquoted) YAML scalar means, where YAML 1.1, YAML 1.2 and kubectl agree; where they do not, never text.

const NULLS = new Set(["", "~", "null", "Null", "NULL"]);
const TRUES = new Set(["true", "True", "TRUE"]);
const FALSES = new Set(["false", "False", "FALSE"]);
// kubectl reads YAML 1.1 booleans (goyaml.v2's resolve.go), YAML 1.2 reads text.
const TRUES_OF_1_1 = new Set(["y", "Y", "yes", "Yes", "YES", "on", "On", "ON"]);
const FALSES_OF_1_1 = new Set(["n", "N", "no", "No", "NO", "off", "Off", "OFF"]);

/** Numbers that all parsers read alike: decimal without leading zeros, and 0x and 0o. */
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
