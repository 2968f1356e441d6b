// API server and etcd that crash, freeze, lose data and refuse requests: enforcement stays, and missed changes are caught up.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import type { StatusView } from "../../src/observe/api-views.ts";
import { ask } from "../../src/observe/socket-client.ts";
import { mismatchesOf } from "../netns/reach.ts";
import type { Manifest } from "./api.ts";
import { namespaceOf } from "./objects.ts";
import { type LocalPod, openWorld, type World } from "./world.ts";

const WAIT_MS_MAX = 90_000;
const POLL_MS = 100;

const pod = (name: string, number: number): LocalPod => ({
  name: `shop/${name}`,
  labels: { role: name },
  addresses: [`10.63.73.${number}`, `fd63:73::${number}`],
  tcp: [80],
  udp: [80],
});

const policy = (name: string, from: string): Manifest => ({
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name, namespace: "shop" },
  spec: {
    podSelector: { matchLabels: { role: "server" } },
    ingress: [{ from: [{ podSelector: { matchLabels: { role: from } } }] }],
  },
});

const FRIENDS = policy("friends", "friend");
const STRANGERS = policy("strangers", "stranger");

const FRIENDS_ALONE = `
  shop/friend   -> shop/server tcp/80 udp/80 icmp : 46
  shop/stranger -> shop/server tcp/80 udp/80 icmp : --
`;
const STRANGERS_TOO = `
  shop/friend   -> shop/server tcp/80 udp/80 icmp : 46
  shop/stranger -> shop/server tcp/80 udp/80 icmp : 46
`;

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld("wc-out");
  await world.api.create(namespaceOf("shop"));
  await world.api.create(FRIENDS);
  await world.addPods([pod("server", 1), pod("friend", 2), pod("stranger", 3)]);
  agent = await world.start();
  await world.settled();
});

afterAll(() => world?.close());

beforeEach(() => expectReach(FRIENDS_ALONE));

const expectReach = async (table: string): Promise<void> =>
  expect(await mismatchesOf(world.lab, table)).toEqual([]);

/** The agent has caught up with all that it missed; logs how long that took. */
async function expectCaughtUp(what: string): Promise<void> {
  const afterMs = await world.settled(WAIT_MS_MAX);
  process.stdout.write(`${what}: caught up after ${Math.round(afterMs)} ms\n`);
}

/** Waits until `weir status` reports, with a matching reason, that policies are not followed. */
async function untilNotFollowed(reason: RegExp): Promise<void> {
  const deadline = Date.now() + WAIT_MS_MAX;
  for (;;) {
    const status = await ask<StatusView>(world.paths.socket, "/v1/status");
    const kind = status?.following?.kinds.find((each) => each.kind === "NetworkPolicy");
    if (kind?.state !== "following" && reason.test(kind?.failure?.reason ?? "")) return;
    if (Date.now() > deadline) throw new Error(`it says ${JSON.stringify(kind)}`);
    await sleep(POLL_MS);
  }
}

/** A change that shows that the agent follows again, and its removal. */
async function expectFollowing(): Promise<void> {
  await world.api.create(STRANGERS);
  await world.settled(WAIT_MS_MAX);
  await expectReach(STRANGERS_TOO);
  await world.api.remove(STRANGERS);
  await world.settled(WAIT_MS_MAX);
  await expectReach(FRIENDS_ALONE);
}

describe("an API server", () => {
  it("killed: the last state stays enforced, and the agent goes on when it is back", async () => {
    await world.servers.apiserver.kill();
    await untilNotFollowed(/./);
    await expectReach(FRIENDS_ALONE);
    await world.servers.apiserver.start();
    await expectCaughtUp("API server killed and started");
    await expectFollowing();
  });

  it("frozen for a while: changes after that take effect", async () => {
    world.servers.apiserver.freeze();
    await sleep(3_000);
    await expectReach(FRIENDS_ALONE);
    world.servers.apiserver.thaw();
    await expectFollowing();
  });

  it("away while the agent is killed and restarted: the kernel keeps its state", async () => {
    await world.servers.apiserver.kill();
    await agent.kill();
    await expectReach(FRIENDS_ALONE);
    agent = world.run();
    await sleep(2_000);
    await expectReach(FRIENDS_ALONE);
    await world.servers.apiserver.start();
    await expectCaughtUp("agent started before the API server");
    await expectFollowing();
  });
});

describe("etcd", () => {
  it("killed and started: nothing is lost", async () => {
    await world.servers.etcd.kill();
    await expectReach(FRIENDS_ALONE);
    await world.servers.etcd.start();
    await expectCaughtUp("etcd killed and started");
    await expectFollowing();
  });

  it("compacted, with deletions and additions while the API server was away: both are noticed", async () => {
    await world.api.create(STRANGERS);
    await world.settled();
    await world.servers.apiserver.kill();
    const key = Buffer.from("/registry/networkpolicies/shop/strangers").toString("base64");
    const { header } = (await world.servers.etcdCall("kv/deleterange", { key })) as {
      header: { revision: string };
    };
    await world.servers.etcdCall("kv/compaction", { revision: header.revision, physical: true });
    await expectReach(STRANGERS_TOO);
    await world.servers.apiserver.start();
    await expectCaughtUp("deleted and compacted while away");
    await expectReach(FRIENDS_ALONE);
    await expectFollowing();
  });

  it("restored to an older state: the agent goes back too, and follows from there", async () => {
    await world.servers.apiserver.kill();
    await world.servers.etcd.kill();
    const copy = world.servers.saveData();
    await world.servers.etcd.start();
    await world.servers.apiserver.start();
    await world.api.create(STRANGERS);
    // Versions later than the older state will see soon.
    for (let change = 0; change < 50; change += 1)
      await world.api.patch(STRANGERS, { metadata: { labels: { change: String(change) } } });
    await world.settled(WAIT_MS_MAX);
    await expectReach(STRANGERS_TOO);
    await world.servers.apiserver.kill();
    await world.servers.etcd.kill();
    world.servers.restoreData(copy);
    await world.servers.etcd.start();
    await world.servers.apiserver.start();
    await expectCaughtUp("etcd set back");
    await expectReach(FRIENDS_ALONE);
    await expectFollowing();
  });
});

describe("an agent", () => {
  it.each([
    ["whose token is revoked", /401/, () => world.access.revokeToken(), () => world.access.restoreToken()],
    ["whose rights are taken away", /403/, () => world.access.ungrant(), () => world.access.grant()],
  ] as const)(
    "%s reports it, keeps its last state, and goes on once it may",
    async (what, reason, take, giveBack) => {
      await take();
      // Open watches go on; a new API server authenticates again.
      await world.servers.apiserver.kill();
      await world.servers.apiserver.start();
      await untilNotFollowed(reason);
      await world.api.create(STRANGERS);
      await expectReach(FRIENDS_ALONE);
      await giveBack();
      await expectCaughtUp(`agent ${what}, and given back`);
      await expectReach(STRANGERS_TOO);
      await world.api.remove(STRANGERS);
      await world.settled();
    },
  );
});
