// Removes Weir's links, filters, qdiscs and pins from the node, and nothing else.

import { existsSync, readdirSync, rmdirSync, rmSync, statSync } from "node:fs";
import { basename, dirname, join } from "node:path";
import { findClsact } from "bpf-ts";
import { DIRECTIONS } from "../base/direction.ts";
import { messageOf, OperationError } from "../base/errors.ts";
import { obstacleAt } from "./bpffs.ts";
import { CLSACT_HANDLE, CLSACT_PRIORITY, detachClsact, detachLink, HOOK_OF, removeQdisc } from "./hooks.ts";
import {
  linksDirectory,
  listDirectory,
  markedQdiscs,
  openProgram,
  pinnedDigests,
  pinnedLinks,
} from "./pins.ts";

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

/**
 * Removes everything that Weir left on the node under a pin root. Idempotent; continues after a failure. What others have
 * there stays. Errors: OperationError (the root is not on a BPF filesystem).
 */
export async function cleanup(options: CleanupOptions): Promise<Removal[]> {
  const { root, dryRun } = options;
  // Not an error if it does not exist: then there are no pins, and filters may still be there.
  const obstacle = existsSync(root) ? obstacleAt(root) : undefined;
  if (obstacle !== undefined) throw new OperationError(obstacle, { operation: "clean up", object: root });
  const removals: Removal[] = [];
  const take: Take = async (kind, name, remove) => {
    try {
      if (!dryRun) await remove();
      removals.push({ kind, name, removed: !dryRun });
    } catch (error) {
      removals.push({ kind, name, removed: false, error: messageOf(error) });
    }
  };
  const links = pinnedLinks(root);
  for (const { path } of links) await take("link", path, () => detachLink(path));
  for (const { ifindex, direction } of ourFilters(options)) {
    await take("filter", `interface ${ifindex}, pod ${direction}`, () => detachClsact(ifindex, direction));
  }
  // Where filters came before the links, their qdisc is left: see attachments.ts.
  if (!dryRun)
    for (const ifindex of markedQdiscs(root)) await removeQdisc(root, ifindex).catch(() => undefined);
  for (const digest of pinnedDigests(root)) {
    for (const kind of ["program", "map"] as const) {
      const directory = join(root, digest, `${kind}s`);
      for (const name of listDirectory(directory))
        await take(kind, join(directory, name), () => rmSync(join(directory, name)));
    }
  }
  await takeDirectories(root, take);
  return removals;
}

type Take = (kind: Removal["kind"], name: string, remove: () => unknown) => Promise<void>;

/** The root with all that is Weir's in it; without the root itself if others have pins there, as in /sys/fs/bpf. */
async function takeDirectories(root: string, take: Take): Promise<void> {
  const own = [...pinnedDigests(root).map((digest) => join(root, digest)), linksDirectory(root)].filter(
    (path) => existsSync(path),
  );
  const isShared = listDirectory(root).some((name) => !own.includes(join(root, name)));
  if (isShared) {
    for (const path of own)
      await take("directory", path, () => rmSync(path, { recursive: true, force: true }));
    return;
  }
  if (own.length === 0) return;
  await take("directory", root, () => {
    for (const path of own) rmSync(path, { recursive: true, force: true });
    if (!isMountPoint(root)) rmdirSync(root);
  });
}

/** In a container the root may be a volume. */
const isMountPoint = (path: string): boolean => statSync(path).dev !== statSync(dirname(path)).dev;

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
