// MAC addresses and link-local addresses: which pod has them on routed links and on bridges, and what is delivered to a pod on a bridge.

import { beforeAll, describe, expect, it } from "vitest";
import type { Address } from "../../src/base/ip.ts";
import { between, ETHER_TYPE, type Part } from "../../src/engines/frame-builder.ts";
import { address } from "../support/model.ts";
import {
  arp,
  chained,
  EXTENSION,
  echo,
  fragment,
  frame,
  igmp,
  mld,
  NEIGHBOUR,
  neighbour,
  OPTION,
  OWN_MAC,
  report,
  routerSolicitation,
  solicitedNode,
  tagged,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { into, outOf, testTable, useWorld } from "./table.ts";
import { BRIDGE, POD_NAMES, type PodName, THIS_NODE, V4, V6 } from "./world.ts";

const world = useWorld();
/** For ingress to them. */
const ISOLATED: ReadonlySet<PodName> = new Set(["in", "both"]);

/** Of a link, and of multicast of both families. */
const BROADCAST = [255, 255, 255, 255, 255, 255];
const GROUP_ADDRESSES: readonly number[][] = [BROADCAST, [1, 0, 0x5e, 0, 0, 1], [0x33, 0x33, 0, 0, 0, 1]];
const OWN = "02:00:00:00:00:01";
const OWN_LINK_LOCAL = address("fe80::ff:fe00:1");
/** That of a virtual machine behind the pod, which an annotation names. */
const ALLOWED = "52:54:00:12:34:56";
const ALLOWED_BYTES = [0x52, 0x54, 0, 0x12, 0x34, 0x56];
const ALLOWED_LINK_LOCAL = address("fe80::5054:ff:fe12:3456");
const OTHER_BYTES = [2, 0, 0, 0, 0, 2];
const OTHERS_LINK_LOCAL = [
  address("fe80::1"),
  address("fe80::ff:fe00:2"),
  address("fe80::1:0:ff:fe00:1"),
  address("fe81::ff:fe00:1"),
  address("febf:ffff::ff:fe00:1"),
  address("fe80::ff:ff00:1"),
  address("fe80::200:ff:fe00:1"),
];
const UNSPECIFIED = address("::");
const NONE = address("0.0.0.0");
const ALL_NODES = address("ff02::1");
const ALL_ROUTERS = address("ff02::2");

const asks = (source: Address, target: Address, options: Part = []) =>
  neighbour({ source, destination: solicitedNode(target), type: NEIGHBOUR.SOLICITATION, target, options });
const tells = (source: Address, target: Address, options: Part = []) =>
  neighbour({ source, destination: ALL_NODES, type: NEIGHBOUR.ADVERTISEMENT, target, options });
const optionOf = (type: number, hardware: readonly number[]) => [type, 1, ...hardware];

/** What a pod may claim about itself, and what it may not, whatever its link. */
const claims = [
  {
    name: "a pod's own link-local address is the one of its MAC address",
    families: [V6],
    steps: (a: typeof V6) =>
      POD_NAMES.flatMap((name) => [
        outOf(name, asks(OWN_LINK_LOCAL, a.node, OPTION.source), "neighbour"),
        outOf(name, tells(OWN_LINK_LOCAL, OWN_LINK_LOCAL, OPTION.target), "neighbour"),
        outOf(name, asks(UNSPECIFIED, OWN_LINK_LOCAL, OPTION.nonce), "neighbour"),
        outOf(name, routerSolicitation(OWN_LINK_LOCAL, ALL_ROUTERS, OPTION.source), "neighbour"),
        outOf(name, mld(OWN_LINK_LOCAL, address("ff02::16"), report([ALL_NODES])), "neighbour"),
        ...OTHERS_LINK_LOCAL.flatMap((other) =>
          [
            asks(other, a.node, OPTION.source),
            tells(other, other, OPTION.target),
            tells(OWN_LINK_LOCAL, other, OPTION.target),
            tells(a.pods[name], other, OPTION.target),
            asks(UNSPECIFIED, other, OPTION.nonce),
            routerSolicitation(other, ALL_ROUTERS),
            mld(other, address("ff02::16"), report([ALL_NODES])),
            frame(other, a.friend, udpSegment(1, 2)),
            frame(other, ALL_NODES, echo(6, 1)),
          ].map((each) => outOf(name, each, "spoofed")),
        ),
      ]),
  },
  {
    name: "options of neighbour discovery tell the pod's own MAC address",
    families: [V6],
    steps: (a: typeof V6) =>
      POD_NAMES.flatMap((name) =>
        [OTHER_BYTES, [0, 0, 0, 0, 0, 0], [255, 255, 255, 255, 255, 255], [2, 0, 0, 0, 0, 0]].flatMap(
          (other) =>
            [
              asks(a.pods[name], a.node, optionOf(1, other)),
              asks(OWN_LINK_LOCAL, a.node, optionOf(1, other)),
              tells(a.pods[name], a.pods[name], optionOf(2, other)),
              routerSolicitation(OWN_LINK_LOCAL, ALL_ROUTERS, optionOf(1, other)),
            ].map((each) => outOf(name, each, "spoofed")),
        ),
      ),
  },
  {
    name: "ARP tells the pod's own MAC address",
    families: [V4],
    steps: (a: typeof V4) =>
      POD_NAMES.flatMap((name) => {
        const own = a.pods[name];
        return [
          outOf(name, arp({ operation: 2, sender: own, target: a.node }), "neighbour"),
          outOf(
            name,
            arp({ operation: 2, sender: own, target: own, targetHardware: OTHER_BYTES }),
            "neighbour",
          ),
          outOf(name, arp({ operation: 1, sender: NONE, target: own }), "neighbour"),
          ...[OTHER_BYTES, [0, 0, 0, 0, 0, 0], [255, 255, 255, 255, 255, 255]].flatMap((senderHardware) =>
            [
              arp({ operation: 2, sender: own, target: a.node, senderHardware }),
              arp({ operation: 1, sender: own, target: own, senderHardware }),
              arp({ operation: 1, sender: NONE, target: own, senderHardware }),
              tagged([ETHER_TYPE.VLAN], arp({ operation: 2, sender: own, target: a.node, senderHardware })),
            ].map((each) => outOf(name, each, "spoofed")),
          ),
        ];
      }),
  },
] as const;

describe("a routed link whose MAC address is known", () => {
  beforeAll(() => world().enforce(undefined, undefined, { link: () => ({ hardware: [OWN] }) }));

  testTable("claims", world, claims as unknown as Parameters<typeof testTable>[2]);
  testTable("frames", world, [
    {
      name: "may have any source: nobody else is there to be misled",
      steps: (a) => [
        outOf(
          "open",
          between(frame(a.pods.open, a.friend, udpSegment(1, 2)), { source: OTHER_BYTES }),
          "not-isolated",
        ),
      ],
    },
    {
      name: "are delivered as the node routes them",
      steps: (a) => [into("open", frame(a.stranger, a.friend, udpSegment(1, 2)), "not-isolated")],
    },
  ]);
});

describe("a bridge's port whose MAC addresses are known", () => {
  beforeAll(() =>
    world().enforce(undefined, undefined, {
      link: (name) => ({ hardware: name === "in" ? [OWN, ALLOWED] : [OWN], bridge: BRIDGE }),
      onLink: ["fd01::/64"],
    }),
  );

  testTable("claims", world, claims as unknown as Parameters<typeof testTable>[2]);
  testTable("a frame from the pod", world, [
    {
      name: "has its own MAC address, whatever it carries",
      steps: (a) =>
        POD_NAMES.flatMap((name) =>
          [
            frame(a.pods[name], a.trusted, tcpSegment(40_000, 80)),
            frame(a.pods[name], a.trusted, udpSegment(1, 53)),
            frame(a.pods[name], a.trusted, echo(a.family, 1)),
            tagged([ETHER_TYPE.VLAN], frame(a.pods[name], a.trusted, udpSegment(1, 53))),
            fragment(a.pods[name], a.trusted, udpSegment(1, 53), { id: 9, offset: 0, more: true }),
            a.family === 4
              ? arp({ operation: 1, sender: a.pods[name], target: a.node })
              : asks(a.pods[name], a.node, OPTION.source),
            a.family === 4
              ? igmp(a.pods[name], address("224.0.0.22"), report([address("239.1.1.1")]))
              : mld(OWN_LINK_LOCAL, address("ff02::16"), report([ALL_NODES])),
          ].flatMap((each) =>
            [OTHER_BYTES, [0, 0, 0, 0, 0, 0], [3, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 0], [2, 0, 0, 0, 1, 1]].map(
              (source) => outOf(name, between(each, { source }), "spoofed"),
            ),
          ),
        ),
    },
    {
      name: "may have one that it was allowed, and the link-local address of that",
      families: [V6],
      steps: (a) => [
        outOf(
          "in",
          between(asks(ALLOWED_LINK_LOCAL, a.node, optionOf(1, ALLOWED_BYTES)), { source: ALLOWED_BYTES }),
          "neighbour",
        ),
        outOf("in", asks(ALLOWED_LINK_LOCAL, a.node, OPTION.source), "neighbour"),
        outOf(
          "in",
          between(frame(a.pods.in, a.friend, udpSegment(1, 2)), { source: ALLOWED_BYTES }),
          "not-isolated",
        ),
        outOf(
          "open",
          between(frame(a.pods.open, a.friend, udpSegment(1, 2)), { source: ALLOWED_BYTES }),
          "spoofed",
        ),
        outOf("open", asks(ALLOWED_LINK_LOCAL, a.node), "spoofed"),
      ],
    },
    {
      name: "asks single addresses of its link",
      families: [V6],
      steps: (a) => {
        const own = a.pods.both;
        const nud = (target: Address) =>
          neighbour({
            source: own,
            destination: target,
            type: NEIGHBOUR.SOLICITATION,
            target,
            options: OPTION.source,
          });
        return [
          outOf("both", nud(a.pods.in), "neighbour"),
          outOf("both", nud(address("fd01::ffff")), "neighbour"),
          outOf("both", nud(a.stranger), "malformed"),
          outOf("both", nud(address("fd01:0:0:1::1")), "malformed"),
        ];
      },
    },
  ]);

  testTable("a unicast frame to the pod", world, [
    {
      name: "is for one of its own addresses, whoever it comes from and whatever it carries",
      steps: (a) =>
        POD_NAMES.flatMap((name) => [
          ...[tcpSegment(40_000, 80), udpSegment(1, 53), echo(a.family, 1)].flatMap((segment) =>
            [a.friend, a.node, a.pods[name === "in" ? "both" : "in"]].flatMap((other) => [
              into(name, frame(a.trusted, other, segment), "misdirected"),
              into(name, frame(a.node, other, segment), "misdirected", THIS_NODE),
              into(name, tagged([ETHER_TYPE.VLAN], frame(a.trusted, other, segment)), "misdirected"),
              into(
                name,
                fragment(a.trusted, other, segment, { id: 3, offset: 0, more: true }),
                "misdirected",
              ),
              into(
                name,
                fragment(a.trusted, other, segment, { id: 3, offset: 2, more: false }),
                "misdirected",
              ),
            ]),
          ),
          into(
            name,
            frame(a.trusted, a.pods[name], tcpSegment(40_001, 80)),
            ISOLATED.has(name) ? "policy" : "not-isolated",
          ),
        ]),
    },
    {
      name: "is for its link-local address, or a group",
      families: [V6],
      steps: (a) => [
        into("open", frame(a.trusted, OWN_LINK_LOCAL, udpSegment(1, 53)), "not-isolated"),
        into("open", frame(a.trusted, ALL_NODES, udpSegment(1, 53)), "not-isolated"),
        into("in", frame(a.trusted, ALLOWED_LINK_LOCAL, udpSegment(1, 53)), "policy"),
        ...OTHERS_LINK_LOCAL.map((other) =>
          into("open", frame(a.trusted, other, udpSegment(1, 53)), "misdirected"),
        ),
        into(
          "open",
          frame(a.trusted, a.friend, chained([EXTENSION.DESTINATION], udpSegment(1, 53))),
          "misdirected",
        ),
        into("open", tells(a.node, a.node, OPTION.target), "neighbour"),
        into(
          "open",
          neighbour({ source: a.node, destination: a.friend, type: NEIGHBOUR.ADVERTISEMENT, target: a.node }),
          "misdirected",
        ),
      ],
    },
    {
      name: "is for everybody, or the answer to a pod that asks for its address",
      families: [V4],
      steps: (a) => [
        into("open", frame(a.trusted, address("255.255.255.255"), udpSegment(67, 68)), "not-isolated"),
        into("open", frame(a.trusted, address("239.1.1.1"), udpSegment(1, 2)), "not-isolated"),
        into("open", frame(a.node, a.friend, udpSegment(67, 68)), "not-isolated"),
        into("open", frame(a.node, a.friend, udpSegment(68, 67)), "misdirected"),
        into("open", frame(a.node, a.friend, tcpSegment(67, 68)), "misdirected"),
        into("both", frame(a.trusted, a.friend, udpSegment(67, 68)), "misdirected"),
        into("open", arp({ operation: 2, sender: a.node, target: a.friend }), "neighbour"),
      ],
    },
    {
      name: "is not asked about where the frame is for all of the link",
      steps: (a) => {
        const destination = [255, 255, 255, 255, 255, 255];
        return [
          into(
            "open",
            between(frame(a.trusted, a.friend, udpSegment(1, 53)), { destination }),
            "not-isolated",
          ),
          into("both", between(frame(a.stranger, a.friend, udpSegment(1, 53)), { destination }), "denied"),
        ];
      },
    },
  ]);

  testTable("a frame for all of the link, or a group", world, [
    {
      name: "has no packet for one address, from a pod with policies for egress",
      steps: (a) =>
        GROUP_ADDRESSES.flatMap((destination) =>
          (["open", "out", "both"] as const).flatMap((name) =>
            [a.trusted, a.friend, a.pods.in, a.node, address(a.family === 4 ? "127.0.0.1" : "::1")].flatMap(
              (to) =>
                [tcpSegment(40_000, 443), udpSegment(40_000, 53), echo(a.family, 1)].flatMap((segment) => {
                  const sent = [
                    frame(a.pods[name], to, segment),
                    tagged([ETHER_TYPE.VLAN], frame(a.pods[name], to, segment)),
                    fragment(a.pods[name], to, segment, { id: 4, offset: 0, more: true }),
                    fragment(a.pods[name], to, segment, { id: 4, offset: 2, more: false }),
                  ].map((each) => between(each, { destination }));
                  return sent.map((each) =>
                    outOf(name, each, name === "open" ? "not-isolated" : "misdirected"),
                  );
                }),
            ),
          ),
        ),
    },
    {
      name: "is judged by policy if its packet is for many",
      families: [V4],
      steps: (a) =>
        ["255.255.255.255", "239.1.1.1"].map((to) =>
          outOf(
            "out",
            between(frame(a.pods.out, address(to), udpSegment(1, 2)), { destination: BROADCAST }),
            "denied",
          ),
        ),
    },
  ]);

  it("has any packet in audit mode", async () => {
    const link = () => ({ hardware: [OWN], bridge: BRIDGE });
    await world().enforce(undefined, undefined, { mode: "audit", link });
    const sent = frame(V4.pods.out, V4.stranger, udpSegment(1, 2));
    expect(
      world().ask({
        ...{ pod: "out", direction: "egress" },
        frame: between(sent, { destination: BROADCAST }),
      }),
    ).toBe("audit");
  });
});

describe("a bridge's port whose MAC address is another's", () => {
  it("passes nothing from the pod", async () => {
    await world().enforce(undefined, undefined, {
      link: () => ({ hardware: ["00:00:00:00:00:00"], bridge: BRIDGE }),
    });
    for (const name of POD_NAMES) {
      for (const each of [
        frame(V4.pods[name], V4.trusted, udpSegment(1, 53)),
        frame(V6.pods[name], V6.trusted, udpSegment(1, 53)),
        arp({ operation: 1, sender: V4.pods[name], target: V4.node }),
        asks(OWN_LINK_LOCAL, V6.node),
      ]) {
        expect(world().ask({ pod: name, direction: "egress", frame: each }), name).toBe("spoofed");
      }
    }
  });
});

describe("a bridge's port with more sources", () => {
  beforeAll(() =>
    world().enforce(undefined, ["10.77.0.0/16", "10.1.0.0/24", "fd77::/64", "fd01::/64"], {
      link: () => ({ hardware: [OWN], bridge: BRIDGE }),
    }),
  );

  testTable("packets", world, [
    {
      name: "come to those too, and claims of them pass; but never of a node's address",
      steps: (a) => {
        const more = address(a.family === 4 ? "10.77.8.9" : "fd77::9");
        const claim = (own: Address) =>
          a.family === 4
            ? arp({ operation: 2, sender: own, target: own })
            : tells(a.pods.both, own, OPTION.target);
        return [
          into("both", frame(a.trusted, more, udpSegment(1, 53)), "policy"),
          outOf("both", claim(more), "neighbour"),
          outOf("both", claim(a.pods.in), "neighbour"),
          outOf("both", claim(a.node), "spoofed"),
          ...(a.family === 6 ? [outOf("both", asks(a.node, a.friend, OPTION.source), "spoofed")] : []),
        ];
      },
    },
  ]);
});

describe("link facts in the kernel", () => {
  it("are read back as they were written", async () => {
    const link = (name: PodName) => ({
      hardware: name === "in" ? [OWN, ALLOWED] : [OWN],
      ...(name === "open" ? {} : { bridge: BRIDGE }),
    });
    await world().enforce(undefined, undefined, { link, onLink: ["fd01::/64"] });
    const { state, unsettled } = await world().bench.maps.read();
    for (const name of POD_NAMES)
      expect(state.endpoints.get(world().ifindexOf(name))?.link, name).toEqual(link(name));
    expect(state.scopes.get(BRIDGE)).toEqual(["fd01::/64"]);
    expect(state.scopes.get(0)).toContain("10.1.0.1/32");
    expect(state.tunnelPorts).toContain(4789);
    expect(unsettled).toMatchObject({ sources: [], tunnelPorts: false });
    expect(unsettled.endpoints.size).toBe(0);
    await world().enforce();
    const after = await world().bench.maps.read();
    expect(after.state.scopes.has(BRIDGE)).toBe(false);
    expect(OWN_MAC).toEqual([2, 0, 0, 0, 0, 1]);
  });
});
