// A cluster policy over real sockets, and where its decisions are shown: `weir monitor` names policy, tier, priority and rule, metrics
// and `weir trace` do, and an emergency bypass opens what it denies.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { EventView } from "../../src/events/packet-event.ts";
import type { Probe } from "../../src/lab/pod-protocol.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { mismatchesOf } from "./reach.ts";
import {
  BYSTANDER,
  BYSTANDER_V4,
  FRIEND,
  FRIENDS_ONLY,
  SERVER,
  SERVER_V4,
  STRANGER,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const METRICS = "127.0.0.1:9476";
const PATIENCE_MS = 60_000;

const from = (role: string): string =>
  `[{ pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: ${role} } } } }]`;

/** The stranger is accepted on port 81 whatever NetworkPolicies say, and the friend denied on it; the rest is left to them. */
const ADMIN = `
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: guard }
spec:
  tier: Admin
  priority: 7
  subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: server } } } }
  ingress:
    - { name: strangers, action: Accept, from: ${from("stranger")}, protocols: [{ tcp: { destinationPort: { number: 81 } } }] }
    - { name: friends, action: Deny, from: ${from("friend")}, protocols: [{ tcp: { destinationPort: { number: 81 } } }] }
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: rest }
spec:
  tier: Baseline
  priority: 3
  subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: bystander } } } }
  ingress: [{ action: Deny, from: [{ namespaces: {} }] }]
---
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: a-later-one }
spec:
  tier: Admin
  priority: 70
  subject: { pods: { namespaceSelector: {}, podSelector: { matchLabels: { role: nobody } } } }
  ingress: [{ action: Deny, from: [{ namespaces: {} }] }]
`;

const HOLDS = `
  shop/friend    -> shop/server tcp/80 udp/80 : 46
  shop/friend    -> shop/server tcp/81 : --
  shop/stranger  -> shop/server tcp/81 : 46
  shop/stranger  -> shop/server tcp/80 udp/80 icmp : --
  shop/stranger  -> shop/bystander tcp/80 udp/80 icmp : --
  shop/stranger  -> shop/friend tcp/80 : 46`;

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-tiers", { "friends-only.yaml": FRIENDS_ONLY, "admin.yaml": ADMIN }));
  agent = await world.start("--metrics-listen", METRICS);
});

afterAll(() => world?.close());

const tcp = (address: string, port: number): Probe => ({
  ...{ kind: "tcp", address, port },
  ...{ timeoutMs: 200, once: true },
});

const holds = async (matrix: string): Promise<void> =>
  expect(await mismatchesOf(world.lab, matrix)).toEqual([]);

/** The first event of a probe that the filters of `weir monitor` leave and that fits: probed again, since events are limited. */
async function eventOf(
  source: string,
  probe: Probe,
  filters: readonly string[],
  fits: (event: EventView) => boolean,
): Promise<EventView> {
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(50)) {
    await world.lab.probe(source, probe);
    const { stdout } = await world.weir("monitor", "--last", "1000", "-o", "json", ...filters);
    const found = stdout
      .split("\n")
      .filter((line) => line !== "")
      .map((line) => JSON.parse(line) as EventView)
      .find(fits);
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`no such event within ${PATIENCE_MS} ms: ${stdout}`);
  }
}

async function packetsOf(policy: string): Promise<number> {
  const text = await (await fetch(`http://${METRICS}/metrics`)).text();
  return text
    .split("\n")
    .filter((line) => line.startsWith("weir_policy_packets_total{") && line.includes(`policy="${policy}"`))
    .filter((line) => line.includes('reason="denied"') && line.includes('namespace=""'))
    .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
}

it("the tiers decide before and after NetworkPolicies", () => holds(HOLDS));

it("a drop by a rule of the Admin tier names policy, tier, priority and rule", async () => {
  const event = await eventOf(
    FRIEND,
    tcp(SERVER_V4, 81),
    ["--from", FRIEND, "--to", SERVER],
    ({ decidedBy }) => decidedBy !== undefined,
  );
  expect(event).toMatchObject({
    ...{ verdict: "dropped", reason: "denied", endpoint: SERVER, policies: [] },
    decidedBy: {
      policy: "guard",
      tier: "Admin",
      priority: 7,
      action: "Deny",
      rule: "ingress[1]",
      name: "friends",
    },
  });
  expect(event.text).toBe(
    `ingress of ${SERVER}: TCP/81 from ${FRIEND} is denied by guard (Admin, priority 7) ingress[1] "friends"`,
  );
  const { stdout: short } = await world.weir("monitor", "--from", FRIEND, "--to", SERVER);
  expect(short).toContain("shop/server:81 TCP by guard (Admin, priority 7)");
  const wide = await world.weir("monitor", "--from", FRIEND, "--to", SERVER, "-o", "wide");
  expect(wide.stdout).toContain('is denied by guard (Admin, priority 7) ingress[1] "friends"');
});

it("policies are listed in the order in which they are evaluated, and counted", async () => {
  const { stdout } = await world.weir("get", "policies");
  expect(stdout.match(/^(<.*?>|shop) +\S+/gm)?.map((line) => line.replaceAll(/ {2,}/g, " "))).toEqual([
    "<Admin 7> guard",
    "<Admin 70> a-later-one",
    "<Baseline 3> rest",
    "shop friends-only",
  ]);
  expect((await world.weir("status")).stdout).toMatch(/^ok: 4 endpoints, 4 policies, all enforced/);
});

it("a drop by the Baseline tier does too, and one by a NetworkPolicy names that", async () => {
  const baseline = await eventOf(
    STRANGER,
    tcp(BYSTANDER_V4, 80),
    ["--to", BYSTANDER],
    ({ decidedBy }) => decidedBy !== undefined,
  );
  expect(baseline.decidedBy).toMatchObject({
    policy: "rest",
    tier: "Baseline",
    priority: 3,
    rule: "ingress[0]",
  });
  const own = await eventOf(
    STRANGER,
    tcp(SERVER_V4, 80),
    ["--from", STRANGER, "--to", SERVER],
    ({ to }) => to.port === 80,
  );
  expect(own).toMatchObject({ policies: ["shop/friends-only"], reason: "denied" });
  expect(own.decidedBy).toBeUndefined();
});

it("metrics count what is denied at the cluster policies of the pod", async () => {
  const before = [await packetsOf("guard"), await packetsOf("rest")];
  const probe = { kind: "udp", address: BYSTANDER_V4, port: 80, timeoutMs: 100, once: true } as const;
  for (let sent = 0; sent < 3; sent += 1) await world.lab.probe(STRANGER, probe);
  await expect.poll(() => packetsOf("rest"), { timeout: PATIENCE_MS }).toBe((before[1] ?? 0) + 3);
  expect(before[0]).toBeGreaterThan(0);
});

it("a bypass lets pass what the cluster policy denies, and reports it by its rule", async () => {
  const { status } = await world.weir("bypass", "pod", SERVER, "--for", "15m", "--reason", "INC-1");
  expect(status).toBe(0);
  await holds(`
    shop/friend    -> shop/server tcp/81 tcp/80 : 46
    shop/stranger  -> shop/server tcp/80 : 46
    shop/stranger  -> shop/bystander tcp/80 : --`);
  const event = await eventOf(
    FRIEND,
    tcp(SERVER_V4, 81),
    ["--verdict", "audit", "--from", FRIEND],
    ({ to }) => to.port === 81,
  );
  expect(event.decidedBy).toMatchObject({ policy: "guard", action: "Deny", rule: "ingress[1]" });
  expect(event.text).toMatch(
    /is denied by guard \(Admin, priority 7\) ingress\[1\] "friends" \(audit\), and passes$/,
  );
  expect((await world.weir("bypass", "end", "--all")).status).toBe(0);
  await holds(HOLDS);
});

it("a changed rule applies to connections, and the agent's end changes nothing", async () => {
  await agent.change(() =>
    world.manifests.put(
      "admin.yaml",
      ADMIN.replace("name: friends, action: Deny", "name: friends, action: Pass"),
    ),
  );
  await holds("shop/friend -> shop/server tcp/81 : 46");
  await agent.change(() => world.manifests.put("admin.yaml", ADMIN));
  await agent.kill();
  await holds(HOLDS);
  const traced = await world.weir(
    "trace",
    "--manifests",
    world.manifests.path,
    "--from",
    FRIEND,
    "--to",
    SERVER,
    "--port",
    "81",
  );
  expect(traced.status).toBe(3);
  expect(traced.stdout).toContain('denied by guard (Admin, priority 7) ingress[1] "friends"');
});
