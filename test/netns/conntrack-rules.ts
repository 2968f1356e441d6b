// The kernel's conntrack in a lab's node: it is active if a rule uses it, as kube-proxy's do.

import { execFileSync } from "node:child_process";

/** What the command writes. @throws Error with its stderr */
export const run = (command: string, ...args: readonly string[]): string =>
  execFileSync(command, args, { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });

/** Makes conntrack see what the node forwards, by a table of nftables with this name. */
export function track(table: string): void {
  run("nft", "add", "table", "inet", table);
  run("nft", "add", "chain", "inet", table, "seen", "{ type filter hook forward priority 0; }");
  run("nft", "add", "rule", "inet", table, "seen", "ct", "state", "established", "counter");
}

export const untrack = (table: string): string => run("nft", "delete", "table", "inet", table);
