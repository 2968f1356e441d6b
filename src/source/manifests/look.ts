// One look at all manifest files of a path.

import type { Problem } from "../../model/problem.ts";
import { visible } from "../parse/text.ts";
import { listManifests, lookAt, type Seen, systemReason } from "./files.ts";
import { type Memory, seenIn } from "./memory.ts";

export type Look =
  | { readonly ok: true; readonly seen: ReadonlyMap<string, Seen> }
  /** The directory itself cannot be read. */
  | { readonly ok: false; readonly problem: Problem };

/** Looks at every file, reading those that are not as the memory has them. */
export async function lookAtAll(path: string, memory: Memory): Promise<Look> {
  let files: readonly string[];
  try {
    files = await listManifests(path);
  } catch (error) {
    const reason = `cannot be read: ${systemReason(error)}`;
    return { ok: false, problem: { severity: "error", file: visible(path), reason } };
  }
  const seen = new Map<string, Seen>();
  for (const file of files) {
    const look = await lookAt(file, seenIn(memory, file));
    if (look !== undefined) seen.set(file, look);
  }
  return { ok: true, seen };
}
