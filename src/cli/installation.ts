// What the installation says of itself.

import { readFileSync } from "node:fs";
import { join } from "node:path";

/** Weir's version, from its package.json. */
export function versionOf(root: string): string {
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  return version;
}
