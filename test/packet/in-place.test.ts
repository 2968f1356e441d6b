// Identities of addresses are written in place, and the generation advances without a flip: every CPU that has cached the one before
// judges its next packet by the new one.

import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { apply } from "../../src/agent/apply-changes.ts";
import type { Kernel } from "../../src/agent/datapath-handle.ts";
import { openAttachments } from "../../src/datapath/attachments.ts";
import { packet } from "../../src/engines/frame-builder.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import type { Pod } from "../../src/model/cluster.ts";
import { type Compiled, type Compiler, openCompiler } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { diff, type Held, settledState } from "../../src/state/state-diff.ts";
import { address, cluster, namespace, pod, pods, policy } from "../support/model.ts";
import { OBJECT } from "../support/object.ts";

const SERVER = pod("shop/server", ["10.0.0.1", "fd00::1"], { labels: { app: "server" } });
/** Keeps the identity of friends in use, so that no other table changes. */
const FRIEND = pod("shop/friend", ["10.0.0.2", "fd00::2"], { labels: { app: "friend" } });
const OTHER = "10.0.0.9";
const other = (labels: Readonly<Record<string, string>>, ...ips: readonly string[]): Pod =>
  pod("shop/other", ips, { labels });
const FRIENDS = policy("shop/friends", { ingress: [{ peers: [pods({ app: "friend" })], ports: "all" }] });

let bench: Bench;
let kernel: Kernel;
let compiler: Compiler;
let held: Held;
let compiled: Compiled | undefined;
let port = 40_000;

beforeAll(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf" });
  const { datapath, maps } = bench;
  const attachments = openAttachments(datapath);
  kernel = {
    lock: { renew: () => true, close: () => undefined },
    datapath,
    maps,
    attachments,
    pin: () => 0,
    close() {
      attachments.close();
      bench.close();
    },
  };
  compiler = openCompiler();
  held = await maps.read();
});

afterAll(() => kernel?.close());

/** The node's CPUs that this process may use, as in "0-3,6". */
function cpus(): number[] {
  const [, list = "0"] =
    /^Cpus_allowed_list:\s*(\S+)$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
  return list.split(",").flatMap((part) => {
    const [first = 0, last = first] = part.split("-").map(Number);
    return Array.from({ length: last - first + 1 }, (_, at) => first + at);
  });
}
const CPUS = cpus();

/** A program runs on the CPU of the thread that starts it. */
function onCpu<T>(cpu: number, run: () => T): T {
  const thread = basename(readlinkSync("/proc/thread-self"));
  const pinTo = (list: string): void => {
    execFileSync("taskset", ["-pc", list, thread], { stdio: "pipe" });
  };
  pinTo(String(cpu));
  try {
    return run();
  } finally {
    pinTo(CPUS.join(","));
  }
}

const compiledFor = (peers: readonly Pod[]): Compiled =>
  compiler.compile({
    cluster: cluster({
      namespaces: [namespace("shop")],
      pods: [SERVER, FRIEND, ...peers],
      policies: [FRIENDS],
    }),
    locals: [{ pod: SERVER, ifindex: bench.devices.at(0) }],
    previous: compiled?.numbering ?? NOTHING_NUMBERED,
  });

/** Returns by how much the generation has advanced. */
async function bring(peers: readonly Pod[], mustAdvance = false): Promise<number> {
  const before = kernel.maps.generation();
  compiled = compiledFor(peers);
  const { state, retiresIdentities } = compiled;
  await apply(kernel, held, state, { retiresIdentities, mustAdvance });
  held = settledState(state);
  return kernel.maps.generation() - before;
}

function send(from: string, sourcePort: number): string {
  const frame = packet({
    source: address(from),
    destination: address(from.includes(":") ? "fd00::1" : "10.0.0.1"),
    protocol: "UDP",
    sourcePort,
    destinationPort: 80,
  });
  return bench.run({ direction: "ingress", ifindex: bench.devices.at(0), ingressIfindex: 1, frame });
}

/** The verdicts on every CPU, of a flow of this port and of a new one. */
const everywhere = (from: string, ofFlow: number): Set<string> =>
  new Set(CPUS.flatMap((cpu) => onCpu(cpu, () => [send(from, ofFlow), send(from, ++port)])));

const PASS = new Set(["pass"]);
const DROP = new Set(["drop"]);

it.each([
  ["a pod is relabelled", [other({}, OTHER)], [other({ app: "friend" }, OTHER)]],
  ["a pod is added", [], [other({ app: "friend" }, OTHER)]],
  [
    "an address moves to another pod",
    [other({}, OTHER)],
    [pod("shop/new", [OTHER], { labels: { app: "friend" } })],
  ],
  ["a pod gets another address", [other({ app: "friend" }, "10.0.0.8")], [other({ app: "friend" }, OTHER)]],
])("on every CPU the next packet is judged by the new state: %s, and back", async (_, before, after) => {
  await bring(before);
  for (let turn = 1; turn <= 3; turn += 1) {
    expect(everywhere(OTHER, 4_000)).toEqual(DROP);
    expect(await bring(after)).toBe(2);
    expect(everywhere(OTHER, 4_000)).toEqual(PASS);
    expect(everywhere("10.0.0.2", 5_000)).toEqual(PASS);
    expect(await bring(before)).toBe(2);
    expect(everywhere(OTHER, 4_000)).toEqual(DROP);
  }
});

it("of IPv6 too", async () => {
  await bring([other({}, "fd00::9")]);
  expect(everywhere("fd00::9", 4_000)).toEqual(DROP);
  expect(await bring([other({ app: "friend" }, "fd00::9")])).toBe(2);
  expect(everywhere("fd00::9", 4_000)).toEqual(PASS);
});

it("CPUs have cached it: without a later generation they go on with the identity before", async () => {
  await bring([other({}, OTHER)]);
  expect(everywhere(OTHER, 4_000)).toEqual(DROP);
  const { state } = compiledFor([other({ app: "friend" }, OTHER)]);
  const { inPlace } = diff(held, state);
  if (inPlace === undefined) throw new Error("only an address changes");
  await kernel.maps.write(inPlace);
  expect(everywhere(OTHER, 4_000)).toEqual(DROP);
  // An agent that starts then finds nothing to write.
  held = await kernel.maps.read();
  expect(diff(held, state).empty).toBe(true);
  expect(await bring([other({ app: "friend" }, OTHER)], true)).toBe(2);
  expect(everywhere(OTHER, 4_000)).toEqual(PASS);
});

it("a change of anything else, or a number that is no longer used, flips", async () => {
  await bring([other({ app: "friend" }, OTHER)]);
  compiled = compiler.compile({
    cluster: cluster({ namespaces: [namespace("shop")], pods: [SERVER], policies: [FRIENDS] }),
    locals: [{ pod: SERVER, ifindex: bench.devices.at(0) }],
    previous: compiled?.numbering ?? NOTHING_NUMBERED,
  });
  const { state, retiresIdentities } = compiled;
  expect(retiresIdentities).toBe(true);
  const before = kernel.maps.generation();
  await apply(kernel, held, state, { retiresIdentities });
  expect(kernel.maps.generation()).toBe(before + 1);
  expect(everywhere(OTHER, 4_000)).toEqual(DROP);
});
