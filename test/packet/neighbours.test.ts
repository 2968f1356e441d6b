// Neighbour discovery: what passes whatever the policy, what is spoofed, and what only looks like it.

import type { Address } from "../../src/base/ip.ts";
import type { Part } from "../../src/engines/frame.ts";
import { address } from "../support/model.ts";
import { fragment, frame, icmpSegment, NEIGHBOUR, neighbour } from "./frames.ts";
import { into, outOf, testTable, useWorld } from "./table.ts";
import { POD_NAMES, V4, V6 } from "./world.ts";

const world = useWorld();
const LINK_LOCAL = address("fe80::1");
const UNSPECIFIED = address("::");
const ALL_NODES = address("ff02::1");

const { ROUTER_SOLICITATION, ROUTER_ADVERTISEMENT, SOLICITATION, ADVERTISEMENT, REDIRECT } = NEIGHBOUR;

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
    name: "passes from a pod that asks, or tells of itself",
    families: [V6],
    steps: (a) =>
      POD_NAMES.flatMap((name) =>
        [a.pods[name], LINK_LOCAL].flatMap((own) => [
          outOf(
            name,
            neighbour({ source: own, destination: ALL_NODES, type: SOLICITATION, target: a.node }),
            "neighbour",
          ),
          outOf(
            name,
            neighbour({ source: own, destination: a.node, type: ADVERTISEMENT, target: own }),
            "neighbour",
          ),
          outOf(
            name,
            neighbour({ source: own, destination: ALL_NODES, type: ROUTER_SOLICITATION, target: own }),
            "neighbour",
          ),
          outOf(
            name,
            neighbour({ source: UNSPECIFIED, destination: ALL_NODES, type: SOLICITATION, target: own }),
            "neighbour",
          ),
          outOf(
            name,
            neighbour({
              source: UNSPECIFIED,
              destination: ALL_NODES,
              type: ROUTER_SOLICITATION,
              target: own,
            }),
            "neighbour",
          ),
        ]),
      ),
  },
  {
    name: "from an address, or about one, that is not the pod's own is dropped",
    families: [V6],
    steps: (a) =>
      POD_NAMES.flatMap((name) => [
        outOf(
          name,
          neighbour({ source: a.stranger, destination: a.node, type: SOLICITATION, target: a.node }),
          "spoofed",
        ),
        outOf(
          name,
          neighbour({ source: a.stranger, destination: a.node, type: ADVERTISEMENT, target: a.pods[name] }),
          "spoofed",
        ),
        outOf(
          name,
          neighbour({ source: a.pods[name], destination: a.friend, type: ADVERTISEMENT, target: a.node }),
          "spoofed",
        ),
        outOf(
          name,
          neighbour({ source: LINK_LOCAL, destination: ALL_NODES, type: ADVERTISEMENT, target: a.stranger }),
          "spoofed",
        ),
        outOf(
          name,
          neighbour({
            source: UNSPECIFIED,
            destination: ALL_NODES,
            type: ADVERTISEMENT,
            target: a.pods[name],
          }),
          "spoofed",
        ),
      ]),
  },
  {
    name: "that may be forwarded carries no more than it must, else it is judged by policy",
    families: [V6],
    steps: (a) => {
      const own = a.pods.both;
      const ask = (destination: Address, target: Address, options: Part = []) =>
        neighbour({ source: own, destination, type: SOLICITATION, target, options });
      const tell = (destination: Address, options: Part = []) =>
        neighbour({ source: own, destination, type: ADVERTISEMENT, target: own, options });
      const seek = (destination: Address) =>
        neighbour({ source: own, destination, type: ROUTER_SOLICITATION, target: own });
      const LINK_ADDRESS = [1, 1, 2, 0, 0, 0, 0, 1];
      const SMUGGLED = new Array<number>(400).fill(65);
      return [
        outOf("both", ask(a.stranger, a.stranger, LINK_ADDRESS), "neighbour"),
        outOf("both", ask(a.stranger, own, LINK_ADDRESS), "denied"),
        outOf("both", ask(a.stranger, a.stranger, [...LINK_ADDRESS, ...LINK_ADDRESS]), "denied"),
        outOf("both", tell(a.stranger, LINK_ADDRESS), "neighbour"),
        outOf("both", tell(a.stranger, SMUGGLED), "denied"),
        outOf("both", tell(a.trusted, SMUGGLED), "policy"),
        outOf("both", seek(a.stranger), "denied"),
        outOf("both", seek(address("ff02::2")), "neighbour"),
        outOf("both", seek(address("ff05::2")), "denied"),
        outOf("both", ask(address("ff02::1:ff00:1"), a.stranger, SMUGGLED), "neighbour"),
        outOf("both", tell(address("ff0e::1"), SMUGGLED), "denied"),
        outOf("both", tell(LINK_LOCAL, SMUGGLED), "neighbour"),
      ];
    },
  },
  {
    name: "that makes a router of the pod is judged by policy",
    families: [V6],
    steps: (a) =>
      [ROUTER_ADVERTISEMENT, REDIRECT].flatMap((type) => [
        outOf(
          "both",
          neighbour({ source: LINK_LOCAL, destination: ALL_NODES, type, target: a.pods.both }),
          "denied",
        ),
        outOf(
          "both",
          neighbour({ source: a.pods.both, destination: a.trusted, type, target: a.pods.both }),
          "policy",
        ),
        outOf(
          "in",
          neighbour({ source: LINK_LOCAL, destination: ALL_NODES, type, target: a.pods.in }),
          "not-isolated",
        ),
        outOf(
          "open",
          neighbour({ source: a.stranger, destination: ALL_NODES, type, target: a.pods.open }),
          "spoofed",
        ),
      ]),
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
        outOf(
          "both",
          neighbour({ ...fields, source: a.pods.both, destination: a.stranger, hopLimit: 64 }),
          "denied",
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
