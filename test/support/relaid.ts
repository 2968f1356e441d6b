// A copy of this tree as a later version of Weir may be: its layout has another digest, so that its maps and programs differ.

import { execFileSync } from "node:child_process";
import { cpSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const COPIED = [
  "bin",
  "bpf",
  "src",
  "tools",
  "cni",
  "native",
  "package.json",
  "package-lock.json",
  "LICENSE",
  "NOTICE",
];

export type Edit = readonly [from: RegExp, to: string];

/** Another limit of events. */
export const OTHER_CONSTANT: Edit = [/\bEVENTS_NODE = \d+/, "$&1"];

/** Builds the copy in an empty directory, with these edits of bpf/layout.h. */
export function buildRelaid(tree: string, edits: readonly Edit[]): void {
  for (const path of COPIED)
    cpSync(join(ROOT, path), join(tree, path), { recursive: true, verbatimSymlinks: true });
  symlinkSync(join(ROOT, "node_modules"), join(tree, "node_modules"));
  const header = join(tree, "bpf/layout.h");
  let text = readFileSync(header, "utf8");
  for (const [from, to] of edits) {
    const changed = text.replace(from, to);
    if (changed === text) throw new Error(`bpf/layout.h: nothing to change matches ${from.source}`);
    text = changed;
  }
  writeFileSync(header, text);
  const node = join(ROOT, "node_modules/.bin/node");
  execFileSync("make", ["-C", join(tree, "bpf")], { stdio: "pipe" });
  execFileSync(node, [join(tree, "tools/layout.ts")], { stdio: "pipe" });
  execFileSync(node, [join(tree, "tools/build.ts")], { stdio: "pipe" });
}
