// Events of a running agent: each names the policies that denied, whatever the packet; and a flood of them has almost no cost.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { EventView } from "../../src/events/packet-event.ts";
import type { Probe } from "../../src/lab/pod-protocol.ts";
import { type Agent, commandOf } from "../../src/lab/weir-process.ts";
import { growth } from "./counted.ts";
import {
  BYSTANDER,
  FRIEND,
  FRIEND_DENY,
  FRIENDS_ONLY,
  NOBODY,
  SERVER,
  SERVER_V4,
  SERVER_V6,
  STRANGER,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const CHILD = fileURLToPath(new URL("flood-child.ts", import.meta.url));
const FLOOD = { sockets: 4, first: 10_000, ports: 50_000 } as const;
const FLOODED = 2 * FLOOD.sockets * FLOOD.ports;
/** Events per second in total: EVENTS_NODE in bpf/layout.h. */
const RATE_MAX = 100;
/** Part of a core, more than the idle agent needs: the promise is 1 %, the clock's ticks are coarse. */
const CPU_SHARE_MAX = 0.02;
const PATIENCE_MS = 60_000;

let world: World;
let agent: Agent;
let file: string;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-events", { "friends-only.yaml": FRIENDS_ONLY }));
  file = join("/run/wt-events", "events.json");
  agent = await world.start("--events-file", file);
});

afterAll(() => world?.close());

async function events(...options: readonly string[]): Promise<EventView[]> {
  const { status, stdout, stderr } = await world.weir("monitor", "--last", "1000", "-o", "json", ...options);
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  return stdout
    .split("\n")
    .filter((line) => line !== "")
    .map((line) => JSON.parse(line) as EventView);
}

/** The first matching event after `since`. */
async function eventAfter(since: Date, ...options: readonly string[]): Promise<EventView> {
  const deadline = Date.now() + PATIENCE_MS;
  for (;;) {
    const found = (await events(...options)).find(({ time }) => Date.parse(time) >= since.getTime() - 5);
    if (found !== undefined) return found;
    if (Date.now() > deadline) throw new Error(`no event ${options.join(" ")} within ${PATIENCE_MS} ms`);
    await sleep(30);
  }
}

const probe = (kind: Probe["kind"], address: string): Probe => ({
  kind,
  address,
  ...(kind === "icmp" ? {} : { port: 80 }),
  timeoutMs: 100,
  once: true,
});

describe("a packet that is denied", () => {
  const ADDRESSES = { v4: SERVER_V4, v6: SERVER_V6 } as const;

  it.each([
    ["tcp", "v4", "TCP/80"],
    ["tcp", "v6", "TCP/80"],
    ["udp", "v4", "UDP/80"],
    ["udp", "v6", "UDP/80"],
    ["icmp", "v4", "ICMP"],
    ["icmp", "v6", "ICMPv6"],
  ] as const)(
    "is reported with both pods and the policy: %s over %s to the pod",
    async (kind, family, what) => {
      const since = new Date();
      await world.lab.probe(STRANGER, probe(kind, ADDRESSES[family]));
      const protocol = what.replace("/80", "");
      const event = await eventAfter(since, "--from", STRANGER, "--to", ADDRESSES[family]);
      expect(event).toMatchObject({
        verdict: "dropped",
        reason: "denied",
        direction: "ingress",
        endpoint: SERVER,
        protocol,
        from: { pod: STRANGER },
        to: { pod: SERVER, address: ADDRESSES[family], ...(kind === "icmp" ? {} : { port: 80 }) },
        policies: ["shop/friends-only"],
        text: `ingress of ${SERVER} is isolated by shop/friends-only, nothing allows ${what} from ${STRANGER}`,
      });
      expect(event.interface).toBe(world.lab.wire(SERVER).link);
    },
  );

  it("is reported on egress from the pod", async () => {
    const since = new Date();
    const [address = ""] = world.lab.wire(BYSTANDER).addresses.map(({ text }) => text);
    await world.lab.probe(SERVER, probe("udp", address));
    expect((await eventAfter(since, "--from", SERVER, "--port", "80")).text).toBe(
      `egress of ${SERVER} is isolated by shop/friends-only, nothing allows UDP/80 to ${BYSTANDER}`,
    );
  });

  it("names the policies of its own generation, as soon as they are enforced", async () => {
    const since = new Date();
    const unwatch = await world.lab.watch(FRIEND, probe("udp", SERVER_V4), 20);
    await agent.change(() => world.manifests.put("friend-deny.yaml", FRIEND_DENY));
    await eventAfter(since, "--from", FRIEND);
    await unwatch();
    // The friend's own policy drops the packet first: it never gets to the server.
    const told = (await events("--from", FRIEND)).filter(({ time }) => new Date(time) >= since);
    expect(told.length).toBeGreaterThan(0);
    for (const event of told)
      expect(event).toMatchObject({ endpoint: FRIEND, policies: ["shop/friend-deny"] });
    await agent.change(() => world.manifests.remove("friend-deny.yaml"));
  });

  it("is reported as revoked if a flow was allowed before, by the policy of the pod that opened it", async () => {
    const flow = await world.lab.open(FRIEND, {
      kind: "tcp",
      address: SERVER_V4,
      port: 81,
      timeoutMs: 20_000,
    });
    expect(flow).toBeTypeOf("number");
    const since = new Date();
    await agent.change(() => world.manifests.put("friends-only.yaml", NOBODY));
    await world.lab.say(FRIEND, flow as number, 300);
    expect(await eventAfter(since, "--reason", "revoked")).toMatchObject({
      endpoint: SERVER,
      policies: ["shop/friends-only"],
      text: `ingress of ${SERVER} is isolated by shop/friends-only, nothing allows TCP/81 from ${FRIEND} any more`,
    });
    await agent.change(() => world.manifests.put("friends-only.yaml", FRIENDS_ONLY));
    await world.lab.shut(FRIEND, flow as number);
  });

  it("is in the file too", () => {
    expect(existsSync(file)).toBe(true);
    const lines = readFileSync(file, "utf8").trim().split("\n");
    expect((JSON.parse(lines[0] ?? "") as EventView).policies).toEqual(["shop/friends-only"]);
  });
});

describe("a new flow", () => {
  it("is reported for as long as there is a subscriber", async () => {
    const since = new Date();
    await world.lab.probe(FRIEND, probe("udp", SERVER_V4));
    expect((await events("--verdict", "passed")).length).toBe(0);
    const args = ["monitor", "-f", "--flows", "--last", "0", "-o", "json"];
    const child = spawn(...commandOf(world.paths, args));
    try {
      let text = "";
      child.stdout.on("data", (chunk: Buffer) => {
        text += chunk.toString();
      });
      for (const deadline = Date.now() + PATIENCE_MS; !text.includes("\n") && Date.now() < deadline; ) {
        await world.lab.probe(FRIEND, probe("tcp", SERVER_V4));
        await sleep(50);
      }
      expect(JSON.parse(text.split("\n")[0] ?? "")).toMatchObject({
        verdict: "passed",
        reason: "policy",
        endpoint: SERVER,
        allowedBy: ["shop/friends-only"],
        text: `ingress of ${SERVER} is isolated by shop/friends-only; shop/friends-only allows TCP/80 from ${FRIEND}`,
      });
    } finally {
      child.kill();
      await once(child, "exit");
    }
    expect(await eventAfter(since, "--reason", "policy")).toMatchObject({ from: { pod: FRIEND } });
  });
});

/** User and system time of the agent's process, in seconds. */
function cpuSeconds(): number {
  const fields = readFileSync(`/proc/${agent.pid}/stat`, "utf8").split(") ")[1]?.split(" ") ?? [];
  return (Number(fields[11]) + Number(fields[12])) / 100;
}

/** How much of a core the agent used meanwhile, and for how long. */
async function cpuShare(meanwhile: () => Promise<unknown>): Promise<{ share: number; seconds: number }> {
  const [cpu, begun] = [cpuSeconds(), performance.now()];
  await meanwhile();
  const seconds = (performance.now() - begun) / 1_000;
  return { share: (cpuSeconds() - cpu) / seconds, seconds };
}

async function flood(): Promise<void> {
  const numbers = [FLOOD.sockets, FLOOD.first, FLOOD.ports].map(String);
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", CHILD, SERVER_V4, ...numbers];
  const child = spawn("ip", ["netns", "exec", world.lab.wire(STRANGER).netns, ...node], { stdio: "inherit" });
  expect((await once(child, "exit"))[0]).toBe(0);
}

describe(`a flood of ${FLOODED} packets that are denied`, () => {
  it("hardly loads the agent, and is counted exactly", async () => {
    const idle = await cpuShare(() => sleep(3_000));
    let busy = { share: 0, seconds: 0 };
    const before = await events();
    const counted = await growth(world, SERVER, ["ingress denied"], async () => {
      // Starting the sender takes a while: it is repeated, so that the flood is most of the time.
      busy = await cpuShare(async () => {
        for (let round = 0; round < 3; round += 1) await flood();
      });
    });
    process.stdout.write(
      `flood: ${((busy.share - idle.share) * 100).toFixed(2)} % of a core more than idle, for ${busy.seconds.toFixed(1)} s\n`,
    );
    expect(busy.share - idle.share).toBeLessThan(CPU_SHARE_MAX);
    expect(counted["ingress denied"]).toBe(3 * FLOODED);
    const told = (await events()).length - before.length;
    expect(told).toBeGreaterThan(0);
    expect(told).toBeLessThanOrEqual((busy.seconds + 2) * RATE_MAX);
  });

  it("leaves capacity for other denied packets", async () => {
    const over = flood();
    const since = new Date();
    await world.lab.probe(SERVER, probe("udp", world.lab.wire(BYSTANDER).addresses[0]?.text ?? ""));
    expect((await eventAfter(since, "--from", SERVER)).endpoint).toBe(SERVER);
    await over;
  });
});
