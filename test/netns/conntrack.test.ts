// `weir conntrack`: which flows it lists, and how flushing them affects their connections.

import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Agent } from "../../src/lab/weir-process.ts";
import { mismatchesOf } from "./reach.ts";
import { FRIENDS_ONLY, FRIENDS_ONLY_HOLDS, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

let world: World;
let agent: Agent;

beforeAll(async () => {
  const files = { "policy.yaml": FRIENDS_ONLY, "friend.yaml": FRIEND_MAY_ALL };
  world = await openWorld(smallWorld("wt-flows", files));
  agent = await world.start();
});

/** Most flows expire after half a minute, in which a busy machine runs few commands. */
beforeEach(async () => expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]));

afterAll(() => world?.close());

/** Isolated, so that its flows are tracked too, and allowed everything. */
const FRIEND_MAY_ALL = `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: friend-may-all, namespace: shop }
spec:
  podSelector: { matchLabels: { role: friend } }
  policyTypes: [Egress]
  egress: [{}]
`;

interface Flow {
  readonly pod: string;
  readonly peer: string;
  readonly protocol: string;
  readonly local: string;
  readonly remote: string;
  readonly localPort: number;
  readonly remotePort: number;
  readonly state: readonly string[];
}

const keyOf = ({ pod, protocol, local, localPort, remote, remotePort }: Flow): string =>
  [pod, protocol, local, localPort, remote, remotePort].join(" ");

async function list(...filters: readonly string[]): Promise<Flow[]> {
  const { status, stdout, stderr } = await world.weir("conntrack", "list", ...filters, "-o", "json");
  expect({ filters, status, stderr }).toEqual({ filters, status: 0, stderr: "" });
  return JSON.parse(stdout);
}

const flush = async (...args: readonly string[]): Promise<string> => {
  const { status, stdout } = await world.weir("conntrack", "flush", ...args);
  expect({ args, status }).toEqual({ args, status: 0 });
  return stdout;
};

describe("list", () => {
  it.each<[string, readonly string[], (flow: Flow) => boolean]>([
    ["a pod", ["--pod", "shop/server"], ({ pod }) => pod === "shop/server"],
    ["a peer by name", ["--peer", "shop/friend"], ({ peer }) => peer === "shop/friend"],
    ["a peer by prefix", ["--peer", "fd63:61::/64"], ({ remote }) => remote.startsWith("fd63:61::")],
    ["a port", ["--port", "81"], ({ localPort, remotePort }) => [localPort, remotePort].includes(81)],
    ["a protocol", ["--protocol", "icmp"], ({ protocol }) => protocol.startsWith("ICMP")],
    ["a state", ["--state", "replied"], ({ state }) => state.includes("replied")],
    [
      "all at once",
      ["--pod", "shop/server", "--peer", "10.63.61.2", "--port", "80", "--protocol", "UDP"],
      ({ pod, peer, protocol, local }) =>
        `${pod} ${peer} ${protocol} ${local}` === "shop/server shop/friend UDP 10.63.61.1",
    ],
  ])("filters by %s", async (_, filters, fits) => {
    const [all, chosen] = [await list(), await list(...filters)];
    expect(chosen).not.toEqual([]);
    expect(chosen.filter((flow) => !fits(flow))).toEqual([]);
    expect(chosen).toHaveLength(all.filter(fits).length);
  });

  it("reports an unknown pod", async () => {
    for (const args of [
      ["--pod", "shop/nobody"],
      ["--peer", "shop/nobody"],
    ]) {
      expect((await world.weir("conntrack", "list", ...args)).status).toBe(4);
    }
  });

  it("is a table in its default format, which leaves out what does not fit", async () => {
    const list = async (...args: readonly string[]) =>
      (await world.weir("conntrack", "list", "--pod", "shop/server", ...args)).stdout;
    expect(await list("-o", "wide")).toMatch(
      /^PROTOCOL +LOCAL +REMOTE +OPENED-BY +STATE +GENERATION +EXPIRES +POD +PEER\n/,
    );
    expect(await list()).toMatch(
      /^PROTOCOL +LOCAL +REMOTE +(OPENED-BY +)?STATE +(GENERATION +)?(EXPIRES +)?POD +PEER\n/,
    );
  });
});

describe("flush", () => {
  it("removes the selected flows, and nothing else", async () => {
    const mine = ["--peer", "10.63.61.2", "--pod", "shop/server"];
    const [before, doomed] = [await list(), await list(...mine)];
    expect(await flush(...mine, "--dry-run")).toBe(`${doomed.length} flows would be removed\n`);
    expect(await list(...mine)).toHaveLength(doomed.length);
    expect(await flush(...mine)).toBe(`${doomed.length} flows removed\n`);
    expect(await list(...mine)).toEqual([]);
    const doomedKeys = new Set(doomed.map(keyOf));
    const others = before.map(keyOf).filter((key) => !doomedKeys.has(key));
    expect((await list()).map(keyOf)).toEqual(expect.arrayContaining(others));
    expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
  });

  it("removes all, also without an agent", async () => {
    await agent.kill();
    expect(await flush("--all", "-o", "json")).toMatch(/"flows": [1-9]/);
    expect(await list("--state", "confirmed")).toEqual([]);
    expect(await mismatchesOf(world.lab, FRIENDS_ONLY_HOLDS)).toEqual([]);
    expect(await world.weir("conntrack", "list", "--pod", "shop/server")).toMatchObject({
      status: 1,
      stderr: expect.stringMatching(/^weir: no agent answers at \S+; without it pods have no names/),
    });
  });
});
