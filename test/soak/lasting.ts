// Connections that have to last over 1,000 restarts and upgrades: which of them are older than Weir, and lived on by evidence.

import { spawnSync } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import type { SoakNode } from "./node.ts";
import type { Opened } from "./prober.ts";

const TABLE = "wt-soak-track";
/** Of so many connections conntrack sees all but one. */
const UNTRACKED_EVERY = 5;
/** What has been answered nothing for a second is opened again (prober.c), and that takes a few seconds on a busy machine. */
const RENEWED_MS = 4_000;
const OPEN_MS_MAX = 30_000;

export interface Lasting {
  /** Connections that were open before the first agent was started. */
  readonly before: ReadonlyMap<number, Opened>;
  /** Of them, those that conntrack does not see. */
  readonly untracked: ReadonlySet<number>;
}

function nft(script: string): void {
  const { status, stderr } = spawnSync("nft", ["-f", "-"], { input: script, encoding: "utf8" });
  if (status !== 0) throw new Error(`nft: ${stderr}`);
}

async function allOpen(node: SoakNode): Promise<ReadonlyMap<number, Opened>> {
  for (const deadline = Date.now() + OPEN_MS_MAX; ; await sleep(100)) {
    const now = await node.prober.opened();
    const open = [...now.values()].filter(({ isOpen }) => isOpen).length;
    if (open === now.size) return now;
    if (Date.now() > deadline) throw new Error(`${open} of ${now.size} connections are open`);
  }
}

/** Opens all connections before there is an agent, with conntrack, as kube-proxy's rules turn it on, but for some of them. */
export async function openBefore(node: SoakNode): Promise<Lasting> {
  const transfers = [...node.probes.values()].filter(({ kind }) => kind === "transfer");
  const untracked = transfers.filter((_, index) => index % UNTRACKED_EVERY === 0);
  const rules = untracked.flatMap(({ from, to, family, port }) => {
    const [ip, of] = family === 4 ? (["ip", "v4"] as const) : (["ip6", "v6"] as const);
    const [client, server] = [node.podAt(from)[of], node.podAt(to)[of]];
    return [
      `${ip} saddr ${client} ${ip} daddr ${server} tcp dport ${port} notrack`,
      `${ip} saddr ${server} ${ip} daddr ${client} tcp sport ${port} notrack`,
    ];
  });
  nft(
    [
      `table inet ${TABLE} {`,
      "chain untracked { type filter hook prerouting priority raw;",
      ...rules,
      "}",
      "chain seen { type filter hook forward priority filter; ct state established counter",
      "}",
      "}",
    ].join("\n"),
  );
  // Those that were opened before these rules are opened again.
  node.prober.renew(transfers.map(({ id }) => id));
  await node.prober.sync();
  await sleep(500);
  return { before: await allOpen(node), untracked: new Set(untracked.map(({ id }) => id)) };
}

const replaced = (before: ReadonlyMap<number, Opened>, now: ReadonlyMap<number, Opened>): number[] =>
  [...before].filter(([id, { number }]) => now.get(id)?.number !== number).map(([id]) => id);

/** Once the first agent has isolated the pods: which connections it ended. From here on conntrack is off, and has no entries. */
export async function afterFirst(node: SoakNode, { before, untracked }: Lasting) {
  await sleep(RENEWED_MS);
  const now = await allOpen(node);
  const ended = replaced(before, now);
  nft(`delete table inet ${TABLE}`);
  const flushed = spawnSync("conntrack", ["-F"], { encoding: "utf8" });
  if (flushed.status !== 0) throw new Error(`conntrack -F: ${flushed.stderr}`);
  const tracked = ended.filter((id) => !untracked.has(id)).length;
  return {
    now,
    /** Tracked connections that ended all the same: none should. */
    tracked,
    text: `${before.size} connections were older than Weir: ${before.size - ended.length} lived on, ${ended.length} had no evidence in conntrack and ended (${untracked.size} were not tracked)`,
  };
}

/** At the end: whether all are the same connections still. */
export async function atEnd(node: SoakNode, since: ReadonlyMap<number, Opened>) {
  const lost = replaced(since, await node.prober.opened());
  const sum = (field: string): number =>
    node.migrations.reduce(
      (total, line) => total + Number(new RegExp(` ${field}=(\\d+)`).exec(line)?.[1] ?? 0),
      0,
    );
  const failed = node.migrations.filter((line) => line.includes("cannot be migrated")).length;
  return {
    lost,
    text: `${since.size - lost.length} of ${since.size} connections lasted to the end; ${sum("flows")} flows were taken over to another layout, ${failed} times some could not be`,
  };
}
