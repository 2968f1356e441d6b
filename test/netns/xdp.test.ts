// What pods send filtered by XDP: over real sockets, during the switch from tc and back, and where an interface refuses it.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { BpfLink, BpfObject, hasTcx, queryTc } from "bpf-ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ipJson } from "../../src/lab/iproute.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { growth } from "./counted.ts";
import { mismatchesOf } from "./reach.ts";
import {
  FRIEND,
  FRIEND_DENY,
  FRIENDS_ONLY,
  FRIENDS_ONLY_HOLDS,
  SERVER,
  SERVER_V4,
  SERVER_V6,
  STRANGER,
  single,
  smallWorld,
} from "./small-world.ts";
import { expectNoGlitch, watchWhile } from "./watched.ts";
import { openWorld, type World } from "./world.ts";

const PATIENCE_MS = 60_000;
const FOREIGN = fileURLToPath(new URL("../../bpf/build/guard.bpf.o", import.meta.url));

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-xdp", { "friends-only.yaml": FRIENDS_ONLY }));
  agent = await world.start("--from-pod-hook", "xdp");
});

afterAll(() => world?.close());

const linkOf = (name: string): string => world.lab.wire(name).link;
const ifindexOf = (name: string): number =>
  Number(readFileSync(`/sys/class/net/${linkOf(name)}/ifindex`, "utf8"));

/** How an interface runs XDP ("xdp" is native), and how many programs its tcx hooks have. */
function hooksOn(name: string) {
  const [link] = ipJson(["-details", "link", "show", "dev", linkOf(name)]) as { xdp?: { mode: number } }[];
  const count = (direction: "ingress" | "egress"): number | undefined =>
    hasTcx() ? queryTc(ifindexOf(name), direction).programIds.length : undefined;
  return { xdp: link?.xdp?.mode, fromPod: count("ingress"), toPod: count("egress") };
}

const NATIVE = 1;
const counted = (programs: number): number | undefined => (hasTcx() ? programs : undefined);
const byXdp = () => ({ xdp: NATIVE, fromPod: counted(0), toPod: counted(1) });
const byTc = () => ({ xdp: undefined, fromPod: counted(1), toPod: counted(1) });

interface EndpointOutput {
  readonly name: string;
  readonly id: number;
  readonly hooks: { readonly ingress: string; readonly egress: string };
  readonly traffic: Readonly<
    Record<"ingress" | "egress", Record<"allowed" | "dropped", { packets: number }>>
  >;
}

async function endpoint(name: string): Promise<EndpointOutput> {
  const { stdout } = await world.weir("get", "endpoints", "--pod", name, "-o", "json");
  return (JSON.parse(stdout) as EndpointOutput[])[0] as EndpointOutput;
}

it("enforces the same as tc does, in both families and in every protocol", async () => {
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
});

it("has one program for each direction, and reports which", async () => {
  expect(hooksOn(SERVER)).toEqual(byXdp());
  expect(await endpoint(SERVER)).toMatchObject({ hooks: { egress: "xdp" } });
  const status = await world.weir("status");
  expect(status.stdout).toMatch(/^hook: .*from pods xdp$/m);
});

it("counts every packet from a pod once", async () => {
  const shots = 5;
  const grown = await growth(world, SERVER, ["egress denied"], async () => {
    for (let count = 0; count < shots; count += 1) {
      const probe = single("udp", world.lab.wire(FRIEND).addresses[0]?.text ?? "", 50);
      expect(await world.lab.probe(SERVER, probe)).toEqual({ result: "silent" });
    }
  });
  expect(grown).toEqual({ "egress denied": shots });
});

it("emits an event for what it drops", async () => {
  const told = [
    "monitor",
    "--from",
    SERVER,
    "--to",
    FRIEND,
    "--reason",
    "denied",
    "--last",
    "100",
    "-o",
    "wide",
  ];
  for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(50)) {
    const { stdout } = await world.weir(...told);
    if (stdout === "" && Date.now() < deadline) continue;
    expect(stdout).toMatch(
      new RegExp(`dropped denied egress ${SERVER} .*UDP.*isolated by shop/friends-only`),
    );
    break;
  }
});

it("follows a policy that changes, both ways", async () => {
  await agent.change(() => world.manifests.put("friend-deny.yaml", FRIEND_DENY));
  expect(await mismatchesOf(world.lab, "shop/friend -> shop/server tcp/80 udp/80 icmp : --")).toEqual([]);
  await agent.change(() => world.manifests.remove("friend-deny.yaml"));
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
});

it.each([SERVER_V4, SERVER_V6])("carries streams, and datagrams in fragments, to %s", async (address) => {
  const much = { address, port: 80, timeoutMs: 60_000 };
  const keys = ["egress established", "egress malformed", "egress fragment"];
  const grown = await growth(world, SERVER, keys, async () => {
    const probes = [{ kind: "tcp", bytes: 2_000_000 } as const, { kind: "udp", bytes: 4_000 } as const];
    for (const probe of probes) {
      expect(await world.lab.probe(FRIEND, { ...much, ...probe })).toMatchObject({ result: "reached" });
    }
  });
  expect(grown).toMatchObject({ "egress malformed": 0, "egress fragment": 0 });
  expect(grown["egress established"]).toBeGreaterThan(100);
});

it.each([
  ["tc", byTc],
  ["xdp", byXdp],
] as const)("an agent that comes back with %s takes over without a gap", async (hook, expected) => {
  const watched = await watchWhile(world.lab, async () => {
    await agent.stop();
    agent = await world.start("--from-pod-hook", hook);
  });
  expect(hooksOn(SERVER)).toEqual(expected());
  expectNoGlitch(watched);
});

it("an interface with another's XDP program keeps tc, and status reports it until that is gone", async () => {
  await agent.stop();
  agent = await world.start("--from-pod-hook", "tc");
  expect(hooksOn(SERVER)).toEqual(byTc());
  using object = BpfObject.open(FOREIGN);
  await object.load();
  using program = object.program("from_pod_xdp");
  const foreign = await BpfLink.attach(program, {
    kind: "xdp",
    ifindex: ifindexOf(STRANGER),
    mode: "native",
  });
  try {
    await agent.stop();
    agent = await world.start("--from-pod-hook", "xdp");
    const status = JSON.parse((await world.weir("status", "-o", "json")).stdout);
    expect(status).toMatchObject({ health: "degraded" });
    expect(status.problems.map(({ text }: { text: string }) => text).join("\n")).toMatch(
      new RegExp(
        `${STRANGER}.*${linkOf(STRANGER)} does not support XDP programs: another XDP program is on it`,
      ),
    );
    expect(await endpoint(STRANGER)).toMatchObject({ hooks: { egress: hasTcx() ? "tcx" : "clsact" } });
    expect(hooksOn(SERVER)).toEqual(byXdp());
  } finally {
    await foreign.detach();
    foreign.close();
  }
  await world.weir("resync");
  for (const deadline = Date.now() + PATIENCE_MS; Date.now() < deadline; await sleep(50)) {
    if ((await world.weir("status")).status === 0) break;
  }
  expect(hooksOn(STRANGER)).toEqual(byXdp());
  expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
});

it("cleanup leaves no XDP program", async () => {
  await agent.stop();
  const { status, stderr } = await world.weir("cleanup");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect(hooksOn(SERVER)).toEqual({ xdp: undefined, fromPod: counted(0), toPod: counted(0) });
});
