// The entry point: makes the world that commands run in, and runs one.

import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { codeOf } from "../base/errors.ts";
import type { Env } from "./environment.ts";
import { runCommand } from "./program.ts";

/** The nearest directory upwards with a package.json: sources and bundle are at different depths below it. */
function installation(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, "package.json")) && directory !== "/") directory = dirname(directory);
  return directory;
}

/** The first signal ends in order; a second one of its kind ends at once. */
function stopSignal(): AbortSignal {
  const controller = new AbortController();
  for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => controller.abort());
  return controller.signal;
}

for (const stream of [process.stdout, process.stderr]) {
  stream.on("error", (error: Error) => {
    // The reader (`| head`) closed the pipe.
    if (codeOf(error) === "EPIPE") process.exit();
    throw error;
  });
}

const env: Env = {
  stdout: process.stdout,
  stderr: process.stderr,
  stdin: () => process.stdin,
  variables: process.env,
  now: () => new Date(),
  stopSignal,
  root: installation(),
};

process.exitCode = await runCommand(process.argv.slice(2), env);
