// Neighbour discovery: what passes whatever the policy, what is spoofed, and what only resembles it.

import { describe, expect, it } from "vitest";
import type { Address } from "../../src/base/ip.ts";
import { ETHER_TYPE, type Part } from "../../src/engines/frame-builder.ts";
import { address } from "../support/model.ts";
import {
  chained,
  EXTENSION,
  fragment,
  frame,
  icmpSegment,
  NEIGHBOUR,
  type NeighbourFields,
  neighbour,
  OPTION,
  routerSolicitation,
  solicitedNode,
  tagged,
} from "./frames.ts";
import { into, outOf, testTable, useWorld } from "./table.ts";
import { type Addresses, POD_NAMES, type PodName, V4, V6 } from "./world.ts";

const world = useWorld();
const LINK_LOCAL = address("fe80::1");
const UNSPECIFIED = address("::");
const ALL_NODES = address("ff02::1");
const ALL_ROUTERS = address("ff02::2");

const { ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, SOLICITATION, ADVERTISEMENT, REDIRECT } = NEIGHBOUR;

const asks = (source: Address, target: Address, more: Partial<NeighbourFields> = {}) =>
  neighbour({ source, destination: solicitedNode(target), type: SOLICITATION, target, ...more });
const tells = (source: Address, target: Address, more: Partial<NeighbourFields> = {}) =>
  neighbour({ source, destination: ALL_NODES, type: ADVERTISEMENT, target, ...more });

const VLAN_0 = [ETHER_TYPE.VLAN];

testTable("neighbour discovery", world, [
  {
    name: "passes into every pod",
    families: [V6],
    steps: (a) =>
      POD_NAMES.flatMap((name) =>
        Object.values(NEIGHBOUR).map((type) =>
          into(
            name,
            neighbour({ source: LINK_LOCAL, destination: ALL_NODES, type, target: a.pods[name] }),
            "neighbour",
          ),
        ),
      ),
  },
  {
    name: "passes from a pod that asks, or tells of itself, in a tag too",
    families: [V6],
    steps: (a) =>
      POD_NAMES.flatMap((name) =>
        [a.pods[name], LINK_LOCAL].flatMap((own) =>
          [
            asks(own, a.node),
            asks(own, a.node, { options: OPTION.source }),
            asks(own, LINK_LOCAL, { destination: LINK_LOCAL, options: OPTION.source }),
            // Whether the node is still reachable.
            asks(own, a.node, { destination: a.node, options: OPTION.source }),
            tells(own, own, { destination: a.node, options: OPTION.target, reserved: 0x40000000 }),
            tells(own, own),
            tells(own, own, { options: OPTION.target }),
            tells(own, own, { destination: LINK_LOCAL, options: OPTION.target, reserved: 0xe0000000 }),
            routerSolicitation(own, ALL_ROUTERS),
            routerSolicitation(own, ALL_ROUTERS, OPTION.source),
            routerSolicitation(UNSPECIFIED, ALL_ROUTERS),
            // Whether its own address is free.
            asks(UNSPECIFIED, own),
            asks(UNSPECIFIED, own, { options: OPTION.nonce }),
          ].flatMap((each) => [
            outOf(name, each, "neighbour"),
            outOf(name, tagged(VLAN_0, each), "neighbour"),
            outOf(name, tagged([ETHER_TYPE.QINQ, ETHER_TYPE.VLAN], each), "neighbour"),
          ]),
        ),
      ),
  },
  {
    name: "from an address, or about one, that is not the pod's own is dropped",
    families: [V6],
    steps: (a) =>
      POD_NAMES.flatMap((name) =>
        [
          asks(a.stranger, a.node),
          asks(UNSPECIFIED, a.node),
          asks(UNSPECIFIED, a.stranger, { options: OPTION.nonce }),
          tells(a.stranger, a.pods[name]),
          tells(a.pods[name], a.node),
          tells(a.pods[name], a.node, { destination: LINK_LOCAL, options: OPTION.target }),
          tells(LINK_LOCAL, a.stranger),
          tells(UNSPECIFIED, a.pods[name]),
          routerSolicitation(a.stranger, ALL_ROUTERS),
          routerSolicitation(a.stranger, ALL_ROUTERS, OPTION.source),
        ].map((each) => outOf(name, each, "spoofed")),
      ),
  },
  {
    name: "carries nothing else, whatever the policy",
    families: [V6],
    steps: (a) => POD_NAMES.flatMap((name) => inexact(a, name).map((each) => outOf(name, each, "malformed"))),
  },
  {
    name: "goes to nobody beyond the link, whatever the policy",
    families: [V6],
    steps: (a) =>
      POD_NAMES.flatMap((name) => {
        const own = a.pods[name];
        return [
          asks(own, a.stranger, { destination: a.stranger }),
          asks(own, a.trusted, { destination: a.trusted, options: OPTION.source }),
          asks(own, a.stranger, { destination: solicitedNode(a.pods.in) }),
          asks(own, a.stranger, { destination: ALL_NODES }),
          asks(own, a.stranger, { destination: LINK_LOCAL }),
          asks(own, ALL_NODES, { destination: solicitedNode(ALL_NODES) }),
          asks(UNSPECIFIED, LINK_LOCAL, { destination: LINK_LOCAL }),
          tells(own, own, { destination: a.stranger, options: OPTION.target }),
          tells(own, own, { destination: ALL_ROUTERS }),
          tells(own, own, { destination: address("ff0e::1") }),
          tells(own, own, { destination: address("ff05::1") }),
          routerSolicitation(own, a.stranger),
          routerSolicitation(own, LINK_LOCAL),
          routerSolicitation(own, ALL_NODES),
          routerSolicitation(own, address("ff05::2")),
        ].map((each) => outOf(name, each, "malformed"));
      }),
  },
  {
    name: "that makes a router of the pod never leaves it",
    families: [V6],
    steps: (a) =>
      POD_NAMES.flatMap((name) =>
        [ROUTER_ADVERTISEMENT, REDIRECT].flatMap((type) => {
          const fields = { source: LINK_LOCAL, destination: ALL_NODES, type, target: a.pods[name] };
          const whole = neighbour(fields);
          const segment = { number: 58, payload: whole.subarray(54) };
          return [
            whole,
            neighbour({ ...fields, source: a.pods[name], destination: a.trusted }),
            neighbour({ ...fields, source: a.stranger }),
            neighbour({ ...fields, hopLimit: 64 }),
            neighbour({ ...fields, code: 1 }),
            tagged(VLAN_0, whole),
            tagged([ETHER_TYPE.QINQ, ETHER_TYPE.VLAN], whole),
            frame(LINK_LOCAL, ALL_NODES, chained([EXTENSION.HOP_BY_HOP], segment), { v6: { hopLimit: 255 } }),
            frame(LINK_LOCAL, ALL_NODES, chained([EXTENSION.DESTINATION, EXTENSION.AUTHENTICATION], segment)),
            frame(LINK_LOCAL, ALL_NODES, chained([EXTENSION.FRAGMENT], segment)),
            fragment(LINK_LOCAL, ALL_NODES, segment, { id: 1, offset: 0, more: true }),
          ].map((each) => outOf(name, each, "router"));
        }),
      ),
  },
  {
    name: "that a router forwarded, with a code, in fragments or cut short is not it",
    families: [V6],
    steps: (a) => {
      const fields = { source: a.stranger, destination: a.pods.both, type: ADVERTISEMENT, target: a.node };
      const whole = neighbour(fields);
      const segment = { number: 58, payload: whole.subarray(54) };
      return [
        into("both", neighbour({ ...fields, hopLimit: 254 }), "denied"),
        into("both", neighbour({ ...fields, hopLimit: 64 }), "denied"),
        into("both", neighbour({ ...fields, code: 1 }), "denied"),
        into("both", neighbour({ ...fields, type: 132 }), "denied"),
        into("both", neighbour({ ...fields, type: 138 }), "denied"),
        into("both", fragment(a.stranger, a.pods.both, segment, { id: 1, offset: 0, more: true }), "denied"),
        into("both", whole.subarray(0, whole.length - 1), "malformed"),
        into("both", whole.subarray(0, 62), "malformed"),
        into(
          "both",
          frame(a.stranger, a.pods.both, icmpSegment(6, ADVERTISEMENT), { v6: { hopLimit: 255 } }),
          "malformed",
        ),
        outOf("open", neighbour({ ...fields, hopLimit: 64 }), "spoofed"),
      ];
    },
  },
  {
    name: "is none in IPv4",
    families: [V4],
    steps: (a) => [
      into(
        "both",
        frame(a.stranger, a.pods.both, {
          number: 58,
          payload: [135, 0, 0, 0, ...new Array<number>(20).fill(0)],
        }),
        "denied",
      ),
    ],
  },
]);

/** Messages about the pod's own addresses that could carry more than necessary, or that other hosts may read differently. */
function inexact(a: Addresses, name: PodName): Uint8Array[] {
  const own = a.pods[name];
  const SMUGGLED = new Array<number>(400).fill(65);
  const behind = (whole: Uint8Array, extra: Part) => Uint8Array.from([...whole, ...extra]);
  const solicitation = asks(own, a.node, { options: OPTION.source });
  const segment = { number: 58, payload: solicitation.subarray(54) };
  const to = solicitedNode(a.node);
  return [
    asks(own, a.node, { options: SMUGGLED }),
    asks(own, a.node, { options: [...OPTION.source, ...OPTION.source] }),
    asks(own, a.node, { options: [...OPTION.source, ...OPTION.nonce] }),
    asks(own, a.node, { options: OPTION.target }),
    asks(own, a.node, { options: OPTION.nonce }),
    asks(own, a.node, { options: [1, 2, ...OPTION.source.slice(2)] }),
    asks(own, a.node, { options: [1, 0, ...OPTION.source.slice(2)] }),
    asks(own, a.node, { options: [5, 1, 0, 0, 0, 0, 5, 0xdc] }),
    asks(own, a.node, { options: [0, 0, 0, 0] }),
    asks(own, a.node, { reserved: 1 }),
    asks(own, a.node, { reserved: 0x80000000 }),
    asks(own, a.node, { hopLimit: 64 }),
    asks(own, a.node, { hopLimit: 254 }),
    asks(own, a.node, { code: 1 }),
    asks(UNSPECIFIED, own, { options: OPTION.source }),
    asks(UNSPECIFIED, own, { options: [...OPTION.nonce, ...OPTION.nonce] }),
    tells(own, own, { options: OPTION.source }),
    tells(own, own, { options: [...OPTION.target, ...OPTION.target] }),
    tells(own, own, { options: SMUGGLED }),
    tells(own, own, { reserved: 0x20000001 }),
    tells(own, own, { hopLimit: 64 }),
    routerSolicitation(own, ALL_ROUTERS, OPTION.target),
    routerSolicitation(own, ALL_ROUTERS, OPTION.nonce),
    routerSolicitation(UNSPECIFIED, ALL_ROUTERS, OPTION.source),
    routerSolicitation(own, ALL_ROUTERS, SMUGGLED),
    routerSolicitation(own, ALL_ROUTERS, [], 64),
    neighbour({ source: own, destination: ALL_ROUTERS, type: ROUTER_SOLICITATION, target: own }),
    behind(solicitation, [0]),
    behind(asks(own, a.node), SMUGGLED),
    behind(routerSolicitation(own, ALL_ROUTERS), [0]),
    tagged(VLAN_0, behind(solicitation, SMUGGLED)),
    frame(own, to, chained([EXTENSION.HOP_BY_HOP], segment), { v6: { hopLimit: 255 } }),
    frame(own, to, chained([EXTENSION.DESTINATION], segment, 400), { v6: { hopLimit: 255 } }),
    frame(own, to, chained([EXTENSION.FRAGMENT], segment), { v6: { hopLimit: 255 } }),
    fragment(own, to, segment, { id: 1, offset: 0, more: true }),
    solicitation.subarray(0, -1),
    solicitation.subarray(0, 78),
  ];
}

describe("the rate limit of a pod's messages to its link", () => {
  const RATE = 40;
  const said = (name: PodName, count: number) =>
    Array.from({ length: count }, () =>
      world().ask({ pod: name, direction: "egress", frame: asks(V6.pods[name], V6.node) }),
    );

  it("is each pod's own, and drops what goes beyond it in the same second", async () => {
    await world().outwait(1_000);
    await world().setNeighbourRate(RATE);
    try {
      const reasons = said("both", RATE * 3);
      // Another second may have begun meanwhile.
      expect(reasons.slice(0, RATE)).toEqual(new Array(RATE).fill("neighbour"));
      expect(reasons.filter((reason) => reason === "limited").length).toBeGreaterThanOrEqual(RATE);
      expect(said("open", RATE)).toEqual(new Array(RATE).fill("neighbour"));
      await world().outwait(1_000);
      expect(said("both", RATE)).toEqual(new Array(RATE).fill("neighbour"));
    } finally {
      await world().setNeighbourRate();
    }
  });

  it("does not count what is dropped, nor what comes to the pod", async () => {
    await world().outwait(1_000);
    await world().setNeighbourRate(1);
    try {
      for (let i = 0; i < 10; i += 1) {
        const heard = tells(V6.node, V6.node);
        expect(world().ask({ pod: "in", direction: "ingress", frame: heard })).toBe("neighbour");
        expect(world().ask({ pod: "in", direction: "egress", frame: tells(V6.node, V6.node) })).toBe(
          "spoofed",
        );
      }
      expect(said("in", 1)).toEqual(["neighbour"]);
    } finally {
      await world().setNeighbourRate();
    }
  });
});
