// Small files that outlive the agent: JSON with a version, written completely beside the old file and renamed
// over it.

import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname } from "node:path";
import { codeOf, messageOf, OperationError } from "./errors.ts";

type Json = Readonly<Record<string, unknown>>;

/** The error for a file with malformed content. */
export const unreadableFile = (path: string, reason: string, cause?: unknown): OperationError =>
  new OperationError(reason, { operation: "read", object: path, cause });

/**
 * Undefined if there is no file. @throws OperationError if it cannot be read, or has none of these versions
 */
export function readKept(path: string, versions: readonly number[]): Json | undefined {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (thrown) {
    if (codeOf(thrown) === "ENOENT") return undefined;
    throw unreadableFile(path, messageOf(thrown), thrown);
  }
  const value = parsed(text);
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw unreadableFile(path, "it is not a JSON object");
  const { version } = value as Json;
  if (!versions.includes(version as number))
    throw unreadableFile(path, `version: expected ${versions.join(" or ")}, not ${String(version)}`);
  return value as Json;
}

/** Differs after each start of the machine. */
export const bootId = (): string => readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim();

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** Readable by root alone. @throws OperationError */
export function writeKept(path: string, value: Json): void {
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
    writeFileSync(`${path}.new`, `${JSON.stringify(value)}\n`, { mode: 0o600 });
    renameSync(`${path}.new`, path);
  } catch (thrown) {
    throw new OperationError(messageOf(thrown), { operation: "write", object: path, cause: thrown });
  }
}
