// Which warnings of one file are silenced, by comments and by annotations.

import type { Problem } from "../../model/problem.ts";
import type { WarningCode } from "../../model/warnings.ts";
import { valueAt } from "../parse/fields.ts";
import type { Place } from "../parse/parse-document.ts";
import { commentsOf } from "./comments.ts";
import { IGNORE_KEY, type Ignore, ignoreIn, ignoreOf, ownerOf } from "./ignores.ts";
import type { DocumentReading, FileReading } from "./manifest-reading.ts";

/** Objects are told apart by the lines in which they begin. */
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
