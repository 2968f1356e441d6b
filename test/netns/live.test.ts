// Policies that change under running traffic: how soon a change takes effect, and what happens to existing connections.

import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Sample } from "../../src/lab/pod-protocol.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { mismatchesOf } from "./reach.ts";
import {
  BYSTANDER_DENY,
  BYSTANDER_DENY_EGRESS,
  BYSTANDER_V4,
  FRIEND,
  FRIEND_DENY,
  FRIENDS_AND_BLOCK,
  FRIENDS_ONLY,
  FRIENDS_ONLY_HOLDS,
  NOBODY,
  SERVER_V4,
  SERVER_V6,
  single,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const EVERY_MS = 10;
/** The limit on a busy machine. On an idle one it is tens of milliseconds: the figures are printed. */
const EFFECT_MS_MAX = 60_000;
/** Timeout of a datagram, which is sent once, and its answer. */
const ANSWER_MS_MAX = 2_000;

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-live", { "friends-only.yaml": FRIENDS_ONLY }));
  agent = await world.start();
});

afterAll(() => world?.close());

/** Makes the change in the middle of a watch, and returns the watch's samples and the moment of the change. */
async function changeUnderWatch(
  change: () => void,
): Promise<{ samples: readonly Sample[]; changedAtMs: number }> {
  const unwatch = await world.lab.watch(FRIEND, single("udp", SERVER_V4, ANSWER_MS_MAX), EVERY_MS);
  await sleep(300);
  const changedAtMs = Date.now();
  await agent.change(change);
  await sleep(300);
  return { samples: await unwatch(), changedAtMs };
}

/** How long after the change the last sample had the old result, in milliseconds. */
function effectAfterMs(samples: readonly Sample[], changedAtMs: number, becomes: Sample["result"]): number {
  const lastOld = samples.findLast(({ result }) => result !== becomes);
  return (lastOld?.sentAtMs ?? changedAtMs) - changedAtMs;
}

describe("a live change of a file", () => {
  const path = (): string => join(world.manifests.path, "friends-only.yaml");

  it.each([
    ["put in place whole, closes", () => world.manifests.put("friends-only.yaml", NOBODY), "silent"],
    ["put in place whole, opens", () => world.manifests.put("friends-only.yaml", FRIENDS_ONLY), "reached"],
    ["written over, closes", () => writeFileSync(path(), NOBODY), "silent"],
    ["written over, opens", () => writeFileSync(path(), FRIENDS_ONLY), "reached"],
  ] as const)("%s, and soon", async (what, change, becomes) => {
    const { samples, changedAtMs } = await changeUnderWatch(change);
    const before = samples.filter(({ sentAtMs }) => sentAtMs < changedAtMs);
    expect(before.length).toBeGreaterThan(5);
    expect(before.filter(({ result }) => result === becomes)).toEqual([]);
    const afterMs = effectAfterMs(samples, changedAtMs, becomes);
    process.stdout.write(
      `live change, ${what}: in force after ${Math.max(0, afterMs)} to ${afterMs + EVERY_MS} ms\n`,
    );
    expect(afterMs).toBeLessThan(EFFECT_MS_MAX);
    expect(samples.at(-1)?.result).toBe(becomes);
  });
});

describe("a connection that exists", () => {
  const policyFiles = ["friends-only.yaml", "bystander-deny.yaml", "friend-deny.yaml"];

  /** Back to FRIENDS_ONLY alone. An agent may correctly see no change in a file rewritten with the same text. */
  afterEach(async () => {
    const { path, put, remove } = world.manifests;
    const strays = policyFiles.slice(1).filter((file) => existsSync(join(path, file)));
    const isChanged = readFileSync(join(path, "friends-only.yaml"), "utf8") !== FRIENDS_ONLY;
    if (strays.length === 0 && !isChanged) return;
    await agent.change(() => {
      for (const file of strays) remove(file);
      if (isChanged) put("friends-only.yaml", FRIENDS_ONLY);
    });
  });

  async function openFlow(address: string): Promise<number> {
    const flow = await world.lab.open(FRIEND, { kind: "tcp", address, port: 81, timeoutMs: 20_000 });
    expect(flow).toBeTypeOf("number");
    return flow as number;
  }

  const say = async (flow: number, timeoutMs: number, bytes?: number): Promise<string> =>
    (await world.lab.say(FRIEND, flow, timeoutMs, bytes)).result;

  it.each([SERVER_V4, SERVER_V6])(
    "to %s gets its replies, although the server may open none itself",
    async (address) => {
      const flow = await openFlow(address);
      for (let round = 0; round < 20; round += 1) expect(await say(flow, 20_000)).toBe("reached");
      expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
      expect(await say(flow, 20_000)).toBe("reached");
      await world.lab.shut(FRIEND, flow);
    },
  );

  it("continues through changes that do not concern it", async () => {
    const flow = await openFlow(SERVER_V4);
    const flow6 = await openFlow(SERVER_V6);
    const changes: readonly [string, string][] = [
      ["bystander-deny.yaml", BYSTANDER_DENY],
      ["friends-only.yaml", FRIENDS_AND_BLOCK],
      ["friends-only.yaml", FRIENDS_ONLY],
    ];
    for (const [file, text] of changes) {
      const changed = agent.change(() => world.manifests.put(file, text));
      let settled = false;
      void changed.finally(() => {
        settled = true;
      });
      while (!settled) {
        expect([await say(flow, 20_000), await say(flow6, 20_000)]).toEqual(["reached", "reached"]);
        await sleep(5);
      }
      await changed;
    }
    await world.lab.shut(FRIEND, flow);
    await world.lab.shut(FRIEND, flow6);
  });

  it("falls silent when the rule that allowed it is removed, and continues when it comes back", async () => {
    const flow = await openFlow(SERVER_V4);
    expect(await say(flow, 20_000)).toBe("reached");
    await agent.change(() => world.manifests.put("friends-only.yaml", NOBODY));
    expect(await say(flow, 700)).toBe("silent");
    await agent.change(() => world.manifests.put("friends-only.yaml", FRIENDS_ONLY));
    // TCP retries by itself, at increasing intervals.
    expect(await say(flow, 60_000)).toBe("reached");
    await world.lab.shut(FRIEND, flow);
  });

  it.each([SERVER_V4, SERVER_V6])(
    "to %s carries a running transfer no further once it is revoked; once it is restored a new one starts",
    async (address) => {
      const MUCH = 500_000;
      const flow = await openFlow(address);
      let rounds = 0;
      const transfer = (async () => {
        while ((await say(flow, 5_000, MUCH)) === "reached") rounds += 1;
      })();
      while (rounds < 3) await sleep(5);
      await agent.change(() => world.manifests.put("friends-only.yaml", NOBODY));
      await transfer;
      const probe = { kind: "tcp", address, port: 81, timeoutMs: 700 } as const;
      expect(await world.lab.open(FRIEND, probe)).toEqual({ result: "silent" });
      await agent.change(() => world.manifests.put("friends-only.yaml", FRIENDS_ONLY));
      const next = await openFlow(address);
      expect(await say(next, 60_000, MUCH)).toBe("reached");
      for (const each of [flow, next]) await world.lab.shut(FRIEND, each);
    },
  );

  it("falls silent when the pod that opened it is isolated both ways", async () => {
    const flow = await openFlow(SERVER_V4);
    expect(await say(flow, 20_000)).toBe("reached");
    await agent.change(() => world.manifests.put("friend-deny.yaml", FRIEND_DENY));
    expect(await say(flow, 700)).toBe("silent");
    await agent.change(() => world.manifests.remove("friend-deny.yaml"));
    expect(await say(flow, 60_000)).toBe("reached");
    await world.lab.shut(FRIEND, flow);
  });

  it("older than every policy on its server ends with the server's egress: its opener is unknown", async () => {
    const flow = await openFlow(BYSTANDER_V4);
    expect(await say(flow, 20_000)).toBe("reached");
    await agent.change(() => world.manifests.put("bystander-deny.yaml", BYSTANDER_DENY_EGRESS));
    expect(await say(flow, 700)).toBe("silent");
    expect(await mismatchesOf(world.lab, "shop/bystander -> shop/friend tcp/80 udp/80 icmp : --")).toEqual(
      [],
    );
    await world.lab.shut(FRIEND, flow);
  });
});
