// The only writer of the policy maps: writes batches of a diff to the kernel, flips the generation, reads everything back.

import { addressHash } from "../base/address-filter.ts";
import { OperationError } from "../base/errors.ts";
import {
  DIRECTIONS,
  ENDPOINT_PROBES,
  ENDPOINTS_PLACES,
  FAMILIES,
  type Node,
  REASONS,
  TUNNEL_PORTS,
} from "../gen/layout.ts";
import { INCARNATIONS, isFrontend, POLICY_NONE } from "../state/desired-state.ts";
import type { Settings } from "../state/state-compare.ts";
import {
  ABSENT,
  type Batch,
  type EndpointWrite,
  type Held,
  type PolicyPair,
  type PolicyWrite,
} from "../state/state-diff.ts";
import { addressFrom, type Pair, type PairOf, removeAddressed, writeAddressed } from "./address-tables.ts";
import { settleBloomFilter } from "./bloom-filter.ts";
import { type CidrIndex, openCidrIndex } from "./cidr-index.ts";
import { endpointAddressesOf, endpointLinkOf, rowOf } from "./codec.ts";
import { openNameSweeper, removeNames, writeNames } from "./domain-names.ts";
import { openFrontendFilter } from "./frontend-filter.ts";
import { checkLimits } from "./layout-checks.ts";
import { heldSettings, nodeSettings, settingsOf } from "./node-settings.ts";
import type { Datapath } from "./program-loader.ts";
import { readHeld } from "./read-back.ts";
import { openTables, type Tables } from "./typed-maps.ts";

export interface Maps {
  readonly tables: Tables;
  /** The active policy generation. */
  generation(): number;
  /** Writes the node's settings. */
  initialise(): Promise<void>;
  /** The node's settings: desired and actual. */
  settings(): { readonly wanted: Settings; readonly held: Settings };
  /**
   * Connections to addresses with these hashes (addressHash()), which Services have, are judged by their backends from now on, also when the Services are gone. Returns whether
   * one was not known: then flows to it that were allowed must be judged again. Errors: OperationError.
   */
  addFrontends(hashes: Iterable<number>): Promise<boolean>;
  /** Takes over those that an agent of another layout has known. Errors: OperationError, BpfError. */
  carryFrontends(): Promise<void>;
  /**
   * The actual state. Also repairs the Bloom filters of addresses and the index over prefixes, which are not part of a state, and removes the
   * pins of inner maps to which nothing refers, and what pods that are gone had resolved.
   */
  read(): Promise<Held>;
  /**
   * After a write of both versions of active values: a new generation of the same version, so that nothing that was looked up before
   * is used any more: neither what CPUs have cached, nor that a flow was allowed. Without it they would be used for as long as the
   * generation.
   */
  advance(): Promise<void>;
  /** Writes a batch in an order that makes each write safe; removals come last. Errors: OperationError. */
  write(batch: Batch): Promise<void>;
  /**
   * Activates the other version of every value at once. With `beyond` the new generation is later than that one: flows store
   * their generation, which must not become active again.
   * Then waits for packets in flight, and for `meanwhile`, which must not write the maps.
   */
  flip(beyond?: number, meanwhile?: () => Promise<void>): Promise<void>;
}

const NO_PORTS = new Array<number>(TUNNEL_PORTS).fill(0);
const NO_NODE = {
  generation: 0,
  lastIncarnation: 0,
  ticksPerSecond: 0,
  timeouts: [],
  neighbourRate: 0,
  unitShift: 0,
  tunnelFilter: [0n, 0n],
  tunnelPorts: [NO_PORTS, NO_PORTS],
} as const;

export function openMaps(datapath: Datapath): Maps {
  checkLimits();
  const tables = openTables(datapath);
  const index = openCidrIndex(tables);
  const frontends = openFrontendFilter(tables);
  const sweeper = openNameSweeper(tables);
  const node = () => tables.node.get(0) ?? NO_NODE;
  /** In the order of the generation in force, which is read once: a first state has tens of thousands of values. */
  const pairs = (): PairOf => {
    const isEven = (node().generation & 1) === 0;
    return ({ live, next }) => (isEven ? [live, next] : [next, live]);
  };
  return {
    tables,
    generation: () => node().generation,
    async initialise() {
      await tables.node.writeBatch([[0, { ...node(), ...nodeSettings(datapath) }]]);
    },
    settings: () => ({ wanted: settingsOf(nodeSettings(datapath)), held: heldSettings(tables.node) }),
    addFrontends: frontends.add,
    carryFrontends: () => frontends.carryOver(datapath.root),
    async read() {
      const { known, ...held } = await readHeld(tables);
      await settleBloomFilter(tables, known, held.state.closed);
      await frontends.settle();
      await index.settle();
      await Promise.all([tables.deniedV4.sweep(), tables.deniedV6.sweep()]);
      await sweeper.sweep();
      return held;
    },
    async write(batch) {
      const pair = pairs();
      await tables.rows.writeBatch(batch.rows.map(({ number, classes }) => [number, rowOf(classes)]));
      await writePolicies(tables, batch.policies);
      await writePorts(tables, batch, pair);
      await frontends.add(frontendsIn(batch));
      await writeAddressed(tables, index, batch, pair);
      await writeNames(tables, batch, pair);
      for (const versions of batch.tunnelPorts)
        await tables.node.writeBatch([[0, { ...node(), ...tunnelPortsOf(pair(versions)) }]]);
      const lastIncarnation = lastOf(batch.endpoints, node().lastIncarnation);
      if (lastIncarnation !== node().lastIncarnation)
        await tables.node.writeBatch([[0, { ...node(), lastIncarnation }]]);
      for (const { endpoint } of batch.endpoints) sweeper.came(endpoint.incarnation);
      for (const endpoint of batch.endpoints) await writeEndpoint(tables, endpoint, pair(endpoint.policy));
      await remove(tables, index, batch.remove);
    },
    async advance() {
      datapath.activate((node().generation + 2) >>> 0);
    },
    async flip(beyond = 0, meanwhile) {
      datapath.activate((Math.max(node().generation, beyond) + 1) >>> 0);
      await all([waitForPackets(tables), ...(meanwhile === undefined ? [] : [meanwhile()])]);
    },
  };
}

/**
 * Returns when no program run that began before the flip is still active, so that the inactive version may be
 * written. The kernel waits for this (an RCU grace period) whenever a map of maps is written.
 */
export async function waitForPackets(tables: Pick<Tables, "policy">): Promise<void> {
  await tables.policy.synchronize(POLICY_NONE);
}

/** Waits for all, even if one fails: after a failure nothing may still be running. */
async function all(writes: readonly Promise<void>[]): Promise<void> {
  for (const outcome of await Promise.allSettled(writes))
    if (outcome.status === "rejected") throw outcome.reason;
}

/** Spare capacity for new identities: a policy's map of rows is recreated when it is too small. */
function roomFor(cells: ReadonlyMap<number, number>): number {
  const highest = Math.max(0, ...cells.keys());
  return Math.max(64, 2 ** Math.ceil(Math.log2(highest + 1 + highest / 4)));
}

/** New maps all at once: each waits for an RCU grace period in the kernel, and they can share one. */
async function writePolicies(tables: Tables, writes: readonly PolicyWrite[]): Promise<void> {
  const known = writes.filter(({ isNew }) => !isNew);
  const left = new Set(await tables.policy.writeAll(known.map(cellsToWrite)));
  await tables.policy.putAll(
    writes
      .filter(({ isNew, number }) => isNew || left.has(number))
      .map(({ number, cells }) => ({ number, size: roomFor(cells), entries: [...cells] })),
  );
}

const cellsToWrite = ({ number, cells, changed }: PolicyWrite) => ({
  number,
  entriesFor(maxEntries: number) {
    const cell = (identity: number): number => cells.get(identity) ?? 0;
    if (changed.some((identity) => identity >= maxEntries && cell(identity) !== 0)) return undefined;
    // Beyond the end of its map a policy has no cells: there is none to be emptied.
    const inside = changed.filter((identity) => identity < maxEntries);
    return inside.map((identity) => [identity, cell(identity)] as const);
  },
});

/** Of addresses that are about to be written, the hashes of those that Services have. */
const frontendsIn = ({ addresses }: Batch): number[] =>
  addresses
    .filter(({ identity: { live, next } }) =>
      [live, next].some((value) => value !== ABSENT && isFrontend(value)),
    )
    .map(({ address }) => addressHash(addressFrom(address)));

async function writePorts({ ports }: Tables, batch: Batch, pair: PairOf): Promise<void> {
  for (const { first, last, ...versions } of batch.ports)
    await ports.fill(first, last, { number: pair(versions) });
}

/** Bits of the Bloom filter: programs search the list only if a port's bit is set. */
const FILTER_BITS = 64;

const tunnelPortsOf = (versions: Pair<readonly number[]>): Pick<Node, "tunnelPorts" | "tunnelFilter"> => ({
  tunnelPorts: versions.map((ports) => NO_PORTS.map((none, at) => ports[at] ?? none)) as unknown as Pair<
    readonly number[]
  >,
  tunnelFilter: versions.map((ports) =>
    ports.reduce((bits, port) => bits | (1n << BigInt(port % FILTER_BITS)), 0n),
  ) as unknown as Pair<bigint>,
});

/** The latest of the incarnations, which are assigned in order and wrap around after the highest. */
function lastOf(writes: readonly EndpointWrite[], last: number): number {
  const isLater = (a: number, b: number): boolean => {
    const ahead = (a - b + INCARNATIONS) % INCARNATIONS;
    return ahead > 0 && ahead < INCARNATIONS / 2;
  };
  return writes.reduce(
    (latest, { endpoint: { incarnation } }) => (isLater(incarnation, latest) ? incarnation : latest),
    last,
  );
}

async function writeEndpoint(
  tables: Tables,
  { ifindex, endpoint, moreSources }: EndpointWrite,
  policies: Pair<PolicyPair>,
): Promise<void> {
  const place = placeOf(tables, ifindex);
  const before = tables.endpoints.get(place);
  if (before?.ifindex !== ifindex || before.id !== endpoint.id) await clearCounters(tables, endpoint.id);
  const numbers = policies.map(({ ingress, egress }) => [ingress, egress] as const);
  await tables.endpoints.writeBatch([
    [
      place,
      {
        ifindex,
        id: endpoint.id,
        tenant: endpoint.tenant ?? 0,
        incarnation: endpoint.incarnation,
        policy: numbers as unknown as readonly [Pair<number>, Pair<number>],
        moreSources: moreSources ? 1 : 0,
        ...endpointAddressesOf(endpoint.addresses.map(addressFrom)),
        ...endpointLinkOf(endpoint.link ?? NO_LINK, endpoint.addresses.length > 0),
      },
    ],
  ]);
}

/** The index of an interface's endpoint, or a free one for it: the same search as endpoint_of in bpf/endpoint.h. */
function placeOf(tables: Tables, ifindex: number): number {
  let free: number | undefined;
  for (let probe = 0; probe < ENDPOINT_PROBES; probe += 1) {
    const place = (ifindex + probe) % ENDPOINTS_PLACES;
    const there = tables.endpoints.get(place)?.ifindex ?? 0;
    if (there === ifindex) return place;
    if (there === 0) free ??= place;
  }
  if (free === undefined) {
    throw new OperationError(`its ${ENDPOINT_PROBES} places are taken by other interfaces`, {
      operation: "write endpoint of interface",
      object: String(ifindex),
    });
  }
  return free;
}

const NOTHING_COUNTED = { packets: 0n, bytes: 0n };

async function clearCounters(tables: Tables, id: number): Promise<void> {
  const family = Array.from({ length: DIRECTIONS }, () => new Array(REASONS).fill(NOTHING_COUNTED));
  const count = new Array(FAMILIES).fill(family);
  const zero = { count } as unknown as Parameters<Tables["counters"]["set"]>[1][number];
  const cpus = tables.counters.get(id)?.length ?? 0;
  tables.counters.set(id, new Array(cpus).fill(zero));
}

async function remove(tables: Tables, index: CidrIndex, gone: Batch["remove"]): Promise<void> {
  if (gone.endpoints.length > 0) await freeEndpoints(tables, new Set(gone.endpoints));
  await removeAddressed(tables, index, gone);
  await removeNames(tables, gone, () => waitForPackets(tables));
  await tables.policy.deleteBatch(gone.policies);
  await tables.rows.writeBatch(gone.rows.map((number) => [number, rowOf([])]));
}

/** At any index: externally written entries may be at indexes that are never searched. */
async function freeEndpoints({ endpoints }: Tables, gone: ReadonlySet<number>): Promise<void> {
  const there = (await endpoints.read({ skipZero: true })).filter(([, { ifindex }]) => gone.has(ifindex));
  await endpoints.writeBatch(there.map(([place]) => [place, FREE]));
}

const NO_LINK = { hardware: [] };

const FREE = {
  ifindex: 0,
  id: 0,
  tenant: 0,
  incarnation: 0,
  policy: [
    [0, 0],
    [0, 0],
  ],
  moreSources: 0,
  ...endpointAddressesOf([]),
  ...endpointLinkOf(NO_LINK, false),
} as const;
