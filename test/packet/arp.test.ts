// ARP: what passes whatever the policy, what is spoofed, and what other hosts may read as ARP.

import { ETHER_TYPE, ethernet } from "../../src/engines/frame-builder.ts";
import { address } from "../support/model.ts";
import { type ArpFields, arp, tagged } from "./frames.ts";
import { into, outOf, testTable, useWorld } from "./table.ts";
import { POD_NAMES, THIS_NODE, V4 } from "./world.ts";

const world = useWorld();
const NONE = address("0.0.0.0");
const { VLAN, QINQ } = ETHER_TYPE;
const [REQUEST, REPLY] = [1, 2];
/** The shortest Ethernet frame has 60 bytes, of which ARP takes 42. */
const PADDING_MAX = 18;
const RARP = 0x8035;

/** Frames that are not ARP of IPv4 over Ethernet, though some host may take them for that. */
const OTHERS: readonly Partial<ArpFields>[] = [
  ...[0, 2, 6, 7, 15, 19, 24, 32, 0x0100, 0xffff].map((hardwareType) => ({ hardwareType })),
  ...[0, 0x0806, 0x0806, 0x86dd, 0x0801, 0x8100].map((protocolType) => ({ protocolType })),
  ...(
    [
      [0, 4],
      [5, 4],
      [8, 4],
      [16, 4],
      [20, 4],
      [6, 0],
      [6, 3],
      [6, 16],
      [4, 6],
    ] as const
  ).map((lengths) => ({ lengths })),
  // RARP, DRARP, InARP, ARP_NAK, MARS.
  ...[0, 3, 4, 5, 6, 7, 8, 9, 10, 11, 25, 0x0100, 0x0200, 0xffff].map((operation) => ({ operation })),
];

testTable("ARP", world, [
  {
    name: "passes into every pod, and from it with its own address or about it, padded too",
    families: [V4],
    steps: (a) =>
      POD_NAMES.flatMap((name) => {
        const own = a.pods[name];
        return [
          into(name, arp({ operation: REQUEST, sender: a.node, target: own }), "neighbour"),
          into(name, arp({ operation: REPLY, sender: a.stranger, target: own }), "neighbour"),
          ...[0, 1, PADDING_MAX].flatMap((padding) =>
            [
              arp({ operation: REQUEST, sender: own, target: a.node, padding }),
              arp({ operation: REPLY, sender: own, target: a.node, padding }),
              arp({ operation: REQUEST, sender: own, target: own, padding }),
              arp({ operation: REPLY, sender: own, target: own, padding }),
              arp({ operation: REQUEST, sender: NONE, target: own, padding }),
            ].flatMap((each) => [
              outOf(name, each, "neighbour"),
              outOf(name, tagged([VLAN], each), "neighbour"),
              outOf(name, tagged([QINQ, VLAN], each), "neighbour"),
            ]),
          ),
        ];
      }),
  },
  {
    name: "with a sender, or a probe's address, that is not the pod's own is dropped",
    families: [V4],
    steps: (a) =>
      POD_NAMES.flatMap((name) =>
        [
          arp({ operation: REPLY, sender: a.node, target: a.friend }),
          arp({ operation: REQUEST, sender: a.friend, target: a.friend }),
          arp({ operation: REQUEST, sender: NONE, target: a.node }),
          arp({ operation: REPLY, sender: NONE, target: a.node }),
          arp({ operation: REPLY, sender: NONE, target: NONE }),
        ].flatMap((each) => [
          outOf(name, each, "spoofed"),
          outOf(name, tagged([VLAN], each), "spoofed"),
          outOf(name, tagged([VLAN, VLAN], each), "spoofed"),
        ]),
      ),
  },
  {
    name: "that is cut short, or not of IPv4 over Ethernet, never leaves a pod, and enters none that is isolated",
    families: [V4],
    steps: (a) => {
      const whole = arp({ operation: REQUEST, sender: a.pods.both, target: a.node });
      const others = OTHERS.map((each) =>
        arp({ operation: REPLY, sender: a.pods.both, target: a.node, ...each }),
      );
      return [whole.subarray(0, 41), whole.subarray(0, 22), whole.subarray(0, 14), ...others].flatMap(
        (each) => [
          ...POD_NAMES.map((name) => outOf(name, each, "malformed")),
          ...POD_NAMES.map((name) => outOf(name, tagged([VLAN], each), "malformed")),
          into("both", each, "malformed"),
          into("both", each, "node", THIS_NODE),
          into("open", each, "not-isolated"),
        ],
      );
    },
  },
  {
    name: "carries nothing else: no more padding than an Ethernet frame needs, of zeros, and no reply without a sender",
    families: [V4],
    steps: (a) =>
      POD_NAMES.flatMap((name) => {
        const own = a.pods[name];
        const long = (padding: number | number[]) =>
          arp({ operation: REQUEST, sender: own, target: a.node, padding });
        const carrying = (at: number) =>
          long(Array.from({ length: PADDING_MAX }, (_, i) => (i === at ? 1 : 0)));
        return [
          long(PADDING_MAX + 1),
          long(1_000),
          ...[0, 1, PADDING_MAX - 1].map(carrying),
          tagged([VLAN], carrying(PADDING_MAX - 1)),
          tagged([VLAN], long(PADDING_MAX + 1)),
          arp({ operation: REPLY, sender: NONE, target: own }),
        ].map((each) => outOf(name, each, "malformed"));
      }),
  },
  {
    name: "in what the programs do not read never leaves a pod",
    families: [V4],
    steps: (a) => {
      const whole = arp({ operation: REPLY, sender: a.pods.both, target: a.node });
      // 802.2 by its length, with and without SNAP; RARP; tags that Linux does not recognize.
      const llc = ethernet(31, [0xaa, 0xaa, 3], whole.subarray(14));
      const snap = ethernet(36, [0xaa, 0xaa, 3, 0, 0, 0, 8, 6], whole.subarray(14));
      const rarp = arp({ operation: 3, sender: a.pods.both, target: a.node, etherType: RARP });
      const others = [0x9100, 0x9200, 0x9300, 0x88e7, 0x8847, 0x88e5, 0xdada].map((type) =>
        tagged([type], whole),
      );
      return [llc, snap, rarp, ...others].flatMap((each) =>
        POD_NAMES.map((name) => outOf(name, each, "unsupported")),
      );
    },
  },
]);
