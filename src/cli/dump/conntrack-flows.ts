// Flows of conntrack: reading, choosing and deleting them.

import type { Direction } from "../../base/direction.ts";
import { type Cidr, cidrOf, parseAddress, parseCidr } from "../../base/ip.ts";
import { addressOfV4, addressOfV6, interfaceOf, ownerOf } from "../../datapath/codec.ts";
import { ticksNow } from "../../datapath/node-settings.ts";
import {
  DIRECTION_NAMES,
  FLOW_STATE_NAMES,
  type Flow,
  type FlowV4Key,
  type FlowV6Key,
  type FragmentKey,
  TIMEOUT_NAMES,
} from "../../gen/layout.ts";
import { isIcmp } from "../../model/protocol.ts";
import type { NamesView } from "../../observe/api-views.ts";
import { type FlowFilter, flowPasses } from "../../observe/dump/flow-filter.ts";
import type { Dump } from "../../observe/dump/map-dump.ts";
import {
  conntrackDump,
  type FlowRecord,
  type FragmentRecord,
  type NodeRecord,
  type Place,
} from "../../observe/dump/traffic-dumps.ts";
import type { FlowStateName } from "../../observe/filter-choices.ts";
import { namesFor } from "../agent-client.ts";
import type { PodName } from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";
import { interfaceNames, type Kernel, readKernel } from "../pinned-maps.ts";

/** What flows have in common, as the command line has it. */
export interface FlowOptions {
  readonly pod?: PodName;
  readonly peer?: string;
  readonly port?: number;
  readonly protocol?: readonly number[];
  readonly state?: FlowStateName;
}

export async function listFlows(context: Context, options: FlowOptions): Promise<Dump> {
  const { filter, names } = await filterOf(context, options);
  const records = await readKernel(context, async (kernel) =>
    (await scanFlows(kernel))
      .filter(({ record }) => flowPasses(record, filter, kernel.generation))
      .map(({ record }) => record),
  );
  return conntrackDump(records, names);
}

/** Gives how many flows were removed, or would be. */
export async function flushFlows(context: Context, options: FlowOptions, dryRun: boolean): Promise<number> {
  const { filter } = await filterOf(context, options);
  return readKernel(context, async (kernel) => {
    const found = (await scanFlows(kernel)).filter(({ record }) =>
      flowPasses(record, filter, kernel.generation),
    );
    if (dryRun) return found.length;
    const v4 = found.flatMap((each) => (each.map === "conntrack_v4" ? [each.key] : []));
    const v6 = found.flatMap((each) => (each.map === "conntrack_v6" ? [each.key] : []));
    return (
      (await kernel.table("conntrack_v4").deleteBatch(v4)) +
      (await kernel.table("conntrack_v6").deleteBatch(v6))
    );
  });
}

interface Chosen {
  readonly filter: FlowFilter;
  readonly names: NamesView | undefined;
}

async function filterOf(context: Context, options: FlowOptions): Promise<Chosen> {
  const { names, reason } = await namesFor(context);
  const { pod, peer, port, protocol, state } = options;
  const needNames = (): NamesView => {
    if (names === undefined)
      throw new CommandError(`${reason}; without it pods have no names to choose them by`);
    return names;
  };
  const filter: FlowFilter = {
    ...(pod === undefined ? {} : { interfaces: interfacesOf(pod, needNames()) }),
    ...(peer === undefined ? {} : { peers: peersOf(peer, needNames) }),
    ...(port === undefined ? {} : { port }),
    ...(protocol === undefined ? {} : { protocols: new Set(protocol) }),
    ...(state === undefined ? {} : { state }),
  };
  return { filter, names };
}

/** @throws CommandError where the pod is not on this node (exit code 4) */
function interfacesOf({ namespace, name }: PodName, { endpoints }: NamesView): ReadonlySet<number> {
  const key = `${namespace}/${name}`;
  const found = Object.entries(endpoints).flatMap(([ifindex, pod]) => (pod === key ? [Number(ifindex)] : []));
  if (found.length === 0) throw new CommandError(`no pod ${key} on this node`, EXIT.notFound);
  return new Set(found);
}

/** An address, a prefix, or the addresses of a pod anywhere. @throws CommandError where it is none of these */
function peersOf(text: string, needNames: () => NamesView): readonly Cidr[] {
  const address = parseAddress(text);
  if (address.ok) return [exactly(address.value)];
  const cidr = parseCidr(text);
  if (cidr.ok) return [cidr.value];
  if (!/^[^/]+\/[^/]+$/.test(text) || /^[0-9a-f.:]+\/[0-9]+$/i.test(text)) {
    throw new CommandError(
      `--peer ${text}: expected an address, a prefix, or a pod as NAMESPACE/NAME`,
      EXIT.usage,
    );
  }
  const found = Object.entries(needNames().addresses).flatMap(([key, pod]) => {
    const own = parseAddress(key);
    return pod === text && own.ok ? [exactly(own.value)] : [];
  });
  if (found.length === 0)
    throw new CommandError(`--peer: no pod ${text} is known to the agent`, EXIT.notFound);
  return found;
}

const exactly = ({ family, value }: Pick<Cidr, "family" | "value">): Cidr =>
  cidrOf(family, value, family === 4 ? 32 : 128);

// Reading flows and fragments, with the time that they have left, and the node's settings.

export function readNode({ table, generation, version }: Kernel): NodeRecord {
  const node = table("node").get(0);
  const timeouts = (node?.timeouts ?? []).map((ticks, at) => [TIMEOUT_NAMES[at] ?? String(at), ticks]);
  return {
    generation,
    version,
    ticksPerSecond: node?.ticksPerSecond ?? 0,
    timeouts: Object.fromEntries(timeouts),
  };
}

/** A flow and its interface. */
export type FlowEntry =
  | { readonly map: "conntrack_v4"; readonly key: FlowV4Key; readonly record: FlowRecord }
  | { readonly map: "conntrack_v6"; readonly key: FlowV6Key; readonly record: FlowRecord };

export const readFlows = async (kernel: Kernel): Promise<FlowRecord[]> =>
  (await scanFlows(kernel)).map(({ record }) => record);

export async function scanFlows(kernel: Kernel): Promise<FlowEntry[]> {
  const [v4, v6] = await Promise.all([
    kernel.table("conntrack_v4").read(),
    kernel.table("conntrack_v6").read(),
  ]);
  const show = viewer(kernel);
  const placeOf = await placesByIncarnation(kernel, show);
  return [
    ...v4.map(([key, flow]): FlowEntry => {
      const ends = [addressOfV4(key.local).text, addressOfV4(key.remote).text] as const;
      return { map: "conntrack_v4", key, record: flowRecord(key, flow, { placeOf, ...show }, ends) };
    }),
    ...v6.map(([key, flow]): FlowEntry => {
      const ends = [addressOfV6(key.local).text, addressOfV6(key.remote).text] as const;
      return { map: "conntrack_v6", key, record: flowRecord(key, flow, { placeOf, ...show }, ends) };
    }),
  ];
}

function flowRecord(
  key: FlowV4Key | FlowV6Key,
  flow: Flow,
  { placeOf, expiresMs }: Pick<Viewer, "expiresMs"> & { readonly placeOf: PlaceOf },
  [local, remote]: readonly [local: string, remote: string],
): FlowRecord {
  const { incarnation, protocol } = ownerOf(key.owner);
  return {
    ...placeOf(incarnation),
    incarnation,
    protocol,
    local,
    remote,
    localPort: key.localPort,
    remotePort: isIcmp(protocol) ? Number(key.remotePort !== 0) : key.remotePort,
    opener: directionOf(flow.opener),
    state: flagsOf(flow.state),
    generation: flow.generation,
    expiresMs: expiresMs(flow.expires),
  };
}

type PlaceOf = (incarnation: number) => Partial<Place>;

/** Of each pod that has an interface, the one with the lowest index. */
async function placesByIncarnation(kernel: Kernel, { placeAt }: Pick<Viewer, "placeAt">): Promise<PlaceOf> {
  const endpoints = (await kernel.table("endpoints").read({ skipZero: true })).map(([, each]) => each);
  const places = new Map(
    endpoints
      .sort((a, b) => b.ifindex - a.ifindex)
      .map(({ ifindex, incarnation }) => [incarnation, placeAt(ifindex)]),
  );
  return (incarnation) => places.get(incarnation) ?? {};
}

export async function readFragments(kernel: Kernel): Promise<FragmentRecord[]> {
  const { placeAt, expiresMs } = viewer(kernel);
  return (await kernel.table("fragments").read()).map(([key, fragment]) => ({
    ...placeAt(interfaceOf(key.interface).ifindex),
    protocol: fragment.protocol,
    source: addressText(key.source),
    destination: addressText(key.destination),
    id: isV4(key.source) ? key.id >>> 16 : key.id,
    direction: directionOf(key.direction),
    sourcePort: fragment.sourcePort,
    destinationPort: fragment.destinationPort,
    expiresMs: expiresMs(fragment.expires),
  }));
}

/**
 * The programs put an IPv4 address into the first four bytes of the low half, and an IPv4 identification into the first two
 * bytes of its field. No IPv6 address on the wire has twelve zeros there.
 */
const isV4 = ({ high, low }: FragmentKey["source"]): boolean => high === 0n && (low & 0xffff_ffffn) === 0n;

const addressText = (address: FragmentKey["source"]): string =>
  isV4(address) ? addressOfV4(Number(address.low >> 32n)).text : addressOfV6(address).text;

const directionOf = (value: number): Direction =>
  DIRECTION_NAMES[value] === "egress" ? "egress" : "ingress";

const flagsOf = (bits: number): string[] =>
  Object.entries(FLOW_STATE_NAMES).flatMap(([bit, name]) => (bits & Number(bit) ? [name] : []));

interface Viewer {
  placeAt(ifindex: number): Place;
  /** From ticks. */
  expiresMs(ticks: bigint): number;
}

function viewer(kernel: Kernel): Viewer {
  const names = interfaceNames();
  const { ticksPerSecond } = readNode(kernel);
  const now = ticksNow(ticksPerSecond);
  return {
    placeAt(ifindex) {
      const name = names.get(ifindex);
      return name === undefined ? { ifindex } : { ifindex, interface: name };
    },
    expiresMs: (ticks) =>
      ticksPerSecond === 0 ? 0 : Math.round((Number(ticks - now) * 1_000) / ticksPerSecond),
  };
}
