// Which id a network namespace has, that `ip netns` knows by a name.

import { statSync } from "node:fs";
import { join } from "node:path";
import { netnsId } from "bpf-ts";

export interface NetnsIds {
  /** The id by which links of this node name it; undefined where no pair leads there. Errors: where there is none of that name. */
  idOf(name: string): number | undefined;
}

const DIRECTORY = "/run/netns";

/** Keeps each answer for as long as the name stands for the same namespace, or until it is told to forget. */
export function openNetnsIds(): NetnsIds & { forget(): void } {
  const known = new Map<string, { readonly inode: number; readonly id: number }>();
  return {
    idOf(name) {
      const path = join(DIRECTORY, name);
      const inode = statSync(path).ino;
      const before = known.get(name);
      if (before?.inode === inode) return before.id;
      const id = netnsId(path);
      if (id !== undefined) known.set(name, { inode, id });
      return id;
    },
    forget: () => known.clear(),
  };
}
