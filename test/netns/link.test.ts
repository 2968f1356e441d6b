// Raw frames from inside a pod, as CAP_NET_RAW allows them: what leaves it, and what reaches others, with a routed link and on a bridge, by both
// hooks. Each frame is counted by its reason, and none that is dropped arrives anywhere.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Address } from "../../src/base/ip.ts";
import {
  between,
  bytes,
  ETHER_TYPE,
  ethernet,
  IP_PROTOCOL,
  icmp,
  u32,
} from "../../src/engines/frame-builder.ts";
import { ipBatch } from "../../src/lab/iproute.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import {
  arp,
  chained,
  EXTENSION,
  echo,
  frame,
  igmp,
  ip,
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
} from "../packet/frames.ts";
import { openWire, type Wire } from "../packet/wire.ts";
import { address } from "../support/model.ts";
import { attachToBridge } from "./bridged.ts";
import { growth } from "./counted.ts";
import { BYSTANDER, FRIEND, FRIENDS_ONLY, SERVER, STRANGER, smallWorld } from "./small-world.ts";
import { openWorld, type World } from "./world.ts";

/** Isolated in neither direction, and in both. */
const SENDERS = [STRANGER, SERVER] as const;
type Sender = (typeof SENDERS)[number];

const BRIDGE = "wt-link-br";
const GATEWAY = { 4: address("10.63.61.254"), 6: address("fd63:61::fe") } as const;
const GATEWAY_MAC = "02:00:00:00:00:fe";
const OUTSIDE = { 4: address("198.51.100.7"), 6: address("2001:db8::7") } as const;
const UNSPECIFIED = address("::");
const NONE = address("0.0.0.0");
const ALL_NODES = address("ff02::1");
const ALL_ROUTERS = address("ff02::2");
const LISTENERS = address("ff02::16");

const SPOOFED = "egress spoofed";

const NUMBERS = { [SERVER]: 1, [FRIEND]: 2, [STRANGER]: 3, [BYSTANDER]: 4 } as const;
type Name = keyof typeof NUMBERS;
const NAMES = Object.keys(NUMBERS) as Name[];

/** Every pod's MAC address ends with its number. */
const macOf = (name: Name): number[] => [2, 0, 0, 0, 0, NUMBERS[name]];
const macText = (mac: readonly number[]): string =>
  mac.map((byte) => byte.toString(16).padStart(2, "0")).join(":");
const linkLocalOf = (name: Name): Address => address(`fe80::ff:fe00:${NUMBERS[name]}`);
const v4Of = (name: Name): Address => address(`10.63.61.${NUMBERS[name]}`);
const v6Of = (name: Name): Address => address(`fd63:61::${NUMBERS[name]}`);

interface Self {
  readonly name: Sender;
  readonly isolated: boolean;
  readonly mac: readonly number[];
  readonly v4: Address;
  readonly v6: Address;
  readonly linkLocal: Address;
  /** The link-layer options with its own address. */
  readonly source: readonly number[];
  readonly target: readonly number[];
}

const selfOf = (name: Sender): Self => ({
  name,
  isolated: name === SERVER,
  mac: macOf(name),
  v4: v4Of(name),
  v6: v6Of(name),
  linkLocal: linkLocalOf(name),
  source: [1, 1, ...macOf(name)],
  target: [2, 1, ...macOf(name)],
});

interface Case {
  readonly name: string;
  /** Of the frames, from the sender to the gateway's MAC address unless they state another. */
  readonly frames: (self: Self) => readonly Uint8Array[];
  /** As in the sender's counter; what passes ("neighbour") is counted at least this often, since the pod's kernel sends such frames too. */
  readonly reason: string | ((self: Self) => string);
  /** Only there. */
  readonly wiring?: "bridge";
}

const nines = (self: Self, to: Address): Uint8Array =>
  frame(self.v6, to, chained(new Array<number>(9).fill(EXTENSION.DESTINATION), udpSegment(1, 2)));

const advertises = (source: Address, target: Address, options: readonly number[]): Uint8Array =>
  neighbour({ source, destination: ALL_NODES, type: NEIGHBOUR.ADVERTISEMENT, target, options });
const asks = (source: Address, target: Address, options: readonly number[] = []): Uint8Array =>
  neighbour({ source, destination: solicitedNode(target), type: NEIGHBOUR.SOLICITATION, target, options });
const asksAt = (source: Address, target: Address, options: readonly number[]): Uint8Array =>
  neighbour({ source, destination: target, type: NEIGHBOUR.SOLICITATION, target, options });

const icmp6 = (type: number) => ({
  number: IP_PROTOCOL.ICMPV6,
  payload: icmp(type, 0, u32(0), new Uint8Array(32)),
});

const CASES: readonly Case[] = [
  {
    name: "a frame from another station's MAC address",
    wiring: "bridge",
    reason: "spoofed",
    frames: (self) =>
      [macOf(FRIEND), [2, 0, 0, 0, 0, 0xfe], [2, 0, 0, 0, 9, 9], [0, 0, 0, 0, 0, 0]].flatMap((source) =>
        [
          frame(self.v4, v4Of(FRIEND), udpSegment(1, 2)),
          frame(self.v4, v4Of(FRIEND), tcpSegment(40_000, 80)),
          frame(self.v6, v6Of(FRIEND), udpSegment(1, 2)),
          tagged([ETHER_TYPE.VLAN], frame(self.v4, v4Of(FRIEND), udpSegment(1, 2))),
          arp({ operation: 1, sender: self.v4, target: v4Of(FRIEND), senderHardware: self.mac }),
          asks(self.v6, v6Of(FRIEND), self.source),
        ].map((each) => between(each, { source })),
      ),
  },
  {
    name: "another's address, or the node's, as the source",
    reason: "spoofed",
    frames: (self) => [
      ...[v4Of(FRIEND), GATEWAY[4], OUTSIDE[4], address("127.0.0.1")].flatMap((source) => [
        frame(source, v4Of(BYSTANDER), udpSegment(1, 2)),
        frame(source, v4Of(BYSTANDER), tcpSegment(40_000, 80)),
        igmp(source, address("224.0.0.22"), report([address("239.1.1.1")])),
      ]),
      ...[
        v6Of(FRIEND),
        GATEWAY[6],
        OUTSIDE[6],
        linkLocalOf(FRIEND),
        address("fe80::1"),
        address("::1"),
      ].flatMap((source) => [
        frame(source, v6Of(BYSTANDER), udpSegment(1, 2)),
        frame(source, v6Of(BYSTANDER), echo(6, 1)),
        asks(source, v6Of(BYSTANDER), self.source),
      ]),
    ],
  },
  {
    name: "ARP for the gateway or another pod, or with another's MAC address",
    reason: "spoofed",
    frames: (self) => [
      ...[GATEWAY[4], v4Of(FRIEND)].flatMap((sender) => [
        arp({ operation: 2, sender, target: v4Of(BYSTANDER), senderHardware: self.mac }),
        arp({ operation: 1, sender, target: sender, senderHardware: self.mac }),
        arp({ operation: 1, sender: NONE, target: sender, senderHardware: self.mac }),
      ]),
      ...[macOf(FRIEND), [2, 0, 0, 0, 0, 0xfe]].flatMap((senderHardware) => [
        arp({ operation: 2, sender: self.v4, target: v4Of(BYSTANDER), senderHardware }),
        arp({ operation: 1, sender: self.v4, target: self.v4, senderHardware }),
      ]),
    ],
  },
  {
    name: "ARP that is not exactly Ethernet's for IPv4",
    reason: "malformed",
    frames: (self) => [
      arp({ operation: 2, sender: self.v4, target: GATEWAY[4], senderHardware: self.mac, padding: 100 }),
      ...[
        { hardwareType: 6 },
        { hardwareType: 7 },
        { hardwareType: 32 },
        { protocolType: 0x86dd },
        { lengths: [6, 16] as const },
      ].map((each) =>
        arp({ operation: 2, sender: GATEWAY[4], target: v4Of(FRIEND), senderHardware: self.mac, ...each }),
      ),
    ],
  },
  {
    name: "RARP",
    reason: "unsupported",
    frames: (self) => [
      arp({
        operation: 4,
        sender: GATEWAY[4],
        target: v4Of(FRIEND),
        senderHardware: self.mac,
        etherType: 0x8035,
      }),
    ],
  },
  {
    name: "neighbour discovery for the gateway or another pod, or with another's MAC address",
    reason: "spoofed",
    frames: (self) => [
      ...[GATEWAY[6], v6Of(FRIEND), linkLocalOf(FRIEND), address("fe80::1"), address("fe80::fe")].flatMap(
        (target) => [
          advertises(self.v6, target, self.target),
          advertises(self.linkLocal, target, self.target),
          asks(UNSPECIFIED, target),
          advertises(target, target, self.target),
        ],
      ),
      ...[macOf(FRIEND), [2, 0, 0, 0, 0, 0xfe]].flatMap((mac) => [
        advertises(self.v6, self.v6, [2, 1, ...mac]),
        asks(self.v6, v6Of(FRIEND), [1, 1, ...mac]),
        asks(self.linkLocal, v6Of(FRIEND), [1, 1, ...mac]),
        routerSolicitation(self.linkLocal, ALL_ROUTERS, [1, 1, ...mac]),
      ]),
      mld(linkLocalOf(FRIEND), LISTENERS, report([ALL_NODES])),
    ],
  },
  {
    name: "neighbour discovery to addresses off the link, or that carries more than it says",
    reason: "malformed",
    frames: (self) => [
      asksAt(self.v6, OUTSIDE[6], self.source),
      asksAt(self.v6, address("fd63:62::1"), self.source),
      neighbour({
        source: self.v6,
        destination: OUTSIDE[6],
        type: NEIGHBOUR.ADVERTISEMENT,
        target: self.v6,
        options: self.target,
      }),
      bytes(asks(self.v6, v6Of(FRIEND), self.source), new Uint8Array(64)),
      asks(self.v6, v6Of(FRIEND), [...self.source, ...OPTION.nonce, ...OPTION.nonce]),
    ],
  },
  {
    name: "what only routers send",
    reason: "router",
    frames: (self) => [
      ...[NEIGHBOUR.ROUTER_ADVERTISEMENT, NEIGHBOUR.REDIRECT, 130, 151, 153].flatMap((type) =>
        [self.linkLocal, self.v6].flatMap((source) => [
          frame(source, ALL_NODES, icmp6(type), { v6: { hopLimit: 255 } }),
          frame(source, v6Of(FRIEND), icmp6(type), { v6: { hopLimit: 64 } }),
          frame(source, ALL_NODES, chained([EXTENSION.DESTINATION], icmp6(type)), { v6: { hopLimit: 255 } }),
        ]),
      ),
      ...[5, 9].map((type) =>
        frame(self.v4, v4Of(FRIEND), { number: IP_PROTOCOL.ICMP, payload: icmp(type, 0, u32(0)) }),
      ),
      igmp(self.v4, address("224.0.0.1"), [0x11, 0, 0, 0, 0, 0, 0, 0]),
    ],
  },
  {
    name: "extension headers beyond the eighth",
    reason: "unsupported",
    frames: (self) => [nines(self, v6Of(FRIEND)), nines(self, ALL_NODES)],
  },
  {
    name: "an IPv4 source route, an IPv6 routing header with segments left, other Ethernet types",
    reason: "unsupported",
    frames: (self) => [
      ...[0x83, 0x89].map((type) =>
        frame(self.v4, v4Of(FRIEND), udpSegment(1, 2), {
          v4: { options: [type, 7, 4, ...[10, 63, 61, 4], 0] },
        }),
      ),
      frame(self.v6, v6Of(FRIEND), {
        number: EXTENSION.ROUTING,
        payload: bytes([IP_PROTOCOL.UDP, 2, 4, 1, 0, 0, 0, 0], new Uint8Array(16), udpSegment(1, 2).payload),
      }),
      ...[0x8847, 0x8864, 0x88cc, 0x8906].map((type) => ethernet(type, new Uint8Array(46))),
    ],
  },
  {
    name: "a tunnel to the node",
    reason: "encapsulated",
    frames: (self) => {
      const inner = ip(v4Of(FRIEND), v4Of(BYSTANDER), udpSegment(1, 2));
      return [
        ...[GATEWAY[4], address("169.254.1.1"), address("255.255.255.255")].flatMap((node) => [
          ...[4789, 8472, 6081].map((port) => frame(self.v4, node, udpSegment(1, port, inner))),
          ...[4, 41, 47].map((number) => frame(self.v4, node, { number, payload: inner })),
        ]),
        ...[GATEWAY[6], ALL_NODES].flatMap((node) => [
          ...[4789, 8472, 6081].map((port) => frame(self.v6, node, udpSegment(1, port, inner))),
          ...[4, 41, 47].map((number) => frame(self.v6, node, { number, payload: inner })),
        ]),
      ];
    },
  },
  {
    name: "DHCP's first question passes from a pod that is not isolated",
    reason: ({ isolated }) => (isolated ? "spoofed" : "not-isolated"),
    frames: () => [
      between(frame(NONE, address("255.255.255.255"), udpSegment(68, 67)), {
        destination: [255, 255, 255, 255, 255, 255],
      }),
    ],
  },
  {
    name: "anything else without a source does not",
    reason: "spoofed",
    frames: () => [
      frame(NONE, address("255.255.255.255"), udpSegment(68, 68)),
      frame(NONE, address("255.255.255.255"), udpSegment(67, 68)),
      frame(NONE, address("255.255.255.255"), tcpSegment(68, 67)),
      frame(NONE, v4Of(FRIEND), udpSegment(68, 67)),
    ],
  },
  {
    name: "what a pod says of itself passes",
    reason: "neighbour",
    frames: (self) => [
      arp({ operation: 1, sender: self.v4, target: GATEWAY[4], senderHardware: self.mac }),
      arp({ operation: 1, sender: self.v4, target: self.v4, senderHardware: self.mac }),
      arp({ operation: 1, sender: NONE, target: self.v4, senderHardware: self.mac, padding: 18 }),
      asks(self.v6, GATEWAY[6], self.source),
      asks(self.linkLocal, GATEWAY[6], self.source),
      asks(UNSPECIFIED, self.v6, OPTION.nonce),
      asksAt(self.v6, GATEWAY[6], self.source),
      advertises(self.v6, self.v6, self.target),
      routerSolicitation(self.linkLocal, ALL_ROUTERS, self.source),
      mld(self.linkLocal, LISTENERS, report([ALL_NODES])),
      igmp(self.v4, address("224.0.0.22"), report([address("239.1.1.1")])),
    ],
  },
];

/** Frames to one station for an address that is not its own. */
const MISDIRECTED = (self: Self, to: Name): readonly Uint8Array[] => {
  const destination = macOf(to);
  return [v4Of(STRANGER), OUTSIDE[4], v4Of(BYSTANDER), GATEWAY[4]]
    .map((other) => frame(self.v4, other, udpSegment(1, 2)))
    .concat(
      [OUTSIDE[6], v6Of(BYSTANDER), GATEWAY[6], linkLocalOf(BYSTANDER)].map((other) =>
        frame(self.v6, other, udpSegment(1, 2)),
      ),
    )
    .map((each) => between(checksummed(each), { source: self.mac, destination }));
};

/** With the header's checksum, which bridges check if they filter; protocols other than IPv4 have none. */
function checksummed(of: Uint8Array): Uint8Array {
  const copy = Uint8Array.from(of);
  const view = new DataView(copy.buffer);
  if (view.getUint16(12) !== ETHER_TYPE.IPV4) return copy;
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += view.getUint16(at);
  view.setUint16(24, ~((sum & 0xffff) + (sum >>> 16)) & 0xffff);
  return copy;
}

let wire: Wire;

beforeAll(() => {
  wire = openWire();
});

afterAll(() => wire?.close());

for (const wiring of ["ptp", "bridge"] as const) {
  for (const hook of ["tc", "xdp"] as const) {
    describe(`${wiring}, by ${hook}`, () => {
      let world: World;
      let agent: Agent;
      let gatewayMac: readonly number[];

      beforeAll(async () => {
        world = await openWorld(smallWorld("wt-link", { "friends-only.yaml": FRIENDS_ONLY }));
        for (const name of NAMES) {
          readdress(world, name, macOf(name));
          // That of the previous MAC address, from which the kernel would continue to solicit routers.
          ipBatch(["addr flush dev eth0 scope link"], world.lab.wire(name).netns);
        }
        const gateways = [`${GATEWAY[4].text}/24`, `${GATEWAY[6].text}/64`];
        const wired = { bridge: BRIDGE, address: GATEWAY_MAC, names: NAMES, gateways };
        if (wiring === "bridge") attachToBridge(world.lab, wired);
        else
          for (const name of SENDERS)
            ipBatch([
              `addr add ${GATEWAY[4].text}/32 dev ${world.lab.wire(name).link}`,
              `addr add ${GATEWAY[6].text}/128 dev ${world.lab.wire(name).link} nodad`,
            ]);
        gatewayMac = [2, 0, 0, 0, 0, 0xfe];
        agent = await world.start("--from-pod-hook", hook);
      });

      afterAll(() => world?.close());

      const sendFrom = async (name: Name, frames: readonly Uint8Array[]): Promise<void> =>
        wire.send(world.lab.wire(name).netns, "eth0", frames);

      /** A frame as ethernet() builds it has the same address twice: here it comes from the pod, and goes to the gateway. */
      const stationed = (self: Self, each: Uint8Array): Uint8Array => {
        const isMade = macText([...each.subarray(6, 12)]) === macText(OWN_MAC);
        return isMade
          ? between(each, { source: self.mac, destination: gatewayMac })
          : withGateway(each, gatewayMac);
      };

      describe.each(SENDERS)("from %s", (name) => {
        const self = selfOf(name);

        it.each(CASES.filter((each) => (each.wiring ?? wiring) === wiring))(
          "$name",
          async ({ frames, reason }) => {
            const all = frames(self).map((each) => stationed(self, each));
            const expected = `egress ${typeof reason === "string" ? reason : reason(self)}`;
            const { [expected]: grown } = await growth(world, name, [expected], () => sendFrom(name, all));
            if (expected === "egress neighbour") expect(grown).toBeGreaterThanOrEqual(all.length);
            else expect(grown).toBe(all.length);
          },
        );
      });

      if (wiring === "bridge") {
        it.each([SERVER, FRIEND] as const)(
          "a frame to %s for an address that is not its own is not delivered",
          async (to) => {
            const all = MISDIRECTED(selfOf(STRANGER), to);
            const key = "ingress misdirected";
            expect(await growth(world, to, [key], () => sendFrom(STRANGER, all))).toEqual({
              [key]: all.length,
            });
          },
        );
      }

      it("the pod's binding stays when it takes another MAC address, over a restart too", async () => {
        const self = selfOf(STRANGER);
        const taken = [2, 0, 0, 0, 0, 0x77];
        const forged = [
          arp({ operation: 2, sender: self.v4, target: v4Of(FRIEND), senderHardware: macOf(FRIEND) }),
          advertises(self.v6, linkLocalOf(FRIEND), self.target),
        ].map((each) => stationed(self, each));
        const moved = between(frame(self.v4, v4Of(FRIEND), udpSegment(1, 2)), {
          source: taken,
          destination: macOf(FRIEND),
        });
        readdress(world, STRANGER, taken);
        try {
          for (const restarts of [false, true]) {
            if (restarts) {
              await agent.kill();
              agent = await world.start("--from-pod-hook", hook);
            }
            const frames = wiring === "bridge" ? [...forged, moved] : forged;
            const { [SPOOFED]: grown } = await growth(world, STRANGER, [SPOOFED], () =>
              sendFrom(STRANGER, frames),
            );
            // The pod's kernel sends from its new address too.
            expect(grown).toBeGreaterThanOrEqual(frames.length);
            if (wiring === "bridge") {
              const { stdout } = await world.weir("status");
              expect(stdout).toContain("02:00:00:00:00:77, but was created with 02:00:00:00:00:03");
            }
          }
        } finally {
          readdress(world, STRANGER, macOf(STRANGER));
        }
      });
    });
  }
}

/** To the gateway, unless it states another destination. */
const withGateway = (each: Uint8Array, gatewayMac: readonly number[]): Uint8Array =>
  macText([...each.subarray(0, 6)]) === macText(OWN_MAC) ? bytes(gatewayMac, each.subarray(6)) : each;

function readdress(world: World, name: Name, mac: readonly number[]): void {
  ipBatch([`link set eth0 address ${macText(mac)}`], world.lab.wire(name).netns);
}
