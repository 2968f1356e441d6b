// Copies of manifest files as they were last read without an error: they outlive the agent, as what they declare must.

import { readdir, readFile, rename, rm, writeFile } from "node:fs/promises";
import { join, resolve } from "node:path";
import { digestOf } from "../../base/digest.ts";
import { codeOf, messageOf } from "../../base/errors.ts";
import { makePrivateDirectory } from "../../base/private-directory.ts";
import type { Problem } from "../../model/problem.ts";
import type { Contents } from "./file-contents.ts";
import { hasErrors, type Memory } from "./last-known-good.ts";
import { bytesOfFile, type Seen } from "./manifest-files.ts";
import type { FileReading } from "./manifest-reading.ts";

/** All copies together. They are usually on a tmpfs, and so in memory. */
export const KEPT_BYTES_MAX = 32 * 1024 * 1024;

export interface KeptCopies {
  /** The copies' content, for files that cannot be used as they are now. */
  restore(seen: ReadonlyMap<string, Seen>): Promise<ReadonlyMap<string, FileReading>>;
  /** The copy of a file, which may have had another name when it was made. */
  contentOf(file: string, identity: string): Promise<Uint8Array | undefined>;
  /** Which directory held manifests last, under this path. */
  directory(): Promise<string | undefined>;
  /** Copies what counts and is not copied yet, and removes copies of files that are gone. */
  save(memory: Memory, identity: string): Promise<void>;
  /** Why there are not all copies. */
  problem(): Problem | undefined;
}

const NOTHING_KEPT: KeptCopies = {
  restore: async () => new Map(),
  contentOf: async () => undefined,
  directory: async () => undefined,
  save: async () => undefined,
  problem: () => undefined,
};

/** Whether a file can be used as it was read, now and after a restart. */
const isGood = (reading: FileReading): boolean => !reading.failed && !reading.blank && !hasErrors(reading);

/** Copies in a directory of their own, of the manifests at a path; none at all without a directory. */
export function openKept(
  directory: string | undefined,
  path: string,
  contents: Pick<Contents, "whole">,
): KeptCopies {
  if (directory === undefined) return NOTHING_KEPT;
  /** Digest and size of each copy that this process has made, by its name. */
  const copies = new Map<string, { readonly digest: string; readonly bytes: number }>();
  /** Of all of them. */
  let copiedBytes = 0;
  let problem: Problem | undefined;
  let keptIdentity: string | undefined;
  const names = new Map<string, string>();
  const nameOf = (file: string): string => {
    const name = names.get(file) ?? digestOf(resolve(file)).slice(0, 32);
    names.set(file, name);
    return name;
  };
  const identityFile = `${nameOf(path)}.directory`;
  /** Which file each copy is of, by the copy's name. */
  let identities: Map<string, string> | undefined;

  async function knownIdentities(): Promise<Map<string, string>> {
    identities ??= identitiesIn(await readFile(join(directory ?? "", IDENTITIES), "utf8").catch(() => ""));
    return identities;
  }

  async function bytesOf(name: string): Promise<Uint8Array | undefined> {
    const content = await bytesOfFile(join(directory ?? "", name));
    return content.ok ? content.bytes : undefined;
  }

  /** `present`: the identities of all files as they are now. */
  async function contentOf(
    file: string,
    identity: string,
    present: ReadonlySet<string> = new Set(),
  ): Promise<Uint8Array | undefined> {
    const known = await knownIdentities();
    const recorded = known.get(nameOf(file));
    // While no agent ran, files may have changed their names: the copy under this one is then another file's.
    const isAnothers = recorded !== undefined && recorded !== identity && present.has(recorded);
    const own = isAnothers ? undefined : await bytesOf(nameOf(file));
    if (own !== undefined) return own;
    const [before] = [...known].find(([, each]) => each === identity) ?? [];
    return before === undefined ? undefined : await bytesOf(before);
  }

  async function write(name: string, content: Uint8Array | string): Promise<void> {
    await makePrivateDirectory(directory ?? "");
    const target = join(directory ?? "", name);
    await writeFile(`${target}.new`, content, { mode: 0o600 });
    await rename(`${target}.new`, target);
  }

  /** False where there is no room. A file that has changed since it was seen is left to the next look. */
  async function copy(file: string, digest: string): Promise<boolean> {
    const content = await bytesOfFile(file);
    if (!content.ok || digestOf(content.bytes) !== digest) return true;
    const name = nameOf(file);
    const bytes = content.bytes.length;
    const more = bytes - (copies.get(name)?.bytes ?? 0);
    if (copiedBytes + more > KEPT_BYTES_MAX) return false;
    await write(name, content.bytes);
    copies.set(name, { digest, bytes });
    copiedBytes += more;
    return true;
  }

  /** Gives the copies of renamed files their new names, and records which file each copy is of. */
  async function followFiles(memory: Memory): Promise<void> {
    const known = await knownIdentities();
    const now = new Map(
      [...memory].flatMap(([file, { last }]) =>
        last === undefined ? [] : [[nameOf(file), last.identity] as const],
      ),
    );
    const gone = new Map([...known].flatMap(([name, identity]) => (now.has(name) ? [] : [[identity, name]])));
    for (const [name, identity] of now) {
      const before = gone.get(identity);
      if (known.has(name) || before === undefined) continue;
      await rename(join(directory ?? "", before), join(directory ?? "", name)).catch(ignoreMissing);
      const copied = copies.get(before);
      copies.delete(before);
      if (copied !== undefined) copies.set(name, copied);
    }
    const isSame = now.size === known.size && [...now].every(([name, of]) => known.get(name) === of);
    if (isSame) return;
    await write(IDENTITIES, JSON.stringify([...now]));
    identities = now;
  }

  async function saveAll(memory: Memory, identity: string): Promise<string | undefined> {
    if (identity !== keptIdentity) {
      await write(identityFile, identity);
      keptIdentity = identity;
    }
    await followFiles(memory);
    const wanted = new Set([identityFile, IDENTITIES]);
    let left = 0;
    for (const [file, { seen, counted, held }] of memory) {
      const name = nameOf(file);
      wanted.add(name);
      const counts = held === undefined && seen !== undefined && seen.reading === counted;
      if (!counts || !isGood(seen.reading) || copies.get(name)?.digest === seen.digest) continue;
      if (!(await copy(file, seen.digest))) left += 1;
    }
    for (const name of await namesIn(directory ?? "")) {
      if (wanted.has(name)) continue;
      await rm(join(directory ?? "", name), { force: true });
      copiedBytes -= copies.get(name)?.bytes ?? 0;
      copies.delete(name);
    }
    return left === 0
      ? undefined
      : `all copies together take at most ${KEPT_BYTES_MAX} bytes (${left} left out)`;
  }

  return {
    contentOf: (file, identity) => contentOf(file, identity),
    restore: async (seen) => {
      const restored = new Map<string, FileReading>();
      const present = new Set([...seen.values()].map(({ identity }) => identity));
      for (const [file, { identity, reading, writing, beingRead }] of seen) {
        if ((isGood(reading) && writing !== true) || beingRead !== undefined) continue;
        const content = await contentOf(file, identity, present);
        if (content === undefined) continue;
        const kept = await contents.whole(file, content);
        if (isGood(kept)) restored.set(file, kept);
      }
      return restored;
    },
    directory: async () => {
      keptIdentity ??= await readFile(join(directory, identityFile), "utf8").catch(() => undefined);
      return keptIdentity;
    },
    save: async (memory, identity) => {
      let reason: string | undefined;
      try {
        reason = await saveAll(memory, identity);
      } catch (error) {
        if (codeOf(error) === undefined) throw error;
        reason = messageOf(error);
      }
      problem = reason === undefined ? undefined : notKept(directory, reason);
    },
    problem: () => problem,
  };
}

/** The names of copies with the identities of their files, in the directory of copies. */
const IDENTITIES = "identities.json";

/** Empty where the text is not what followFiles() writes: then copies are found by the files' names alone. */
function identitiesIn(text: string): Map<string, string> {
  try {
    const pairs: unknown = JSON.parse(text);
    const isPair = (pair: unknown): pair is [string, string] =>
      Array.isArray(pair) && pair.length === 2 && pair.every((each) => typeof each === "string");
    return new Map(Array.isArray(pairs) ? pairs.filter(isPair) : []);
  } catch {
    return new Map();
  }
}

function ignoreMissing(error: unknown): void {
  if (codeOf(error) !== "ENOENT") throw error;
}

/** Removes all copies: what they hold is not the last good content any more once another source is in force. */
export async function forgetKept(directory: string): Promise<void> {
  await rm(directory, { recursive: true, force: true });
}

const notKept = (directory: string, reason: string): Problem => ({
  severity: "warning",
  file: directory,
  reason: `the last known good content of files cannot be saved: ${reason}`,
  effect: "it is lost when the agent restarts",
});

async function namesIn(directory: string): Promise<readonly string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (codeOf(error) === "ENOENT") return [];
    throw error;
  }
}
