// The bundle is reproducible: two builds of the same tree, in different folders, are the same bytes.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, it } from "vitest";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const COPIED = ["src", "tools", "package.json", "package-lock.json", "LICENSE", "NOTICE"];

/** Digests of all files of a bundle that is built in a new folder. */
function build(): Record<string, string> {
  const tree = mkdtempSync(join(tmpdir(), "weir-bundle-"));
  try {
    for (const path of COPIED) cpSync(join(ROOT, path), join(tree, path), { recursive: true });
    symlinkSync(join(ROOT, "node_modules"), join(tree, "node_modules"));
    execFileSync(process.execPath, [join(tree, "tools/build.ts")], { stdio: "pipe" });
    const dist = join(tree, "dist");
    const files = readdirSync(dist, { recursive: true, withFileTypes: true }).filter((entry) =>
      entry.isFile(),
    );
    return Object.fromEntries(
      files.map((entry) => {
        const path = join(entry.parentPath, entry.name);
        return [path.slice(dist.length), createHash("sha256").update(readFileSync(path)).digest("hex")];
      }),
    );
  } finally {
    rmSync(tree, { recursive: true });
  }
}

it("two builds in different folders are the same bytes", { timeout: 240_000 }, () => {
  const first = build();
  expect(Object.keys(first).length).toBeGreaterThan(10);
  expect(build()).toEqual(first);
});
