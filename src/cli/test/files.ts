// Finds the case files of a command line: files by name, directories with everything below them.

import { type Dirent, readdirSync, readFileSync, realpathSync, statSync } from "node:fs";
import { join } from "node:path";
import { codeOf, messageOf } from "../../base/errors.ts";

/** A file that holds a case, by its own words; or what is in the way of one. */
export type Found =
  | { readonly file: string; readonly text: string }
  | { readonly file: string; readonly reason: string };

/** A manifest or a schema beside the cases names no format, or names it in other words. */
const NAMES_FORMAT = /(?<![\w"'])["']?format["']?\s*:\s*["']?np-conformance\//;
const EXTENSION = /\.(?:json|ya?ml)$/;

/**
 * One by one, so that a thousand files are not in memory at once. In a directory, files that are not cases and
 * entries with a leading dot are ignored; a directory without a case is an error.
 */
export function* findCases(paths: readonly string[]): Generator<Found> {
  for (const path of paths) {
    const found = isDirectory(path);
    if (typeof found === "string") yield { file: path, reason: found };
    else if (found) yield* below(path);
    else yield named(path);
  }
}

/** What may be meant as a case is for the parser to refuse, which says where. */
function named(path: string): Found {
  const found = read(path);
  if ("reason" in found || found.text.includes("np-conformance")) return found;
  return { file: path, reason: "is no case: it does not say format: np-conformance/1" };
}

function* below(path: string): Generator<Found> {
  let none = true;
  for (const each of walk(path, new Set())) {
    if ("text" in each && !NAMES_FORMAT.test(each.text)) continue;
    none = false;
    yield each;
  }
  if (none)
    yield { file: path, reason: "holds no case (.json, .yaml or .yml with format: np-conformance/1)" };
}

/** In the order of names. `seen` are directories on the way here, so that links in a circle end. */
function* walk(path: string, seen: ReadonlySet<string>): Generator<Found> {
  let entries: Dirent[];
  let real: string;
  try {
    real = realpathSync(path);
    entries = readdirSync(path, { withFileTypes: true });
  } catch (thrown) {
    yield { file: path, reason: reasonOf(thrown) };
    return;
  }
  if (seen.has(real)) return;
  for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
    if (entry.name.startsWith(".")) continue;
    const child = join(path, entry.name);
    const directory = entry.isSymbolicLink() ? isDirectory(child) : entry.isDirectory();
    if (directory === true) yield* walk(child, new Set([...seen, real]));
    else if (EXTENSION.test(entry.name)) yield read(child);
  }
}

/** The reason, if it cannot be determined. */
function isDirectory(path: string): boolean | string {
  try {
    return statSync(path).isDirectory();
  } catch (thrown) {
    return reasonOf(thrown);
  }
}

const reasonOf = (thrown: unknown): string =>
  codeOf(thrown) === "ENOENT" ? "does not exist" : messageOf(thrown);

function read(file: string): Found {
  try {
    return { file, text: readFileSync(file, "utf8") };
  } catch (thrown) {
    return { file, reason: reasonOf(thrown) };
  }
}
