// What Prometheus reads from a running agent: packets as they were counted, and totals that never decrease.

import { afterAll, beforeAll, expect, it } from "vitest";
import { podManifest } from "../../src/lab/lab-manifests.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import {
  FRIEND,
  FRIENDS_ONLY,
  NOBODY,
  SERVER,
  SERVER_V4,
  SERVER_V6,
  STRANGER,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World, type WorldSpec } from "./world.ts";

const ADDRESS = "127.0.0.1:9479";
const SPEC = smallWorld("wt-metrics", { "friends-only.yaml": FRIENDS_ONLY });

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld(SPEC);
  agent = await world.start("--metrics-listen", ADDRESS);
});

afterAll(() => world?.close());

async function page(path: string): Promise<{ readonly status: number; readonly text: string }> {
  const response = await fetch(`http://${ADDRESS}${path}`);
  return { status: response.status, text: await response.text() };
}

/** The sum of a metric's series that have all these labels. */
async function read(metric: string, labels: Readonly<Record<string, string>> = {}): Promise<number> {
  const { text } = await page("/metrics");
  return text
    .split("\n")
    .filter((line) => line.startsWith(`${metric}{`) || line.startsWith(`${metric} `))
    .filter((line) => Object.entries(labels).every(([name, value]) => line.includes(`${name}="${value}"`)))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

const denied = (more: Readonly<Record<string, string>> = {}): Promise<number> =>
  read("weir_packets_total", { direction: "ingress", verdict: "dropped", reason: "denied", ...more });

/** This many datagrams, which are not answered. */
async function send(from: string, address: string, count: number): Promise<void> {
  for (let sent = 0; sent < count; sent += 1)
    await world.lab.probe(from, { kind: "udp", address, port: 80, timeoutMs: 200, once: true });
}

it("is alive and ready, and reports what is enforced", async () => {
  expect([(await page("/livez")).status, (await page("/readyz")).status]).toEqual([200, 200]);
  expect(await read("weir_generation_applied")).toBe(await read("weir_generation_wanted"));
  expect(await read("weir_endpoints", { state: "enforced" })).toBe(SPEC.pods.length);
  expect(await read("weir_endpoints_isolated", { direction: "ingress" })).toBe(1);
  expect(await read("weir_table_entries", { table: "endpoints" })).toBe(SPEC.pods.length);
  expect(await read("weir_apply_duration_seconds_count")).toBeGreaterThan(0);
});

it("counts what is dropped exactly, by family and by policy", async () => {
  const before = { v4: await denied({ family: "ipv4" }), v6: await denied({ family: "ipv6" }) };
  await send(STRANGER, SERVER_V4, 7);
  await send(STRANGER, SERVER_V6, 5);
  await send(FRIEND, SERVER_V4, 3);
  expect(await denied({ family: "ipv4" })).toBe(before.v4 + 7);
  expect(await denied({ family: "ipv6" })).toBe(before.v6 + 5);
  expect(
    await read("weir_policy_packets_total", { namespace: "shop", policy: "friends-only", reason: "denied" }),
  ).toBe(before.v4 + before.v6 + 12);
});

it("keeps the counts of an endpoint that is removed or returns", async () => {
  const before = await denied();
  expect(before).toBeGreaterThan(0);
  const manifestsOf = (pods: WorldSpec["pods"]) =>
    pods.map((pod) => podManifest(pod, world.lab.wire(pod.name)));
  const others = manifestsOf(SPEC.pods.filter(({ name }) => name !== SERVER));
  // The interface is removed with the object: one that lives on would stay the pod's.
  await agent.change(() => {
    world.lab.remove([SERVER]);
    world.manifests.put("pods.yaml", others);
  });
  expect(await denied()).toBe(before);
  await world.lab.add(SPEC.pods.filter(({ name }) => name === SERVER));
  await agent.change(() => world.manifests.put("pods.yaml", manifestsOf(SPEC.pods)));
  await send(STRANGER, SERVER_V4, 2);
  expect(await denied()).toBe(before + 2);
  await agent.change(() => world.manifests.put("friends-only.yaml", NOBODY));
  expect(await denied()).toBe(before + 2);
});

it("is off if so configured", async () => {
  await agent.stop();
  await world.start("--metrics-listen", "off");
  await expect(page("/metrics")).rejects.toThrow();
});
