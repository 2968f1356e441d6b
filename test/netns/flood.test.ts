// More flows than the tables hold, while connections go on: evicted flows are judged by policy, and live on.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { growth } from "./counted.ts";
import { FRIEND, FRIENDS_ONLY, SERVER, SERVER_V4, SERVER_V6, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const CHILD = fileURLToPath(new URL("flood-child.ts", import.meta.url));
const FLOOD = { sockets: 4, first: 10_000, ports: 50_000 } as const;
const FLOWS = FLOOD.sockets * FLOOD.ports;
const CONNECTIONS = 50;
const PATIENCE_MS = 30_000;
/** Busy connections repeat this. */
const BUSY_BYTES = 20_000;

/** Isolates the other end too, so that every flow takes two entries: the tables have capacity for 262,144 and for 131,072. */
const FRIEND_TO_SERVER = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: friend, namespace: shop }
spec:
  podSelector: { matchLabels: { role: friend } }
  policyTypes: [Ingress, Egress]
  egress: [{ to: [{ podSelector: { matchLabels: { role: server } } }] }]
`;

let world: World;

beforeAll(async () => {
  const files = { "friends-only.yaml": FRIENDS_ONLY, "friend.yaml": FRIEND_TO_SERVER };
  world = await openWorld(smallWorld("wt-flood", files));
  await world.start();
});

afterAll(() => world?.close());

/** From the friend to the server, on every port. */
async function flood(address: string): Promise<void> {
  const numbers = [FLOOD.sockets, FLOOD.first, FLOOD.ports].map(String);
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", CHILD, address, ...numbers];
  const child = spawn("ip", ["netns", "exec", world.lab.wire(FRIEND).netns, ...node], { stdio: "inherit" });
  const [status] = (await once(child, "exit")) as [number | null];
  expect(status).toBe(0);
}

async function openConnection(address: string): Promise<number> {
  const flow = await world.lab.open(FRIEND, { kind: "tcp", address, port: 81, timeoutMs: PATIENCE_MS });
  expect(flow).toBeTypeOf("number");
  return flow as number;
}

/** One round trip on each; a reset would show as a closed connection. */
async function sayOnAll(flows: readonly number[], bytes?: number): Promise<void> {
  const said = await Promise.all(flows.map((flow) => world.lab.say(FRIEND, flow, PATIENCE_MS, bytes)));
  expect(said.filter(({ result }) => result !== "reached")).toEqual([]);
}

describe(`${FLOWS} flows`, () => {
  it.each([SERVER_V4, SERVER_V6])(`do not affect ${CONNECTIONS} connections to %s`, async (address) => {
    const all = await Promise.all(Array.from({ length: CONNECTIONS }, () => openConnection(address)));
    await sayOnAll(all);
    const [busy, idle] = [all.slice(0, CONNECTIONS / 2), all.slice(CONNECTIONS / 2)];
    const flooded = await growth(world, SERVER, ["ingress policy"], async () => {
      let isOver = false;
      const over = flood(address).finally(() => {
        isOver = true;
      });
      let rounds = 0;
      for (; !isOver; rounds += 1) await sayOnAll(busy, BUSY_BYTES);
      await over;
      expect(rounds).toBeGreaterThan(0);
    });
    expect(flooded["ingress policy"]).toBeGreaterThan(0.9 * FLOWS);
    // Which of the idle connections were evicted is the kernel's choice.
    await sayOnAll(idle);
    // With no entry left, the next segment of each is judged by policy.
    expect(await world.weir("conntrack", "flush", "--port", "81")).toMatchObject({ status: 0 });
    const judged = await growth(world, FRIEND, ["egress policy"], () => sayOnAll(all, BUSY_BYTES));
    expect(judged["egress policy"]).toBeGreaterThanOrEqual(all.length);
  });
});
