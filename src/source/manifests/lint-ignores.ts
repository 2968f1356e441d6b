// `weir.dev/lint-ignore`: which warnings of a file are silenced, by comments and annotations.

import { Lexer } from "yaml";
import { mostSimilar } from "../../base/nearest-word.ts";
import { isWarningCode, type Problem, WARNING_CODES, type WarningCode } from "../../model/problem.ts";
import { quote, valueAt } from "../parse/fields.ts";
import type { Place } from "../parse/parse-document.ts";
import type { DocumentReading, FileReading } from "./manifest-reading.ts";

/** Objects are identified by the lines in which they begin. */
export interface Silence {
  /** The codes that are silenced for the object. */
  readonly at: (line: number | undefined) => ReadonlySet<WarningCode>;
  /** What is left of the problems of the object. */
  readonly filter: (problems: readonly Problem[], line: number | undefined) => readonly Problem[];
  /** What is wrong with it. */
  readonly problems: readonly Problem[];
}

export function silenceOf(whole: FileReading, documents: readonly DocumentReading[], text: string): Silence {
  const comments = commentsOf(text);
  const begins = [...whole.objects.map(({ place }) => place), ...whole.problems].flatMap(
    ({ line }) => line ?? [],
  );
  const codes = new Map<number | undefined, Set<WarningCode>>();
  const problems: Problem[] = [];
  const add = (ignore: Ignore, line: number | undefined, place: Place): void => {
    codes.set(line, (codes.get(line) ?? new Set()).union(new Set(ignore.codes)));
    if (ignore.wrong === undefined) return;
    problems.push({ severity: "warning", ...place, ...ignore.wrong, code: "ignore-unknown" });
  };
  for (const comment of comments.comments) {
    const ignore = ignoreIn(comment);
    const { line, column } = comment;
    if (ignore) add(ignore, ownerOf(comment, begins, comments), { file: whole.file, line, column });
  }
  for (const document of documents)
    for (const object of document.objects) {
      const path = [...object.path, "metadata", "annotations", IGNORE_KEY];
      const list = object.kind === "NetworkPolicy" ? valueAt(document.value, path) : undefined;
      if (typeof list === "string") add(ignoreOf(list), object.place.line, document.where(path));
    }
  const at = (line: number | undefined): ReadonlySet<WarningCode> => codes.get(line) ?? new Set();
  return {
    at,
    filter: (found, line) => found.filter(({ code }) => code === undefined || !at(line).has(code)),
    problems,
  };
}

// Which warnings are silenced where: `weir.dev/lint-ignore` in comments and annotations, and the object that a comment
// is about.

export const IGNORE_KEY = "weir.dev/lint-ignore";

export interface Ignore {
  readonly codes: readonly WarningCode[];
  /** What is wrong with it, and what to write instead; undefined where nothing is. */
  readonly wrong: { readonly reason: string; readonly fix: string } | undefined;
}

/** What a comment silences, or undefined where it is one like any other. */
export function ignoreIn({ text }: Comment): Ignore | undefined {
  if (!text.startsWith(IGNORE_KEY)) return undefined;
  const list = text.slice(IGNORE_KEY.length);
  return ignoreOf(list.startsWith(":") ? list.slice(1) : "");
}

/** Codes between commas; the text after a code's word is a remark. */
export function ignoreOf(list: string): Ignore {
  const words = list.split(",").flatMap((part) => part.trim().split(/\s+/)[0] || []);
  return { codes: words.filter(isWarningCode), wrong: wrongIn(words) };
}

function wrongIn(words: readonly string[]): Ignore["wrong"] {
  if (words.length === 0)
    return { reason: `${IGNORE_KEY} names no code`, fix: `write ${IGNORE_KEY}: CODE,...` };
  const unknown = words.find((word) => !isWarningCode(word));
  if (unknown === undefined) return undefined;
  const reason = `${IGNORE_KEY}: ${quote(unknown)} is not a warning code`;
  return { reason, fix: `the nearest is ${mostSimilar(unknown, WARNING_CODES)}` };
}

/** The first line of the object that each comment is about, or undefined where there is none. */
export function ownerOf(
  comment: Comment,
  starts: readonly number[],
  { comments, separators }: Comments,
): number | undefined {
  const documentOf = (line: number): number => separators.filter((separator) => separator <= line).length;
  const own = starts.filter((start) => documentOf(start) === documentOf(comment.line)).sort((a, b) => a - b);
  const next = own.find((start) => start > comment.line);
  const before = own.findLast((start) => start <= comment.line);
  if (next === undefined || before === undefined) return next ?? before;
  return isDirectlyAbove(comment, next, comments) ? next : before;
}

/** Whether there are only comments between a comment's line and another one. */
function isDirectlyAbove({ line, alone }: Comment, start: number, comments: readonly Comment[]): boolean {
  const between = comments.filter((each) => each.alone && each.line > line && each.line < start);
  return alone && between.length === start - line - 1;
}

// The comments of a YAML text, each with its line and the document that it belongs to.

export interface Comment {
  /** Counted from 1. */
  readonly line: number;
  readonly column: number;
  /** Without the `#`. */
  readonly text: string;
  /** Whether it is alone in its line. */
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
