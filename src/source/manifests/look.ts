// One look at all manifest files of a path.

import { readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import type { Problem } from "../../model/problem.ts";
import { visible } from "../parse/text.ts";
import { type LookHow, listManifests, lookAt, type Seen, systemReason } from "./manifest-files.ts";

export type Look =
  | {
      readonly ok: true;
      readonly seen: ReadonlyMap<string, Seen>;
      /** Which directory (or file) it is: another one where it was replaced. */
      readonly identity: string;
      /** The version of a mounted ConfigMap or Secret: what its link `..data` leads to. */
      readonly version: string | undefined;
    }
  /** The directory itself cannot be read. */
  | { readonly ok: false; readonly problem: Problem };

/** How often a look is repeated where a mounted ConfigMap is switched meanwhile. */
const SWITCHES_MAX = 5;

/** What is known of a file from an earlier look. */
export type Known = (file: string) => Seen | undefined;

/**
 * Looks at every file, reading those that are not as they are known. All files of a mounted ConfigMap are of one
 * version: where the version is switched during the look, it is repeated.
 */
export async function lookAtAll(path: string, known: Known, how: LookHow): Promise<Look> {
  for (let attempt = 1; ; attempt += 1) {
    const version = await versionOf(path);
    const look = await lookOnce(path, known, how);
    if (!look.ok) return look;
    if (version === (await versionOf(path)) || attempt === SWITCHES_MAX) return { ...look, version };
  }
}

/** @returns undefined where the path is no mount of a ConfigMap */
const versionOf = (path: string): Promise<string | undefined> =>
  readlink(join(path, "..data")).catch(() => undefined);

async function lookOnce(path: string, known: Known, how: LookHow) {
  let files: readonly string[];
  let identity: string;
  try {
    const { dev, ino } = await stat(path);
    identity = `${dev}:${ino}`;
    files = await listManifests(path);
  } catch (error) {
    const reason = `cannot be read: ${systemReason(error)}`;
    return { ok: false, problem: { severity: "error", file: visible(path), reason } } as const;
  }
  how.contents?.forgetOthers(new Set(files));
  const seen = new Map<string, Seen>();
  for (const file of files) {
    const look = await lookAt(file, known(file), how);
    if (look !== undefined) seen.set(file, look);
  }
  return { ok: true, seen, identity } as const;
}
