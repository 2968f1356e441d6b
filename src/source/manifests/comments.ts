// The comments of a YAML text, each with its line and the document that it belongs to.

import { Lexer } from "yaml";

export interface Comment {
  /** Counted from 1. */
  readonly line: number;
  readonly column: number;
  /** Without the `#`. */
  readonly text: string;
  /** Whether nothing else stands in its line. */
  readonly alone: boolean;
}

export interface Comments {
  readonly comments: readonly Comment[];
  /** Lines with a `---` or `...` that ends a document. One with nothing but comments above it ends none. */
  readonly separators: readonly number[];
}

/** The lexer marks a scalar's text by this token before it: such a text may begin with a `#`. */
const SCALAR_NEXT = "\u001f";
/** Tokens of the lexer that are not in the text: ends of documents, scalars and flow collections. */
const MARKS = new Set(["\u0002", "\u0018", SCALAR_NEXT]);
const SEPARATORS = new Set(["---", "..."]);
const DIRECTIVE = /^%/;

export function commentsOf(text: string): Comments {
  const comments: Comment[] = [];
  const separators: number[] = [];
  let line = 1;
  let column = 1;
  let lineHasContent = false;
  let documentHasContent = false;
  let isScalar = false;
  for (const token of new Lexer().lex(text)) {
    if (!isScalar && MARKS.has(token)) {
      isScalar = token === SCALAR_NEXT;
      continue;
    }
    if (!isScalar && token.startsWith("#")) {
      comments.push({ line, column, text: token.slice(1).trim(), alone: !lineHasContent });
    } else if (!isScalar && SEPARATORS.has(token)) {
      if (documentHasContent) separators.push(line);
      documentHasContent = false;
    } else if (isScalar || (token.trim() !== "" && !DIRECTIVE.test(token))) {
      lineHasContent = true;
      documentHasContent = true;
    }
    isScalar = false;
    const parts = token.split("\n");
    line += parts.length - 1;
    if (parts.length > 1) lineHasContent = false;
    column = (parts.length > 1 ? 1 : column) + (parts.at(-1) ?? "").length;
  }
  return { comments, separators };
}
