// Which warnings are silenced where: `weir.dev/lint-ignore` in comments and annotations, and whose text a comment is in.

import { nearestWord } from "../../base/nearest-word.ts";
import { isWarningCode, WARNING_CODES, type WarningCode } from "../../model/warnings.ts";
import { quote } from "../parse/text.ts";
import type { Comment, Comments } from "./comments.ts";

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

/** Codes between commas; what stands after a code's word is a remark. */
export function ignoreOf(list: string): Ignore {
  const words = list.split(",").flatMap((part) => part.trim().split(/\s+/)[0] || []);
  return { codes: words.filter(isWarningCode), wrong: wrongIn(words) };
}

function wrongIn(words: readonly string[]): Ignore["wrong"] {
  if (words.length === 0)
    return { reason: `${IGNORE_KEY} names no code`, fix: `write ${IGNORE_KEY}: CODE,...` };
  const unknown = words.find((word) => !isWarningCode(word));
  if (unknown === undefined) return undefined;
  const reason = `${IGNORE_KEY}: ${quote(unknown)} is no code of a warning`;
  return { reason, fix: `the nearest is ${nearestWord(unknown, WARNING_CODES)}` };
}

/** Whose text each comment is in: the first line of the object that it is about, or undefined where there is none. */
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

/** Whether only comments stand between a comment's line and another one. */
function isDirectlyAbove({ line, alone }: Comment, start: number, comments: readonly Comment[]): boolean {
  const between = comments.filter((each) => each.alone && each.line > line && each.line < start);
  return alone && between.length === start - line - 1;
}
