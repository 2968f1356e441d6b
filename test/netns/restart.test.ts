// An agent that dies and comes back: enforcement stays as it was, and the new agent takes over without an open or a closed moment.

import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import { mismatchesOf } from "./reach.ts";
import {
  EVERYTHING_OPEN,
  FRIEND,
  FRIENDS_ONLY,
  FRIENDS_ONLY_HOLDS,
  SERVER_V4,
  smallWorld,
} from "./small-world.ts";
import { expectNoGlitch, watchWhile } from "./watched.ts";
import { openWorld, type World } from "./world.ts";

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-restart", { "friends-only.yaml": FRIENDS_ONLY }));
  agent = await world.start();
});

afterAll(() => world?.close());

it("kill -9 of the agent leaves enforcement as it was", async () => {
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  expectNoGlitch(await watchWhile(world.lab, () => agent.kill()));
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
});

it("without an agent, commands still answer, and report that there is none", async () => {
  const status = await world.weir("status", "-o", "json");
  expect(JSON.parse(status.stdout)).toMatchObject({ agent: { running: false } });
  const dump = await world.weir("maps", "dump", "cidrs");
  expect({ status: dump.status, stderr: dump.stderr }).toEqual({ status: 0, stderr: "" });
});

it("a new agent takes over from the dead one, without a gap", async () => {
  expectNoGlitch(
    await watchWhile(world.lab, async () => {
      agent = await world.start();
    }),
  );
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
});

it("and again, after a graceful end", async () => {
  expectNoGlitch(
    await watchWhile(world.lab, async () => {
      await agent.stop();
      await sleep(200);
      agent = await world.start();
    }),
  );
});

it("a connection survives the death and the return of the agent", async () => {
  const flow = await world.lab.open(FRIEND, { kind: "tcp", address: SERVER_V4, port: 81, timeoutMs: 20_000 });
  expect(flow).toBeTypeOf("number");
  const say = async (): Promise<string> => (await world.lab.say(FRIEND, flow as number, 20_000)).result;
  expect(await say()).toBe("reached");
  await agent.kill();
  expect(await say()).toBe("reached");
  agent = await world.start();
  expect(await say()).toBe("reached");
});

it("changes of the manifests meanwhile take effect as soon as a new agent runs", async () => {
  await agent.kill();
  world.manifests.remove("friends-only.yaml");
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  agent = await world.start();
  expect(await mismatchesOf(world.lab, EVERYTHING_OPEN)).toEqual([]);
});
