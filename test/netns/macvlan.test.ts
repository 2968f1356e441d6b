// A pod with a macvlan device over the bridge that pods are on: the bridge has no ingress interface for what it sends, as for the node's own
// packets, but its sockets are the pod's.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Address } from "../../src/base/ip.ts";
import { between } from "../../src/engines/frame-builder.ts";
import { ipBatch } from "../../src/lab/iproute.ts";
import { frame, sctpSegment, tcpSegment, udpSegment } from "../packet/frames.ts";
import { openWire, type Wire } from "../packet/wire.ts";
import { address } from "../support/model.ts";
import { attachToBridge } from "./bridged.ts";
import { growth } from "./counted.ts";
import { mismatchesOf } from "./reach.ts";
import { FRIEND, FRIENDS_ONLY, SERVER, STRANGER, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

const BRIDGE = "wt-macvlan-br";
const GATEWAY_MAC = "02:00:00:00:00:fe";
const MAC = [2, 0, 0, 0, 1, 3];
const BROADCAST = [255, 255, 255, 255, 255, 255];
const [V4, V6] = ["10.63.61.33", "fd63:61::33"];
const NODE_V4 = "10.63.61.254";

let world: World;
let wire: Wire;

beforeAll(async () => {
  world = await openWorld(smallWorld("wt-macvlan", { "policy.yaml": FRIENDS_ONLY }));
  wire = openWire();
  const { lab } = world;
  attachToBridge(lab, {
    bridge: BRIDGE,
    address: GATEWAY_MAC,
    names: [SERVER, FRIEND, STRANGER],
    gateways: [`${NODE_V4}/24`, "fd63:61::fe/64"],
  });
  for (const name of [SERVER, FRIEND])
    ipBatch(["route add 10.63.61.0/24 dev eth0", "route add fd63:61::/64 dev eth0"], lab.wire(name).netns);
  const { netns } = lab.wire(STRANGER);
  ipBatch([
    `link add wt-mv link ${BRIDGE} address 02:00:00:00:01:03 type macvlan mode bridge`,
    `link set wt-mv netns ${netns}`,
  ]);
  ipBatch(
    [
      "link set wt-mv up",
      `addr add ${V4}/32 dev wt-mv`,
      `addr add ${V6}/128 dev wt-mv nodad`,
      ...["10.63.61.1", "10.63.61.2"].map((pod) => `route add ${pod} dev wt-mv src ${V4}`),
      ...["fd63:61::1", "fd63:61::2"].map((pod) => `route add ${pod} dev wt-mv src ${V6}`),
    ],
    netns,
  );
  await world.start();
}, 120_000);

afterAll(() => {
  wire.close();
  world.close();
});

describe("what a pod sends by a macvlan over the pods' bridge", () => {
  it("is not the node's: policy judges it, and what the node itself sends passes", async () => {
    const wrong = await mismatchesOf(
      world.lab,
      `
  shop/stranger@${V4} -> shop/server tcp/80 udp/80 icmp : --
  shop/stranger@${V6} -> shop/server tcp/80 udp/80 icmp : --
  shop/stranger@${V4} -> shop/friend tcp/80 udp/80 icmp : 4-
  shop/stranger@${V6} -> shop/friend tcp/80 udp/80 icmp : -6
  node                -> shop/server tcp/80 udp/80 icmp : 46`,
    );
    expect(wrong).toEqual([]);
  });

  it("is denied by packet sockets too, with the node's address as source", async () => {
    const to: readonly (readonly [Address, Address])[] = [
      [address(V4), address("10.63.61.1")],
      [address(NODE_V4), address("10.63.61.1")],
      [address(V6), address("fd63:61::1")],
    ];
    const frames = to
      .flatMap(([source, destination]) => [
        frame(source, destination, udpSegment(1, 80)),
        frame(source, destination, tcpSegment(40_000, 80)),
        frame(source, destination, sctpSegment(1, 80)),
      ])
      .map((each) => between(each, { source: MAC, destination: BROADCAST }));
    const { netns } = world.lab.wire(STRANGER);
    const keys = ["ingress denied", "ingress node"];
    expect(await growth(world, SERVER, keys, async () => wire.send(netns, "wt-mv", frames))).toEqual({
      "ingress denied": frames.length,
      "ingress node": 0,
    });
  });
});
