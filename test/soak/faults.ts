// The kinds of faults and changes of the soak test. Each says what it does, and what it may do to traffic where that is not nothing.

import { execFileSync, spawn } from "node:child_process";
import { existsSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { BpfLink } from "bpf-ts";
import { pick, type Random, randomFrom } from "../../bench/common/random.ts";
import { present } from "../../src/base/assert.ts";
import { LAYOUT_DIGEST } from "../../src/gen/layout.ts";
import { keyOf } from "../../src/model/cluster.ts";
import { ask } from "../../src/observe/socket-client.ts";
import { buildRelaid, type Edit } from "../support/relaid.ts";
import { BEHAVIOURS, type Order } from "./api-server.ts";
import {
  type LocalPod,
  NAMESPACES,
  namespaceObject,
  podObject,
  randomLabels,
  randomPolicy,
  teamLabels,
} from "./cluster-state.ts";
import { hostileConfigurations, hostileEvents, hostileRequests } from "./hostile.ts";
import { BPF_ERRORS, NETLINK_ERRORS } from "./kernel-faults.ts";
import { SERVICES, type SoakNode } from "./node.ts";
import { SERVED_PORTS } from "./prober.ts";

export interface Context {
  readonly node: SoakNode;
  readonly random: Random;
  /** What has happened so far was not yet the fault: the time to repair starts now. */
  begins(): void;
  /** Pods beyond the first ones have these slots. */
  readonly slots: { readonly first: number; readonly end: number };
}

/** Beyond those of pods that stay and that come and go one by one. */
const BULK_SLOT = 400;

export interface FaultKind {
  readonly name: string;
  /** How often it is chosen; never, if 0. */
  readonly weight: number;
  /** Takes a minute: only in runs of LONG_MINUTES and more. */
  readonly isLong?: boolean;
  /** Runs to the point from which Weir has to find back by itself. */
  run(context: Context): Promise<void>;
  /** Of traffic that this kind may disturb, why. */
  readonly permits?: string;
}

const running = (node: SoakNode): LocalPod[] => node.pods().filter(({ object }) => object === "running");

const POLICIES = 40;

async function policyChanges({ node, random }: Context): Promise<void> {
  const number = random.below(POLICIES);
  const policy = randomPolicy(random, number);
  const old = [...node.api.objects.values()].find(
    ({ kind, object }) => kind === "NetworkPolicy" && object.metadata.name === policy.metadata.name,
  );
  const key = old && `${old.object.metadata.namespace}/${old.object.metadata.name}`;
  const isSame = old?.object.metadata.namespace === policy.metadata.namespace;
  await node.change([
    ...(key === undefined || isSame ? [] : [{ kind: "NetworkPolicy", remove: key } as const]),
    { kind: "NetworkPolicy", put: policy },
  ]);
}

async function policyGoes({ node, random }: Context): Promise<void> {
  const all = [...node.api.objects.values()].filter(({ kind }) => kind === "NetworkPolicy");
  if (all.length < 5) return policyChanges({ node, random } as Context);
  const { object } = pick(random, all);
  await node.change([
    { kind: "NetworkPolicy", remove: `${object.metadata.namespace}/${object.metadata.name}` },
  ]);
}

async function podRelabelled({ node, random }: Context): Promise<void> {
  await node.putPod(pick(random, running(node)), { labels: randomLabels(random) });
}

async function namespaceRelabelled({ node, random }: Context): Promise<void> {
  await node.change([
    { kind: "Namespace", put: namespaceObject(pick(random, NAMESPACES), teamLabels(random)) },
  ]);
}

/** Its backend, and with it its namespace. */
async function serviceChanges({ node, random }: Context): Promise<void> {
  await node.serve(random.below(SERVICES), pick(random, running(node)));
}

const CHANGES = [
  policyChanges,
  policyChanges,
  policyGoes,
  podRelabelled,
  namespaceRelabelled,
  serviceChanges,
];

/** Some change, so that there is an update in which something can go wrong. */
const someChange = (context: Context): Promise<void> => pick(context.random, CHANGES)(context);

function freeSlot({ node, slots, random }: Context): number | undefined {
  const free = Array.from({ length: slots.end - slots.first }, (_, index) => slots.first + index).filter(
    (slot) => !node.has(slot),
  );
  return free.length === 0 ? undefined : pick(random, free);
}

async function podComes(
  context: Context,
  more: Partial<LocalPod> = {},
  at = freeSlot(context),
): Promise<void> {
  const { node } = context;
  if (at === undefined) return podGoes(context);
  const pod = node.makePod(at, more);
  node.place([pod]);
  await node.change([{ kind: "Pod", put: podObject(pod) }]);
  // Without a CNI plugin it is open until Weir has it: docs/limits.md.
  node.probePod(at, "either");
}

/** The runtime starts it when weir-cni has succeeded: from then on its policies are in force. `meanwhile` is done while that waits. */
async function podComesByCni(
  context: Context,
  meanwhile: () => Promise<void> = () => Promise.resolve(),
): Promise<void> {
  const { node, random } = context;
  const at = freeSlot(context);
  if (at === undefined) return podGoes(context);
  const pod = { ...node.makePod(at), container: `c-${random.below(2 ** 31)}` };
  node.place([pod]);
  const put = { kind: "Pod", put: podObject(pod) } as const;
  // The agent may learn of the pod before the runtime calls it, or after.
  const isKnownFirst = random.below(2) === 0;
  if (isKnownFirst) await node.change([put]);
  const added = node.addByCni(at);
  await Promise.all([added, isKnownFirst ? undefined : node.change([put]), meanwhile()]);
  node.probePod(at, "either");
  await node.tightenPod(at);
}

async function cniWhileAway(context: Context): Promise<void> {
  const { node, random } = context;
  await node.endAgent("kill");
  context.begins();
  await podComesByCni(context, async () => {
    await sleep(random.below(1_000));
    node.startAgent();
  });
  // There was no free slot for a pod.
  if (node.agent() === undefined) node.startAgent();
}

const removable = ({ node, slots }: Context): LocalPod[] =>
  running(node).filter(({ slot }) => slot >= slots.first);

async function podGoes(context: Context): Promise<void> {
  const { node, random } = context;
  const pods = removable(context);
  if (pods.length === 0) return podComes(context);
  const pod = pick(random, pods);
  node.endProbes(pod.slot);
  const gone = { kind: "Pod", remove: keyOf(pod) } as const;
  // The kubelet's order, or the network plugin's.
  if (random.below(2) === 0) await node.unplace(pod.slot);
  await node.change([gone], () => {
    pod.object = "gone";
  });
  if (node.has(pod.slot)) await node.unplace(pod.slot);
}

/** Interfaces without a running object at the same time. */
const RETAINED_MAX = 6;

const retained = (node: SoakNode): LocalPod[] =>
  node.pods().filter(({ object }) => object === "gone" || object === "failed");

async function podForceDeleted(context: Context): Promise<void> {
  const { node, random } = context;
  const left = retained(node);
  if (left.length >= RETAINED_MAX) {
    const pod = pick(random, left);
    if (pod.object === "failed")
      await node.change([{ kind: "Pod", remove: keyOf(pod) }], () => Object.assign(pod, { object: "gone" }));
    await node.unplace(pod.slot);
    return;
  }
  const pods = removable(context);
  if (pods.length === 0) return podComes(context);
  const pod = pick(random, pods);
  if (random.below(3) === 0) await node.putPod(pod, { object: "failed" });
  else
    await node.change([{ kind: "Pod", remove: keyOf(pod) }], () => {
      pod.object = "gone";
    });
}

async function addressReused(context: Context): Promise<void> {
  const { node, random } = context;
  const pods = removable(context);
  if (pods.length === 0) return podComes(context);
  const pod = pick(random, pods);
  await node.unplace(pod.slot);
  await node.change([{ kind: "Pod", remove: keyOf(pod) }]);
  await podComes(context, {}, pod.slot);
}

async function addressesVanish(context: Context): Promise<void> {
  const { node, random } = context;
  const without = node.pods().filter(({ object }) => object === "no addresses");
  if (without.length > 0 && random.below(2) === 0)
    await node.putPod(pick(random, without), { object: "running" });
  else await node.putPod(pick(random, running(node)), { object: "no addresses" });
}

/** Another object claims a pod's address: what this node sees of the address counts. */
async function duplicateClaim(context: Context): Promise<void> {
  const { node, random } = context;
  const pod = pick(random, running(node));
  const rival = podObject({
    ...pod,
    name: "aaa-rival",
    uid: `uid-of-rival-${pod.uid}`,
    labels: randomLabels(random),
  });
  const elsewhere =
    random.below(2) === 0
      ? { ...rival, spec: { ...Object(rival["spec"]), nodeName: "another-node" } }
      : rival;
  await node.change([{ kind: "Pod", put: elsewhere }]);
  await sleep(300);
  await node.change([{ kind: "Pod", remove: `${pod.namespace}/aaa-rival` }]);
}

async function namespaceGoes(context: Context): Promise<void> {
  const { node, random } = context;
  const name = pick(random, NAMESPACES);
  await node.change([{ kind: "Namespace", remove: name }]);
  await sleep(200);
  await node.change([{ kind: "Namespace", put: namespaceObject(name, teamLabels(random)) }]);
}

async function killed(context: Context, meanwhile?: () => Promise<void> | void): Promise<void> {
  const { node } = context;
  await node.endAgent("kill");
  context.begins();
  await meanwhile?.();
  node.startAgent();
}

async function killedInUpdate(context: Context): Promise<void> {
  const { random } = context;
  await someChange(context);
  await sleep(random.below(60));
  await killed(context);
}

/** Tries with which a fault is to be reached, each at an earlier call. */
const TRIES = 8;
const REACHED_MS = 1_500;
const START_MS = 30_000;

/** Whether the armed fault has come to pass, at the latest after some time, or when the agent has started without it. */
async function reached(node: SoakNode, inStart: boolean): Promise<boolean> {
  const deadline = Date.now() + (inStart ? START_MS : REACHED_MS);
  for (; Date.now() < deadline; await sleep(20)) {
    if (node.faults.read("fired") > 0) return true;
    if (!inStart) continue;
    const status = await node.status().catch(() => undefined);
    if (status?.appliedAt !== undefined && status.generation.applied === status.generation.wanted)
      return node.faults.read("fired") > 0;
  }
  return false;
}

/** Writes of a start, and of an update, at most: a fault beyond them never comes to pass. */
const WRITES = { start: 180, update: 40 } as const;

/** Arms a fault and changes something, until it has come to pass. @throws Error if it has not */
async function untilReached(
  context: Context,
  inStart: boolean,
  calls: number,
  arm: (skip: number) => void,
  change: (context: Context) => Promise<void> = someChange,
): Promise<void> {
  const { node, random } = context;
  for (let tries = 0, most = calls; tries < TRIES; tries += 1, most = Math.ceil(most / 2)) {
    if (inStart) await node.endAgent("kill");
    arm(random.below(most));
    if (inStart) node.startAgent();
    for (let index = 0; index < 3; index += 1) await change(context);
    const isReached = await reached(node, inStart);
    // What comes after it is part of it: more calls may fail.
    if (isReached) await sleep(random.below(700));
    node.faults.disarm();
    context.begins();
    if (isReached) return;
  }
  throw new Error("no call of the kernel was made at which the fault is");
}

async function diesAtKernelWrite(context: Context): Promise<void> {
  const inStart = context.random.below(3) === 0;
  await untilReached(context, inStart, inStart ? WRITES.start : WRITES.update, (skip) =>
    context.node.faults.arm("kill at write", { skip }),
  );
}

let nextWrite = 0;

/** One after the other, of a start and of the updates after it. */
async function diesAtEachWrite(context: Context): Promise<void> {
  const { node } = context;
  await node.endAgent("kill");
  node.faults.arm("kill at write", { skip: nextWrite });
  node.startAgent();
  for (let index = 0; index < 3; index += 1) await someChange(context);
  const isReached = (await reached(node, true)) || (await reached(node, false));
  // Beyond the last one it begins again.
  nextWrite = isReached ? nextWrite + 1 : 0;
  node.faults.disarm();
  context.begins();
}

async function kernelFails(context: Context): Promise<void> {
  const { node, random } = context;
  const error = pick(random, BPF_ERRORS);
  const inStart = random.below(4) === 0;
  const mode = random.below(3) === 0 ? "fail all" : "fail writes";
  const times = pick(random, [1, 1, 2, 5, 50]);
  await untilReached(
    context,
    inStart,
    inStart ? WRITES.start : pick(random, [4, 12, WRITES.update]),
    (skip) => node.faults.arm(mode, { skip, times, error }),
  );
}

/** Calls of netlink while a pod comes or goes. */
const NETLINK_CALLS = 24;

async function netlinkFails(context: Context): Promise<void> {
  const { node, random } = context;
  const inStart = random.below(4) === 0;
  const times = pick(random, [1, 2, 5, 50]);
  const error = pick(random, NETLINK_ERRORS);
  await untilReached(
    context,
    inStart,
    NETLINK_CALLS,
    (skip) => node.faults.arm("fail netlink", { skip, times, error }),
    random.below(2) === 0 ? podComes : podGoes,
  );
}

async function apiGone(context: Context): Promise<void> {
  const { node, random } = context;
  await node.api.kill();
  // Objects change while nobody is told.
  if (random.below(2) === 0) await someChange(context);
  await sleep(500 + random.below(1_500));
  context.begins();
  await node.api.start();
}

async function apiFrozen(context: Context): Promise<void> {
  const { node, random } = context;
  node.api.signal("SIGSTOP");
  await sleep(500 + random.below(2_000));
  node.api.signal("SIGCONT");
  context.begins();
  await someChange(context);
}

async function apiMisbehaves(context: Context): Promise<void> {
  const { node, random } = context;
  await node.api.order({
    do: "behave",
    how: pick(
      random,
      BEHAVIOURS.filter((how) => how !== "healthy"),
    ),
  });
  if (random.below(2) === 0)
    await node.api.order({ do: "end watches", how: pick(random, ["ends", "breaks"]) });
  await someChange(context);
  await sleep(300 + random.below(1_000));
  await node.api.order({ do: "behave", how: "healthy" });
  context.begins();
}

const LIES = [
  "garbage",
  "half a line",
  "no version",
  "other kind",
  "unknown event",
  "error",
] as const satisfies readonly Extract<Order, { do: "lie" }>["how"][];

async function apiLies(context: Context): Promise<void> {
  const { node, random } = context;
  await node.api.order({ do: "lie", how: pick(random, LIES) });
  await someChange(context);
}

async function apiCompacted(context: Context): Promise<void> {
  const { node } = context;
  await node.api.kill();
  await someChange(context);
  await node.api.start();
  await node.api.order({ do: "compact" });
  await node.api.order({ do: "end watches", how: "breaks" });
  context.begins();
  await someChange(context);
}

/** A backup is restored: policies as they were, at an older version. */
async function apiSetBack(context: Context): Promise<void> {
  const { node, random } = context;
  const version = node.api.version();
  const policies = [...node.api.objects.values()].filter(({ kind }) => kind === "NetworkPolicy");
  await someChange(context);
  await node.api.kill();
  const now = [...node.api.objects.values()].filter(({ kind }) => kind === "NetworkPolicy");
  const name = (object: {
    readonly metadata: { readonly namespace?: string; readonly name: string };
  }): string => `${object.metadata.namespace}/${object.metadata.name}`;
  await node.change([
    ...now.map(({ object }) => ({ kind: "NetworkPolicy", remove: name(object) }) as const),
    ...policies.map(({ object }) => ({ kind: "NetworkPolicy", put: object }) as const),
  ]);
  context.begins();
  await node.api.start(Math.max(100, version - 500 - random.below(1_000)));
}

const between = (slot: number) => (probe: { readonly from: number; readonly to: number }) =>
  probe.from === slot || probe.to === slot;

/** So that the agent sees the whole of it at once, as at its next check. */
async function tamper(
  context: Context,
  slots: readonly number[] | "all",
  work: () => Promise<void> | void,
): Promise<void> {
  const { node } = context;
  await node.loosen((probe) => slots === "all" || slots.some((slot) => between(slot)(probe)));
  context.begins();
  await work();
}

const ifindexOf = (node: SoakNode, slot: number): number =>
  Number(execFileSync("cat", [`/sys/class/net/${node.wire(slot).link}/ifindex`], { encoding: "utf8" }));

async function linkDetached(context: Context): Promise<void> {
  const { node, random } = context;
  const { slot } = pick(random, node.pods());
  const pin = join(node.bpffs, "links", `${ifindexOf(node, slot)}-${pick(random, ["ingress", "egress"])}`);
  await tamper(context, [slot], async () => {
    if (!existsSync(pin)) return;
    using link = BpfLink.openPinned(pin);
    await link.detach();
  });
}

async function qdiscDeleted(context: Context): Promise<void> {
  const { node, random } = context;
  const { slot } = pick(random, node.pods());
  const { link } = node.wire(slot);
  await tamper(context, [slot], () => {
    // With tcx there is no qdisc: then what is deleted is nobody's.
    execFileSync("sh", [
      "-c",
      `tc qdisc add dev ${link} clsact 2>/dev/null; tc qdisc del dev ${link} clsact`,
    ]);
  });
}

async function pinsRemoved(context: Context): Promise<void> {
  const { node, random } = context;
  const directory = join(
    node.bpffs,
    pick(random, ["links", join(LAYOUT_DIGEST, "maps"), join(LAYOUT_DIGEST, "programs")]),
  );
  const names = existsSync(directory) ? readdirSync(directory) : [];
  context.begins();
  for (const name of names)
    if (random.below(3) === 0) rmSync(join(directory, name), { recursive: true, force: true });
}

/** Again where the agent makes one meanwhile. */
const removePins = ({ bpffs }: SoakNode): void =>
  rmSync(bpffs, { recursive: true, force: true, maxRetries: 20, retryDelay: 20 });

async function allPinsRemoved(context: Context): Promise<void> {
  context.begins();
  removePins(context.node);
}

async function entryChanged(context: Context): Promise<void> {
  const { node, random } = context;
  const map = join(
    node.bpffs,
    LAYOUT_DIGEST,
    "maps",
    pick(random, ["addresses_v4", "cidrs_v4", "endpoints"]),
  );
  if (!existsSync(map)) return;
  const dump = JSON.parse(
    execFileSync("bpftool", ["-j", "map", "dump", "pinned", map], { encoding: "utf8", maxBuffer: 1 << 28 }),
  ) as {
    readonly key: readonly string[];
    readonly value: readonly string[];
  }[];
  if (dump.length === 0) return;
  const { key, value } = pick(random, dump);
  const at = random.below(Math.min(8, value.length));
  const changed = value.map((byte, index) =>
    index === at ? `0x${(255 - Number(byte)).toString(16).padStart(2, "0")}` : byte,
  );
  await tamper(context, "all", async () => {
    execFileSync("bpftool", ["map", "update", "pinned", map, "key", ...key, "value", ...changed]);
    // Nobody is told of that, so it is repaired when the maps are next read back.
    await ask(node.socket, "/v1/resync", { method: "POST", timeoutMs: 60_000 });
  });
}

async function diskFull(context: Context): Promise<void> {
  const { node, random } = context;
  const file = join(node.state, "full");
  try {
    execFileSync("dd", ["if=/dev/zero", `of=${file}`, "bs=64k"], { stdio: "ignore" });
  } catch {
    // It is full: that is what was wanted.
  }
  for (let index = 0; index < 3; index += 1) await someChange(context);
  if (random.below(2) === 0) await killed(context);
  await sleep(500);
  rmSync(file, { force: true });
  context.begins();
}

async function stopped(context: Context, ms = 500 + context.random.below(2_000)): Promise<void> {
  const { node } = context;
  const pid = node.agent()?.pid;
  if (pid === undefined) return;
  process.kill(pid, "SIGSTOP");
  await someChange(context);
  await sleep(ms);
  context.begins();
  process.kill(pid, "SIGCONT");
}

async function clockJumps(context: Context): Promise<void> {
  const { node, random } = context;
  node.faults.shiftClock(pick(random, [-86_400, -3_600, -30, 30, 3_600, 86_400, 0]));
  await someChange(context);
}

async function hogs(context: Context): Promise<void> {
  const children = [1, 2].map(() =>
    spawn("timeout", ["2", "sh", "-c", "while :; do :; done"], { stdio: "ignore" }),
  );
  await someChange(context);
  await Promise.all(children.map((child) => new Promise((resolve) => child.once("exit", resolve))));
}

/** At a time: then the prober goes on with the others. */
const FLOOD = 4_000;
const FLOOD_TIMES = 128;
/** A pod has some 28,000 ports to another one, and the table some 164,000 places. */
const FLOOD_PAIRS = 10;
const PAIR_TRIES = 5_000;
/** So full, most flows find no free place: a flow can be only at ten. */
const FULL_SHARE = 0.9;

/** Flows of a few pods fill the table: what they evict is their own, or unconfirmed (docs/limits.md). */
async function flowsFlood(context: Context): Promise<void> {
  const { node, random } = context;
  const isFull = async (): Promise<boolean> => {
    const { flows = [] } = (await node.status()) ?? {};
    return flows.some(({ family, used, max }) => family === "ipv4" && used >= FULL_SHARE * max);
  };
  const all = running(node);
  const pairs: { readonly from: number; readonly to: number; readonly port: number }[] = [];
  for (let tries = 0; tries < PAIR_TRIES && pairs.length < FLOOD_PAIRS; tries += 1) {
    const [from, to] = [pick(random, all), pick(random, all)];
    const ends = { from: from.slot, to: to.slot, port: pick(random, SERVED_PORTS) };
    const isKnown = pairs.some((each) => each.from === ends.from && each.to === ends.to);
    if (from === to || isKnown || !(node.isIsolated(from) || node.isIsolated(to))) continue;
    if (node.verdictOf({ ...ends, kind: "udp from new ports", family: 4 }) === "allowed") pairs.push(ends);
  }
  // With these policies there are too few flows.
  if (pairs.length < FLOOD_PAIRS) return someChange(context);
  for (let times = 0; times < FLOOD_TIMES; times += 1) {
    const { from, to, port } = present(pairs[times % pairs.length], "a pair");
    node.prober.flood(from, to, port, FLOOD);
    await node.prober.sync();
    if (await isFull()) break;
  }
  if (!(await isFull())) throw new Error("the flow table is not full");
  await someChange(context);
}

async function otherLayout(context: Context): Promise<void> {
  const { node, random } = context;
  await node.endAgent(pick(random, ["kill", "stop"] as const));
  const digest = readdirSync(node.bpffs).find((name) => /^[0-9a-f]{16}$/.test(name));
  // To the next agent, the pins look like those of another build.
  if (digest === LAYOUT_DIGEST) renameSync(join(node.bpffs, digest), join(node.bpffs, "0123456789abcdef"));
  context.begins();
  node.startAgent();
}

/** What others send to the sockets and watches while something changes. */
const hostile =
  (send: (node: SoakNode, random: Random) => Promise<void>) =>
  async (context: Context): Promise<void> => {
    // By choices of its own, so that a seed repeats the others whichever is faster.
    const own = randomFrom(context.random.below(2 ** 32));
    await Promise.all([send(context.node, own), someChange(context)]);
    context.begins();
  };

async function socketAbused(context: Context): Promise<void> {
  const { node, random } = context;
  const text = pick(random, [
    "GET /v1/status\r\n\r\n",
    "\0\0\0\0",
    `GET /${"x".repeat(100_000)} HTTP/1.1\r\n\r\n`,
    "POST /v1/resync HTTP/1.1\r\ncontent-length: 999999\r\n\r\n",
  ]);
  const { connect } = await import("node:net");
  const sockets = Array.from({ length: 80 }, () => connect(node.socket).on("error", () => undefined));
  for (const socket of sockets) socket.write(text);
  await someChange(context);
  await sleep(300);
  for (const socket of sockets) socket.destroy();
  context.begins();
}

/** So many pods at once; with each round as many come and go. */
const BULK = 100;

/** Pods that come and go faster than anybody looks: what they leave, leaks. */
async function podsInBulk(context: Context): Promise<void> {
  const { node } = context;
  const pods = Array.from({ length: BULK }, (_, index) => node.makePod(BULK_SLOT + index));
  node.place(pods, false);
  await node.change(pods.map((pod) => ({ kind: "Pod", put: podObject(pod) }) as const));
  if (context.random.below(2) === 0) await sleep(context.random.below(300));
  await node.change(pods.map((pod) => ({ kind: "Pod", remove: keyOf(pod) }) as const));
  await node.unplace(...pods.map(({ slot }) => slot));
}

/** Another layout of the maps, as a later version may have it: what it finds it takes over. */
const OTHER_BUILD: readonly Edit[] = [
  [/FLOW_REPLIED = 1,/, "FLOW_REPLIED = 8,"],
  [/FLOW_FIN_OTHER = 8,/, "FLOW_FIN_OTHER = 1,"],
];

/** An upgrade to a build with another layout, or back. */
async function upgraded(context: Context): Promise<void> {
  const { node } = context;
  const other = node.otherBuild((tree) => buildRelaid(tree, OTHER_BUILD));
  await node.endAgent(pick(context.random, ["kill", "stop"] as const));
  node.use(node.bin() === other ? node.spec.bin : other);
  context.begins();
  node.startAgent();
}

/** Everything pinned is gone, and so is the agent as soon as it reports that it has made it again. */
async function killedWithoutPins(context: Context): Promise<void> {
  const { node } = context;
  removePins(node);
  for (
    const deadline = Date.now() + 10_000;
    Date.now() < deadline && !existsSync(join(node.bpffs, "links"));
  )
    await sleep(50);
  await sleep(500);
  await killed(context);
}

const restarted = async (context: Context): Promise<void> => {
  await context.node.endAgent("stop");
  context.begins();
  context.node.startAgent();
};

async function diesOnStart(context: Context): Promise<void> {
  const { node, random } = context;
  await node.endAgent("kill");
  for (let index = 0; index < 2; index += 1) {
    node.startAgent();
    await sleep(50 + random.below(700));
    await node.endAgent("kill");
  }
  context.begins();
  node.startAgent();
}

export const FAULTS: readonly FaultKind[] = [
  { name: "policy changes", weight: 6, run: policyChanges },
  { name: "policy goes", weight: 2, run: policyGoes },
  { name: "pod relabelled", weight: 4, run: podRelabelled },
  { name: "namespace relabelled", weight: 2, run: namespaceRelabelled },
  { name: "namespace goes and comes", weight: 2, run: namespaceGoes },
  { name: "service changes", weight: 2, run: serviceChanges },
  { name: "pod comes", weight: 4, run: (context) => podComes(context) },
  { name: "pod comes by weir-cni", weight: 4, run: (context) => podComesByCni(context) },
  { name: "pod comes by weir-cni without an agent", weight: 2, run: cniWhileAway },
  { name: "pod goes", weight: 3, run: podGoes },
  { name: "pod deleted by force or failed", weight: 4, run: podForceDeleted },
  { name: "address reused", weight: 3, run: addressReused },
  { name: "status without addresses", weight: 2, run: addressesVanish },
  { name: "address claimed twice", weight: 2, run: duplicateClaim },
  { name: "kill -9", weight: 3, run: (context) => killed(context) },
  { name: "kill -9 in an update", weight: 4, run: killedInUpdate },
  { name: "death at a kernel write", weight: 6, run: diesAtKernelWrite },
  { name: "kill -9 while starting", weight: 2, run: diesOnStart },
  { name: "restart", weight: 2, run: restarted },
  { name: "another layout", weight: 3, run: otherLayout },
  // The other build takes a minute to make.
  { name: "upgrade or downgrade", weight: 3, isLong: true, run: upgraded },
  { name: "death at each kernel write", weight: 0, run: diesAtEachWrite },
  { name: "pods in bulk", weight: 1, run: podsInBulk },
  { name: "kernel call fails", weight: 8, run: kernelFails },
  { name: "netlink call fails", weight: 3, run: netlinkFails },
  { name: "API server killed", weight: 2, run: apiGone },
  { name: "API server frozen", weight: 2, run: apiFrozen },
  { name: "API server slow or refusing", weight: 4, run: apiMisbehaves },
  { name: "API server lies", weight: 3, run: apiLies },
  { name: "API server compacted", weight: 1, run: apiCompacted },
  { name: "API server set back", weight: 2, run: apiSetBack },
  { name: "tc qdisc del", weight: 2, run: qdiscDeleted, permits: "its pod is open until the next check" },
  { name: "link detached", weight: 3, run: linkDetached, permits: "its pod is open until the next check" },
  { name: "pins removed", weight: 2, run: pinsRemoved },
  { name: "all pins removed", weight: 1, run: allPinsRemoved },
  { name: "all pins removed and kill -9", weight: 2, run: killedWithoutPins },
  {
    name: "map entry changed",
    weight: 2,
    run: entryChanged,
    permits: "any verdict until the maps are read back",
  },
  { name: "disk full", weight: 2, run: diskFull },
  { name: "SIGSTOP", weight: 2, run: (context) => stopped(context) },
  { name: "SIGSTOP for a minute", weight: 1, isLong: true, run: (context) => stopped(context, 60_000) },
  { name: "clock jumps", weight: 2, run: clockJumps },
  { name: "CPU taken by others", weight: 1, run: hogs },
  { name: "flood of flows", weight: 1, run: flowsFlood },
  { name: "agent's socket abused", weight: 1, run: socketAbused },
  { name: "hostile requests", weight: 1, run: hostile(hostileRequests) },
  { name: "hostile watch events", weight: 1, run: hostile(hostileEvents) },
  { name: "hostile CNI configurations", weight: 1, run: hostile(hostileConfigurations) },
];

/** In the order of `only`, again and again. */
export function faultsInOrder(only: ReadonlySet<string>): (index: number) => FaultKind {
  const chosen = [...only].map((name) =>
    present(
      FAULTS.find((each) => each.name === name),
      `fault "${name}"`,
    ),
  );
  return (index) => present(chosen[index % chosen.length], "a kind of fault");
}

export const faultNames = (): string[] => FAULTS.map(({ name }) => name);

/** Those of a list with commas. @throws Error for what is none */
export function faultsNamed(text: string): ReadonlySet<string> {
  const names = new Set(text.split(","));
  const unknown = [...names].filter((name) => !FAULTS.some((each) => each.name === name));
  if (unknown.length > 0) throw new Error(`no fault "${unknown[0]}"; there are: ${faultNames().join(", ")}`);
  return names;
}

const LONG_MINUTES = 10;

/** Each kind once in random order; then by weight. */
export function openChoice(random: Random, only: ReadonlySet<string>, minutes: number): () => FaultKind {
  const all = FAULTS.filter(({ name, isLong, weight }) =>
    only.size === 0 ? weight > 0 && (isLong !== true || minutes >= LONG_MINUTES) : only.has(name),
  );
  const first = [...all];
  return () => {
    if (first.length > 0) return present(first.splice(random.below(first.length), 1)[0], "a kind of fault");
    let left = random.below(all.reduce((sum, { weight }) => sum + weight, 0));
    const found = all.find(({ weight }) => {
      left -= weight;
      return left < 0;
    });
    return present(found ?? all[0], "a kind of fault");
  };
}
