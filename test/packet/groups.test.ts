// Membership of multicast groups: MLD and IGMP, which bridges snoop; and what only routers send about groups and themselves.

import { type Address, addressBytes } from "../../src/base/ip.ts";
import { ETHER_TYPE, type Part, u32 } from "../../src/engines/frame-builder.ts";
import { address } from "../support/model.ts";
import { chained, EXTENSION, fragment, frame, icmpSegment, igmp, mld, report, tagged } from "./frames.ts";
import { into, outOf, testTable, useWorld } from "./table.ts";
import { POD_NAMES, V4, V6 } from "./world.ts";

const world = useWorld();

const LISTENER = { QUERY: 130, REPORT: 131, DONE: 132, REPORT_V2: 143 } as const;
const ALL_NODES = address("ff02::1");
const ALL_ROUTERS = address("ff02::2");
const REPORTS = address("ff02::16");
const SOLICITED = address("ff02::1:ff00:9");
const WIDE = address("ff0e::9");
const LINK_LOCAL = address("fe80::1");
const UNSPECIFIED = address("::");
const SMUGGLED = new Array<number>(400).fill(65);

const oldMld = (type: number, group: Address): number[] => [type, 0, 0, 0, ...u32(0), ...addressBytes(group)];
const behind = (whole: Uint8Array, extra: Part) => Uint8Array.from([...whole, ...extra]);

testTable("MLD, on which neighbour discovery over bridges depends", world, [
  {
    name: "passes on its link, to and from every pod",
    families: [V6],
    steps: () =>
      POD_NAMES.flatMap((name) => [
        into(name, mld(LINK_LOCAL, ALL_NODES, oldMld(LISTENER.QUERY, UNSPECIFIED)), "neighbour"),
        ...[
          mld(LINK_LOCAL, REPORTS, report([SOLICITED])),
          mld(UNSPECIFIED, REPORTS, report([SOLICITED, WIDE, ALL_ROUTERS])),
          mld(LINK_LOCAL, REPORTS, report([WIDE], 3)),
          mld(LINK_LOCAL, REPORTS, report(new Array<Address>(70).fill(SOLICITED))),
          mld(LINK_LOCAL, SOLICITED, oldMld(LISTENER.REPORT, SOLICITED)),
          mld(LINK_LOCAL, WIDE, oldMld(LISTENER.REPORT, WIDE)),
          mld(LINK_LOCAL, ALL_ROUTERS, oldMld(LISTENER.DONE, WIDE)),
          mld(LINK_LOCAL, REPORTS, report([SOLICITED]), { alert: [1, 0, 5, 2, 0, 0] }),
        ].flatMap((each) => [
          outOf(name, each, "neighbour"),
          outOf(name, tagged([ETHER_TYPE.VLAN], each), "neighbour"),
        ]),
      ]),
  },
  {
    name: "that could leave its link, goes to one, carries more or is something else is judged by policy",
    families: [V6],
    steps: (a) => [
      ...[
        mld(LINK_LOCAL, REPORTS, report([SOLICITED]), { hopLimit: 2 }),
        mld(LINK_LOCAL, REPORTS, report([SOLICITED]), { hopLimit: 255 }),
        mld(LINK_LOCAL, REPORTS, report([SOLICITED]), { alert: [1, 4, 0, 0, 0, 0] }),
        mld(LINK_LOCAL, REPORTS, report([SOLICITED]), { alert: [5, 2, 0, 1, 1, 0] }),
        mld(LINK_LOCAL, REPORTS, report([SOLICITED]), { alert: [5, 2, 0, 0, 7, 7] }),
        mld(LINK_LOCAL, a.stranger, report([SOLICITED])),
        mld(LINK_LOCAL, ALL_NODES, report([SOLICITED])),
        mld(LINK_LOCAL, REPORTS, [...report([SOLICITED]), 0]),
        mld(LINK_LOCAL, REPORTS, [...report([SOLICITED]), ...SMUGGLED]),
        mld(LINK_LOCAL, REPORTS, report([SOLICITED]).slice(0, -1)),
        mld(
          LINK_LOCAL,
          REPORTS,
          report([SOLICITED]).map((byte, at) => (at === 8 ? 0 : byte)),
        ),
        mld(
          LINK_LOCAL,
          REPORTS,
          report([SOLICITED]).map((byte, at) => (at === 8 ? 7 : byte)),
        ),
        mld(
          LINK_LOCAL,
          REPORTS,
          report([SOLICITED]).map((byte, at) => (at === 9 ? 1 : byte)),
        ),
        mld(
          LINK_LOCAL,
          REPORTS,
          report([SOLICITED]).map((byte, at) => (at === 5 ? 1 : byte)),
        ),
        mld(LINK_LOCAL, REPORTS, report(new Array<Address>(81).fill(SOLICITED))),
        mld(LINK_LOCAL, SOLICITED, oldMld(LISTENER.REPORT, WIDE)),
        mld(LINK_LOCAL, WIDE, oldMld(LISTENER.DONE, WIDE)),
        mld(LINK_LOCAL, SOLICITED, [...oldMld(LISTENER.REPORT, SOLICITED), ...SMUGGLED]),
        mld(LINK_LOCAL, a.stranger, oldMld(LISTENER.REPORT, a.stranger)),
        mld(a.pods.both, REPORTS, report([SOLICITED])),
        mld(LINK_LOCAL, REPORTS, oldMld(144, SOLICITED)),
        behind(mld(LINK_LOCAL, REPORTS, report([SOLICITED])), [0]),
        frame(LINK_LOCAL, REPORTS, { number: 58, payload: report([SOLICITED]) }, { v6: { hopLimit: 1 } }),
        fragment(
          LINK_LOCAL,
          REPORTS,
          { number: 58, payload: report([SOLICITED]) },
          { id: 1, offset: 0, more: true },
        ),
      ].map((each) => outOf("both", each, "denied")),
      outOf("open", mld(LINK_LOCAL, REPORTS, report([SOLICITED]), { hopLimit: 2 }), "not-isolated"),
      outOf("both", mld(a.stranger, REPORTS, report([SOLICITED])), "spoofed"),
      into("both", mld(a.stranger, ALL_NODES, oldMld(LISTENER.QUERY, UNSPECIFIED)), "denied"),
      into("both", mld(LINK_LOCAL, a.pods.both, oldMld(LISTENER.QUERY, UNSPECIFIED)), "denied"),
      into(
        "both",
        mld(LINK_LOCAL, ALL_NODES, oldMld(LISTENER.QUERY, UNSPECIFIED), { hopLimit: 2 }),
        "denied",
      ),
    ],
  },
  {
    name: "to a pod passes without other data, and with it is judged by policy: an open pod may have sent it",
    families: [V6],
    steps: (a) => {
      const whole = [
        mld(LINK_LOCAL, ALL_NODES, oldMld(LISTENER.QUERY, UNSPECIFIED)),
        mld(LINK_LOCAL, ALL_NODES, [...oldMld(LISTENER.QUERY, UNSPECIFIED), 2, 125, 0, 0]),
        mld(LINK_LOCAL, WIDE, [...oldMld(LISTENER.QUERY, WIDE), 2, 125, 0, 1, ...addressBytes(a.friend)]),
        mld(LINK_LOCAL, REPORTS, report([SOLICITED])),
        mld(LINK_LOCAL, ALL_ROUTERS, oldMld(LISTENER.DONE, WIDE)),
        mld(LINK_LOCAL, WIDE, oldMld(LISTENER.REPORT, WIDE)),
      ];
      const more = [
        mld(LINK_LOCAL, ALL_NODES, [...oldMld(LISTENER.QUERY, UNSPECIFIED), ...SMUGGLED]),
        mld(LINK_LOCAL, ALL_NODES, [...oldMld(LISTENER.QUERY, UNSPECIFIED), 2, 125, 0, 0, 65]),
        mld(LINK_LOCAL, ALL_NODES, [...oldMld(LISTENER.QUERY, UNSPECIFIED), 2, 125, 0, 1, 65]),
        mld(LINK_LOCAL, ALL_NODES, oldMld(LISTENER.QUERY, UNSPECIFIED).slice(0, -1)),
        mld(LINK_LOCAL, ALL_NODES, oldMld(LISTENER.QUERY, UNSPECIFIED), { alert: [5, 2, 0, 0, 7, 7] }),
        mld(LINK_LOCAL, REPORTS, [...report([SOLICITED]), ...SMUGGLED]),
        mld(LINK_LOCAL, WIDE, [...oldMld(LISTENER.REPORT, WIDE), ...SMUGGLED]),
        behind(mld(LINK_LOCAL, WIDE, oldMld(LISTENER.REPORT, WIDE)), SMUGGLED),
      ];
      return [
        ...whole.flatMap((each) => POD_NAMES.map((name) => into(name, each, "neighbour"))),
        ...more.flatMap((each) => [into("both", each, "denied"), into("open", each, "not-isolated")]),
      ];
    },
  },
]);

const NONE = address("0.0.0.0");
const ALL_SYSTEMS = address("224.0.0.1");
const ALL_ROUTERS_V4 = address("224.0.0.2");
const REPORTS_V4 = address("224.0.0.22");
const GROUP = address("239.1.2.3");
const IGMP = { QUERY: 0x11, REPORT: 0x12, REPORT_V2: 0x16, LEAVE: 0x17 } as const;

const oldIgmp = (type: number, group: Address): number[] => [type, 0, 0, 0, ...addressBytes(group)];

testTable("IGMP", world, [
  {
    name: "passes on its link, to and from every pod, padded too",
    families: [V4],
    steps: (a) =>
      POD_NAMES.flatMap((name) => {
        const own = a.pods[name];
        return [
          into(name, igmp(a.node, ALL_SYSTEMS, oldIgmp(IGMP.QUERY, NONE)), "neighbour"),
          into(name, behind(igmp(a.node, ALL_SYSTEMS, oldIgmp(IGMP.QUERY, NONE)), [7, 7]), "neighbour"),
          ...[
            igmp(own, REPORTS_V4, report([GROUP])),
            igmp(NONE, REPORTS_V4, report([GROUP, ALL_ROUTERS_V4], 2)),
            igmp(own, REPORTS_V4, report(new Array<Address>(80).fill(GROUP))),
            igmp(own, GROUP, oldIgmp(IGMP.REPORT, GROUP), { options: [] }),
            igmp(own, GROUP, oldIgmp(IGMP.REPORT_V2, GROUP)),
            igmp(own, ALL_ROUTERS_V4, oldIgmp(IGMP.LEAVE, GROUP)),
            behind(igmp(own, GROUP, oldIgmp(IGMP.REPORT_V2, GROUP)), new Array<number>(14).fill(0)),
          ].flatMap((each) => [
            outOf(name, each, "neighbour"),
            outOf(name, tagged([ETHER_TYPE.VLAN], each), "neighbour"),
          ]),
        ];
      }),
  },
  {
    name: "that could leave its link, goes to one, carries more or is something else is judged by policy",
    families: [V4],
    steps: (a) => {
      const own = a.pods.both;
      return [
        ...[
          igmp(own, REPORTS_V4, report([GROUP]), { ttl: 2 }),
          igmp(own, REPORTS_V4, report([GROUP]), { ttl: 64 }),
          igmp(own, REPORTS_V4, report([GROUP]), { options: [0x94, 4, 0, 1] }),
          igmp(own, REPORTS_V4, report([GROUP]), { options: [1, 1, 1, 1] }),
          igmp(own, REPORTS_V4, report([GROUP]), { options: [0x94, 4, 0, 0, 0, 0, 0, 0] }),
          igmp(own, a.stranger, report([GROUP])),
          igmp(own, ALL_SYSTEMS, report([GROUP])),
          igmp(own, REPORTS_V4, [...report([GROUP]), ...SMUGGLED]),
          behind(igmp(own, GROUP, oldIgmp(IGMP.REPORT_V2, GROUP)), new Array<number>(14).fill(7)),
          igmp(own, REPORTS_V4, report([GROUP]).slice(0, -1)),
          igmp(own, REPORTS_V4, report(new Array<Address>(81).fill(GROUP))),
          igmp(
            own,
            REPORTS_V4,
            report([GROUP]).map((byte, at) => (at === 4 ? 1 : byte)),
          ),
          igmp(own, GROUP, oldIgmp(IGMP.REPORT_V2, ALL_ROUTERS_V4)),
          igmp(own, GROUP, [...oldIgmp(IGMP.REPORT_V2, GROUP), 0]),
          igmp(own, a.stranger, oldIgmp(IGMP.REPORT_V2, a.stranger)),
          igmp(own, GROUP, oldIgmp(IGMP.LEAVE, GROUP)),
          igmp(own, GROUP, [IGMP.REPORT_V2, 9, 0, 0, ...addressBytes(GROUP)]),
          igmp(own, GROUP, oldIgmp(0x13, GROUP)),
          behind(igmp(own, REPORTS_V4, report([GROUP])), new Array<number>(60).fill(7)),
          fragment(
            own,
            GROUP,
            { number: 2, payload: oldIgmp(IGMP.REPORT_V2, GROUP) },
            { id: 1, offset: 0, more: true },
          ),
          igmp(own, GROUP, []),
          igmp(own, GROUP, [IGMP.QUERY]),
        ].map((each) => outOf("both", each, "denied")),
        outOf("open", igmp(a.pods.open, REPORTS_V4, report([GROUP]), { ttl: 2 }), "not-isolated"),
        outOf("both", igmp(a.stranger, REPORTS_V4, report([GROUP])), "spoofed"),
        into("both", igmp(a.stranger, a.pods.both, oldIgmp(IGMP.QUERY, NONE)), "denied"),
        into("both", igmp(a.stranger, ALL_SYSTEMS, oldIgmp(IGMP.QUERY, NONE), { ttl: 2 }), "denied"),
      ];
    },
  },
  {
    name: "to a pod passes without other data, and with it is judged by policy: an open pod may have sent it",
    families: [V4],
    steps: (a) => {
      const from = a.stranger;
      const whole = [
        igmp(from, ALL_SYSTEMS, [IGMP.QUERY, 100, 0, 0, ...addressBytes(NONE)]),
        igmp(from, ALL_SYSTEMS, [IGMP.QUERY, 100, 0, 0, ...addressBytes(NONE), 2, 125, 0, 0]),
        igmp(from, GROUP, [IGMP.QUERY, 9, 0, 0, ...addressBytes(GROUP), 2, 125, 0, 1, ...addressBytes(from)]),
        igmp(from, ALL_SYSTEMS, oldIgmp(0x30, NONE)),
        igmp(from, REPORTS_V4, report([GROUP])),
        igmp(from, GROUP, oldIgmp(IGMP.REPORT_V2, GROUP), { options: [] }),
        igmp(from, ALL_ROUTERS_V4, oldIgmp(IGMP.LEAVE, GROUP)),
      ];
      const more = [
        igmp(from, ALL_SYSTEMS, [...oldIgmp(IGMP.QUERY, NONE), ...SMUGGLED]),
        igmp(from, ALL_SYSTEMS, [...oldIgmp(IGMP.QUERY, NONE), 2, 125, 0, 0, 65]),
        igmp(from, ALL_SYSTEMS, [...oldIgmp(IGMP.QUERY, NONE), 2, 125, 0, 9]),
        igmp(from, ALL_SYSTEMS, oldIgmp(IGMP.QUERY, NONE), { options: [0x94, 4, 0, 0, 0x44, 4, 5, 0] }),
        ...[0x13, 0x14, 0x1e, 0].map((type) => igmp(from, GROUP, oldIgmp(type, GROUP))),
        igmp(from, GROUP, [...oldIgmp(IGMP.REPORT_V2, GROUP), ...SMUGGLED]),
        igmp(from, REPORTS_V4, [...report([GROUP]), ...SMUGGLED]),
        behind(igmp(from, GROUP, oldIgmp(IGMP.REPORT_V2, GROUP)), SMUGGLED),
      ];
      return [
        ...whole.flatMap((each) => POD_NAMES.map((name) => into(name, each, "neighbour"))),
        ...more.flatMap((each) => [into("both", each, "denied"), into("open", each, "not-isolated")]),
      ];
    },
  },
]);

testTable("what only routers send", world, [
  {
    name: "about groups, and of themselves, never leaves a pod",
    steps: (a) =>
      POD_NAMES.flatMap((name) => {
        const own = a.pods[name];
        const messages =
          a.family === 6
            ? [
                mld(LINK_LOCAL, ALL_NODES, oldMld(LISTENER.QUERY, UNSPECIFIED)),
                mld(LINK_LOCAL, ALL_NODES, oldMld(LISTENER.QUERY, WIDE), { hopLimit: 64 }),
                ...[151, 153].map((type) => frame(own, a.trusted, icmpSegment(6, type))),
                ...[151, 153].map((type) =>
                  frame(own, a.trusted, chained([EXTENSION.DESTINATION], icmpSegment(6, type))),
                ),
              ]
            : [
                igmp(own, ALL_SYSTEMS, oldIgmp(IGMP.QUERY, NONE)),
                igmp(own, ALL_SYSTEMS, [...oldIgmp(IGMP.QUERY, GROUP), 2, 20, 0, 0]),
                igmp(own, a.trusted, oldIgmp(IGMP.QUERY, GROUP), { ttl: 64, options: [] }),
                igmp(own, ALL_SYSTEMS, oldIgmp(0x30, NONE)),
                igmp(own, ALL_SYSTEMS, oldIgmp(0x32, NONE)),
                // ICMP redirects and router advertisements.
                ...[5, 9].flatMap((type) => [
                  frame(own, a.trusted, icmpSegment(4, type)),
                  frame(own, a.trusted, icmpSegment(4, type, 1)),
                  frame(own, a.trusted, icmpSegment(4, type), { v4: { options: [1, 1, 1, 1], ttl: 1 } }),
                  frame(own, address("224.0.0.1"), icmpSegment(4, type)),
                  fragment(own, a.trusted, icmpSegment(4, type), { id: 1, offset: 0, more: true }),
                ]),
              ];
        return messages.flatMap((each) => [
          outOf(name, each, "router"),
          outOf(name, tagged([ETHER_TYPE.QINQ, ETHER_TYPE.VLAN], each), "router"),
        ]);
      }),
  },
  {
    name: "is judged by policy where it goes to a pod",
    families: [V4],
    steps: (a) => [
      into("both", frame(a.trusted, a.pods.both, icmpSegment(4, 5)), "policy"),
      into("both", frame(a.stranger, a.pods.both, icmpSegment(4, 5)), "denied"),
    ],
  },
]);
