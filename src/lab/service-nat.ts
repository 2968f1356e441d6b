// Rewriting of destinations on the way through the node, as kube-proxy does it for Services: by rules of nftables.

import { spawnSync } from "node:child_process";
import { OperationError } from "../base/errors.ts";

/** Connections to one address and port that are to go to another. */
export interface Rewrite {
  readonly address: string;
  readonly protocol: "tcp" | "udp" | "sctp";
  readonly port: number;
  readonly to: { readonly address: string; readonly port: number };
  /** Whether the node's address takes the place of the sender's. */
  readonly masquerade: boolean;
}

const MARK = "0x4000";

/** Puts these rules, and no others, into the lab's own table; without any the table goes. @throws OperationError */
export function rewrite(table: string, rewrites: readonly Rewrite[]): void {
  // Made first, so that it can be removed whether it was there or not; nft applies all of it or nothing.
  const gone = [`table inet ${table} {}`, `delete table inet ${table}`];
  const made = [
    `table inet ${table} {`,
    "chain prerouting { type nat hook prerouting priority dstnat;",
    ...rewrites.map(ruleOf),
    "}",
    "chain postrouting { type nat hook postrouting priority srcnat;",
    `meta mark and ${MARK} == ${MARK} masquerade`,
    "}",
    "}",
  ];
  nft([...gone, ...(rewrites.length === 0 ? [] : made)].join("\n"), table);
}

function ruleOf({ address, protocol, port, to, masquerade }: Rewrite): string {
  const six = address.includes(":");
  const family = six ? "ip6" : "ip";
  const target = six ? `[${to.address}]:${to.port}` : `${to.address}:${to.port}`;
  const mark = masquerade ? `meta mark set mark or ${MARK} ` : "";
  return `${family} daddr ${address} ${protocol} dport ${port} ${mark}dnat ${family} to ${target}`;
}

function nft(script: string, table: string): void {
  const done = spawnSync("nft", ["-f", "-"], { input: script, encoding: "utf8" });
  if (done.status === 0) return;
  const reason = (done.stderr ?? "").trim() || done.error?.message || `exit status ${done.status}`;
  throw new OperationError(reason, {
    operation: "write",
    object: `nftables' table ${table}`,
    cause: done.error,
  });
}
