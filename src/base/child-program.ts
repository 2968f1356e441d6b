// Programs of our own that run as separate processes: each is below src/, and below dist/ once it is built.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { OperationError } from "./errors.ts";

/**
 * The path of a program, such as "lab/pod-process": TypeScript among the sources, JavaScript in a build (an entry of
 * tools/build.ts). It is searched from the directory of this module upwards, since a bundle may be anywhere in dist/.
 */
export function programPath(name: string): string {
  const start = dirname(fileURLToPath(import.meta.url));
  for (let directory = start; ; directory = dirname(directory)) {
    for (const extension of [".ts", ".js"]) {
      const path = join(directory, name + extension);
      if (existsSync(path)) return path;
    }
    if (directory === dirname(directory)) break;
  }
  throw new OperationError(`not found above ${start}`, { operation: "start", object: name, code: "ENOENT" });
}
