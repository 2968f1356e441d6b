// Every reason, given by the programs and counted, in each direction and family in which it can occur.

import { afterEach, describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import { DIRECTIONS, type Direction } from "../../src/base/direction.ts";
import type { Address } from "../../src/base/ip.ts";
import { addressV6Of, valueV4Of } from "../../src/datapath/codec.ts";
import { addition, runRequests } from "../../src/datapath/flow-requests.ts";
import { ticksNow } from "../../src/datapath/node-settings.ts";
import { between, ethernet } from "../../src/engines/frame-builder.ts";
import {
  BUCKET_ENTRIES,
  FlowResult,
  FlowState,
  Direction as Opener,
  REASON_NAMES,
} from "../../src/gen/layout.ts";
import {
  arp,
  fragment,
  frame,
  icmpError,
  icmpSegment,
  ip,
  NEIGHBOUR,
  neighbour,
  type Segment,
  SYN_ACK,
  solicitedNode,
  tcpSegment,
  udpSegment,
} from "./frames.ts";
import { useWorld } from "./table.ts";
import {
  type Addresses,
  BOTH_FAMILIES,
  BRIDGE,
  ELSEWHERE,
  ITSELF,
  type PodName,
  THIS_NODE,
} from "./world.ts";

const world = useWorld();
afterEach(() => world().enforce());

const SYN = tcpSegment(40_000, 80);
const ANSWER = tcpSegment(80, 40_000, SYN_ACK);
const LAST = { id: 7, offset: 3, more: false } as const;
/** LLDP. */
const OTHER_TYPE = 0x88cc;

/** Packets between a peer and a pod in this direction. */
interface Way {
  readonly a: Addresses;
  readonly direction: Direction;
  ends(pod: PodName, peer: Peer): [source: Address, destination: Address];
  frame(pod: PodName, peer: Peer, segment: Segment): Uint8Array;
  ask(pod: PodName, frame: Uint8Array, from?: number): string;
}
type Peer = "friend" | "stranger";

function wayOf(direction: Direction, a: Addresses): Way {
  const ends = (pod: PodName, peer: Peer): [Address, Address] =>
    direction === "egress" ? [a.pods[pod], a[peer]] : [a[peer], a.pods[pod]];
  return {
    a,
    direction,
    ends,
    frame: (pod, peer, segment) => frame(...ends(pod, peer), segment),
    ask: (pod, bytes, from = ELSEWHERE) => world().ask({ pod, direction, frame: bytes, from }),
  };
}

const backOf = ({ direction, a }: Way): Way => wayOf(direction === "egress" ? "ingress" : "egress", a);

const NEVER = "never";
type Producer = (way: Way) => string | Promise<string>;

const PRODUCERS: Readonly<Record<string, Readonly<Record<Direction, Producer | typeof NEVER>>>> = {
  "not-isolated": both((way) => way.ask("open", way.frame("open", "stranger", SYN))),
  policy: both((way) => way.ask("both", way.frame("both", "friend", SYN))),
  established: both((way) => {
    way.ask("both", way.frame("both", "friend", SYN));
    return way.ask("both", way.frame("both", "friend", tcpSegment(40_000, 80, 0x10)));
  }),
  node: { ingress: (way) => way.ask("both", way.frame("both", "stranger", SYN), THIS_NODE), egress: NEVER },
  own: { ingress: (way) => way.ask("both", way.frame("both", "stranger", SYN), ITSELF), egress: NEVER },
  related: both((way) => {
    backOf(way).ask("both", backOf(way).frame("both", "friend", SYN));
    const [source, destination] = way.ends("both", "friend");
    return way.ask("both", icmpError(source, destination, "too big", ip(destination, source, SYN)));
  }),
  neighbour: both((way) => {
    const [source, destination] = way.ends("both", "friend");
    const asks = {
      source,
      destination: solicitedNode(destination),
      target: destination,
      type: NEIGHBOUR.SOLICITATION,
    };
    const request = arp({ operation: 1, sender: source, target: destination });
    return way.ask("both", source.family === 4 ? request : neighbour(asks));
  }),
  audit: both(async (way) => {
    await world().enforce(undefined, undefined, { mode: "audit" });
    return way.ask("both", way.frame("both", "stranger", SYN));
  }),
  denied: both((way) => way.ask("both", way.frame("both", "stranger", SYN))),
  untracked: both((way) => way.ask("both", way.frame("both", "stranger", ANSWER))),
  revoked: both(async (way) => {
    way.ask("both", way.frame("both", "friend", SYN));
    await world().enforce([]);
    expect(backOf(way).ask("both", backOf(way).frame("both", "friend", ANSWER))).toBe("revoked");
    return way.ask("both", way.frame("both", "friend", tcpSegment(40_000, 80, 0x10)));
  }),
  spoofed: {
    ingress: NEVER,
    egress: (way) => way.ask("open", frame(way.a.stranger, way.a.friend, SYN)),
  },
  malformed: both((way) => way.ask("both", way.frame("both", "friend", SYN).subarray(0, -1))),
  fragment: both((way) => {
    const [source, destination] = way.ends("both", "friend");
    return way.ask("both", fragment(source, destination, SYN, LAST));
  }),
  unsupported: both((way) => way.ask("both", ethernet(OTHER_TYPE, new Uint8Array(46)))),
  router: {
    ingress: NEVER,
    egress: ({ ask, ends, a }) =>
      ask("open", frame(...ends("open", "friend"), icmpSegment(a.family, a.family === 4 ? 9 : 134))),
  },
  limited: {
    ingress: NEVER,
    egress: async ({ ask, ends }) => {
      const [source, destination] = ends("both", "friend");
      await world().setNeighbourRate(0);
      const said =
        source.family === 4
          ? arp({ operation: 1, sender: source, target: destination })
          : neighbour({
              source,
              destination: solicitedNode(destination),
              target: destination,
              type: NEIGHBOUR.SOLICITATION,
            });
      const reason = ask("both", said);
      await world().setNeighbourRate();
      return reason;
    },
  },
  encapsulated: {
    ingress: NEVER,
    egress: ({ ask, a }) => ask("open", frame(a.pods.open, a.node, udpSegment(40_000, 8472))),
  },
  misdirected: {
    ingress: async ({ ask, a }) => {
      await world().enforce(undefined, undefined, { link: () => ({ hardware: [], bridge: BRIDGE }) });
      return ask("open", frame(a.stranger, a.friend, SYN));
    },
    egress: async ({ ask, a }) => {
      await world().enforce(undefined, undefined, { link: () => ({ hardware: [], bridge: BRIDGE }) });
      return ask(
        "out",
        between(frame(a.pods.out, a.friend, SYN), { destination: [255, 255, 255, 255, 255, 255] }),
      );
    },
  },
  "table-full": both(async (way) => {
    await fillTable(way.a);
    const reason = way.ask("both", way.frame("both", "friend", SYN));
    await world().forget();
    return reason;
  }),
  unknown: both((way) => {
    const { bench } = world();
    const before = world().countedAs(0, "unknown").packets;
    const verdict = bench.run({
      direction: way.direction,
      ifindex: bench.devices.at(12),
      ingressIfindex: ELSEWHERE,
      frame: way.frame("open", "friend", SYN),
    });
    expect(verdict).toBe("drop");
    return world().countedAs(0, "unknown").packets === before + 1 ? "unknown" : "something else";
  }),
  incomplete: both(async (way) => {
    const { policy } = world().bench.maps.tables;
    const { state } = await world().bench.maps.read();
    const endpoint = present(state.endpoints.get(world().ifindexOf("both")), "endpoint");
    using rows = present(policy.open(endpoint.policy[way.direction]), "rows");
    const denied = rows.get(0) ?? 0;
    await rows.writeBatch([[0, 4_096]]);
    const reason = way.ask("both", way.frame("both", "stranger", SYN));
    await rows.writeBatch([[0, denied]]);
    return reason;
  }),
};

/** Established flows, each of another pod, in all places: three for each. */
async function fillTable({ family, pods, friend }: Addresses): Promise<void> {
  const { datapath } = world().bench;
  const expires = ticksNow(datapath.ticksPerSecond) + 100_000n;
  const value = {
    expires,
    generation: 1,
    opener: Opener.INGRESS,
    state: FlowState.REPLIED | FlowState.CONFIRMED,
    tenant: 0,
  };
  const places =
    BUCKET_ENTRIES * datapath.map(family === 4 ? "conntrack_v4" : "conntrack_v6").info.maxEntries;
  const flows = Array.from({ length: 3 * places }, (_, i) => {
    const ports = { localPort: i & 0xffff, remotePort: 1, owner: ((((1 << 20) + i) << 8) | 6) >>> 0 };
    return addition(
      family === 4
        ? { map: "conntrack_v4", key: { ...ports, local: valueV4Of(pods.both), remote: valueV4Of(friend) } }
        : {
            map: "conntrack_v6",
            key: { ...ports, local: addressV6Of(pods.both), remote: addressV6Of(friend) },
          },
      value,
    );
  });
  const results = await runRequests(datapath.flowRequests, flows);
  expect(results.filter((result) => result === FlowResult.DONE)).toHaveLength(places);
}

function both(producer: Producer): Readonly<Record<Direction, Producer>> {
  return { ingress: producer, egress: producer };
}

describe("every reason", () => {
  it("is in the table, and no other", () => {
    expect(Object.keys(PRODUCERS).sort()).toEqual(Object.values(REASON_NAMES).sort());
  });

  const rows = Object.entries(PRODUCERS).flatMap(([reason, producers]) =>
    DIRECTIONS.flatMap((direction) =>
      BOTH_FAMILIES.map((a) => ({ reason, direction, a, family: a.family, producer: producers[direction] })),
    ),
  );

  it.each(rows.filter(({ producer }) => producer !== NEVER))(
    "is given: $reason, $direction, IPv$family",
    async ({ reason, direction, a, producer }) => {
      expect(await (producer as Producer)(wayOf(direction, a))).toBe(reason);
    },
  );
});
