// How soon a change at the API server takes effect for a packet, and how much memory a large cluster takes: measured, printed and kept.

import { readFileSync, writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { describeMachine } from "../../bench/common/machine.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import type { Manifest } from "./api.ts";
import { startBeat } from "./beat.ts";
import { namespaceOf } from "./objects.ts";
import { crowdNamespaces, crowdPod, crowdPolicy, preload } from "./preload.ts";
import { freePort } from "./servers.ts";
import { type LocalPod, openWorld, type World } from "./world.ts";

const IS_FULL = process.env["WEIR_CLUSTER_FULL"] === "1";
const CHANGES = IS_FULL ? 200 : 100;
const PODS = 1_000;
const PODS_MANY = 10_000;
const POLICIES_MANY = 1_000;
const KNOWN_MS_MAX = 180_000;
const POD_BYTES = { min: 9_000, max: 11_000 };

const pod = (name: string, number: number): LocalPod => ({
  name: `shop/${name}`,
  labels: { role: name },
  addresses: [`10.63.72.${number}`],
  udp: [80],
});

const LOCAL: readonly LocalPod[] = [pod("server", 1), pod("client", 2)];

const policy = (name: string, from: string): Manifest => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name, namespace: "shop" },
  spec: {
    podSelector: { matchLabels: { role: "server" } },
    ingress: [{ from: [{ podSelector: { matchLabels: { role: from } } }] }],
  },
});

/** Always present, so that the server is isolated from the start and it is recorded who opened a flow to it. */
const FRIENDS = policy("friends", "friend");
const CLIENT = policy("client", "client");

let world: World;
let agent: Agent;
let metricsPort: number;
const figures: Record<string, unknown> = {};

beforeAll(async () => {
  world = await openWorld("wc-fig");
  metricsPort = await freePort();
  await preload(world.servers, [...crowdNamespaces(), ...crowd(0, PODS)]);
  await world.api.create(namespaceOf("shop"));
  await world.api.create(FRIENDS);
  await world.addPods(LOCAL);
  agent = await world.start("--metrics-listen", `127.0.0.1:${metricsPort}`);
  await world.settled();
});

afterAll(() => {
  const file = process.env["WEIR_CLUSTER_FIGURES"];
  const report = { ...describeMachine(), load: loadavg(), ...figures };
  if (file !== undefined) writeFileSync(file, `${JSON.stringify(report, null, 2)}\n`);
  process.stdout.write(`figures: ${JSON.stringify(report)}\n`);
  world?.close();
});

const crowd = (from: number, to: number): Manifest[] =>
  Array.from({ length: to - from }, (_, index) => crowdPod(from + index));

/** Of times in milliseconds. */
function quantiles(times: readonly number[]): object {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share: number): number =>
    Math.round((sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0) * 10) / 10;
  return { count: sorted.length, p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

/** The value of a metric of the agent, labels included. */
async function metrics(): Promise<(name: string) => number> {
  const text = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
  const values = new Map(text.split("\n").map((line) => line.split(/ (?=\S+$)/) as [string, string]));
  return (name) => Number(values.get(name) ?? 0);
}

/** Sum and count of the agent's own histograms. */
async function phases(): Promise<Record<string, { sum: number; count: number }>> {
  const value = await metrics();
  return Object.fromEntries(
    ["compile", "apply", "attach"].map((phase) => {
      const name = `weir_${phase}_duration_seconds`;
      return [phase, { sum: value(`${name}_sum`), count: value(`${name}_count`) }];
    }),
  );
}

const now = (): number => performance.timeOrigin + performance.now();

describe("with 1,000 pods", () => {
  it("a pod of the crowd is as large as real ones are", () => {
    const bytes = JSON.stringify(crowdPod(1234)).length;
    expect(bytes).toBeGreaterThan(POD_BYTES.min);
    expect(bytes).toBeLessThan(POD_BYTES.max);
  });

  it("a policy takes effect for packets soon after it is written", async () => {
    const written: number[] = [];
    const inForce: number[] = [];
    const beat = startBeat(world.lab.wire("shop/client").netns, LOCAL[0]?.addresses[0] ?? "", 80);
    try {
      const before = await phases();
      for (let change = 0; change < CHANGES; change += 1) {
        const opens = change % 2 === 0;
        const startedAt = now();
        await (opens ? world.api.create(CLIENT) : world.api.remove(CLIENT));
        written.push(now() - startedAt);
        const changedAt = await beat.next(opens ? "open" : "shut");
        inForce.push(Math.max(0, changedAt - startedAt));
        // Each on its own: the agent has ended its reconciliation, and its debounce is over.
        await sleep(100 + Math.random() * 150);
      }
      const after = await phases();
      const means = Object.entries(after).map(([phase, { sum, count }]) => {
        const rounds = count - (before[phase]?.count ?? 0);
        return [phase, Math.round(((sum - (before[phase]?.sum ?? 0)) / rounds) * 10_000) / 10];
      });
      const writes = quantiles(written);
      figures["change"] = {
        pods: PODS,
        inForceMs: quantiles(inForce),
        writtenMs: writes,
        meanMs: Object.fromEntries(means),
      };
      expect(inForce).toHaveLength(CHANGES);
    } finally {
      beat.close();
    }
  });
});

function inLargeCluster(): void {
  const memory = (): object => {
    const status = readFileSync(`/proc/${agent.pid}/status`, "utf8");
    const mebibytes = (field: string): number =>
      Math.round(Number(new RegExp(`^${field}:\\s+(\\d+) kB`, "m").exec(status)?.[1] ?? 0) / 1024);
    return { rssMiB: mebibytes("VmRSS"), peakMiB: mebibytes("VmHWM") };
  };

  /** Until the kernel has both addresses of every pod, and the agent every policy; in milliseconds. */
  async function known(): Promise<number> {
    const startedAt = now();
    for (;;) {
      // Before the agent answers, it has read nothing.
      const value = await metrics().catch(() => () => 0);
      const addresses = value('weir_table_entries{table="addresses"}');
      const policies = value('weir_policies{state="readable"}');
      const isApplied = value("weir_applied_timestamp_seconds") > 0;
      if (isApplied && addresses >= 2 * PODS_MANY && policies > POLICIES_MANY)
        return Math.round(now() - startedAt);
      if (now() - startedAt > KNOWN_MS_MAX) throw new Error(`${addresses} addresses, ${policies} policies`);
      await sleep(250);
    }
  }

  it("the agent has them all, and reports how much memory that takes", async () => {
    await preload(world.servers, [
      ...crowd(PODS, PODS_MANY),
      ...Array.from({ length: POLICIES_MANY }, (_, index) => crowdPolicy(index)),
    ]);
    const followedMs = await known();
    const followed = memory();
    await agent.stop();
    const startedAt = now();
    agent = world.run("--metrics-listen", `127.0.0.1:${metricsPort}`);
    await known();
    const knownMs = Math.round(now() - startedAt);
    const started = memory();
    await world.settled(KNOWN_MS_MAX);
    const counts = { pods: PODS_MANY, policies: POLICIES_MANY };
    figures["memory"] = { ...counts, followedMs, followed, knownMs, started, asked: memory() };
  });
}

// It takes some minutes.
if (IS_FULL) describe(`with ${PODS_MANY} pods and ${POLICIES_MANY} policies`, inLargeCluster);
