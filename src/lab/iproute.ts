// Runs iproute2's `ip`: batches of commands in one process, and questions answered as JSON.

import { spawnSync } from "node:child_process";
import { OperationError } from "../base/errors.ts";

const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;

/**
 * Runs the commands in order, inside a named network namespace where one is given, and stops at the first that fails.
 * @throws OperationError with ip's own words and the command they are about
 */
export function ipBatch(commands: readonly string[], netns?: string): void {
  if (commands.length === 0) return;
  const inside = netns === undefined ? [] : ["-n", netns];
  const done = spawnSync("ip", [...inside, "-batch", "-"], {
    input: `${commands.join("\n")}\n`,
    encoding: "utf8",
  });
  if (done.status === 0) return;
  const failedLine = Number(/Command failed -:(\d+)/.exec(done.stderr ?? "")?.[1] ?? 0);
  const command = commands[failedLine - 1] ?? commands.join("; ");
  const reason = (done.stderr ?? "").replace(/Command failed -:\d+/, "").trim();
  throw new OperationError(reason || `exit status ${done.status}`, {
    operation: "run",
    object: `\`ip ${[...inside, command].join(" ")}\``,
    cause: done.error,
  });
}

/** The answer to a question such as `route show table all`, as parsed JSON: an array of objects. */
export function ipJson(args: readonly string[]): readonly Record<string, unknown>[] {
  const done = spawnSync("ip", ["-j", ...args], { encoding: "utf8", maxBuffer: OUTPUT_BYTES_MAX });
  if (done.status !== 0) {
    throw new OperationError((done.stderr ?? "").trim() || `exit status ${done.status}`, {
      operation: "run",
      object: `\`ip -j ${args.join(" ")}\``,
      cause: done.error,
    });
  }
  // ip prints nothing at all where there is nothing to list.
  return done.stdout.trim() === "" ? [] : (JSON.parse(done.stdout) as Record<string, unknown>[]);
}
