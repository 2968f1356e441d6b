// A pod that forwards for others: only packets from the prefixes in its annotation go through, over real sockets.

import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { ipBatch } from "../../src/lab/iproute.ts";
import { podManifest } from "../../src/lab/lab-manifests.ts";
import type { Agent, Status } from "../../src/lab/weir-process.ts";
import { growth } from "./counted.ts";
import { mismatchesOf } from "./reach.ts";
import { FRIEND, FRIENDS_ONLY, FRIENDS_ONLY_HOLDS, SERVER, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const PATIENCE_MS = 60_000;
/** An address behind the friend, and one next to it. */
const BEHIND = ["10.77.0.9", "fd77::9"] as const;
const BESIDE = ["10.78.0.9", "fd78::9"] as const;

/** The server allows the friend's own addresses, and these. */
const POLICY = FRIENDS_ONLY.replace(
  "role: friend } } }]",
  'role: friend } } }, { ipBlock: { cidr: 10.77.0.0/24 } }, { ipBlock: { cidr: "fd77::/112" } }]',
);
const SPEC = smallWorld("wt-source", { "policy.yaml": POLICY });

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld(SPEC);
  const { link, netns } = world.lab.wire(FRIEND);
  const all = [...BEHIND, ...BESIDE].map((each) => (each.includes(":") ? `${each}/128` : `${each}/32`));
  ipBatch(
    all.map((each) => `addr add ${each} dev eth0 ${each.includes(":") ? "nodad" : ""}`),
    netns,
  );
  ipBatch(all.map((each) => `route add ${each} dev ${link}`));
  agent = await world.start();
});

afterAll(() => world?.close());

/** The pods, the friend with this annotation. */
const manifestsWith = (sources: string | undefined): object[] =>
  SPEC.pods.map((pod) => {
    const annotations = sources === undefined ? {} : { "weir.dev/allowed-sources": sources };
    return podManifest(pod.name === FRIEND ? { ...pod, annotations } : pod, world.lab.wire(pod.name));
  });

const annotate = (sources: string | undefined): Promise<unknown> =>
  agent.change(() => world.manifests.put("pods.yaml", manifestsWith(sources)));

const NOWHERE = linesFrom([...BEHIND, ...BESIDE], "--");

/** Whether the friend reaches the server from these addresses. */
function linesFrom(sources: readonly string[], families: string): string {
  return sources.map((source) => `${FRIEND}@${source} -> ${SERVER} tcp/80 udp/80 : ${families}`).join("\n");
}

describe("a pod with weir.dev/allowed-sources", () => {
  it("reaches servers from those, if their policy allows them, and from no others", async () => {
    expect(await mismatchesOf(world.lab, NOWHERE)).toEqual([]);
    await annotate("10.77.0.0/16, fd77::/64");
    const grown = await growth(world, FRIEND, ["egress spoofed"], async () => {
      const table = `${linesFrom(BEHIND, "46")}\n${linesFrom(BESIDE, "--")}\n${FRIENDS_ONLY_HOLDS}`;
      expect(await mismatchesOf(world.lab, table)).toEqual([]);
    });
    expect(grown["egress spoofed"]).toBeGreaterThan(0);
  });

  it("has them in `weir maps dump sources`", async () => {
    const { stdout } = await world.weir("maps", "dump", "sources", "-o", "json");
    const dumped = JSON.parse(stdout) as readonly { readonly ifindex: number }[];
    // Under index 0 are the addresses of nodes.
    expect(dumped.filter(({ ifindex }) => ifindex !== 0)).toMatchObject([
      { pod: FRIEND, cidr: "10.77.0.0/16" },
      { pod: FRIEND, cidr: "fd77::/64" },
    ]);
  });

  it("sends from its own addresses alone once the annotation is gone or invalid", async () => {
    await annotate(undefined);
    expect(await mismatchesOf(world.lab, `${NOWHERE}\n${FRIENDS_ONLY_HOLDS}`)).toEqual([]);
    world.manifests.put("pods.yaml", manifestsWith("10.77.0.0/16, fd77::/640"));
    await vi.waitFor(async () => {
      const { problems } = JSON.parse((await world.weir("status", "-o", "json")).stdout) as Status;
      expect(problems.map(({ text }) => text)).toEqual([
        expect.stringMatching(
          /Pod shop\/friend: metadata.annotations\["weir.dev\/allowed-sources"\]: "fd77::\/640"/,
        ),
      ]);
    }, PATIENCE_MS);
    expect(await mismatchesOf(world.lab, `${NOWHERE}\n${FRIENDS_ONLY_HOLDS}`)).toEqual([]);
  });
});
