// Reading the pinned maps, whether an agent runs or not: endpoints, interface names and counters.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { codeOf } from "../base/errors.ts";
import { obstacleAt } from "../datapath/bpffs.ts";
import { addressesOfEndpoint, sumCounters } from "../datapath/codec.ts";
import { hasPins, openPins, type Pins, pinnedDigests } from "../datapath/pins.ts";
import { type Table, type TableName, tableOf } from "../datapath/typed-maps.ts";
import { type Count, LAYOUT_DIGEST, REASON_NAMES, Reason } from "../gen/layout.ts";
import type { EndpointRecord } from "../observe/dump/policy-dumps.ts";
import type { CounterRecord } from "../observe/dump/traffic-dumps.ts";
import type { Counts, Traffic } from "../observe/endpoints-table.ts";
import { isAudited, policyNumber } from "../state/desired-state.ts";
import { CommandError, type Context, EXIT } from "./environment.ts";

/** The pinned maps, and which of the two versions of their values is in force. */
export interface Kernel {
  readonly pins: Pins;
  readonly generation: number;
  readonly version: 0 | 1;
  table<N extends TableName>(name: N): ReturnType<typeof tableOf<N>>;
}

/** How often a read is repeated because of a concurrent update. */
const ATTEMPTS_MAX = 5;

/** Reads from the pins that `context` names, and closes them. @throws CommandError where there are none (exit code 4) */
export async function readKernel<T>(context: Context, read: (kernel: Kernel) => Promise<T>): Promise<T> {
  const found = await readKernelIfAny(context, read);
  if (found === undefined) throw new CommandError(nothingPinned(context), EXIT.notFound);
  return found;
}

/** The same; undefined where nothing is pinned that this build can read. */
export async function readKernelIfAny<T>(
  { settings }: Context,
  read: (kernel: Kernel) => Promise<T>,
): Promise<T | undefined> {
  const pins = openPins(settings.bpffs);
  if (pins === undefined) return undefined;
  try {
    const table: Kernel["table"] = (name) => tableOf(name, pins.map(name));
    for (let attempt = 1; ; attempt++) {
      const generation = generationIn(table("node"));
      const result = await read({ pins, generation, version: generation & 1 ? 1 : 0, table });
      if (generationIn(table("node")) === generation || attempt === ATTEMPTS_MAX) return result;
    }
  } finally {
    pins.close();
  }
}

const generationIn = (node: Table<number, { readonly generation: number }>): number =>
  node.get(0)?.generation ?? 0;

/** Why there is nothing to read, and what to do. */
export function nothingPinned({ settings }: Context): string {
  const obstacle = obstacleAt(settings.bpffs);
  if (obstacle !== undefined) return `nothing is pinned under ${settings.bpffs}: ${obstacle}`;
  const others = pinnedDigests(settings.bpffs).filter((digest) => hasPins(settings.bpffs, digest));
  if (others.includes(LAYOUT_DIGEST))
    return `no map is pinned under ${settings.bpffs} yet: \`weir run\` is starting, or has failed before`;
  if (others.length === 0)
    return `nothing is pinned under ${settings.bpffs}: \`weir run\` has never run with it`;
  return (
    `the maps under ${settings.bpffs} have layout ${others.join(", ")}, this build's is ${LAYOUT_DIGEST}: ` +
    "use the build that created them, or start this build's `weir run`"
  );
}

/** The endpoints in force, by interface index. */
export async function readEndpoints({ table, version }: Kernel): Promise<EndpointRecord[]> {
  const names = interfaceNames();
  const entries = await table("endpoints").read({ skipZero: true });
  return entries
    .map(([, endpoint]) => endpoint)
    .filter(({ ifindex }) => ifindex !== 0)
    .map((endpoint): EndpointRecord => {
      const [ingress, egress] = endpoint.policy[version];
      const name = names.get(endpoint.ifindex);
      const policy: { [direction in Direction]: number } = {
        ingress: policyNumber(ingress),
        egress: policyNumber(egress),
      };
      const audit = DIRECTIONS.filter((direction) => isAudited({ ingress, egress }[direction]));
      return {
        ifindex: endpoint.ifindex,
        ...(name === undefined ? {} : { interface: name }),
        id: endpoint.id,
        incarnation: endpoint.incarnation,
        policy,
        ...(audit.length === 0 ? {} : { audit }),
        addresses: addressesOfEndpoint(endpoint).map(({ text }) => text),
      };
    })
    .sort((a, b) => a.ifindex - b.ifindex);
}

/** The error of what is in the kernel and cannot be opened. */
export const unreadable = (what: string): CommandError =>
  new CommandError(`${what} cannot be read: its map is not pinned; a running agent pins it again`);

// The node's network interfaces, by index, as sysfs lists them.

const DIRECTORY = "/sys/class/net";

/** Name of every interface of this network namespace, by index. */
export function interfaceNames(): ReadonlyMap<number, string> {
  const names = new Map<number, string>();
  for (const name of readdirSync(DIRECTORY)) {
    const index = indexOf(name);
    if (index !== undefined) names.set(index, name);
  }
  return names;
}

/** Undefined where the interface went away since it was listed, or is no interface (bonding_masters). */
function indexOf(name: string): number | undefined {
  try {
    return Number(readFileSync(join(DIRECTORY, name, "ifindex"), "utf8"));
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EINVAL"].includes(codeOf(error) ?? "")) return undefined;
    throw error;
  }
}

// Reading the counters: what all CPUs together saw of each endpoint.

export type EndpointTraffic = { readonly [direction in Direction]: Traffic };

/** By endpoint id, direction and reason, without zeros. */
export async function readCounters({ table }: Kernel): Promise<Omit<CounterRecord, "ifindex">[]> {
  const entries = await table("counters").read({ skipZero: true });
  return entries.flatMap(([id, perCpu]) => {
    const [ingress, egress] = sumCounters(perCpu).count;
    return [...recordsOf(id, "ingress", ingress), ...recordsOf(id, "egress", egress)];
  });
}

function recordsOf(
  id: number,
  direction: Direction,
  counts: readonly Count[],
): Omit<CounterRecord, "ifindex">[] {
  return counts.flatMap(({ packets, bytes }, reason) => {
    if (packets === 0n) return [];
    const name = REASON_NAMES[reason] ?? `reason ${reason}`;
    return [{ id, direction, reason: name, dropped: reason >= Reason.DROPS, packets, bytes }];
  });
}

/** What passed and what was dropped, by endpoint id. */
export async function readTraffic(kernel: Kernel): Promise<ReadonlyMap<number, EndpointTraffic>> {
  const records = await readCounters(kernel);
  return new Map([...new Set(records.map(({ id }) => id))].map((id) => [id, trafficOf(records, id)]));
}

export const NO_TRAFFIC: EndpointTraffic = { ingress: trafficIn([]), egress: trafficIn([]) };

function trafficOf(records: readonly Omit<CounterRecord, "ifindex">[], id: number): EndpointTraffic {
  const own = records.filter((record) => record.id === id);
  const side = (direction: Direction): Traffic =>
    trafficIn(own.filter((record) => record.direction === direction));
  return { ingress: side("ingress"), egress: side("egress") };
}

function trafficIn(records: readonly Pick<CounterRecord, "dropped" | "packets" | "bytes">[]): Traffic {
  const sum = (dropped: boolean): Counts => {
    let packets = 0n;
    let bytes = 0n;
    for (const record of records) {
      if (record.dropped !== dropped) continue;
      packets += record.packets;
      bytes += record.bytes;
    }
    return { packets, bytes };
  };
  return { allowed: sum(false), dropped: sum(true) };
}
