// The history of a real agent: exact sums with peers, over a graceful end, kill -9, and a directory that cannot be written.

import { execFileSync } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import type { HistoryRowView, HistoryView, TopView } from "../../src/observe/history-views.ts";
import { FRIEND, FRIENDS_ONLY, SERVER, SERVER_V4, SERVER_V6, STRANGER, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const METRICS = "127.0.0.1:9481";
const DIRECTORY = "/run/wt-history/history";
/** More than a minute: blocks are written at its end. */
const PATIENCE_MS = 150_000;

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-history", { "friends-only.yaml": FRIENDS_ONLY }));
  agent = await world.start("--metrics-listen", METRICS);
});

afterAll(() => world?.close());

async function json<T>(...args: readonly string[]): Promise<T> {
  const { status, stdout, stderr } = await world.weir(...args, "-o", "json");
  expect({ args, status, stderr: status === 0 ? "" : stderr }).toEqual({ args, status: 0, stderr: "" });
  return JSON.parse(stdout) as T;
}

const drops = (...args: readonly string[]): Promise<HistoryView> => json("drops", ...args);

const sum = (rows: readonly HistoryRowView[]): number => rows.reduce((all, { packets }) => all + packets, 0);

/** Asks until `isDone`: events take a moment from the kernel. */
async function until<T>(ask: () => Promise<T>, isDone: (answer: T) => boolean): Promise<T> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(50)) {
    const answer = await ask();
    if (isDone(answer)) return answer;
    if (Date.now() > deadline) throw new Error(`not within ${PATIENCE_MS} ms: ${JSON.stringify(answer)}`);
  }
}

/** This many datagrams from the stranger, all of them denied. */
async function deny(count: number, address = SERVER_V4): Promise<void> {
  for (let sent = 0; sent < count; sent += 1)
    await world.lab.probe(STRANGER, { kind: "udp", address, port: 80, timeoutMs: 100, once: true });
}

async function total(metric: string): Promise<number> {
  const text = await (await fetch(`http://${METRICS}/metrics`)).text();
  return text
    .split("\n")
    .filter((line) => line.startsWith(`${metric}{`) || line.startsWith(`${metric} `))
    .reduce((all, line) => all + Number(line.slice(line.lastIndexOf(" "))), 0);
}

it("has what was dropped, with peer, port and policy", async () => {
  await deny(5);
  const view = await until(drops, ({ rows }) => sum(rows.filter(({ peer }) => peer === STRANGER)) === 5);
  expect(view.total.packets).toBe(5);
  expect(view.rows).toMatchObject([
    {
      pod: SERVER,
      direction: "ingress",
      reason: "denied",
      peer: STRANGER,
      port: "UDP/80",
      policies: ["shop/friends-only"],
      packets: 5,
    },
  ]);
  for (const [by, name] of [
    ["pod", SERVER],
    ["peer", STRANGER],
    ["policy", "shop/friends-only"],
  ] as const)
    expect((await drops("--by", by)).rows).toMatchObject([{ [by]: name, packets: 5 }]);
  expect((await drops("--pod", STRANGER)).total.packets).toBe(5);
  expect((await drops("--pod", FRIEND)).total.packets).toBe(0);
  expect((await world.weir("drops", "--pod", "shop/none")).status).toBe(4);
  const { stdout } = await world.weir("monitor", "--since", "10m");
  expect(stdout).toMatch(
    /^[-0-9]{10}T[0-9:]{5}Z denied ingress shop\/server <- shop\/stranger UDP\/80: 5 packets, [0-9]+ B \(shop\/friends-only\)\n$/,
  );
});

it("has the pods with the most connections, and who the peers are", async () => {
  for (let count = 0; count < 3; count += 1)
    await world.lab.probe(FRIEND, { kind: "tcp", address: SERVER_V4, port: 80, timeoutMs: 20_000 });
  const top = await json<TopView>("top", "--by", "connections");
  expect(top.pods[0]).toMatchObject({ pod: SERVER, connections: 3, dropped: 5 });
  expect(top.pods[0]?.ingress.bytes).toBeGreaterThan(0);
  // New flows are recorded though nobody follows them, and no client is shown them.
  const { stdout } = await until(
    () => world.weir("monitor", "--since", "10m", "--reason", "policy"),
    (answer) => answer.stdout.includes("3 packets"),
  );
  expect(stdout).toContain(`policy ingress ${SERVER} <- ${FRIEND} TCP/80: 3 packets`);
  expect((await world.weir("monitor", "--verdict", "passed")).stdout).toBe("");
});

it("goes on after kill -9: sums are exact, and so are Prometheus' totals", async () => {
  await deny(4);
  await until(drops, (view) => view.total.packets === 9);
  const before = { packets: await total("weir_packets_total"), events: await total("weir_events_total") };
  expect(before.packets).toBeGreaterThan(9);
  await agent.kill();
  await deny(3, SERVER_V6);
  agent = await world.start("--metrics-listen", METRICS);
  const view = await until(drops, ({ total: { packets } }) => packets >= 12);
  expect(view.total.packets).toBe(12);
  expect(await total("weir_packets_total")).toBeGreaterThanOrEqual(before.packets + 3);
  expect(await total("weir_events_total")).toBeGreaterThanOrEqual(before.events);
});

it("goes on after a graceful end, without a peer lost", async () => {
  await deny(6);
  const peers = (view: HistoryView): number => sum(view.rows.filter(({ peer }) => peer === STRANGER));
  const before = await until(drops, (view) => view.total.packets === 18 && peers(view) >= 6);
  await agent.stop();
  agent = await world.start("--metrics-listen", METRICS);
  const after = await drops();
  expect(after.total).toEqual(before.total);
  expect(peers(after)).toBeGreaterThanOrEqual(peers(before));
});

it("reports files that are damaged, and keeps the rest", async () => {
  await agent.stop();
  const newest = join(DIRECTORY, readdirSync(DIRECTORY).sort().at(-1) ?? "");
  const { length } = readFileSync(newest);
  truncateSync(newest, length - 5);
  writeFileSync(join(DIRECTORY, "000000000000.history"), "nonsense");
  agent = await world.start("--metrics-listen", METRICS);
  const { stderr, stdout } = await world.weir("drops", "-o", "json");
  expect(stderr).toMatch(/[0-9]+ bytes of the history are damaged: minutes are missing/);
  expect((JSON.parse(stdout) as HistoryView).damaged).toBeGreaterThan(8);
  expect((await world.weir("status")).stdout).toMatch(/bytes of the history in .* are damaged/);
});

it("enforces without it where it cannot be written, and says so", async () => {
  await agent.stop();
  writeFileSync("/run/wt-history/not-a-directory", "");
  agent = await world.start(
    "--metrics-listen",
    METRICS,
    "--history-dir",
    "/run/wt-history/not-a-directory/x",
  );
  const before = (await drops()).total.packets;
  await deny(2);
  await until(drops, ({ total: { packets } }) => packets === before + 2);
  expect((await world.weir("status")).stdout).toContain("enforcement is not affected");
});

it("enforces on a full disk, keeps the minutes in memory, and writes them when there is space", async () => {
  await agent.stop();
  const full = "/run/wt-history/full";
  mkdirSync(full);
  execFileSync("mount", ["-t", "tmpfs", "-o", "size=64k,nr_inodes=8", "none", full]);
  try {
    writeFileSync(join(full, "ballast"), Buffer.alloc(64 * 1024 - 4096));
    writeFileSync(join(full, "more"), Buffer.alloc(4096));
    agent = await world.start("--metrics-listen", METRICS, "--history-dir", full);
    const before = (await drops()).total.packets;
    await deny(2);
    await until(drops, ({ total: { packets } }) => packets === before + 2);
    const status = () => world.weir("status");
    // At the end of the minute.
    await until(status, ({ stdout }) => stdout.includes("the history cannot be written"));
    expect((await status()).stdout).toMatch(
      /ENOSPC[^\n]*enforcement is not affected; [0-9]+ minutes? are in memory/,
    );
    expect((await drops()).total.packets).toBe(before + 2);
    rmSync(join(full, "ballast"));
    await agent.stop();
    expect(readdirSync(full).filter((name) => name.endsWith(".history")).length).toBe(1);
    agent = await world.start("--metrics-listen", METRICS, "--history-dir", full);
    expect((await drops()).total.packets).toBe(before + 2);
    await agent.stop();
  } finally {
    execFileSync("umount", ["-l", full]);
  }
}, 400_000);

it("starts with a file of counts that is cut off, says so, and counts on", async () => {
  const path = "/run/wt-history/counters.json";
  truncateSync(path, 100);
  agent = await world.start("--metrics-listen", METRICS);
  expect((await world.weir("status")).stdout).toContain("the counts of an earlier agent cannot be read");
  const before = await until(drops, () => true);
  await deny(2);
  await until(drops, ({ total: { packets } }) => packets === before.total.packets + 2);
});
