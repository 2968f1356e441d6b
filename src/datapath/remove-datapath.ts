// Removes Weir's links, filters, qdiscs and pins from the node, and nothing else.

import { readdirSync, rmSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { findClsact } from "bpf-ts";
import { DIRECTIONS } from "../base/direction.ts";
import { messageOf } from "../base/errors.ts";
import { CLSACT_HANDLE, CLSACT_PRIORITY, detachClsact, detachLink, HOOK_OF } from "./hooks.ts";
import { listDirectory, openProgram, pinnedDigests, pinnedLinks } from "./pins.ts";

export interface Removal {
  readonly kind: "link" | "filter" | "program" | "map" | "directory";
  /** The pin's path, or the interface of a filter. */
  readonly name: string;
  /** False in a dry run, or if it failed. */
  readonly removed: boolean;
  readonly error?: string;
}

export interface CleanupOptions {
  /** Pin root. */
  readonly root: string;
  /** Report what would be removed, and remove nothing. */
  readonly dryRun: boolean;
  /** Interface indexes of the node, on which to search for our filters. */
  readonly interfaces: readonly number[];
}

/** Removes everything that Weir left on the node under a pin root. Idempotent; continues after a failure. */
export async function cleanup(options: CleanupOptions): Promise<Removal[]> {
  const { root, dryRun } = options;
  const removals: Removal[] = [];
  const take = async (kind: Removal["kind"], name: string, remove: () => Promise<unknown> | unknown) => {
    try {
      if (!dryRun) await remove();
      removals.push({ kind, name, removed: !dryRun });
    } catch (error) {
      removals.push({ kind, name, removed: false, error: messageOf(error) });
    }
  };
  for (const { path } of pinnedLinks(root)) await take("link", path, () => detachLink(path));
  for (const { ifindex, direction } of ourFilters(options)) {
    await take("filter", `interface ${ifindex}, pod ${direction}`, () => detachClsact(ifindex, direction));
  }
  for (const digest of pinnedDigests(root)) {
    for (const kind of ["program", "map"] as const) {
      const directory = join(root, digest, `${kind}s`);
      for (const name of listDirectory(directory))
        await take(kind, join(directory, name), () => rmSync(join(directory, name)));
    }
  }
  if (listDirectory(root).length > 0 || removals.length > 0) {
    await take("directory", root, () => rmSync(root, { recursive: true, force: true }));
  }
  return removals;
}

/**
 * Filters with Weir's own handle and priority, even if their pins are gone. Filters of another
 * installation, whose pins are beside this one's, stay.
 */
function ourFilters({ root, interfaces }: CleanupOptions) {
  const others = new Set(otherRoots(root).flatMap(programIds));
  return interfaces.flatMap((ifindex) =>
    DIRECTIONS.filter((direction) => {
      const found = findClsact(ifindex, HOOK_OF[direction], CLSACT_HANDLE, CLSACT_PRIORITY);
      return found !== undefined && !others.has(found.programId);
    }).map((direction) => ({ ifindex, direction })),
  );
}

const otherRoots = (root: string): string[] =>
  readdirSync(dirname(root), { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && entry.name !== basename(root))
    .map(({ name }) => join(dirname(root), name));

function programIds(root: string): number[] {
  return pinnedDigests(root).flatMap((digest) => {
    const directory = join(root, digest, "programs");
    return listDirectory(directory).flatMap((name) => {
      using program = openProgram(join(directory, name));
      return program === undefined ? [] : [program.info.id];
    });
  });
}
