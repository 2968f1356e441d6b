// A small world on the loaded programs: four pods, each isolated differently, and packets that are judged one by one.

import { setTimeout as sleep } from "node:timers/promises";
import { present } from "../../src/base/assert.ts";
import { DIRECTIONS, type Direction, type FromPodHook } from "../../src/base/direction.ts";
import type { Address } from "../../src/base/ip.ts";
import { FLOWS_MIN } from "../../src/datapath/flow-capacity.ts";
import { readFlows, type TableFlow } from "../../src/datapath/flow-reader.ts";
import { addition, removeFlows, runRequests } from "../../src/datapath/flow-requests.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { FlowOperation, FlowResult, REASON_NAMES, REASONS, Reason, Timeout } from "../../src/gen/layout.ts";
import { type Cluster, keyOf, type Pod, type Surroundings } from "../../src/model/cluster.ts";
import type { ClusterPolicy } from "../../src/model/cluster-network-policy.ts";
import type { Rule } from "../../src/model/network-policy.ts";
import { compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED, type Numbering } from "../../src/policy/identity-allocation.ts";
import type { EndpointLink } from "../../src/state/desired-state.ts";
import { address, block, cidr, cluster, namespace, pod, policy, ports, selector } from "../support/model.ts";
import { OBJECT } from "../support/object.ts";

/** Named by the directions in which they are isolated. */
export const POD_NAMES = ["open", "in", "out", "both"] as const;
export type PodName = (typeof POD_NAMES)[number];

/** Where a packet comes from: another interface, this node itself, or the interface that it is for. */
export const ELSEWHERE = 1;
export const THIS_NODE = 0;
export const ITSELF = -1;

/** The addresses of one family. `friend` may use some ports, `trusted` everything, `stranger` nothing. */
export interface Addresses {
  readonly family: 4 | 6;
  readonly pods: Readonly<Record<PodName, Address>>;
  readonly friend: Address;
  readonly trusted: Address;
  readonly stranger: Address;
  readonly node: Address;
}

const addressesOf = (family: 4 | 6, texts: (host: number, net: number) => string): Addresses => ({
  family,
  pods: {
    open: address(texts(11, 1)),
    in: address(texts(12, 1)),
    out: address(texts(13, 1)),
    both: address(texts(14, 1)),
  },
  friend: address(texts(1, 9)),
  trusted: address(texts(1, 8)),
  stranger: address(texts(1, 7)),
  node: address(texts(1, 1)),
});

export const V4 = addressesOf(4, (host, net) => `10.${net}.0.${host}`);
export const V6 = addressesOf(6, (host, net) => `fd0${net}::${host}`);
export const BOTH_FAMILIES = [V4, V6] as const;

/** Allows `friend` TCP/80, UDP/53, SCTP/5000 and TCP from 40000 to 40009, `trusted` everything. */
export const RULES: readonly Rule[] = [
  {
    peers: [block("10.9.0.0/24"), block("fd09::/64")],
    ports: ports("TCP/80", "UDP/53", "SCTP/5000", "TCP/40000-40009"),
  },
  { peers: [block("10.8.0.0/24"), block("fd08::/64")], ports: "all" },
];

const podsWith = (sources: readonly string[]): Pod[] =>
  POD_NAMES.map((name) =>
    pod(`x/${name}`, [V4.pods[name].text, V6.pods[name].text], {
      labels: { name },
      ...(name === "both" && { sources }),
    }),
  );

/** The node's own address is that of `node`; its tunnels have a port of their own besides those that are well known. */
export const TUNNEL_PORT = 7_777;
const SURROUNDINGS: Surroundings = {
  nodeAddresses: ["10.1.0.1/32", "fd01::1/128", "10.1.255.255/32"].map(cidr),
  onLink: new Map(),
  tunnelPorts: [TUNNEL_PORT],
};

/** The pods, and these rules for both directions in which a pod is isolated; what "both" may send from besides. */
export function worldWith(rules: readonly Rule[], sources: readonly string[] = []): Cluster {
  const isolating = (name: PodName, ingress: boolean, egress: boolean) =>
    policy(`x/${name}`, {
      subject: selector({ name }),
      isolates: { ingress, egress },
      ...(ingress && { ingress: rules }),
      ...(egress && { egress: rules }),
    });
  return cluster({
    namespaces: [namespace("x")],
    pods: podsWith(sources),
    policies: [isolating("in", true, false), isolating("out", false, true), isolating("both", true, true)],
  });
}

/** No interface of a pod. */
export const BRIDGE = 999_999;

export interface More {
  /** The whole node reports only what it would drop. */
  readonly mode?: "audit";
  /** Known facts about the pods' links; by default none. */
  readonly link?: (name: PodName) => EndpointLink;
  readonly clusterPolicies?: readonly ClusterPolicy[];
  /** Prefixes on the link of BRIDGE. */
  readonly onLink?: readonly string[];
}

export interface Question {
  readonly pod: PodName;
  readonly direction: Direction;
  readonly frame: Uint8Array;
  /** Interface index that the node received it from; ELSEWHERE by default. */
  readonly from?: number;
  /** For a packet from the pod: which program runs; "tc" by default. */
  readonly hook?: FromPodHook;
  /** Of the packet; 0 by default. */
  readonly priority?: number;
}

export interface World {
  readonly bench: Bench;
  ifindexOf(name: PodName): number;
  incarnationOf(name: PodName): number;
  /** Runs one packet; the reason in words. Throws if verdict and counters do not agree on it. */
  ask(question: Question): string;
  /**
   * Applies these rules, by default RULES, and gives the pod "both" these sources, by default none.
   */
  enforce(rules?: readonly Rule[], sources?: readonly string[], more?: More): Promise<void>;
  /** All packets and bytes counted so far, those of no endpoint included. */
  counted(): Counted;
  /** Of one pod, by "direction reason" in words. */
  countedByReason(name: PodName): ReadonlyMap<string, Counted>;
  /** Those of one endpoint id (0: of none), either direction, for one reason. */
  countedAs(id: number, reason: string): Counted;
  /** The flows in both tables, also expired ones. */
  flows(): readonly TableFlow[];
  /** Replaces an entry of the flow table. */
  putFlow(flow: TableFlow): Promise<void>;
  /** Removes flows and fragments. */
  forget(): Promise<void>;
  /** Sets timeouts in milliseconds, the others to their defaults. */
  setTimeouts(milliseconds: Partial<Record<keyof typeof Timeout, number>>): Promise<void>;
  /** Sets the rate limit of pods' messages to their link; by default there is none. */
  setNeighbourRate(perSecond?: number): Promise<void>;
  /** Waits until a timeout of this many milliseconds has certainly passed. */
  outwait(milliseconds: number): Promise<void>;
  close(): void;
}

export interface Counted {
  readonly packets: number;
  readonly bytes: number;
}

const UNLIMITED = 2 ** 32 - 1;

/** Units of flow time of four ticks, so that timeouts of less than a second can be tested. */
const UNIT_SHIFT = 2;

export interface WorldOptions {
  /** The least by default: forget() reads whole tables. */
  readonly conntrackFlows?: number;
  /** The built one by default. */
  readonly object?: string;
}

export async function openWorld({
  conntrackFlows = FLOWS_MIN,
  object = OBJECT,
}: WorldOptions = {}): Promise<World> {
  const bench = await openBench({ object, bpffs: "/sys/fs/bpf", xdp: true, conntrackFlows });
  const { tables } = bench.maps;
  const setNeighbourRate = async (neighbourRate = UNLIMITED) => {
    const now = present(tables.node.get(0), "the node's settings");
    await tables.node.writeBatch([[0, { ...now, neighbourRate, unitShift: UNIT_SHIFT }]]);
  };
  await setNeighbourRate();
  const ifindexOf = (name: PodName) => bench.devices.at(POD_NAMES.indexOf(name));
  const defaults = present(tables.node.get(0), "the node's settings");
  let numbering: Numbering = NOTHING_NUMBERED;
  let ids = new Map<PodName, number>();
  const incarnationOf = (name: PodName) =>
    present(numbering.incarnations.of.get(ifindexOf(name)), `incarnation of ${name}`).number;
  const flows = () => [
    ...readFlows((name) => bench.datapath.map(name), present(tables.node.get(0), "the node's settings")),
  ];
  return {
    bench,
    ifindexOf,
    incarnationOf,
    flows,
    async putFlow(flow) {
      const request = { ...addition(flow, { ...flow.flow, tenant: 0 }), operation: FlowOperation.REPLACE };
      const results = await runRequests(bench.datapath.flowRequests, [request]);
      if (results[0] !== FlowResult.DONE) throw new Error(`the flow could not be put: ${results[0]}`);
    },
    ask({ pod: name, direction, frame, from = ELSEWHERE, hook = "tc", priority = 0 }) {
      const id = present(ids.get(name), `endpoint of ${name}`);
      const before = read(bench, id);
      const ifindex = ifindexOf(name);
      const ingressIfindex = from === ITSELF ? ifindex : from;
      const verdict = bench.run({ direction, hook, ifindex, ingressIfindex, frame, priority });
      return reasonOf({ before, after: read(bench, id), direction, verdict, bytes: frame.length });
    },
    async enforce(rules = RULES, sources = [], { mode, link, clusterPolicies, onLink } = {}) {
      const world = {
        ...worldWith(rules, sources),
        ...(mode && { mode }),
        ...(clusterPolicies && {
          clusterPolicies: new Map(clusterPolicies.map((each) => [each.name, each])),
        }),
      };
      const locals = POD_NAMES.map((name) => ({
        pod: present(world.pods.get(keyOf({ namespace: "x", name })), name),
        ifindex: ifindexOf(name),
        ...(link && { link: link(name) }),
      }));
      const compiled = compile(world, locals, numbering, {
        ...SURROUNDINGS,
        ...(onLink && { onLink: new Map([[BRIDGE, onLink.map(cidr)]]) }),
      });
      await bench.bring(compiled.state);
      numbering = compiled.numbering;
      ids = new Map(
        POD_NAMES.map((name) => [name, present(compiled.state.endpoints.get(ifindexOf(name)), name).id]),
      );
    },
    counted: () => sum([0, ...ids.values()].map((id) => read(bench, id))),
    countedByReason: (name) =>
      new Map(
        read(bench, present(ids.get(name), `endpoint of ${name}`)).flatMap((cells, direction) =>
          cells.map(
            (cell, reason) => [`${DIRECTIONS[direction]} ${REASON_NAMES[reason] ?? reason}`, cell] as const,
          ),
        ),
      ),
    countedAs: (id, reason) =>
      sum([read(bench, id).map((cells) => cells.filter((_, at) => REASON_NAMES[at] === reason))]),
    async forget() {
      await removeFlows(bench.datapath.flowRequests, flows());
      await tables.fragments.deleteBatch((await tables.fragments.read()).map(([key]) => key));
    },
    async setTimeouts(milliseconds) {
      const now = present(tables.node.get(0), "the node's settings");
      const timeouts = [...defaults.timeouts];
      for (const [name, value] of Object.entries(milliseconds)) {
        timeouts[Timeout[name as keyof typeof Timeout]] = Math.ceil(
          (value * bench.datapath.ticksPerSecond) / 1_000,
        );
      }
      await tables.node.writeBatch([[0, { ...now, timeouts }]]);
    },
    setNeighbourRate,
    // Jiffies may stop for a tick and catch up later; the unit that has begun does not count.
    outwait: (milliseconds) =>
      sleep(milliseconds + (4 + 2 ** UNIT_SHIFT) * (1_000 / bench.datapath.ticksPerSecond)),
    close: () => bench.close(),
  };
}

/** One endpoint's counters, added up over the CPUs: [direction][reason]. */
type Reading = readonly (readonly Counted[])[];

function read(bench: Bench, id: number): Reading {
  const cpus = present(bench.maps.tables.counters.get(id), `counters of ${id}`);
  return DIRECTIONS.map((_, direction) =>
    Array.from({ length: REASONS }, (_each, reason) => {
      const cells = cpus.flatMap(({ count }) =>
        count.map((family) => present(family[direction as 0 | 1][reason], "a counter")),
      );
      return {
        packets: cells.reduce((total, cell) => total + Number(cell.packets), 0),
        bytes: cells.reduce((total, cell) => total + Number(cell.bytes), 0),
      };
    }),
  );
}

const sum = (readings: readonly Reading[]): Counted =>
  readings
    .flat(2)
    .reduce((total, cell) => ({ packets: total.packets + cell.packets, bytes: total.bytes + cell.bytes }), {
      packets: 0,
      bytes: 0,
    });

interface Run {
  readonly before: Reading;
  readonly after: Reading;
  readonly direction: Direction;
  readonly verdict: "pass" | "drop";
  readonly bytes: number;
}

/** The one counter that has changed, by one packet of this length, in words; it must agree with the verdict. */
function reasonOf({ before, after, direction, verdict, bytes }: Run): string {
  const moved = DIRECTIONS.flatMap((each, at) =>
    Array.from({ length: REASONS }, (_, reason) => {
      const [was, is] = [before[at]?.[reason], after[at]?.[reason]] as [Counted, Counted];
      return { direction: each, reason, packets: is.packets - was.packets, bytes: is.bytes - was.bytes };
    }).filter((cell) => cell.packets !== 0 || cell.bytes !== 0),
  );
  const [cell] = moved;
  const exact =
    moved.length === 1 && cell?.packets === 1 && cell.bytes === bytes && cell.direction === direction;
  if (!exact)
    throw new Error(`one packet of ${bytes} bytes, ${direction}, was counted as ${JSON.stringify(moved)}`);
  const name = REASON_NAMES[cell.reason] ?? String(cell.reason);
  if (cell.reason < Reason.DROPS !== (verdict === "pass"))
    throw new Error(`${verdict}, but counted as ${name}`);
  return name;
}
