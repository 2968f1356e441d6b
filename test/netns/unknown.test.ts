// Unclaimed interfaces, with --unknown-pods deny: isolated at once, identified in one step. Needs root.

import { execFileSync, spawn, spawnSync } from "node:child_process";
import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { forwardFrom } from "../../src/lab/forwarding.ts";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";
import type { Agent, CommandResult } from "../../src/lab/weir-process.ts";
import type { EndpointView } from "../../src/observe/api-views.ts";
import { mismatchesOf } from "./reach.ts";
import { EVERYTHING_OPEN, SERVER_V4, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const NEW = { space: "wt-un-new", link: "wtun-new", address: "10.63.62.1" };
const IGNORED = { space: "wt-un-ign", link: "wtun-ign", address: "10.63.62.2" };
const DENY = ["--unknown-pods", "deny", "--ignore-interfaces", "nosuch,wtun-ig*"];

let world: World;
let agent: Agent;

function remove(): void {
  const there = ipJson(["link", "show"]).map((link) => String(link["ifname"]));
  ipBatch(there.filter((name) => name.startsWith("wtun-")).map((name) => `link del ${name}`));
  const named = ipJson(["netns", "list"]).map((each) => String(each["name"]));
  ipBatch(named.filter((name) => name.startsWith("wt-un-")).map((name) => `netns del ${name}`));
}

/** What a CNI creates for a pod: a pair with a route to its address. */
function wire({ space, link, address }: typeof NEW): void {
  ipBatch([
    `netns add ${space}`,
    `link add ${link} type veth peer name eth0 netns ${space}`,
    `link set ${link} up`,
    `addr add 169.254.63.1/32 dev ${link}`,
    `route add ${address}/32 dev ${link}`,
  ]);
  forwardFrom(link);
  ipBatch(
    [
      "link set lo up",
      "link set eth0 up",
      `addr add ${address}/32 dev eth0`,
      "route add 169.254.63.1 dev eth0",
      "route add default via 169.254.63.1",
    ],
    space,
  );
}

const pings = (space: string, address: string): boolean =>
  spawnSync("ip", ["netns", "exec", space, "ping", "-c1", "-W1", address]).status === 0;
const nodePings = (address: string): boolean => spawnSync("ping", ["-c1", "-W1", address]).status === 0;

async function endpoints(): Promise<EndpointView[]> {
  const { stdout } = await world.weir("get", "endpoints", "-o", "json");
  return JSON.parse(stdout) as EndpointView[];
}

async function until(what: string, holds: () => Promise<boolean> | boolean): Promise<void> {
  const deadline = Date.now() + 30_000;
  while (!(await holds())) {
    if (Date.now() > deadline) throw new Error(`gave up waiting for: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const stateOf = async (link: string) => (await endpoints()).find((each) => each.interface === link)?.state;

const POD = `apiVersion: v1
kind: Pod
metadata: { name: new, namespace: shop }
status: { podIP: ${NEW.address}, podIPs: [{ ip: ${NEW.address} }] }
`;

beforeAll(async () => {
  remove();
  world = await openWorld(smallWorld("wt-unknown"));
  agent = await world.start(...DENY, "--log-level", "debug", "--log-format", "json");
});

afterAll(() => {
  world?.close();
  remove();
});

describe("with --unknown-pods deny", () => {
  it("known pods go on as they were", async () => {
    expect(await mismatchesOf(world.lab, EVERYTHING_OPEN)).toEqual([]);
  });

  it("an unclaimed interface is denied everything but what the node itself sends", async () => {
    wire(NEW);
    await until("the interface to be told of", async () => (await stateOf(NEW.link)) === "unknown pod");
    expect(pings(NEW.space, SERVER_V4)).toBe(false);
    expect(nodePings(NEW.address)).toBe(true);
    const [row] = (await endpoints()).filter((each) => each.interface === NEW.link);
    expect(row).toMatchObject({
      namespace: "(unknown)",
      name: NEW.link,
      state: "unknown pod",
      addresses: [],
    });
    const text: CommandResult = await world.weir("get", "endpoints");
    expect(text.stdout).toMatch(
      new RegExp(`^\\(unknown\\) +${NEW.link} .*all denied +all denied +unknown pod$`, "m"),
    );
    const status: CommandResult = await world.weir("status");
    expect(status.stdout).toMatch(new RegExp(`^unknown: +denied: ${NEW.link}$`, "m"));
    const counted: CommandResult = await world.weir("maps", "dump", "counters");
    expect(counted.stdout).toMatch(/denied/);
  });

  it("it is a problem when it lasts", async () => {
    await until("the problem", async () =>
      (await world.weir("status")).stdout.includes(
        `interface ${NEW.link}: not owned by a known pod; everything is denied to and from it`,
      ),
    );
  });

  it("an ignored one is left unchanged", async () => {
    wire(IGNORED);
    await until("the address to be reached", () => pings(IGNORED.space, SERVER_V4));
    expect(await stateOf(IGNORED.link)).toBeUndefined();
  });

  it("a new interface is isolated within moments", async () => {
    execFileSync("ip", ["netns", "add", "wt-un-many"]);
    const ip = spawn("ip", ["-batch", "-"], { stdio: ["pipe", "ignore", "inherit"] });
    const appeared = new Map<number, number>();
    for (let i = 0; i < 25; i++) {
      const name = `wtun-m${i}`;
      ip.stdin.write(`link add ${name} type veth peer name e${i} netns wt-un-many\n`);
      appeared.set(...appearance(name));
      // So that the agent is idle, as it is when a pod comes.
      await new Promise((resolve) => setTimeout(resolve, 100));
    }
    ip.stdin.end();
    await until("all to be shut", () => [...appeared.keys()].every((ifindex) => shutTimes().has(ifindex)));
    const times = [...appeared].map(([ifindex, at]) => (shutTimes().get(ifindex) ?? 0) - at);
    const sorted = times.toSorted((a, b) => a - b);
    process.stdout.write(
      `unknown interfaces: ${sorted[12]} ms from there to shut (median of 25; at most ${sorted.at(-1)} ms)\n`,
    );
    await until("all to be told of", async () => {
      const unknown = (await endpoints()).filter(({ state }) => state === "unknown pod");
      return unknown.length === 26;
    });
    // No filter that was there before the links remains.
    const { stdout: links } = spawnSync("ip", ["-br", "link"], { encoding: "utf8" });
    const names = [...links.matchAll(/^(wtun-[^@\s]+)/gm)].map(([, name = ""]) => name);
    expect(names.length).toBeGreaterThan(25);
    for (const name of names)
      for (const direction of ["ingress", "egress"])
        expect(execFileSync("tc", ["filter", "show", "dev", name, direction], { encoding: "utf8" })).toBe("");
  });

  it("it is still denied without an agent, and with a new one", async () => {
    await agent.kill();
    expect(pings(NEW.space, SERVER_V4)).toBe(false);
    agent = await world.start(...DENY);
    expect(await stateOf(NEW.link)).toBe("unknown pod");
    expect(pings(NEW.space, SERVER_V4)).toBe(false);
  });

  it("it has its pod's policy as soon as that is known, and passes nothing when that is gone", async () => {
    world.manifests.put("new.yaml", POD);
    await until("the pod to be known", async () => (await stateOf(NEW.link)) === "enforced");
    expect(pings(NEW.space, SERVER_V4)).toBe(true);
    world.manifests.remove("new.yaml");
    // The interface is known to be the deleted pod's; a pod without an object is denied everything, as an unknown one is.
    await until("the pod to be gone", async () => (await stateOf(NEW.link)) === "retained");
    expect(pings(NEW.space, SERVER_V4)).toBe(false);
  });

  it("without it, all unclaimed interfaces are left unchanged again", async () => {
    await agent.stop();
    agent = await world.start();
    expect(pings(NEW.space, SERVER_V4)).toBe(true);
    expect((await endpoints()).map(({ state }) => state)).not.toContain("unknown pod");
  });

  it("the agent's audit mode only reports", async () => {
    await agent.stop();
    agent = await world.start(...DENY, "--mode", "audit");
    await until("the interface to be told of", async () => (await stateOf(NEW.link)) === "retained");
    expect(pings(NEW.space, SERVER_V4)).toBe(true);
  });
});

/** Interface index, and when it appeared, in milliseconds since the epoch. Blocks the process while it waits. */
function appearance(name: string): [number, number] {
  const file = `/sys/class/net/${name}/ifindex`;
  const deadline = Date.now() + 20_000;
  while (!existsSync(file)) if (Date.now() > deadline) throw new Error(`no interface ${name}`);
  return [Number(readFileSync(file, "utf8")), Date.now()];
}

/** When the agent logs that it has isolated interfaces, by index. */
function shutTimes(): Map<number, number> {
  const lines = agent.stderr
    .split("\n")
    .filter((line) => line.includes("unclaimed interface denied everything"));
  return new Map(
    lines.map((line) => {
      const { time, ifindex } = JSON.parse(line) as { time: string; ifindex: number };
      return [ifindex, Date.parse(time)];
    }),
  );
}
