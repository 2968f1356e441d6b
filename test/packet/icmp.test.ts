// ICMP errors through the loaded programs: those about a tracked flow pass, to the flow's endpoint only.

import { describe, expect, it } from "vitest";
import type { Address } from "../../src/base/ip.ts";
import { IP_PROTOCOL, icmp, type Part, TCP_FLAG, u32 } from "../../src/engines/frame-builder.ts";
import { address, block } from "../support/model.ts";
import {
  chained,
  EXTENSION,
  echo,
  fragment,
  frame,
  ICMP_ERROR,
  type IcmpError,
  icmpError,
  icmpSegment,
  ip,
  type Segment,
  SYN_ACK,
  sctpSegment,
  tagged,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { expectSteps, into, outOf, testTable, useWorld } from "./table.ts";
import { type Addresses, BOTH_FAMILIES, V4, V6 } from "./world.ts";

const world = useWorld();

const ERRORS = Object.keys(ICMP_ERROR) as IcmpError[];
const quoteOf = (source: Address, destination: Address, segment: Segment): Uint8Array =>
  ip(source, destination, segment);

/** The pod "in" has sent to the unknown peer; a router reports an error to it. */
const spoken = (a: Addresses) => [
  outOf("in", frame(a.pods.in, a.stranger, tcpSegment(40_000, 443)), "not-isolated"),
  outOf("in", frame(a.pods.in, a.stranger, udpSegment(40_000, 53)), "not-isolated"),
  outOf("in", frame(a.pods.in, a.stranger, sctpSegment(40_000, 5_000)), "not-isolated"),
  outOf("in", frame(a.pods.in, a.stranger, echo(a.family, 9)), "not-isolated"),
];
const SPOKEN = (family: 4 | 6) => [
  tcpSegment(40_000, 443, TCP_FLAG.ACK),
  udpSegment(40_000, 53),
  sctpSegment(40_000, 5_000),
  echo(family, 9),
];
const GROUP = { 4: address("224.0.0.251"), 6: address("ff02::fb") } as const;
const router = (a: Addresses): Address => a.node;

testTable("an ICMP error into the pod", world, [
  {
    name: "about a flow of the pod passes, from whichever router",
    steps: (a) => [
      ...spoken(a),
      ...ERRORS.flatMap((error) =>
        SPOKEN(a.family).flatMap((segment) => {
          const quote = quoteOf(a.pods.in, a.stranger, segment);
          return [router(a), a.stranger].map((from) =>
            into("in", icmpError(from, a.pods.in, error, quote), "related"),
          );
        }),
      ),
    ],
  },
  {
    name: "about a flow into the pod, quoting the pod's answer, passes",
    steps: (a) => {
      const quote = quoteOf(a.pods.both, a.friend, tcpSegment(80, 40_000, SYN_ACK));
      return [
        into("both", frame(a.friend, a.pods.both, tcpSegment(40_000, 80)), "policy"),
        into("both", icmpError(router(a), a.pods.both, "too big", quote), "related"),
      ];
    },
  },
  {
    name: "about a flow that nobody knows is judged by policy",
    steps: (a) => [
      ...spoken(a),
      ...[
        tcpSegment(40_001, 443),
        tcpSegment(40_000, 444),
        udpSegment(40_000, 443),
        sctpSegment(1, 2),
        echo(a.family, 8),
      ].map((segment) =>
        into(
          "in",
          icmpError(router(a), a.pods.in, "too big", quoteOf(a.pods.in, a.stranger, segment)),
          "denied",
        ),
      ),
      into(
        "in",
        icmpError(router(a), a.pods.in, "too big", quoteOf(a.pods.in, a.friend, udpSegment(40_000, 53))),
        "denied",
      ),
      into(
        "in",
        icmpError(a.trusted, a.pods.in, "too big", quoteOf(a.pods.in, a.friend, udpSegment(40_000, 53))),
        "policy",
      ),
    ],
  },
  {
    name: "that quotes what the peer sent is none about a flow of the pod",
    steps: (a) => [
      ...spoken(a),
      into(
        "in",
        icmpError(router(a), a.pods.in, "too big", quoteOf(a.stranger, a.pods.in, udpSegment(53, 40_000))),
        "denied",
      ),
    ],
  },
  {
    name: "goes to the sender of the packet that it quotes",
    steps: (a) => [
      ...spoken(a),
      into(
        "in",
        icmpError(router(a), a.pods.both, "too big", quoteOf(a.pods.in, a.stranger, udpSegment(40_000, 53))),
        "denied",
      ),
    ],
  },
  {
    name: "about another pod's flow is judged by policy",
    steps: (a) => [
      ...spoken(a),
      into(
        "both",
        icmpError(router(a), a.pods.both, "too big", quoteOf(a.pods.in, a.stranger, udpSegment(40_000, 53))),
        "denied",
      ),
    ],
  },
  {
    name: "needs its quote whole up to the ports, however long the rest",
    steps: (a) => {
      const whole = quoteOf(a.pods.in, a.stranger, udpSegment(40_000, 53, new Uint8Array(1_000)));
      const ports = (a.family === 4 ? 20 : 40) + 8;
      return [
        ...spoken(a),
        ...[0, 1, 8, 19, 20, ports - 1].map((length) =>
          into("in", icmpError(router(a), a.pods.in, "too big", whole.subarray(0, length)), "denied"),
        ),
        ...[ports, ports + 1, 528].map((length) =>
          into("in", icmpError(router(a), a.pods.in, "too big", whole.subarray(0, length)), "related"),
        ),
      ];
    },
  },
  {
    name: "quotes nothing in what lies beyond its own length",
    steps: (a) => {
      const whole = icmpError(
        router(a),
        a.pods.in,
        "too big",
        quoteOf(a.pods.in, a.stranger, udpSegment(40_000, 53)),
      );
      const shorter = (by: number) =>
        Uint8Array.from(whole, (byte, at) => (at === (a.family === 4 ? 17 : 19) ? byte - by : byte));
      return [
        ...spoken(a),
        into("in", shorter(1), "denied"),
        into("in", shorter(8), "denied"),
        into("in", whole, "related"),
      ];
    },
  },
  {
    name: "of a type that asks for something is not one",
    steps: (a) => {
      const quote = quoteOf(a.pods.in, a.stranger, udpSegment(40_000, 53));
      const types = a.family === 4 ? [4, 5, 9, 10, 13, 15, 17] : [130, 131, 137, 138, 139, 255];
      return [
        ...spoken(a),
        ...types.map((type) => {
          const { number, payload } = icmpSegment(a.family, type);
          const segment = { number, payload: [...payload, ...quote] };
          return into("in", frame(router(a), a.pods.in, segment), "denied");
        }),
      ];
    },
  },
  {
    name: "of the other family's protocol is not one",
    steps: (a) => {
      const quote = quoteOf(a.pods.in, a.stranger, udpSegment(40_000, 53));
      const [type, code] = ICMP_ERROR["too big"][a.family];
      const payload: Part = [type, code, 0, 0, ...u32(1_280), ...quote];
      const number = a.family === 4 ? IP_PROTOCOL.ICMPV6 : IP_PROTOCOL.ICMP;
      return [...spoken(a), into("in", frame(router(a), a.pods.in, { number, payload }), "denied")];
    },
  },
  {
    name: "may quote extension headers",
    families: [V6],
    steps: (a) => {
      const { HOP_BY_HOP, DESTINATION, FRAGMENT } = EXTENSION;
      const quotes = [[HOP_BY_HOP], [DESTINATION, FRAGMENT], new Array<number>(8).fill(DESTINATION)];
      return [
        ...spoken(a),
        ...quotes.map((types) => {
          const quote = quoteOf(a.pods.in, a.stranger, chained(types, udpSegment(40_000, 53)));
          return into("in", icmpError(router(a), a.pods.in, "too big", quote), "related");
        }),
        into(
          "in",
          icmpError(
            router(a),
            a.pods.in,
            "too big",
            quoteOf(
              a.pods.in,
              a.stranger,
              chained(new Array<number>(9).fill(DESTINATION), udpSegment(40_000, 53)),
            ),
          ),
          "denied",
        ),
      ];
    },
  },
  {
    name: "may quote a first fragment, and options",
    families: [V4],
    steps: (a) => {
      const quote = (fields: object) => ip(a.pods.in, a.stranger, udpSegment(40_000, 53), { v4: fields });
      return [
        ...spoken(a),
        into(
          "in",
          icmpError(router(a), a.pods.in, "too big", quote({ moreFragments: true, id: 7 })),
          "related",
        ),
        into(
          "in",
          icmpError(router(a), a.pods.in, "too big", quote({ options: new Uint8Array(40).fill(1) })),
          "related",
        ),
        into(
          "in",
          icmpError(router(a), a.pods.in, "too big", quote({ fragmentOffset: 10, id: 7 })),
          "denied",
        ),
        into("in", icmpError(router(a), a.pods.in, "too big", quote({ headerWords: 4 })), "denied"),
        into("in", icmpError(router(a), a.pods.in, "too big", quote({ version: 6 })), "denied"),
        into("in", icmpError(router(a), a.pods.in, "too big", quote({ totalLength: 24 })), "denied"),
      ];
    },
  },
]);

testTable("an ICMP error from the pod", world, [
  {
    name: "about a flow into it passes, back to the sender",
    steps: (a) => [
      into("both", frame(a.friend, a.pods.both, udpSegment(40_000, 53)), "policy"),
      outOf(
        "both",
        icmpError(
          a.pods.both,
          a.friend,
          "unreachable",
          quoteOf(a.friend, a.pods.both, udpSegment(40_000, 53)),
        ),
        "related",
      ),
    ],
  },
  {
    name: "carries nothing to anyone else",
    steps: (a) => {
      const quote = quoteOf(a.friend, a.pods.both, udpSegment(40_000, 53));
      return [
        into("both", frame(a.friend, a.pods.both, udpSegment(40_000, 53)), "policy"),
        outOf("both", icmpError(a.pods.both, a.stranger, "unreachable", quote), "denied"),
        outOf("both", icmpError(a.stranger, a.friend, "unreachable", quote), "spoofed"),
      ];
    },
  },
  {
    name: "about nothing is judged by policy",
    steps: (a) => [
      outOf(
        "both",
        icmpError(
          a.pods.both,
          a.friend,
          "unreachable",
          quoteOf(a.friend, a.pods.both, udpSegment(40_000, 53)),
        ),
        "denied",
      ),
      outOf(
        "both",
        icmpError(
          a.pods.both,
          a.trusted,
          "unreachable",
          quoteOf(a.trusted, a.pods.both, udpSegment(40_000, 53)),
        ),
        "policy",
      ),
      outOf("both", icmpError(a.pods.both, a.stranger, "too big", []), "malformed"),
    ],
  },
]);

/** A pod may be asked to report any error about what came to it, isolated or not; and it is not a router. */
testTable("an ICMP error from a pod that is not isolated", world, [
  {
    name: "is about a packet to that pod",
    steps: (a) =>
      ERRORS.flatMap((error) =>
        SPOKEN(a.family).flatMap((segment) => {
          const about = (destination: Address, source = a.pods.in) =>
            icmpError(a.pods.open, source, error, quoteOf(source, destination, segment));
          return [
            outOf("open", about(a.pods.open), "not-isolated"),
            outOf("open", about(a.pods.open, a.stranger), "not-isolated"),
            outOf("open", about(a.stranger), "router"),
            outOf("open", about(a.pods.both), "router"),
            outOf("open", about(a.pods.in), "router"),
            outOf("open", about(a.node), "router"),
            outOf("open", about(GROUP[a.family]), "router"),
          ];
        }),
      ),
  },
  {
    name: "behind other headers too",
    steps: (a) => {
      const [type, code] = ICMP_ERROR.unreachable[a.family];
      const about = (destination: Address): Segment => ({
        number: a.family === 4 ? IP_PROTOCOL.ICMP : IP_PROTOCOL.ICMPV6,
        payload: icmp(type, code, u32(0), quoteOf(a.pods.in, destination, udpSegment(40_000, 53))),
      });
      const behind = (segment: Segment) =>
        a.family === 4
          ? frame(a.pods.open, a.pods.in, segment, { v4: { options: new Uint8Array(8).fill(1) } })
          : frame(a.pods.open, a.pods.in, chained([EXTENSION.DESTINATION, EXTENSION.FRAGMENT], segment));
      return [
        outOf("open", behind(about(a.pods.open)), "not-isolated"),
        outOf("open", behind(about(a.stranger)), "router"),
        outOf("open", tagged([0x8100], frame(a.pods.open, a.pods.in, about(a.pods.open))), "not-isolated"),
        outOf("open", tagged([0x8100], frame(a.pods.open, a.pods.in, about(a.stranger))), "router"),
      ];
    },
  },
  {
    name: "has the header of the packet that it is about, is not longer than errors are, and in one piece",
    steps: (a) => {
      const headers = { 4: 20, 6: 40 }[a.family];
      const most = { 4: 576, 6: 1_280 }[a.family] - headers - 8;
      const quote = quoteOf(a.pods.in, a.pods.open, {
        number: IP_PROTOCOL.UDP,
        payload: new Uint8Array(2_000),
      });
      const [type, code] = ICMP_ERROR.unreachable[a.family];
      const number = a.family === 4 ? IP_PROTOCOL.ICMP : IP_PROTOCOL.ICMPV6;
      const message = icmp(type, code, u32(0), quote.subarray(0, 400));
      const about = (bytes: number) =>
        icmpError(a.pods.open, a.pods.in, "unreachable", quote.subarray(0, bytes));
      const piece = (offset: number, more: boolean) =>
        fragment(
          a.pods.open,
          a.pods.in,
          { number, payload: [...message].slice(offset * 8, more ? 80 : undefined) },
          { id: 7, offset, more },
        );
      return [
        outOf("open", about(headers), "not-isolated"),
        outOf("open", about(headers - 1), "malformed"),
        outOf("open", about(0), "malformed"),
        outOf("open", about(most), "not-isolated"),
        outOf("open", about(most + 1), "malformed"),
        outOf("open", piece(0, true), "malformed"),
        outOf("open", piece(10, false), "not-isolated"),
      ];
    },
  },
]);

describe("an ICMP error from a pod that forwards", () => {
  it.each(BOTH_FAMILIES)("is about packets to what it may send from: IPv$family", async (a) => {
    const behind = { 4: address("10.77.8.9"), 6: address("fd77::9") }[a.family];
    await world().enforce(
      [{ peers: [block("0.0.0.0/0"), block("::/0")], ports: "all" }],
      ["10.77.0.0/16", "fd77::/64"],
    );
    const about = (destination: Address) =>
      icmpError(a.pods.both, a.friend, "too big", quoteOf(a.friend, destination, udpSegment(40_000, 53)));
    expectSteps(world(), [
      outOf("both", about(behind), "policy"),
      outOf("both", about(a.pods.both), "policy"),
      outOf("both", about(a.stranger), "router"),
    ]);
    await world().enforce();
  });
});

describe("an ICMP error about a revoked flow", () => {
  it.each(BOTH_FAMILIES)("is none about an allowed one: IPv$family", async (a) => {
    const quote = quoteOf(a.pods.both, a.friend, udpSegment(53, 40_000));
    const error = icmpError(a.node, a.pods.both, "unreachable", quote);
    expectSteps(world(), [
      into("both", frame(a.friend, a.pods.both, udpSegment(40_000, 53)), "policy"),
      into("both", error, "related"),
    ]);
    await world().enforce([]);
    expectSteps(world(), [
      into("both", error, "denied"),
      into("both", frame(a.friend, a.pods.both, udpSegment(40_000, 53)), "revoked"),
      into("both", error, "denied"),
    ]);
    await world().enforce();
    expectSteps(world(), [
      into("both", frame(a.friend, a.pods.both, udpSegment(40_000, 53)), "established"),
      into("both", error, "related"),
    ]);
    expect(world().counted().packets).toBeGreaterThan(0);
  });
});
