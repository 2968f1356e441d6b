// Audit mode over real sockets: what would be dropped passes and is reported, also after a restart; enforced, it is dropped.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { EventView } from "../../src/events/packet-event.ts";
import { namespaceManifest } from "../../src/lab/lab-manifests.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { growth } from "./counted.ts";
import { mismatchesOf } from "./reach.ts";
import {
  EVERYTHING_OPEN,
  FRIENDS_ONLY,
  FRIENDS_ONLY_HOLDS,
  SERVER,
  STRANGER,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const PATIENCE_MS = 60_000;

let world: World;
let agent: Agent;

const namespaceOf = (mode: "audit" | "enforce"): readonly object[] => [
  namespaceManifest("shop", { "weir.dev/mode": mode }),
];

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-audit", { "friends-only.yaml": FRIENDS_ONLY }));
  world.manifests.put("namespaces.yaml", namespaceOf("audit"));
  agent = await world.start();
});

afterAll(() => world?.close());

async function output(...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await world.weir(...args);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout;
}

/** Nothing is dropped, and what FRIENDS_ONLY denies counts as audit. */
async function expectAudited(): Promise<void> {
  const counted = await growth(
    world,
    SERVER,
    ["ingress audit", "ingress denied", "egress denied"],
    async () => {
      expect(await mismatchesOf(world.lab, EVERYTHING_OPEN)).toEqual([]);
    },
  );
  expect(counted["ingress audit"]).toBeGreaterThan(0);
  expect(counted).toMatchObject({ "ingress denied": 0, "egress denied": 0 });
}

it("a namespace in audit mode drops nothing, and reports what it would drop", async () => {
  await expectAudited();
  const deadline = Date.now() + PATIENCE_MS;
  const args = ["monitor", "--verdict", "audit", "--from", STRANGER, "--last", "1", "-o", "json"];
  let line = await output(...args);
  for (; line === "" && Date.now() < deadline; line = await output(...args)) await sleep(50);
  const event = JSON.parse(line) as EventView;
  expect(event).toMatchObject({ verdict: "audit", endpoint: SERVER, policies: ["shop/friends-only"] });
  expect(event.text).toMatch(
    /^ingress of shop\/server is isolated by shop\/friends-only \(audit\), nothing allows .* from shop\/stranger, which passes$/,
  );
});

it("is shown by get, trace and without an agent", async () => {
  expect(await output("get", "endpoints", "--pod", SERVER)).toContain("audit:friends-only");
  expect(await output("get", "policies")).toContain("audited");
  const traced = await output("trace", "--from", STRANGER, "--to", SERVER, "--port", "80");
  expect(traced).toContain("isolated by shop/friends-only (audit: it passes)");
  await agent.kill();
  expect((await world.weir("get", "endpoints")).stdout).toMatch(/audit:policy \d/);
  expect(await mismatchesOf(world.lab, EVERYTHING_OPEN)).toEqual([]);
});

it("survives a restart", async () => {
  agent = await world.start();
  await expectAudited();
});

it("is enforced when the mode says so, and not if the whole node is in audit mode", async () => {
  await agent.change(() => world.manifests.put("namespaces.yaml", namespaceOf("enforce")));
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  await agent.stop();
  agent = await world.start("--mode", "audit");
  await expectAudited();
  expect((await world.weir("status")).stdout).toMatch(/^mode: +audit/m);
});
