// Programs of our own that run as processes of their own: each lies below src/, and below dist/ once it is built.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { OperationError } from "./errors.ts";

/**
 * The path of a program, such as "lab/pod-process": TypeScript among the sources, JavaScript in a build (an entry of
 * tools/build.ts). It is looked for from the directory of this module upwards, since a bundle lies anywhere in dist/.
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
