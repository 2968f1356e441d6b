// Reading flows and fragments, with the time that they have left, and the node's settings.

import type { Direction } from "../../base/direction.ts";
import { addressOfV4, addressOfV6, interfaceOf, ownerOf } from "../../datapath/codec.ts";
import { ticksNow } from "../../datapath/ticks.ts";
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
import type { FlowRecord, FragmentRecord, NodeRecord, Place } from "../../observe/dump/traffic-dumps.ts";
import { interfaceNames } from "../interfaces.ts";
import type { Kernel } from "../pinned-maps.ts";

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
