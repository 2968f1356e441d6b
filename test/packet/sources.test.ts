// The addresses that a pod may send from: IP sources and ARP senders.

import { describe, expect, it } from "vitest";
import { ETHER_TYPE, ethernet, TCP_FLAG, tcp } from "../../src/engines/frame-builder.ts";
import { compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { address, cluster, namespace, pod } from "../support/model.ts";
import {
  arp,
  chained,
  EXTENSION,
  echo,
  fragment,
  frame,
  otherSegment,
  tagged,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { into, outOf, testTable, useWorld } from "./table.ts";
import { openWorld, POD_NAMES, V4, V6 } from "./world.ts";

const world = useWorld();
const LINK_LOCAL = address("fe80::1");
const UNSPECIFIED = { 4: address("0.0.0.0"), 6: address("::") } as const;

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
