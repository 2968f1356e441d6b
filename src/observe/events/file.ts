// The file that events are written to, a line of JSON each: bounded in size, older ones kept beside it up to a number.

import { appendFileSync, renameSync, rmSync, statSync } from "node:fs";
import { codeOf } from "../../base/errors.ts";

export interface EventFileOptions {
  readonly path: string;
  /** Bytes of one file. */
  readonly bytesMax: number;
  /** Files in all, the one in use included: PATH, PATH.1 (the next older) and so on. */
  readonly files: number;
}

export interface EventFile {
  /** Appends lines at once. @throws Error where the file cannot be written; then the lines are lost. */
  append(lines: readonly string[]): void;
}

/** The file is made at the first line, for its owner alone. */
export function openEventFile({ path, bytesMax, files }: EventFileOptions): EventFile {
  let bytes: number | undefined;
  return {
    append(lines) {
      const text = lines.join("");
      const length = Buffer.byteLength(text);
      bytes ??= sizeOf(path);
      if (bytes > 0 && bytes + length > bytesMax) {
        rotate(path, files);
        bytes = 0;
      }
      appendFileSync(path, text, { mode: 0o600 });
      bytes += length;
    },
  };
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

function rotate(path: string, files: number): void {
  if (files <= 1) {
    rmSync(path, { force: true });
    return;
  }
  for (let age = files - 1; age >= 1; age--) {
    const from = age === 1 ? path : `${path}.${age - 1}`;
    try {
      renameSync(from, `${path}.${age}`);
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
    }
  }
}
