// The content of one manifest file, as read at one moment: its objects and their problems.

import { append } from "../../base/append.ts";
import type { Problem } from "../../model/problem.ts";
import { isMap, visible } from "../parse/fields.ts";
import {
  type ParsedDocument,
  type ParsedObject,
  type Place,
  parseDocument,
} from "../parse/parse-document.ts";
import { readYaml, type YamlDocument } from "./yaml-reader.ts";

export interface FileReading {
  /** The path as given, with the directory's in front; what a terminal cannot show is escaped. */
  readonly file: string;
  readonly objects: readonly ParsedObject[];
  /** Problems of no object: with the file, its syntax, or a document that names no object. */
  readonly problems: readonly Problem[];
  /** The file cannot be read, or is not YAML throughout: there may be more in it than `objects`. */
  readonly failed: boolean;
  /** It is empty, and not marked as empty on purpose: no object, no problem, no document but empty ones. */
  readonly blank: boolean;
  /** It is marked as empty on purpose. */
  readonly isMarkedEmpty: boolean;
  /** It failed for a reason that is not in the file, and may succeed at the next look. */
  readonly isTransient?: true;
}

/** A comment that marks a file as empty on purpose. */
export const EMPTY_MARK = "weir.dev/empty";

/** What there is before anything was read. */
export const NOTHING_READ: FileReading = {
  file: "",
  objects: [],
  problems: [],
  failed: false,
  blank: true,
  isMarkedEmpty: false,
};

const SYNTAX_EFFECT = "the document is ignored";

/** The result of a read that failed. */
export function failedReading(path: string, reason: string): FileReading {
  const file = visible(path);
  const problem: Problem = { severity: "error", file, reason, effect: "its objects are not in force" };
  return { file, objects: [], problems: [problem], failed: true, blank: false, isMarkedEmpty: false };
}

/** A document that is YAML, with what was read of it. */
export type DocumentReading = ParsedDocument & Pick<YamlDocument & { ok: true }, "value" | "where">;

/**
 * Reads the documents of a text. It is a generator so that a long text need not be read in one go: it yields after
 * every document and returns the result. `onDocument` gets each document with its text.
 */
export function* readText(
  path: string,
  text: string,
  onDocument?: (document: DocumentReading) => void,
): Generator<undefined, FileReading> {
  const file = visible(path);
  const objects: ParsedObject[] = [];
  const problems: Problem[] = [];
  let failed = false;
  let blank = true;
  for (const document of readYaml(text)) {
    if (document.ok) {
      const origin = originOf(file, document);
      const parsed = parseDocument(document.value, origin);
      onDocument?.({ ...parsed, value: document.value, where: origin.where });
      append(objects, parsed.objects);
      append(problems, parsed.problems);
      if (parsed.objects.length > 0 || parsed.problems.length > 0 || !isBlank(document.value)) blank = false;
    } else {
      failed = true;
      blank = false;
      for (const { place, reason } of document.errors) {
        problems.push({ severity: "error", file, ...place, reason, effect: SYNTAX_EFFECT });
      }
    }
    yield;
  }
  const isMarkedEmpty = blank && hasEmptyMark(text);
  return { file, objects, problems, failed, blank: blank && !isMarkedEmpty, isMarkedEmpty };
}

/** An empty document, or a list that was cut off before its items: `items: []` is a list without any. */
const isBlank = (value: unknown): boolean =>
  value === null || (isMap(value) && Object.hasOwn(value, "items") && value["items"] === null);

/** Reads a text in one go. */
export function readAll(steps: Generator<undefined, FileReading>): FileReading {
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
  }
}

/** Whether a comment marks the text as empty on purpose. */
export const hasEmptyMark = (text: string): boolean =>
  /^[ \t]*#[ \t]*weir\.dev\/empty(?![\w./-])/m.test(text);

function originOf(file: string, document: YamlDocument & { ok: true }) {
  const inFile = (place: Place): Place => ({ file, ...place });
  const flaws = document.flaws.map((flaw) => (flaw.place ? { ...flaw, place: inFile(flaw.place) } : flaw));
  return { where: (path: readonly (string | number)[]) => inFile(document.where(path)), flaws };
}

// The bytes of a file as text.

export const NOT_TEXT = "is not UTF-8 text";

/** Undefined where they are not UTF-8. */
export function decode(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
