// Packets with forged sources, from real sockets: a pod with others' addresses, and any endpoint with the node's.

import { writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ipBatch, ipJson } from "../../src/lab/iproute.ts";
import { NODE } from "../../src/lab/netns-lab.ts";
import { growth } from "./counted.ts";
import {
  FRIEND,
  FRIENDS_ONLY,
  SERVER,
  SERVER_V4,
  SERVER_V6,
  STRANGER,
  single,
  smallWorld,
} from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const OUTSIDE = "outside";
/** The node's own address, which kubelet uses. */
const NODE_V4 = "10.63.61.200";
const NODE_V6 = "fd63:61::200";
const FRIEND_V4 = "10.63.61.2";
const FRIEND_V6 = "fd63:61::2";

const FAMILIES = [
  { family: 4, server: SERVER_V4, node: NODE_V4, friend: FRIEND_V4, gateway: "169.254.1.1" },
  { family: 6, server: SERVER_V6, node: NODE_V6, friend: FRIEND_V6, gateway: "fe80::1" },
] as const;

let world: World;

beforeAll(async () => {
  world = await openWorld({
    ...smallWorld("wt-forged", { "friends-only.yaml": FRIENDS_ONLY }),
    machines: [{ name: OUTSIDE, addresses: ["10.63.61.100", "fd63:61::100"] }],
  });
  const { link } = world.lab.wire(OUTSIDE);
  ipBatch([`addr add ${NODE_V4}/32 dev ${link}`, `addr add ${NODE_V6}/128 dev ${link} nodad`]);
  // The unknown peer takes the friend's addresses too, and all but the server the node's.
  for (const name of [OUTSIDE, STRANGER]) claim(name, [NODE_V4, NODE_V6]);
  claim(STRANGER, [FRIEND_V4, FRIEND_V6]);
  await world.start();
});

afterAll(() => world?.close());

/** Gives an endpoint addresses that are not its own, and lets the node accept such packets from it, as some nodes do. */
function claim(name: string, addresses: readonly string[]): void {
  const { link, netns } = world.lab.wire(name);
  ipBatch(
    addresses.map((each) =>
      each.includes(":") ? `addr add ${each}/128 dev lo` : `addr add ${each}/32 dev lo`,
    ),
    netns,
  );
  writeFileSync(`/proc/sys/net/ipv4/conf/${link}/accept_local`, "1");
  writeFileSync(`/proc/sys/net/ipv4/conf/${link}/rp_filter`, "0");
}

/** The gateway's neighbour entry in the unknown peer's kernel: permanent, or still to be resolved. */
function gatewayOfStranger(gateway: string, known: boolean): void {
  const { link, netns } = world.lab.wire(STRANGER);
  const mac = String(ipJson(["link", "show", link])[0]?.["address"]);
  ipBatch([`neigh replace ${gateway} lladdr ${mac} dev eth0 nud permanent`], netns);
  if (!known) ipBatch([`neigh del ${gateway} dev eth0`], netns);
}

/** One datagram to the server, which is not answered. */
async function sendUnheard(from: string, to: string, source: string): Promise<void> {
  const outcome = await world.lab.probe(from, { ...single("udp", to, 300), source });
  expect(outcome).toEqual({ result: "silent" });
}

const REASONS = ["denied", "node", "policy", "established", "not-isolated"].map(
  (reason) => `ingress ${reason}`,
);
const only = (reason: string) =>
  Object.fromEntries(REASONS.map((key) => [key, key === `ingress ${reason}` ? 1 : 0]));

describe("a pod with an address that is not its own", () => {
  it.each(
    FAMILIES.flatMap(({ friend, node, ...rest }) => [
      { ...rest, whose: "another pod's", source: friend },
      { ...rest, whose: "the node's", source: node },
    ]),
  )("cannot send from $whose, and is counted: IPv$family", async ({ server, source, gateway }) => {
    gatewayOfStranger(gateway, true);
    const atServer = await growth(world, SERVER, REASONS, async () => {
      const atStranger = await growth(world, STRANGER, ["egress spoofed"], () =>
        sendUnheard(STRANGER, server, source),
      );
      expect(atStranger).toEqual({ "egress spoofed": 1 });
    });
    expect(Object.values(atServer)).toEqual(REASONS.map(() => 0));
  });
});

describe("a pod that resolves its gateway with another's address", () => {
  it.each(FAMILIES)("is dropped, and is counted: IPv$family", async ({ server, friend, gateway }) => {
    gatewayOfStranger(gateway, false);
    const grown = await growth(world, STRANGER, ["egress spoofed", "egress not-isolated"], () =>
      sendUnheard(STRANGER, server, friend),
    );
    expect(grown["egress spoofed"]).toBeGreaterThan(0);
    expect(grown["egress not-isolated"]).toBe(0);
    const learnt = ipJson(["neigh", "show", "dev", world.lab.wire(STRANGER).link]);
    expect(learnt.map(({ dst }) => dst)).not.toContain(friend);
  });
});

describe("an ICMP error that a pod's kernel sends", () => {
  const CLOSED = 4_321;
  const SERVICES = { 4: "10.96.61.1", 6: "fd96:61::1" } as const;

  it.each(FAMILIES)(
    "gets to who sent to a closed port, also by NAT: IPv$family",
    async ({ family, server }) => {
      const to = { address: server, port: CLOSED };
      world.lab.rewrite([{ address: SERVICES[family], protocol: "udp", port: 80, to, masquerade: false }]);
      try {
        for (const where of [to, { address: SERVICES[family], port: 80 }]) {
          const probe = { ...where, kind: "udp", timeoutMs: 20_000 } as const;
          expect(await world.lab.probe(FRIEND, probe)).toMatchObject({
            ...{ result: "failed", reason: expect.stringContaining("REFUSED") },
          });
        }
      } finally {
        world.lab.rewrite([]);
      }
    },
  );
});

describe("a probe of this node", () => {
  it.each(FAMILIES)("passes, from its own address: IPv$family", async ({ server, node }) => {
    for (const kind of ["tcp", "udp", "icmp"] as const) {
      const probe = { kind, address: server, source: node, timeoutMs: 20_000 };
      const withPort = kind === "icmp" ? probe : { ...probe, port: 80 };
      expect(await world.lab.probe(NODE, withPort)).toMatchObject({ result: "reached" });
    }
  });

  it.each(FAMILIES)(
    "forged from outside, is judged by policy and counted: IPv$family",
    async ({ server, node }) => {
      const grown = await growth(world, SERVER, REASONS, () => sendUnheard(OUTSIDE, server, node));
      expect(grown).toEqual(only("denied"));
    },
  );
});
