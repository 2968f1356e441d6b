// Packets in packets, from a pod to an address where a node would take the inner one for its own; and the pods' own tunnels.

import { ETHER_TYPE, TCP_FLAG } from "../../src/engines/frame-builder.ts";
import { address } from "../support/model.ts";
import {
  chained,
  EXTENSION,
  fragment,
  frame,
  ip,
  otherSegment,
  type Segment,
  tagged,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { into, outOf, testTable, useWorld } from "./table.ts";
import { type Addresses, POD_NAMES, TUNNEL_PORT, V4, V6 } from "./world.ts";

const world = useWorld();

/** VXLAN of IANA and of Linux, VXLAN-GPE, Geneve, GUE, GRE and MPLS in UDP, flannel's udp, and the one of this node's own device. */
const PORTS = [4789, 8472, 4790, 6081, 6080, 4754, 6635, 8285, TUNNEL_PORT];
/** IPIP, IPv6, GRE, MOBILE, IPIP of old, EtherIP, ENCAP, L2TP, MPLS, Ethernet. */
const PROTOCOLS = [4, 41, 47, 55, 94, 97, 98, 115, 137, 143];
const ESP = 50;
const AH = 51;

const inner = (a: Addresses) => ip(a.friend, a.pods.in, tcpSegment(40_000, 80));
const carriers = (a: Addresses): Segment[] => [
  ...PORTS.map((port) => udpSegment(40_000, port, inner(a))),
  ...PROTOCOLS.map((number): Segment => ({ number, payload: inner(a) })),
];

/** Where nodes listen, besides their own addresses. */
const EVERYWHERE = {
  4: ["10.1.255.255", "255.255.255.255", "224.0.0.1", "239.1.1.1", "169.254.1.1", "127.0.0.1"],
  6: ["ff02::1", "ff05::1", "ff0e::1", "fe80::1", "::1"],
} as const;

testTable("a packet in a packet", world, [
  {
    name: "never leaves a pod to a node, isolated or not, whatever the policy",
    steps: (a) =>
      POD_NAMES.flatMap((name) =>
        carriers(a).map((carrier) => outOf(name, frame(a.pods[name], a.node, carrier), "encapsulated")),
      ),
  },
  {
    name: "never leaves a pod to where every node listens",
    steps: (a) =>
      EVERYWHERE[a.family].flatMap((text) =>
        carriers(a).map((carrier) =>
          outOf("open", frame(a.pods.open, address(text), carrier), "encapsulated"),
        ),
      ),
  },
  {
    name: "is seen in tags, behind options and extension headers, and in first fragments",
    steps: (a) =>
      carriers(a).flatMap((carrier) => {
        const whole = frame(a.pods.open, a.node, carrier);
        const first = fragment(a.pods.open, a.node, carrier, { id: 1, offset: 0, more: true });
        const behind =
          a.family === 4
            ? frame(a.pods.open, a.node, carrier, { v4: { options: [1, 1, 1, 1] } })
            : frame(a.pods.open, a.node, chained([EXTENSION.DESTINATION, EXTENSION.AUTHENTICATION], carrier));
        return [
          tagged([ETHER_TYPE.VLAN], whole),
          tagged([ETHER_TYPE.QINQ, ETHER_TYPE.VLAN], whole),
          first,
          behind,
        ].map((each) => outOf("open", each, "encapsulated"));
      }),
  },
  {
    name: "goes from pod to pod, and to others, by policy",
    steps: (a) =>
      carriers(a).flatMap((carrier) => [
        outOf("open", frame(a.pods.open, a.pods.in, carrier), "not-isolated"),
        outOf("open", frame(a.pods.open, a.stranger, carrier), "not-isolated"),
        outOf("both", frame(a.pods.both, a.trusted, carrier), "policy"),
        outOf("both", frame(a.pods.both, a.stranger, carrier), "denied"),
        into("open", frame(a.node, a.pods.open, carrier), "not-isolated"),
      ]),
  },
  {
    name: "is none by another port or protocol, nor with a key that the node must share",
    steps: (a) => [
      ...[4788, 4791, 8471, 8473, 6079, 6082, 53, 0, 65_535, TUNNEL_PORT + 64, 4789 + 64].map((port) =>
        outOf("open", frame(a.pods.open, a.node, udpSegment(40_000, port)), "not-isolated"),
      ),
      ...PORTS.map((port) => outOf("open", frame(a.pods.open, a.node, udpSegment(port, 53)), "not-isolated")),
      ...PORTS.map((port) =>
        outOf("open", frame(a.pods.open, a.node, tcpSegment(40_000, port)), "not-isolated"),
      ),
      ...(a.family === 4 ? [ESP, AH] : [ESP]).map((number) =>
        outOf("open", frame(a.pods.open, a.node, otherSegment(number)), "not-isolated"),
      ),
    ],
  },
  {
    name: "is dropped in a flow that was allowed before the node had the port",
    steps: (a) => [
      outOf("out", frame(a.pods.out, a.trusted, udpSegment(40_000, 8472)), "policy"),
      outOf("out", frame(a.pods.out, a.trusted, tcpSegment(40_000, 8472, TCP_FLAG.SYN)), "policy"),
      outOf("out", frame(a.pods.out, a.node, udpSegment(40_000, 8472)), "encapsulated"),
    ],
  },
]);

testTable("a later fragment of a packet in a packet", world, [
  {
    name: "names its protocol in IPv4 only",
    families: [V4],
    steps: (a) => [
      outOf(
        "open",
        fragment(a.pods.open, a.node, otherSegment(4), { id: 2, offset: 5, more: false }),
        "encapsulated",
      ),
      outOf(
        "open",
        fragment(a.pods.open, a.node, udpSegment(1, 8472), { id: 2, offset: 5, more: false }),
        "not-isolated",
      ),
    ],
  },
  {
    name: "is of no use without its first one",
    families: [V6],
    steps: (a) => [
      outOf(
        "open",
        fragment(a.pods.open, a.node, udpSegment(1, 8472), { id: 2, offset: 5, more: false }),
        "not-isolated",
      ),
    ],
  },
]);
