// The addresses that a pod may speak from: IP sources, ARP senders and neighbour discovery.

import { describe, expect, it } from "vitest";
import type { Address } from "../../src/base/ip.ts";
import { ETHER_TYPE, ethernet, type Part, TCP_FLAG, tcp } from "../../src/engines/frame.ts";
import { compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/numbers.ts";
import { address, cluster, namespace, pod } from "../support/model.ts";
import {
  arp,
  chained,
  EXTENSION,
  echo,
  fragment,
  frame,
  icmpSegment,
  NEIGHBOUR,
  neighbour,
  otherSegment,
  tagged,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { into, outOf, testTable, useWorld } from "./table.ts";
import { openWorld, POD_NAMES, THIS_NODE, V4, V6 } from "./world.ts";

const world = useWorld();
const LINK_LOCAL = address("fe80::1");
const UNSPECIFIED = { 4: address("0.0.0.0"), 6: address("::") } as const;
const ALL_NODES = address("ff02::1");

testTable("a source that is not the pod's own", world, [
  {
    name: "is dropped, isolated or not, whatever the packet carries",
    steps: (a) =>
      POD_NAMES.flatMap((name) =>
        [tcpSegment(1, 80), udpSegment(1, 53), echo(a.family, 1), otherSegment(47)].flatMap((segment) => [
          outOf(name, frame(a.stranger, a.friend, segment), "spoofed"),
          outOf(name, frame(a.node, a.friend, segment), "spoofed"),
          outOf(name, frame(UNSPECIFIED[a.family], a.friend, segment), "spoofed"),
          outOf(name, frame(a.pods[name === "in" ? "both" : "in"], a.friend, segment), "spoofed"),
        ]),
      ),
  },
  {
    name: "is dropped from a flow that the pod has",
    steps: (a) => [
      outOf("in", frame(a.pods.in, a.stranger, tcpSegment(40_000, 443)), "not-isolated"),
      outOf("in", frame(a.pods.both, a.stranger, tcpSegment(40_000, 443, TCP_FLAG.ACK)), "spoofed"),
    ],
  },
  {
    name: "is dropped behind headers that cannot be read to the end",
    steps: (a) => {
      const cut = { number: 6, payload: tcp(40_000, 80).subarray(0, 12) };
      return POD_NAMES.flatMap((name) => [
        outOf(name, frame(a.stranger, a.friend, cut), "spoofed"),
        outOf(name, fragment(a.stranger, a.friend, cut, { id: 1, offset: 0, more: true }), "spoofed"),
        outOf(name, fragment(a.stranger, a.friend, cut, { id: 1, offset: 1, more: false }), "spoofed"),
        ...(a.family === 6
          ? [
              outOf(
                name,
                frame(
                  a.stranger,
                  a.friend,
                  chained(new Array<number>(9).fill(EXTENSION.DESTINATION), udpSegment(1, 2)),
                ),
                "spoofed",
              ),
              outOf(
                name,
                frame(a.stranger, a.friend, {
                  number: EXTENSION.HOP_BY_HOP,
                  payload: [6, 40, 0, 0, 0, 0, 0, 0],
                }),
                "spoofed",
              ),
              outOf(
                name,
                frame(a.stranger, a.friend, udpSegment(1, 2), { v6: { payloadLength: 0 } }),
                "spoofed",
              ),
            ]
          : [
              outOf(
                name,
                frame(a.stranger, a.friend, udpSegment(1, 2), { v4: { totalLength: 0 } }),
                "spoofed",
              ),
            ]),
      ]);
    },
  },
  {
    name: "is dropped behind VLAN tags",
    steps: (a) => [
      outOf(
        "open",
        tagged([ETHER_TYPE.VLAN, ETHER_TYPE.QINQ], frame(a.stranger, a.friend, udpSegment(1, 2))),
        "spoofed",
      ),
    ],
  },
  {
    name: "is dropped, if it is one, behind more tags than are read",
    steps: (a) =>
      POD_NAMES.flatMap((name) =>
        [3, 4, 9].flatMap((count) => [
          outOf(
            name,
            tagged(
              new Array<number>(count).fill(ETHER_TYPE.VLAN),
              frame(a.stranger, a.friend, udpSegment(1, 2)),
            ),
            "unsupported",
          ),
        ]),
      ),
  },
  {
    name: "is nothing to packets into the pod",
    steps: (a) => [into("open", frame(a.pods.open, a.pods.open, udpSegment(1, 2)), "not-isolated")],
  },
]);

testTable("a link-local source", world, [
  {
    name: "is anyone's, and judged by policy",
    families: [V6],
    steps: (a) => [
      outOf("in", frame(LINK_LOCAL, a.friend, udpSegment(1, 2)), "not-isolated"),
      outOf("both", frame(LINK_LOCAL, a.stranger, udpSegment(1, 2)), "denied"),
      outOf("both", frame(LINK_LOCAL, a.friend, udpSegment(1, 53)), "policy"),
      outOf("both", frame(address("fec0::1"), a.friend, udpSegment(1, 53)), "spoofed"),
      outOf("both", frame(address("febf:ffff::1"), a.friend, udpSegment(1, 53)), "policy"),
      outOf("both", frame(address("fe7f::1"), a.friend, udpSegment(1, 53)), "spoofed"),
    ],
  },
]);

testTable("ARP", world, [
  {
    name: "passes into every pod, and from it with its own address or none",
    families: [V4],
    steps: (a) =>
      POD_NAMES.flatMap((name) => [
        into(name, arp({ operation: 1, sender: a.node, target: a.pods[name] }), "neighbour"),
        into(name, arp({ operation: 2, sender: a.stranger, target: a.pods[name] }), "neighbour"),
        outOf(name, arp({ operation: 1, sender: a.pods[name], target: a.node }), "neighbour"),
        outOf(name, arp({ operation: 2, sender: a.pods[name], target: a.node }), "neighbour"),
        outOf(name, arp({ operation: 1, sender: UNSPECIFIED[4], target: a.pods[name] }), "neighbour"),
        outOf(
          name,
          tagged([ETHER_TYPE.VLAN], arp({ operation: 1, sender: a.pods[name], target: a.node })),
          "neighbour",
        ),
      ]),
  },
  {
    name: "with a sender that is not the pod's own is dropped",
    families: [V4],
    steps: (a) =>
      POD_NAMES.flatMap((name) => [
        outOf(name, arp({ operation: 2, sender: a.node, target: a.friend }), "spoofed"),
        outOf(name, arp({ operation: 1, sender: a.friend, target: a.friend }), "spoofed"),
        outOf(
          name,
          tagged([ETHER_TYPE.VLAN], arp({ operation: 2, sender: a.node, target: a.friend })),
          "spoofed",
        ),
      ]),
  },
  {
    name: "that is cut short, or not of IPv4 over Ethernet, is malformed",
    families: [V4],
    steps: (a) => {
      const whole = arp({ operation: 1, sender: a.pods.both, target: a.node });
      const token = Uint8Array.from(whole, (byte, at) => (at === 15 ? 6 : byte));
      return [whole.subarray(0, 41), whole.subarray(0, 14), token].flatMap((frame) => [
        outOf("both", frame, "malformed"),
        into("both", frame, "malformed"),
        into("both", frame, "node", THIS_NODE),
        outOf("open", frame, "not-isolated"),
      ]);
    },
  },
]);

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
            neighbour({ source: UNSPECIFIED[6], destination: ALL_NODES, type: SOLICITATION, target: own }),
            "neighbour",
          ),
          outOf(
            name,
            neighbour({
              source: UNSPECIFIED[6],
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
            source: UNSPECIFIED[6],
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

describe("a pod without known addresses", () => {
  it("is not guarded", async () => {
    const own = await openWorld();
    try {
      const bare = pod("x/bare", []);
      const ifindex = own.bench.devices.at(0);
      const locals = [{ pod: bare, ifindex }];
      const world = cluster({ namespaces: [namespace("x")], pods: [bare] });
      await own.bench.bring(compile(world, locals, NOTHING_NUMBERED).state);
      for (const frames of [
        frame(V4.stranger, V4.friend, udpSegment(1, 2)),
        frame(V6.stranger, V6.friend, udpSegment(1, 2)),
        arp({ operation: 2, sender: V4.stranger, target: V4.friend }),
      ]) {
        expect(own.bench.run({ direction: "egress", ifindex, ingressIfindex: 1, frame: frames })).toBe(
          "pass",
        );
      }
      expect(
        own.bench.run({ direction: "egress", ifindex, ingressIfindex: 1, frame: ethernet(0x88cc, [0, 0]) }),
      ).toBe("pass");
    } finally {
      own.close();
    }
  });
});
