// Taking everything off the node again: links, filters, qdiscs of ours, pins; nothing else.

import { rmSync } from "node:fs";
import { join } from "node:path";
import { findClsact } from "bpf-ts";
import { DIRECTIONS } from "../base/direction.ts";
import { messageOf } from "../base/errors.ts";
import { CLSACT_HANDLE, CLSACT_PRIORITY, detachClsact } from "./attach.ts";
import { detachLink } from "./links.ts";
import { listDirectory, openProgram, pinnedDigests, pinnedLinks } from "./pins.ts";

export interface Removal {
  readonly kind: "link" | "filter" | "program" | "map" | "directory";
  /** The pin's path, or the interface of a filter. */
  readonly name: string;
  /** False in a dry run, or where it failed. */
  readonly removed: boolean;
  readonly error?: string;
}

export interface CleanupOptions {
  /** Pin root. */
  readonly root: string;
  /** Say what would be removed, and remove nothing. */
  readonly dryRun: boolean;
  /** Interface indexes of the node, to look for filters of ours on. */
  readonly interfaces: readonly number[];
}

/** Removes all that Weir left on the node under a pin root. Idempotent; goes on where one thing fails. */
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

/** Filters at our place that run a program pinned under this root; anyone else's stay. */
function ourFilters({ root, interfaces }: CleanupOptions) {
  const ours = new Set(programIds(root));
  if (ours.size === 0) return [];
  return interfaces.flatMap((ifindex) =>
    DIRECTIONS.filter((direction) => {
      const hook = direction === "ingress" ? "egress" : "ingress";
      const found = findClsact(ifindex, hook, CLSACT_HANDLE, CLSACT_PRIORITY);
      return found !== undefined && ours.has(found.programId);
    }).map((direction) => ({ ifindex, direction })),
  );
}

function programIds(root: string): number[] {
  return pinnedDigests(root).flatMap((digest) => {
    const directory = join(root, digest, "programs");
    return listDirectory(directory).flatMap((name) => {
      const program = openProgram(join(directory, name));
      const id = program?.info.id;
      program?.close();
      return id === undefined ? [] : [id];
    });
  });
}
