// Fragments through the loaded programs: later ones follow their first one, and nothing else.

import { describe, expect, it } from "vitest";
import { bytes, IP_PROTOCOL, type Part, TCP_FLAG, tcp, udp } from "../../src/engines/frame-builder.ts";
import {
  chained,
  EXTENSION,
  echo,
  extension,
  type FragmentFields,
  fragment,
  fragmentHeader,
  frame,
  icmpNumber,
  type Segment,
  sctpSegment,
  udpSegment,
} from "./frames.ts";
import { expectSteps, into, outOf, testTable, useWorld } from "./table.ts";
import { type Addresses, BOTH_FAMILIES, THIS_NODE, V4, V6 } from "./world.ts";

const world = useWorld();

const FIRST = { offset: 0, more: true };
const MIDDLE = { offset: 5, more: true };
const LAST = { offset: 10, more: false };

/** Content of later fragments: bytes that would be an allowed header if they were one. */
const mimic = (number: number): Segment => ({ number, payload: bytes(tcp(40_000, 80), new Uint8Array(20)) });
const padded = ({ number, payload }: Segment): Segment => ({
  number,
  payload: bytes(payload, new Uint8Array(16)),
});

const { UDP, TCP, SCTP } = IP_PROTOCOL;
const toPod = (a: Addresses, segment: Segment, fields: FragmentFields) =>
  fragment(a.friend, a.pods.both, segment, fields);

testTable("fragments", world, [
  {
    name: "follow an allowed first one, in any order after it",
    steps: (a) =>
      [
        padded(udpSegment(40_000, 53)),
        padded(sctpSegment(40_000, 5_000)),
        padded({ number: TCP, payload: tcp(40_000, 80) }),
      ].flatMap((segment, id) => [
        into("both", toPod(a, segment, { id, ...FIRST }), "policy"),
        into("both", toPod(a, mimic(segment.number), { id, ...LAST }), "established"),
        into("both", toPod(a, mimic(segment.number), { id, ...MIDDLE }), "established"),
      ]),
  },
  {
    name: "follow the first one of a reply and of an echo",
    steps: (a) => [
      into("both", frame(a.friend, a.pods.both, udpSegment(40_000, 53)), "policy"),
      outOf(
        "both",
        fragment(a.pods.both, a.friend, padded(udpSegment(53, 40_000)), { id: 1, ...FIRST }),
        "established",
      ),
      outOf("both", fragment(a.pods.both, a.friend, mimic(UDP), { id: 1, ...LAST }), "established"),
      into(
        "both",
        fragment(a.trusted, a.pods.both, padded(echo(a.family, 9)), { id: 1, ...FIRST }),
        "policy",
      ),
      into(
        "both",
        fragment(a.trusted, a.pods.both, mimic(icmpNumber(a.family)), { id: 1, ...LAST }),
        "established",
      ),
    ],
  },
  {
    name: "without their first one are dropped, whatever their bytes look like",
    steps: (a) => [
      into("both", toPod(a, mimic(TCP), { id: 1, ...LAST }), "fragment"),
      into("both", toPod(a, mimic(UDP), { id: 1, ...MIDDLE }), "fragment"),
      into("both", fragment(a.trusted, a.pods.both, mimic(TCP), { id: 1, ...LAST }), "fragment"),
      outOf("both", fragment(a.pods.both, a.trusted, mimic(UDP), { id: 1, ...LAST }), "fragment"),
      into("open", fragment(a.stranger, a.pods.open, mimic(UDP), { id: 1, ...LAST }), "not-isolated"),
    ],
  },
  {
    name: "without their first one pass where the pod is not isolated in their direction",
    steps: (a) => [
      into("out", fragment(a.stranger, a.pods.out, mimic(UDP), { id: 1, ...LAST }), "not-isolated"),
      outOf("in", fragment(a.pods.in, a.stranger, mimic(UDP), { id: 1, ...LAST }), "not-isolated"),
      into("in", fragment(a.stranger, a.pods.in, mimic(UDP), { id: 1, ...LAST }), "fragment"),
    ],
  },
  {
    name: "before their first one are dropped, after it they pass",
    steps: (a) => [
      into("both", toPod(a, mimic(UDP), { id: 1, ...LAST }), "fragment"),
      into("both", toPod(a, padded(udpSegment(40_000, 53)), { id: 1, ...FIRST }), "policy"),
      into("both", toPod(a, mimic(UDP), { id: 1, ...LAST }), "established"),
    ],
  },
  {
    name: "of another packet, peer, pod or direction are not theirs",
    steps: (a) => [
      into("both", toPod(a, padded(udpSegment(40_000, 53)), { id: 1, ...FIRST }), "policy"),
      into("both", toPod(a, mimic(UDP), { id: 2, ...LAST }), "fragment"),
      into("both", fragment(a.trusted, a.pods.both, mimic(UDP), { id: 1, ...LAST }), "fragment"),
      into("in", toPod(a, mimic(UDP), { id: 1, ...LAST }), "fragment"),
      into("both", fragment(a.friend, a.pods.in, mimic(UDP), { id: 1, ...LAST }), "fragment"),
      outOf("both", fragment(a.pods.both, a.friend, mimic(UDP), { id: 1, ...LAST }), "fragment"),
    ],
  },
  {
    name: "of a denied first one are dropped too",
    steps: (a) => [
      into("both", toPod(a, padded(udpSegment(40_000, 54)), { id: 1, ...FIRST }), "denied"),
      into("both", toPod(a, mimic(UDP), { id: 1, ...LAST }), "fragment"),
      into(
        "in",
        fragment(a.stranger, a.pods.in, padded({ number: TCP, payload: tcp(80, 80) }), { id: 1, ...FIRST }),
        "denied",
      ),
      into("in", fragment(a.stranger, a.pods.in, mimic(TCP), { id: 1, ...LAST }), "fragment"),
    ],
  },
  {
    name: "a second first one is judged by its own ports, and changes nothing where it is denied",
    steps: (a) => [
      into("both", toPod(a, padded(udpSegment(40_000, 53)), { id: 1, ...FIRST }), "policy"),
      into("both", toPod(a, padded(udpSegment(40_000, 54)), { id: 1, ...FIRST }), "denied"),
      into("both", toPod(a, mimic(UDP), { id: 1, ...LAST }), "established"),
    ],
  },
  {
    name: "a first one without a whole transport header is malformed",
    steps: (a) =>
      (
        [
          [TCP, tcp(40_000, 80).subarray(0, 16)],
          [TCP, tcp(40_000, 80).subarray(0, 8)],
          [UDP, []],
          [SCTP, [0x9c, 0x40, 19, 136, 0, 0, 0, 0]],
          [icmpNumber(a.family), []],
        ] as [number, Part][]
      ).map(([number, payload]) =>
        into("both", toPod(a, { number, payload }, { id: 3, ...FIRST }), "malformed"),
      ),
  },
  {
    name: "that would overwrite TCP flags are malformed",
    families: [V4],
    steps: (a) => [
      into(
        "both",
        toPod(a, padded({ number: TCP, payload: tcp(40_000, 80, TCP_FLAG.ACK) }), { id: 1, ...FIRST }),
        "policy",
      ),
      into("both", toPod(a, mimic(TCP), { id: 1, offset: 1, more: false }), "malformed"),
      into("both", toPod(a, mimic(TCP), { id: 1, offset: 2, more: false }), "established"),
    ],
  },
  {
    name: "an atomic fragment is a whole packet",
    families: [V6],
    steps: (a) => [
      into("both", toPod(a, udpSegment(40_000, 53), { id: 1, offset: 0, more: false }), "policy"),
      into("both", toPod(a, udpSegment(40_000, 54), { id: 2, offset: 0, more: false }), "denied"),
      into("both", toPod(a, mimic(UDP), { id: 1, ...LAST }), "fragment"),
    ],
  },
  {
    name: "a first one may have extension headers on both sides of the fragment header",
    families: [V6],
    steps: (a) => {
      const { DESTINATION, HOP_BY_HOP } = EXTENSION;
      const behind = chained([DESTINATION], padded(udpSegment(40_000, 53)));
      const before = (next: number, fields: FragmentFields, payload: Part): Segment => ({
        number: HOP_BY_HOP,
        payload: bytes(extension(HOP_BY_HOP, EXTENSION.FRAGMENT), fragmentHeader(next, fields), payload),
      });
      return [
        into("both", toPod(a, behind, { id: 1, ...FIRST }), "policy"),
        into("both", toPod(a, mimic(DESTINATION), { id: 1, ...LAST }), "established"),
        into(
          "both",
          frame(a.friend, a.pods.both, before(UDP, { id: 2, ...FIRST }, udp(40_000, 53))),
          "established",
        ),
        into(
          "both",
          frame(a.friend, a.pods.both, before(UDP, { id: 2, ...LAST }, new Uint8Array(8))),
          "established",
        ),
        into("both", toPod(a, chained([DESTINATION], udpSegment(40_000, 54)), { id: 3, ...FIRST }), "denied"),
        into(
          "both",
          frame(a.friend, a.pods.both, before(UDP, { id: 3, ...LAST }, new Uint8Array(8))),
          "fragment",
        ),
      ];
    },
  },
  {
    name: "of one packet are reassembled whatever next header the later ones name",
    families: [V6],
    steps: (a) => [
      into("both", toPod(a, padded(udpSegment(40_000, 53)), { id: 1, ...FIRST }), "policy"),
      into("both", toPod(a, mimic(TCP), { id: 1, ...LAST }), "established"),
    ],
  },
  {
    name: "two fragment headers are malformed",
    families: [V6],
    steps: (a) => [
      into(
        "both",
        toPod(a, chained([EXTENSION.FRAGMENT], udpSegment(40_000, 53)), { id: 1, ...FIRST }),
        "malformed",
      ),
    ],
  },
  {
    name: "that this node sends pass, and open the way for answers",
    steps: (a) => [
      into(
        "both",
        fragment(a.node, a.pods.both, padded(udpSegment(40_000, 54)), { id: 1, ...FIRST }),
        "node",
        THIS_NODE,
      ),
      into("both", fragment(a.node, a.pods.both, mimic(UDP), { id: 1, ...LAST }), "node", THIS_NODE),
      into("both", fragment(a.node, a.pods.both, mimic(UDP), { id: 2, ...LAST }), "node", THIS_NODE),
      outOf("both", frame(a.pods.both, a.node, udpSegment(54, 40_000)), "established"),
      into("both", fragment(a.node, a.pods.both, mimic(UDP), { id: 1, ...LAST }), "fragment"),
    ],
  },
]);

describe("the fragments' table", () => {
  it("forgets a first one after its timeout", async () => {
    await world().setTimeouts({ FRAGMENT: 150 });
    for (const a of BOTH_FAMILIES) {
      const ask = (segment: Segment, fields: FragmentFields) =>
        world().ask({ pod: "both", direction: "ingress", frame: toPod(a, segment, fields) });
      expect(ask(padded(udpSegment(40_000, 53)), { id: 1, ...FIRST })).toBe("policy");
      expect(ask(mimic(UDP), { id: 1, ...MIDDLE })).toBe("established");
      await world().outwait(150);
      expect(ask(mimic(UDP), { id: 1, ...LAST })).toBe("fragment");
    }
    await world().setTimeouts({});
  });

  it("has no entries for first ones that were denied, nor if later ones pass anyway: a flood costs no other pod's entries", async () => {
    const { fragments } = world().bench.maps.tables;
    const segment = padded(udpSegment(40_000, 53));
    for (const a of BOTH_FAMILIES) {
      expectSteps(world(), [
        into("both", toPod(a, segment, { id: 1, ...FIRST }), "policy"),
        outOf("out", fragment(a.pods.out, a.stranger, segment, { id: 2, ...FIRST }), "denied"),
        outOf("in", fragment(a.pods.in, a.stranger, segment, { id: 3, ...FIRST }), "not-isolated"),
        outOf("in", fragment(a.pods.in, a.stranger, mimic(UDP), { id: 3, ...LAST }), "not-isolated"),
        into("both", fragment(a.node, a.pods.both, segment, { id: 4, ...FIRST }), "node", THIS_NODE),
      ]);
    }
    expect(await fragments.read()).toHaveLength(2);
  });
});
