// Whether a path is on a BPF filesystem.

import { statfsSync } from "node:fs";
import { dirname } from "node:path";
import { codeOf } from "./errors.ts";

const BPF_FS_MAGIC = 0xcafe4a11;

/** The path itself, or the nearest directory above it that exists. Errors: those of statfs(2), but for absence. */
export function existingAbove(path: string): string {
  let existing = path;
  while (typeOf(existing) === undefined) existing = dirname(existing);
  return existing;
}

/** Why nothing can be pinned under a path; undefined if the nearest existing directory is on a BPF filesystem. */
export function bpffsObstacle(path: string): string | undefined {
  const existing = existingAbove(path);
  if (typeOf(existing) === BPF_FS_MAGIC) return undefined;
  return `${existing} is not on a BPF filesystem; mount one with: mount -t bpf bpf /sys/fs/bpf`;
}

function typeOf(path: string): number | undefined {
  try {
    return statfsSync(path).type;
  } catch (error) {
    if (["ENOENT", "ENOTDIR"].includes(codeOf(error) ?? "")) return undefined;
    throw error;
  }
}
