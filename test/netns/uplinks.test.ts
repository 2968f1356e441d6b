// Denied prefixes on an uplink: over real sockets, while the file changes, is invalid, or no agent runs to read it.

import { execFileSync } from "node:child_process";
import { rmSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { mismatchesOf } from "./reach.ts";
import { SERVER_V4, single, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

/** A machine outside the cluster, with addresses in a good and in a bad neighbourhood. Its wire is the node's uplink. */
const OUTSIDE = {
  name: "outside",
  addresses: ["10.63.70.1", "10.63.71.1", "fd63:70::1", "fd63:71::1"],
  tcp: [80],
  udp: [80],
} as const;
const BRIDGE = "wt-uplinks-0";
const FILE = "/run/wt-uplinks/deny.txt";
const PATIENCE_MS = 60_000;

let world: World;
let agent: Agent;

const link = (): string => world.lab.wire(OUTSIDE.name).link;
const args = (): string[] => ["--uplink", `${link()},${BRIDGE}`, "--deny-cidrs", FILE];

beforeAll(async () => {
  world = await openWorld({ ...smallWorld("wt-uplinks"), machines: [OUTSIDE] });
  if (ipJson(["link", "show"]).some(({ ifname }) => ifname === BRIDGE)) ipBatch([`link del ${BRIDGE}`]);
  // Its driver has no XDP of its own.
  ipBatch([`link add ${BRIDGE} type bridge`]);
  world.lab.defer(() => ipBatch([`link del ${BRIDGE}`]));
  writeFileSync(FILE, "# bad neighbourhoods\n10.63.71.0/24\nfd63:71::/64\n");
  agent = await world.start(...args());
});

afterAll(() => world?.close());

const DENIED = `
  outside@10.63.71.1 -> shop/server tcp/80 udp/80 icmp : --
  outside@fd63:71::1 -> shop/server tcp/80 udp/80 icmp : --
  outside@10.63.70.1 -> shop/server tcp/80 udp/80 icmp : 4-
  outside@fd63:70::1 -> shop/server tcp/80 udp/80 icmp : -6`;

const ONLY_70_DENIED = `
  outside@10.63.70.1 -> shop/server tcp/80 udp/80 icmp : --
  outside@fd63:70::1 -> shop/server tcp/80 udp/80 icmp : -6
  outside@10.63.71.1 -> shop/server tcp/80 udp/80 icmp : 4-
  outside@fd63:71::1 -> shop/server tcp/80 udp/80 icmp : -6`;

const holds = async (table: string): Promise<void> => {
  expect(await mismatchesOf(world.lab, table)).toEqual([]);
};

interface Status {
  readonly health: string;
  readonly problems: readonly { readonly text: string }[];
  readonly uplinks: {
    readonly prefixes: number;
    readonly interfaces: readonly { readonly name: string; readonly mode: string }[];
    readonly frames: Readonly<Record<string, number>>;
  };
}

const status = async (): Promise<Status> =>
  JSON.parse((await world.weir("status", "-o", "json")).stdout) as Status;

/** Waits until the agent reports it. */
async function until(says: (now: Status) => boolean): Promise<Status> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(30)) {
    const now = await status();
    if (says(now) || Date.now() > deadline) {
      expect(says(now), JSON.stringify(now)).toBe(true);
      return now;
    }
  }
}

it("drops what comes from a denied prefix, in both families, and nothing else", () => holds(DENIED));

it("reports how it is attached to each uplink, and how much it dropped", async () => {
  const { health, uplinks } = await status();
  expect(health).toBe("ok");
  expect(uplinks).toMatchObject({
    prefixes: 2,
    interfaces: [
      { name: link(), mode: "native" },
      { name: BRIDGE, mode: "generic" },
    ],
  });
  expect(uplinks.frames["denied"]).toBeGreaterThan(5);
  expect((await world.weir("status")).stdout).toMatch(
    new RegExp(
      `^uplinks: +${link()} \\(native\\), ${BRIDGE} \\(generic\\), 2 prefixes denied; \\d+ frames dropped`,
      "m",
    ),
  );
});

it("counts by prefix, and by verdict on a frame", async () => {
  const dump = async (table: string) =>
    JSON.parse((await world.weir("maps", "dump", table, "-o", "json")).stdout);
  const denied: { prefix: string; packets: number }[] = await dump("denied");
  expect(denied.map(({ prefix }) => prefix)).toEqual(["10.63.71.0/24", "fd63:71::/64"]);
  for (const { packets } of denied) expect(packets).toBeGreaterThan(0);
  const uplinks: { reason: string; packets: number }[] = await dump("uplinks");
  const total = denied.reduce((sum, { packets }) => sum + packets, 0);
  expect(uplinks.find(({ reason }) => reason === "denied")?.packets).toBe(total);
});

it("follows the file", async () => {
  writeFileSync(FILE, "10.63.70.0/24\n");
  await until(({ uplinks }) => uplinks.prefixes === 1);
  await holds(ONLY_70_DENIED);
});

it("stays with the last good list if a line is wrong, and reports which", async () => {
  writeFileSync(FILE, "10.63.71.0/24\n\n10.63.71.0/\n");
  const { problems, uplinks } = await until(({ health }) => health === "degraded");
  expect(problems.map(({ text }) => text)).toEqual([
    `${FILE}:3: 10.63.71.0/: prefix length "" is not a number from 0 to 32; the previous list stays in force`,
  ]);
  expect(uplinks.prefixes).toBe(1);
  await holds(ONLY_70_DENIED);
});

it("or if the file is gone, and if the agent dies and comes back meanwhile", async () => {
  rmSync(FILE);
  await until(({ problems }) => problems[0]?.text.startsWith(`${FILE}: cannot be read`) === true);
  await agent.kill();
  await holds(ONLY_70_DENIED);
  agent = await world.start(...args());
  await until(({ health, uplinks }) => health === "degraded" && uplinks.prefixes === 1);
  await holds(ONLY_70_DENIED);
});

it("is healthy again when the file is", async () => {
  writeFileSync(FILE, "10.63.71.0/24\nfd63:71::/64\n");
  await until(({ health, uplinks }) => health === "ok" && uplinks.prefixes === 2);
  await holds(DENIED);
});

it("keeps the link alive if everyone is denied", async () => {
  writeFileSync(FILE, "0.0.0.0/0\n::/0\n");
  const before = await until(({ uplinks, health }) => uplinks.prefixes === 2 && health === "degraded");
  for (const family of ["-4", "-6"])
    execFileSync("ip", [family, "neigh", "flush", "dev", link()], { stdio: "ignore" });
  execFileSync("ip", ["-n", world.lab.wire(OUTSIDE.name).netns, "neigh", "flush", "all"], {
    stdio: "ignore",
  });
  for (const address of OUTSIDE.addresses)
    expect(await world.lab.probe("node", single("udp", address, 300))).toEqual({ result: "silent" });
  const { uplinks } = await status();
  expect(uplinks.frames["neighbour"]).toBeGreaterThan(before.uplinks.frames["neighbour"] as number);
  expect(await world.lab.probe(OUTSIDE.name, single("udp", SERVER_V4, 300))).toEqual({ result: "silent" });
  writeFileSync(FILE, "");
  await until(({ problems }) =>
    problems.some(({ text }) => /is empty; .*; the previous list stays in force$/.test(text)),
  );
  expect(await world.lab.probe(OUTSIDE.name, single("udp", SERVER_V4, 300))).toEqual({ result: "silent" });
  writeFileSync(FILE, "# weir.dev/empty\n");
  await until(({ uplinks, health }) => uplinks.prefixes === 0 && health === "ok");
  for (const address of OUTSIDE.addresses)
    expect(await world.lab.probe("node", single("udp", address, 20_000))).toMatchObject({
      result: "reached",
    });
});

it("reports an uplink that does not exist, and attaches to it when it appears", async () => {
  writeFileSync(FILE, "10.63.71.0/24\n");
  ipBatch([`link del ${BRIDGE}`]);
  const { problems } = await until(({ health }) => health === "degraded");
  expect(problems.map(({ text }) => text)).toEqual([
    `uplink ${BRIDGE}: the interface does not exist; nothing is dropped on it`,
  ]);
  ipBatch([`link add ${BRIDGE} type bridge`]);
  await until(({ health, uplinks }) => health === "ok" && uplinks.interfaces[1]?.mode === "generic");
});

it("an agent without uplinks detaches the program, and removes the list", async () => {
  await agent.stop();
  agent = await world.start();
  await holds("outside@10.63.71.1 -> shop/server tcp/80 udp/80 icmp : 4-");
  expect((await world.weir("maps", "dump", "denied", "-o", "json")).stdout).toBe("[]\n");
  const [found] = ipJson(["link", "show", "dev", link()]);
  expect(found).not.toHaveProperty("xdp");
});

it("cleanup leaves nothing on an uplink", async () => {
  await agent.stop();
  agent = await world.start(...args());
  await holds("outside@10.63.71.1 -> shop/server tcp/80 udp/80 icmp : --");
  await agent.stop();
  const { status: code, stderr } = await world.weir("cleanup");
  expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
  await holds("outside@10.63.71.1 -> shop/server tcp/80 udp/80 icmp : 4-");
});
