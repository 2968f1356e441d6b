// The files of the repository as git sees them: tracked, or new and not ignored.
import { execFileSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));

/** Runs git in the repository; returns the lines of its output. `safe.directory`: a checkout may belong to another user. */
export function git(...args: readonly string[]): string[] {
  const text = execFileSync("git", ["-c", "safe.directory=*", "-C", root, ...args], { encoding: "utf8" });
  return text.split("\0").filter((line) => line !== "");
}

/** Paths of all files, from the root of the repository, without those that are deleted but not yet committed. */
export const repositoryFiles = (): string[] =>
  git("ls-files", "-z", "--cached", "--others", "--exclude-standard").filter((path) =>
    existsSync(root + path),
  );

/** The text of a file, or undefined if it is not text. */
export function textOf(path: string): string | undefined {
  const bytes = readFileSync(root + path);
  return bytes.includes(0) ? undefined : bytes.toString("utf8");
}
