// The conformance cases that tests run: the product's own, and others if they are available.
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { problemText } from "../../src/model/problem.ts";
import { readCase } from "../../src/source/conformance/case-reader.ts";
import type { Case } from "../../src/source/conformance/case-types.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));

export interface CaseFile {
  /** Without its folder. */
  readonly name: string;
  readonly text: string;
}

/** The product's own cases. */
export const ownCases = (): readonly CaseFile[] => caseFiles(join(ROOT, "test/cases"));

export interface CaseFolder {
  /** As in messages: relative to the repository, or as it was given. */
  readonly title: string;
  readonly files: readonly CaseFile[];
}

/**
 * Folders of further cases, one for each folder that holds any: below those that WEIR_CONFORMANCE names (with colons
 * between them), or else below ../shared/conformance and ../shared/recipes where these exist beside the repository.
 * @throws Error if WEIR_CONFORMANCE names a folder without any
 */
export function furtherCases(): readonly CaseFolder[] {
  const named = process.env["WEIR_CONFORMANCE"]?.split(":").filter((path) => path !== "");
  if (named === undefined) {
    const beside = ["conformance", "recipes"].map((name) => join(ROOT, "../shared", name));
    return beside.filter((path) => existsSync(path)).flatMap(foldersBelow);
  }
  return named.flatMap((path) => {
    const folders = foldersBelow(path);
    if (folders.length === 0) throw new Error(`WEIR_CONFORMANCE: there are no cases below ${path}`);
    return folders;
  });
}

/**
 * The case in a file.
 * @throws Error with a line for every problem, if it cannot be read
 */
export function caseOf(file: CaseFile): Case {
  const read = readCase(file.text, file.name);
  if (read.case === undefined) throw new Error(read.problems.map(problemText).join("\n"));
  return read.case;
}

function foldersBelow(path: string): readonly CaseFolder[] {
  const below = readdirSync(path, { withFileTypes: true })
    .filter((entry) => entry.isDirectory())
    .flatMap((entry) => foldersBelow(join(path, entry.name)));
  const files = caseFiles(path);
  return files.length === 0 ? below : [{ title: relative(ROOT, path), files }, ...below];
}

/** Case files in a folder; of JSON files, only those that name the format (a schema does not). */
function caseFiles(folder: string): readonly CaseFile[] {
  return readdirSync(folder)
    .filter((name) => /\.(json|ya?ml)$/.test(name))
    .sort()
    .map((name) => ({ name: basename(name), text: readFileSync(join(folder, name), "utf8") }))
    .filter(({ text }) => /"?format"?: *"?np-conformance\//.test(text));
}
