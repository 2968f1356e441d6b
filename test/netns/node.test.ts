// The node's tables as they are followed, against real links: the kernel's notifications, interface ownership, pods without an interface. Needs root.

import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { openIncumbents } from "../../src/agent/interface-history.ts";
import { GRACE_MS, openAbsences } from "../../src/agent/interface-tracking.ts";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";
import type { Pod } from "../../src/model/cluster.ts";
import { problemText } from "../../src/model/problem.ts";
import { type FollowedNode, followNode } from "../../src/node/netlink-watch.ts";
import {
  type Adopted,
  type Resolved,
  type ResolveOptions,
  resolveInterfaces,
} from "../../src/source/interface-discovery.ts";
import { address, cluster } from "../support/model.ts";

const SPACES = ["wt-nd-a", "wt-nd-b", "wt-nd-c"] as const;
const [A, B, C] = SPACES;
const BRIDGE = "wtnd-br";

let node: FollowedNode;
let changes = 0;
let pairs: string[] = [];

function remove(): void {
  const there = ipJson(["link", "show"]).map((link) => String(link["ifname"]));
  ipBatch(there.filter((name) => name.startsWith("wtnd-")).map((name) => `link del ${name}`));
  const named = new Set(ipJson(["netns", "list"]).map((each) => String(each["name"])));
  ipBatch(SPACES.filter((name) => named.has(name)).map((name) => `netns del ${name}`));
}

beforeAll(async () => {
  remove();
  node = await followNode({
    onChange: () => {
      changes += 1;
    },
    onPair: ({ name }) => pairs.push(name),
    onError: (error) => {
      throw error;
    },
  });
});

beforeEach(async () => {
  remove();
  await until(() => ![...node.tables().links.values()].some(({ name }) => name.startsWith("wtnd-")));
  ipBatch(SPACES.map((name) => `netns add ${name}`));
  pairs = [];
});

afterAll(() => {
  node.close();
  remove();
});

async function until(condition: () => boolean): Promise<void> {
  const deadline = Date.now() + 20_000;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`gave up waiting for: ${String(condition)}`);
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
}

/** A pair into a namespace, up at both ends. */
function pair(link: string, space: string, inner = "eth0", more = ""): void {
  ipBatch([`link add ${link} ${more} type veth peer name ${inner} netns ${space}`, `link set ${link} up`]);
  ipBatch([`link set ${inner} up`], space);
}

function pod(name: string, ips: readonly string[], more: Partial<Pod> = {}): Pod {
  const ports = { ports: [], labels: new Map() };
  return {
    namespace: "shop",
    name,
    ips: ips.map(address),
    hostNetwork: false,
    finished: false,
    ...ports,
    ...more,
  };
}

const resolve = (pods: readonly Pod[], options: ResolveOptions = {}): Resolved =>
  resolveInterfaces(cluster({ pods }), node, options);

function resolved(pods: readonly Pod[], options: ResolveOptions = {}) {
  const { found, missing, problems } = resolve(pods, options);
  const names = found.map((each) =>
    [[each.pod, ...(each.rivals ?? [])].map(({ name }) => name).join("|"), each.name].join(" "),
  );
  return { found: names.sort(), missing, lines: problems.map(problemText) };
}

/** Options for the next resolution, with this result as the previous one. */
function knownFrom({ found, cluster: of }: Resolved): ResolveOptions {
  const incumbents = openIncumbents(undefined);
  incumbents.settle(found, { cluster: of, sides: [], tables: node.tables() });
  return { incumbents: incumbents.of(node.tables()) };
}

const foundOf = (...pods: Pod[]) => resolved(pods).found;

describe("a pod without an annotation", () => {
  it("is found by its namespace before it has sent anything, over a bridge as well", async () => {
    ipBatch([
      `link add ${BRIDGE} type bridge`,
      `addr add 10.97.0.1/24 dev ${BRIDGE}`,
      `link set ${BRIDGE} up`,
    ]);
    pair("wtnd-a", A);
    ipBatch([`link set wtnd-a master ${BRIDGE}`]);
    ipBatch(["addr add 10.97.0.2/24 dev eth0", "addr add 2001:db8:97::2/64 dev eth0 nodad"], A);
    await until(() => foundOf(pod("a", ["10.97.0.2"])).length > 0);
    expect(foundOf(pod("a", ["10.97.0.2"]))).toEqual(["a wtnd-a"]);
    await until(() => foundOf(pod("a", ["2001:db8:97::2"])).length > 0);
  });

  it("is found by the bridge's port if its namespace gives no evidence", async () => {
    ipBatch([`link add ${BRIDGE} type bridge`, `link set ${BRIDGE} up`]);
    pair("wtnd-a", A);
    ipBatch([
      `link set wtnd-a master ${BRIDGE}`,
      `neigh add 10.97.0.3 lladdr 02:00:00:00:97:03 dev ${BRIDGE}`,
    ]);
    execFileSync("bridge", ["fdb", "add", "02:00:00:00:97:03", "dev", "wtnd-a", "master", "static"]);
    await until(() => foundOf(pod("a", ["10.97.0.3"])).length > 0);
    ipBatch([`neigh del 10.97.0.3 dev ${BRIDGE}`]);
    await until(() => foundOf(pod("a", ["10.97.0.3"])).length === 0);
  });

  it("is where the route to it leads, whatever another pod claims to be", async () => {
    pair("wtnd-a", A);
    pair("wtnd-b", B);
    ipBatch(["addr add 10.97.1.1/32 dev eth0"], A);
    ipBatch(["addr add 10.97.1.1/32 dev eth0"], B);
    ipBatch(["route add 10.97.1.1/32 dev wtnd-b"]);
    await until(() => foundOf(pod("p", ["10.97.1.1"]))[0] === "p wtnd-b");
  });

  it("keeps its interface when another pod takes its address too", async () => {
    pair("wtnd-b", B);
    pair("wtnd-a", A);
    ipBatch(["addr add 10.97.1.3/32 dev eth0"], A);
    const owner = pod("owner", ["10.97.1.3"]);
    const thief = pod("a-thief", ["10.97.1.4"]);
    await until(() => foundOf(owner)[0] === "owner wtnd-a");
    let known = knownFrom(resolve([owner, thief]));
    ipBatch(["addr add 10.97.1.3/32 dev eth0", "addr add 10.97.1.4/32 dev eth0"], B);
    await until(() => resolved([owner, thief], known).found.length === 2);
    expect(resolved([owner, thief], known).found).toEqual(["a-thief wtnd-b", "owner wtnd-a"]);
    known = knownFrom(resolve([owner, thief], known));
    ipBatch(["addr del 10.97.1.3/32 dev eth0"], A);
    ipBatch(["addr del 10.97.1.3/32 dev eth0"], B);
    await until(() => resolved([owner, thief]).found.join() === "a-thief wtnd-b");
    expect(resolved([owner, thief], known).found).toEqual(["a-thief wtnd-b", "owner wtnd-a"]);
  });

  it("is not hidden by a known pod that has put its address into a namespace of its own before", async () => {
    ipBatch([`link add ${BRIDGE} type bridge`, `link set ${BRIDGE} up`]);
    pair("wtnd-b", B);
    ipBatch(["addr add 10.97.7.1/24 dev eth0"], B);
    const thief = pod("a-thief", ["10.97.7.1"]);
    await until(() => foundOf(thief)[0] === "a-thief wtnd-b");
    const known = knownFrom(resolve([thief]));
    ipBatch(["addr flush dev eth0", "addr add 10.97.7.2/32 dev eth0"], B);
    pair("wtnd-a", A);
    ipBatch([`link set wtnd-a master ${BRIDGE}`]);
    ipBatch(["addr add 10.97.7.9/24 dev eth0", "addr add 10.97.7.2/24 dev eth0"], A);
    const victim = pod("victim", ["10.97.7.2"]);
    await until(() => resolved([thief, victim], known).found.length === 2);
    expect(resolved([thief, victim], known).found).toEqual(["a-thief wtnd-b", "victim wtnd-a"]);
    // Nor where its address is not seen in its namespace, but behind its port of the bridge.
    ipBatch(["addr flush dev eth0"], A);
    ipBatch([`neigh add 10.97.7.2 lladdr 02:00:00:00:97:07 dev ${BRIDGE}`]);
    execFileSync("bridge", ["fdb", "add", "02:00:00:00:97:07", "dev", "wtnd-a", "master", "static"]);
    await until(() => node.tables().neighbours.some(({ address: text }) => text === "10.97.7.2"));
    await until(() => resolved([thief, victim], known).found.length === 2);
    expect(resolved([thief, victim], known).found).toEqual(["a-thief wtnd-b", "victim wtnd-a"]);
    ipBatch([`neigh del 10.97.7.2 dev ${BRIDGE}`, `link del ${BRIDGE}`]);
  });

  it("does not lose its interface by removing its address, nor by another pod's help, nor while no agent runs", async () => {
    pair("wtnd-a", A);
    pair("wtnd-b", B);
    ipBatch(["addr add 10.97.6.1/32 dev eth0"], A);
    ipBatch(["addr add 10.97.6.2/32 dev eth0"], B);
    const pods = [pod("a", ["10.97.6.1"]), pod("b", ["10.97.6.2"])];
    await until(() => resolved(pods).found.length === 2);
    const first = resolve(pods);
    const known = () => knownFrom(first);
    const both = { found: ["a wtnd-a", "b wtnd-b"], missing: [], lines: [] };
    ipBatch(["addr flush dev eth0"], A);
    await until(() => resolved(pods).found.length === 1);
    expect(resolved(pods, known())).toEqual(both);
    const left = first.found.map(({ ifindex, pod: { ips } }): [number, Adopted] => [
      ifindex,
      { addresses: ips.map(({ text }) => text), isolated: true },
    ]);
    expect(resolved(pods, { adopted: new Map(left) }).found).toEqual(both.found);
    ipBatch(["addr flush dev eth0", "addr add 10.97.6.1/32 dev eth0"], B);
    await until(() => resolved(pods).found[0] === "a wtnd-b");
    expect(resolved(pods, known())).toEqual(both);
    // Whatever objects say, and whatever they no longer say: until it is gone.
    expect(resolved([pod("a", ["10.97.6.9"])], known()).found).toEqual(both.found);
    expect(resolved([pod("c", ["10.97.6.1"])], known())).toMatchObject({
      found: both.found,
      missing: ["shop/c"],
    });
    ipBatch(["addr add 10.97.6.3/32 dev eth0"], A);
    await until(() => foundOf(pod("c", ["10.97.6.3"])).length === 1);
    expect(resolved([...pods, pod("c", ["10.97.6.3"])], known())).toMatchObject({
      found: both.found,
      missing: ["shop/c"],
    });
    ipBatch(["link del wtnd-a"]);
    await until(() => ![...node.tables().links.values()].some(({ name }) => name === "wtnd-a"));
    expect(resolved(pods, known()).found).toEqual(["b wtnd-b"]);
  });

  it("moves with its address, and with a reused index", async () => {
    const moving = pod("m", ["10.97.2.1"]);
    pair("wtnd-a", A, "eth0", "index 77701");
    ipBatch(["addr add 10.97.2.1/32 dev eth0"], A);
    await until(() => foundOf(moving)[0] === "m wtnd-a");
    pair("wtnd-b", B);
    ipBatch(["addr del 10.97.2.1/32 dev eth0"], A);
    ipBatch(["addr add 10.97.2.1/32 dev eth0"], B);
    await until(() => foundOf(moving)[0] === "m wtnd-b");
    // The index comes back at once, for another pod's interface.
    const known = knownFrom(resolve([moving]));
    const earlier = [...node.tables().links.values()].find(({ ifindex }) => ifindex === 77701)?.birth;
    ipBatch(["link del wtnd-a"]);
    pair("wtnd-c", C, "eth0", "index 77701");
    ipBatch(["addr add 10.97.2.3/32 dev eth0"], C);
    await until(() => foundOf(moving, pod("n", ["10.97.2.3"])).length === 2);
    const { found } = resolve([pod("n", ["10.97.2.3"])]);
    expect(found.map(({ ifindex, name }) => [ifindex, name])).toEqual([[77701, "wtnd-c"]]);
    const later = node.tables().links.get(77701)?.birth;
    expect([earlier, later].map((birth) => typeof birth)).toEqual(["string", "string"]);
    expect(later).not.toBe(earlier);
    expect(known.incumbents?.size).toBe(1);
  });

  it("has several interfaces if its addresses are behind several", async () => {
    pair("wtnd-a", A);
    pair("wtnd-b", A, "eth1");
    ipBatch(["addr add 10.97.3.1/32 dev eth0", "addr add 2001:db8:97:3::1/128 dev eth1 nodad"], A);
    const both = pod("both", ["10.97.3.1", "2001:db8:97:3::1"]);
    await until(() => foundOf(both).length === 2);
    expect(foundOf(both)).toEqual(["both wtnd-a", "both wtnd-b"]);
    expect(foundOf(pod("one", ["10.97.3.1"]))).toEqual(["one wtnd-a", "one wtnd-b"]);
  });

  it("is replaced by the pod that takes its place", async () => {
    pair("wtnd-a", A);
    ipBatch(["addr add 10.97.4.1/32 dev eth0"], A);
    const next = pod("z-next", ["10.97.4.1"]);
    await until(() => foundOf(next).length === 1);
    const going = pod("a-old", ["10.97.4.1"], { deleting: true });
    expect(resolved([going, next])).toEqual({ found: ["z-next wtnd-a"], missing: [], lines: [] });
    expect(foundOf(pod("a-old", ["10.97.4.1"], { finished: true }), next)).toEqual(["z-next wtnd-a"]);
    expect(foundOf(going)).toEqual(["a-old wtnd-a"]);
    expect(resolved([pod("a-other", ["10.97.4.1"]), next])).toMatchObject({
      found: ["a-other|z-next wtnd-a"],
      missing: [],
    });
  });

  it("of another node has no interface here, and one of this node must have one", async () => {
    pair("wtnd-a", A);
    ipBatch(["addr add 10.97.5.1/32 dev eth0"], A);
    await until(() => foundOf(pod("p", ["10.97.5.1"])).length === 1);
    const there = pod("there", ["10.97.5.1"], { node: "other" });
    const here = pod("here", ["10.97.5.9"], { node: "self" });
    const making = pod("making", [], { node: "self" });
    expect(resolved([there, here, making], { node: "self" })).toEqual({
      found: [],
      missing: ["shop/here"],
      lines: [],
    });
  });
});

describe("notifications", () => {
  it("report a pair as soon as it exists, whichever end was created first, and none of two ends that are both here", async () => {
    pair("wtnd-a", A);
    ipBatch([`link add wtnd-x type veth peer name wtn-y`]);
    execFileSync("ip", ["-n", A, "link", "add", "eth7", "type", "veth", "peer", "name", "wtnd-z"]);
    execFileSync("ip", ["-n", A, "link", "set", "wtnd-z", "netns", String(process.pid)]);
    await until(() => pairs.includes("wtnd-z"));
    expect([...new Set(pairs)].sort()).toEqual(["wtnd-a", "wtnd-z"]);
  });

  it("report nothing while nothing relevant changes", async () => {
    pair("wtnd-a", A);
    await until(() => pairs.includes("wtnd-a"));
    await node.settled();
    await new Promise((resolve) => setTimeout(resolve, 200));
    const [tables, before] = [node.tables(), changes];
    ipBatch(["link set wtnd-a txqueuelen 999", "link set wtnd-a down", "link set wtnd-a up"]);
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(changes).toBe(before);
    expect(node.tables()).toBe(tables);
  });
});

it("a pod without an interface is a problem after some seconds, not before", () => {
  let now = 1_000;
  const absences = openAbsences(
    () => undefined,
    () => now,
  );
  const missing = { severity: "error", object: "Pod shop/a", reason: "it is nowhere" } as const;
  expect(absences.lasting([missing])).toEqual([]);
  now += GRACE_MS - 1;
  expect(absences.lasting([missing])).toEqual([]);
  now += 1;
  expect(absences.lasting([missing])).toEqual([missing]);
  expect(absences.lasting([])).toEqual([]);
  expect(absences.lasting([missing])).toEqual([]);
  absences.close();
});
