// A world in force: the programs and maps of its own, filled by the control plane, and packets to run them on.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { BpfProgram } from "bpf-ts";
import { present } from "../../src/base/assert.ts";
import { DIRECTIONS } from "../../src/base/direction.ts";
import { type Address, addressOf, type Family } from "../../src/base/ip.ts";
import { readScreened, writeDenied } from "../../src/datapath/denied-prefix-maps.ts";
import { placesIn } from "../../src/datapath/flow-capacity.ts";
import { tableUse } from "../../src/datapath/flow-reader.ts";
import { ticksNow } from "../../src/datapath/node-settings.ts";
import { guardPathOf } from "../../src/datapath/program-loader.ts";
import { contextLayout } from "../../src/datapath/program-test-run.ts";
import type { Tables } from "../../src/datapath/typed-maps.ts";
import { bytes, ETHER_TYPE, packet, TCP_FLAG, u16 } from "../../src/engines/frame-builder.ts";
import { type Bench, type BenchOptions, openBench } from "../../src/engines/kernel-engine.ts";
import { REASON_NAMES, SCREENED_NAMES } from "../../src/gen/layout.ts";
import { openCompiler } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import type { Endpoint } from "../../src/state/desired-state.ts";
import { ASSIGNED, type AssignedObject, buildAssigned } from "../common/assigned-object.ts";
import { type Random, randomFrom } from "../common/random.ts";
import { compileWhole } from "../common/whole-compile.ts";
import { addressIn, anyPeers, newFlows, type Peers, peersOfFlows } from "./peers.ts";
import { openPrimitives, type Primitives } from "./primitives.ts";
import type { ProgramRow } from "./row.ts";
import { type Facts, factsOf, PORT_ALLOWED, PORT_DENIED, type PodName, type WorldName } from "./worlds.ts";

export interface Stage {
  /** The whole program that decides the row's packets. */
  program(row: ProgramRow): BpfProgram;
  /** What is timed: that, or the row's primitive. */
  timed(row: ProgramRow): BpfProgram;
  /** What a test run of the row's program takes. */
  input(row: ProgramRow): { readonly data: Uint8Array; readonly context: Uint8Array };
  /** Of a row from more than one peer. */
  peers(row: ProgramRow): Peers;
  /** Packets that the row's pod has been counted, by "direction reason". */
  counted(row: ProgramRow): ReadonlyMap<string, number>;
  /** Flows that the table of a family has room for, and those that it holds. */
  readonly flowsMax: Readonly<Record<Family, number>>;
  flows(family: Family): Promise<number>;
  forget(family: Family): Promise<void>;
  close(): void;
}

export interface StageOptions extends BenchOptions {
  readonly world: WorldName;
  readonly primitives: boolean;
}

/** @throws OperationError, BpfError */
export async function openStage({ world, primitives: wanted, ...options }: StageOptions): Promise<Stage> {
  const facts = factsOf(world);
  const isAssigned = world === "assigned";
  const assigned = isAssigned ? buildAssigned(options.object) : undefined;
  const object = assigned?.path ?? options.object;
  let bench: Bench;
  try {
    bench = await openBench({ ...options, object });
  } catch (thrown) {
    assigned?.close();
    throw thrown;
  }
  try {
    const names = Object.keys(facts.pods) as PodName[];
    const ifindexOf = (pod: PodName) => bench.devices.at(names.indexOf(pod));
    const link = isAssigned && { link: { hardware: [], netns: 0 } };
    const locals = names.map((pod) => ({ pod: facts.pods[pod], ifindex: ifindexOf(pod), ...link }));
    const { cluster } = facts;
    const { state } = compileWhole(openCompiler(), { cluster, locals, previous: NOTHING_NUMBERED });
    await bench.bring(state);
    if (bench.guard !== undefined)
      await writeDenied(
        bench.maps.tables,
        [...facts.cidrs[4], ...facts.cidrs[6]].map(({ text }) => text),
      );
    const endpointOf = (pod: PodName) => present(state.endpoints.get(ifindexOf(pod)), pod);
    const primitives = wanted ? await openPrimitives(bench.datapath) : undefined;
    return stageOf(bench, facts, { object, assigned, primitives, ifindexOf, endpointOf });
  } catch (thrown) {
    bench.close();
    assigned?.close();
    throw thrown;
  }
}

interface Places {
  readonly object: string;
  readonly assigned: AssignedObject | undefined;
  readonly primitives: Primitives | undefined;
  ifindexOf(pod: PodName): number;
  endpointOf(pod: PodName): Endpoint;
}

function stageOf(
  bench: Bench,
  facts: Facts,
  { object, assigned, primitives, ifindexOf, endpointOf }: Places,
): Stage {
  const contexts = { tc: tcContexts(object), xdp: xdpContexts(object) };
  const lists = new Map<string, Peers>();
  const table = (family: Family) => bench.datapath.map(`conntrack_v${family}`);
  const program = ({ hook, direction, uplink }: ProgramRow) =>
    hook === "tc"
      ? bench.datapath.programs[direction]
      : present(bench.guard, "the guard's programs").programs[uplink ? "fromUplink" : "fromPod"];
  return {
    program,
    timed: (row) =>
      row.primitive === undefined ? program(row) : present(primitives, "primitives").program(row.primitive),
    input(row) {
      const data = frameOf(row, facts);
      const ifindex = ifindexOf(row.pod);
      const { incarnation } = endpointOf(row.pod);
      const priority = row.transport === "SYN" ? ASSIGNED.OPENING : ASSIGNED.OPEN;
      const hooked = { ifindex, incarnation, priority, local: row.local, bytes: data.length };
      return { data, context: contexts[row.hook](hooked) };
    },
    peers(row) {
      const key = JSON.stringify([row.family, row.from]);
      const list = lists.get(key) ?? peersOf(row, facts);
      lists.set(key, list);
      return list;
    },
    counted: (row) =>
      row.uplink ? countedOnUplinks(bench.maps.tables) : countedOf(bench.maps.tables, endpointOf(row.pod).id),
    flowsMax: { 4: placesIn(table(4).info.maxEntries), 6: placesIn(table(6).info.maxEntries) },
    flows: async (family) => {
      const { unitShift = 0 } = bench.maps.tables.node.get(0) ?? {};
      const clock = { unitShift, now: ticksNow(bench.datapath.ticksPerSecond) };
      return (await tableUse(`conntrack_v${family}`, bench.datapath.map, clock, nextTurn)).live;
    },
    async forget(family) {
      // By stores, which would race with programs: none runs meanwhile.
      const { maxEntries, keySize, lookupSize } = table(family).info;
      const buckets = Buffer.from(Uint32Array.from({ length: maxEntries }, (_, at) => at).buffer);
      await table(family).updateBatch(
        buckets,
        Buffer.alloc(maxEntries * lookupSize),
        buckets.length / keySize,
      );
    },
    close() {
      primitives?.close();
      bench.close();
      assigned?.close();
    },
  };
}

/** Of one endpoint, in both families, by "direction reason". */
function countedOf({ counters }: Tables, id: number): ReadonlyMap<string, number> {
  const cpus = present(counters.get(id), "the pod's counters");
  const cells = DIRECTIONS.flatMap((direction, at) =>
    Object.entries(REASON_NAMES).map(([reason, name]): [string, number] => {
      const packets = cpus.flatMap(({ count }) =>
        count.map((family) => Number(family[at]?.[Number(reason)]?.packets ?? 0)),
      );
      return [`${direction} ${name}`, packets.reduce((a, b) => a + b)];
    }),
  );
  return new Map(cells);
}

/** Of all uplinks, in the same words. */
function countedOnUplinks(tables: Tables): ReadonlyMap<string, number> {
  const counts = readScreened(tables);
  return new Map(
    Object.entries(SCREENED_NAMES).map(([screened, name]) => [
      `ingress ${name}`,
      Number(counts[Number(screened)]?.packets ?? 0),
    ]),
  );
}

interface Hooked {
  readonly ifindex: number;
  /** Only primitives read it, as the packet's mark. */
  readonly incarnation: number;
  /** Only the object of the world "assigned" reads it. */
  readonly priority: number;
  readonly local: boolean;
  readonly bytes: number;
}

function tcContexts(object: string): (packet: Hooked) => Uint8Array {
  const { size, offset } = contextLayout(object, "__sk_buff");
  return ({ ifindex, incarnation, priority, local }) => {
    const context = Buffer.alloc(size);
    context.writeUInt32LE(ifindex, offset("ifindex"));
    context.writeUInt32LE(incarnation, offset("mark"));
    context.writeUInt32LE(priority, offset("priority"));
    // Packets that the node forwards come from some interface; the loopback device always exists.
    context.writeUInt32LE(local ? 0 : 1, offset("ingress_ifindex"));
    return context;
  };
}

function xdpContexts(object: string): (packet: Hooked) => Uint8Array {
  const { size, offset } = contextLayout(guardPathOf(object), "xdp_md");
  return ({ ifindex, bytes: length }) => {
    const context = Buffer.alloc(size);
    context.writeUInt32LE(length, offset("data_end"));
    context.writeUInt32LE(ifindex, offset("ingress_ifindex"));
    return context;
  };
}

const SEED = 1;

/** Addresses that new flows draw from; as many as a busy node may see. */
const NEW_PEERS = 65_536;

function peersOf({ family, from }: ProgramRow, facts: Facts): Peers {
  const random = randomFrom(SEED);
  if (from === "any") return anyPeers(family, random);
  const known = facts.peers[family];
  const peer = () => knownPeer(facts, family, random);
  if (from === "new")
    return newFlows(family, known.length > 0 ? known : Array.from({ length: NEW_PEERS }, peer), random);
  if (from === "one") throw new Error("assertion failed: one peer needs no list");
  return peersOfFlows(family, from.flows, random, peer);
}

function knownPeer({ peers, cidrs }: Facts, family: Family, random: Random): bigint {
  const known = peers[family];
  return known.length > 0 ? (known[random.below(known.length)] as bigint) : addressIn(cidrs[family], random);
}

/** TEST-NET-3 and the documentation prefix: no rule names them. */
const UNKNOWN: Readonly<Record<Family, bigint>> = { 4: 0xcb00_7101n, 6: (0x2001_0db8n << 96n) | 1n };
const EPHEMERAL = 40_000;

function frameOf(row: ProgramRow, facts: Facts): Uint8Array {
  const { family, direction, port } = row;
  const peer = addressOf(
    family,
    row.peer === "known" ? knownPeer(facts, family, randomFrom(SEED)) : UNKNOWN[family],
  );
  const own = row.spoofed
    ? addressOf(family, UNKNOWN[family])
    : present(facts.pods[row.pod].ips.find(sameFamily(family)), "the pod's address");
  const service = port.allowed ? PORT_ALLOWED : PORT_DENIED;
  const frame = packet({
    source: direction === "ingress" ? peer : own,
    destination: direction === "ingress" ? own : peer,
    protocol: row.transport === "UDP" ? "UDP" : "TCP",
    sourcePort: port.at === "source" ? service : EPHEMERAL,
    destinationPort: port.at === "destination" ? service : EPHEMERAL,
    ...(row.transport === "ACK" && { tcpFlags: TCP_FLAG.ACK }),
  });
  return row.tagged ? tagged(frame) : frame;
}

const sameFamily =
  (family: Family) =>
  (address: Address): boolean =>
    address.family === family;

const MACS_BYTES = 12;

const tagged = (frame: Uint8Array): Uint8Array =>
  bytes(frame.subarray(0, MACS_BYTES), u16(ETHER_TYPE.VLAN), u16(7), frame.subarray(MACS_BYTES));
