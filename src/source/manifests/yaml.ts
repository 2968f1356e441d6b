// YAML text to plain values, one document at a time.

import { Composer, type Document, LineCounter, Parser, type YAMLError } from "yaml";
import { messageOf } from "../../base/errors.ts";
import { printable } from "../parse/text.ts";
import type { Place } from "../parse.ts";
import { type Converted, convert } from "./nodes.ts";

export type YamlDocument =
  | ({ readonly ok: true } & Converted)
  /** Not YAML: what it says can only be guessed. */
  | { readonly ok: false; readonly errors: readonly { readonly place: Place; readonly reason: string }[] };

/**
 * The documents of a text. The syntax is YAML 1.2; what plain scalars mean, resolvePlain() says. Merge keys (`<<`) and
 * aliases work as in kubectl. Unlike there, where the last one wins, a key that is there twice is a flaw, and so is a
 * tag (`!!binary`).
 */
export function* readYaml(text: string): Generator<YamlDocument> {
  const lines = new LineCounter();
  const placeAt = (offset: number): Place => {
    const { line, col } = lines.linePos(offset);
    return { line: Math.max(line, 1), column: Math.max(col, 1) };
  };
  // The failsafe schema leaves scalars as written: no directive (%YAML 1.1) or tag of the text changes what they mean.
  const composer = new Composer({
    schema: "failsafe",
    resolveKnownTags: false,
    merge: false,
    uniqueKeys: false,
    prettyErrors: false,
  });
  const documents = composer.compose(new Parser(lines.addNewLine).parse(text), false, text.length);
  for (;;) {
    const document = nextOf(documents);
    if (document === undefined) return;
    if (typeof document === "string") {
      yield { ok: false, errors: [{ place: {}, reason: document }] };
      return;
    }
    const errors = document.errors.map((error) => ({
      place: placeAt(error.pos[0]),
      reason: reasonOf(error),
    }));
    yield errors.length > 0 ? { ok: false, errors } : { ok: true, ...convert(document, placeAt) };
  }
}

/** The next document, or why there is none: whatever the text, the library may not stop the agent. */
function nextOf(documents: Iterator<Document.Parsed, void>): Document.Parsed | string | undefined {
  try {
    return documents.next().value ?? undefined;
  } catch (error) {
    return `not valid YAML: ${printable(messageOf(error).slice(0, 200))}`;
  }
}

function reasonOf(error: YAMLError): string {
  const message = error.code === "RESOURCE_EXHAUSTION" ? "nested too deeply" : error.message;
  return `not valid YAML: ${printable(message.slice(0, 200))}`;
}
