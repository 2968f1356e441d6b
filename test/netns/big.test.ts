// Packets larger than a link's MTU: path-MTU discovery of isolated pods, and datagrams in fragments.

import { execFileSync } from "node:child_process";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ipBatch } from "../../src/lab/iproute.ts";
import { PodProcess } from "../../src/lab/pod-process-client.ts";
import type { Probe } from "../../src/lab/pod-protocol.ts";
import { growth } from "./counted.ts";
import { FRIEND, SERVER, SERVER_V4, SERVER_V6, STRANGER, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const PREFIX = "wt-big";
const ROUTER = "router";
const ROUTER_V4 = "10.63.61.100";
const ROUTER_V6 = "fd63:61::100";
/** Behind the router, a client and a server: a kernel that has learnt a path's MTU keeps it. */
const FAR = { asks: ["10.63.61.101", "fd63:61::101"], isAsked: ["10.63.61.102", "fd63:61::102"] } as const;
const FAR_ADDRESSES = [...FAR.asks, ...FAR.isAsked];
const widthOf = (address: string): number => (address.includes(":") ? 128 : 32);
/** MTU of the router's route to the far end; all links themselves carry 1,500 bytes, and so does the return path. */
const MTU_TO_FAR = 1_400;

/** The server accepts TCP/80 and UDP/80 from the friend and from behind the router, and may open TCP/81 there. */
const POLICY = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: server, namespace: shop }
spec:
  podSelector: { matchLabels: { role: server } }
  policyTypes: [Ingress, Egress]
  ingress:
  - from: &far
    - ipBlock: { cidr: 10.63.61.100/30 }
    - ipBlock: { cidr: "fd63:61::100/126" }
    - podSelector: { matchLabels: { role: friend } }
    ports: [{ port: 80 }, { protocol: UDP, port: 80 }]
  egress:
  - to: *far
    ports: [{ port: 81 }]
`;

const FAMILIES = [
  { family: 4, server: SERVER_V4, asks: FAR.asks[0], isAsked: FAR.isAsked[0] },
  { family: 6, server: SERVER_V6, asks: FAR.asks[1], isAsked: FAR.isAsked[1] },
] as const;

let world: World;
let far: PodProcess;

beforeAll(async () => {
  world = await openWorld({
    ...smallWorld(PREFIX, { "server.yaml": POLICY }),
    machines: [{ name: ROUTER, addresses: [ROUTER_V4, ROUTER_V6] }],
  });
  far = await openFarEnd();
  await world.start();
});

afterAll(() => world?.close());

/** A namespace behind the router; the lab's clean-up finds it by its name, as its own. */
async function openFarEnd(): Promise<PodProcess> {
  const netns = `${PREFIX}-900-far`;
  const { netns: router, link } = world.lab.wire(ROUTER);
  ipBatch([`netns add ${netns}`]);
  ipBatch(
    [
      `link add far type veth peer name eth0 netns ${netns}`,
      "link set far up",
      "addr add fe80::2/64 dev far nodad",
      // A router forwards by a route's MTU only if it is locked.
      ...FAR_ADDRESSES.map((each) => `route add ${each} dev far mtu lock ${MTU_TO_FAR}`),
    ],
    router,
  );
  ipBatch(
    [
      "link set lo up",
      "link set eth0 up",
      ...FAR_ADDRESSES.map(
        (each) => `addr add ${each}/${widthOf(each)} dev eth0 ${each.includes(":") ? "nodad" : ""}`,
      ),
      `route add default via ${ROUTER_V4} dev eth0 onlink`,
      "route add default via fe80::2 dev eth0",
    ],
    netns,
  );
  const forward = "for family in ipv4 ipv6; do echo 1 > /proc/sys/net/$family/conf/all/forwarding; done";
  execFileSync("ip", ["netns", "exec", router, "sh", "-c", forward]);
  ipBatch(
    FAR_ADDRESSES.map(
      (each) => `route add ${each} via ${each.includes(":") ? ROUTER_V6 : ROUTER_V4} dev ${link} onlink`,
    ),
  );
  const process = PodProcess.spawn(netns, {
    name: "far",
    addresses: FAR_ADDRESSES,
    http: [],
    tcp: [81],
    udp: [],
  });
  world.lab.defer(() => process.close());
  await process.ready();
  return process;
}

describe("path-MTU discovery of an isolated pod", () => {
  const much = (address: string, port: number): Probe => ({
    kind: "tcp",
    address,
    port,
    bytes: 400_000,
    timeoutMs: 20_000,
  });
  const KEYS = ["ingress related", "ingress denied"];

  it.each(FAMILIES)("passes its answers: IPv$family", async ({ server, asks }) => {
    const grown = await growth(world, SERVER, KEYS, async () => {
      const probe = { ...much(server, 80), source: asks };
      const reply = await far.command({ command: "probe", probe });
      expect(reply).toMatchObject({ outcome: { result: "reached" } });
    });
    expect(grown).toMatchObject({ "ingress denied": 0 });
    expect(grown["ingress related"]).toBeGreaterThan(0);
  });

  it.each(FAMILIES)("passes what it sends: IPv$family", async ({ isAsked }) => {
    const grown = await growth(world, SERVER, KEYS, async () => {
      expect(await world.lab.probe(SERVER, much(isAsked, 81))).toMatchObject({ result: "reached" });
    });
    expect(grown).toMatchObject({ "ingress denied": 0 });
    expect(grown["ingress related"]).toBeGreaterThan(0);
  });
});

describe("a datagram of 4 kB, in fragments", () => {
  const big = (address: string): Probe => ({
    kind: "udp",
    address,
    port: 80,
    bytes: 4_000,
    timeoutMs: 1_000,
  });

  it.each(FAMILIES)("passes, and so does the answer, if a rule allows it: IPv$family", async ({ server }) => {
    const grown = await growth(world, SERVER, ["ingress established", "egress established"], async () => {
      expect(await world.lab.probe(FRIEND, big(server))).toMatchObject({ result: "reached" });
    });
    // Three fragments each way; the first one to arrive opens the flow.
    expect(grown["ingress established"]).toBeGreaterThanOrEqual(2);
    expect(grown["egress established"]).toBeGreaterThanOrEqual(3);
  });

  it.each(FAMILIES)("is dropped to its last fragment if no rule does: IPv$family", async ({ server }) => {
    const grown = await growth(world, SERVER, ["ingress denied", "ingress fragment"], async () => {
      const outcome = await world.lab.probe(STRANGER, { ...big(server), once: true });
      expect(outcome).toEqual({ result: "silent" });
    });
    expect(grown).toEqual({ "ingress denied": 1, "ingress fragment": 2 });
  });
});
