// The node's network interfaces, by index, as sysfs lists them.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { codeOf } from "../base/errors.ts";

const DIRECTORY = "/sys/class/net";

/** Name of every interface of this network namespace, by index. */
export function interfaceNames(): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const name of readdirSync(DIRECTORY)) {
    const index = indexOf(name);
    if (index !== undefined) names.set(index, name);
  }
  return names;
}

/** Undefined where the interface went away since it was listed, or is no interface (bonding_masters). */
function indexOf(name: string): number | undefined {
  try {
    return Number(readFileSync(join(DIRECTORY, name, "ifindex"), "utf8"));
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EINVAL"].includes(codeOf(error) ?? "")) return undefined;
    throw error;
  }
}
