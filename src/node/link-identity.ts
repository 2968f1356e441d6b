// What distinguishes a link from a later one with the same index or name.

import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";

const NET = "/sys/class/net";

/**
 * The number that sysfs gave the link's directory: the kernel gives each only once (kernfs, 64 bits), and a link keeps its own
 * when it is renamed, gets another hardware address, or its other end moves. Undefined where sysfs does not show the link.
 */
export function birthOf({
  name,
  ifindex,
}: {
  readonly name: string;
  readonly ifindex: number;
}): string | undefined {
  const directory = join(NET, name);
  try {
    // The name may have been given to another link since it was read.
    if (Number(readFileSync(join(directory, "ifindex"), "utf8")) !== ifindex) return undefined;
    return String(statSync(directory, { bigint: true }).ino);
  } catch {
    // It has gone, or sysfs is that of another network namespace.
    return undefined;
  }
}

/** The identity of a link when it was last seen. */
export interface LinkIdentity {
  readonly ifindex: number;
  readonly name: string;
  readonly birth?: string;
  /** Its hardware address. Only used where births cannot be compared: plugins may change it, and give many links the same. */
  readonly address?: string;
}

/** Whether two of one index are the same link, as far as the evidence goes. */
export function isSameLink(a: LinkIdentity, b: LinkIdentity): boolean {
  if (a.ifindex !== b.ifindex) return false;
  if (a.birth !== undefined && b.birth !== undefined) return a.birth === b.birth;
  return a.name === b.name && a.address === b.address;
}

export const identityOf = ({ ifindex, name, birth, address }: LinkIdentity): LinkIdentity => ({
  ifindex,
  name,
  ...(birth === undefined ? {} : { birth }),
  ...(address === undefined ? {} : { address }),
});
