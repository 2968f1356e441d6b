// YAML text to plain values, one document at a time.

import { Composer, type CST, type Document, Lexer, LineCounter, Parser, type YAMLError } from "yaml";
import { messageOf } from "../../base/errors.ts";
import type { Place } from "../parse/parse-document.ts";
import { printable } from "../parse/text.ts";
import { type Converted, convert } from "./nodes.ts";

export type YamlDocument =
  | ({ readonly ok: true } & Converted)
  /** Not YAML: what it says can only be guessed. */
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

/** What ends a reading before the end of the text. */
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
  // Each error of the library's has a stack trace, which nobody reads and which takes most of the time.
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
