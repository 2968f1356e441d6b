// Selects flows of conntrack: by pod, peer, port, protocol and state; all criteria must match.

import { type Cidr, cidrContains, parseAddress } from "../../base/ip.ts";
import { hasPorts } from "../../model/protocol.ts";
import type { FlowStateName } from "../filter-choices.ts";
import type { FlowRecord } from "./traffic-dumps.ts";

export interface FlowFilter {
  /** Interfaces whose flows are selected. */
  readonly interfaces?: ReadonlySet<number>;
  /** The remote address is in one of them. */
  readonly peers?: readonly Cidr[];
  /** At either end. */
  readonly port?: number;
  readonly protocols?: ReadonlySet<number>;
  readonly state?: FlowStateName;
}

/**
 * `generation` is the one in force: flows of older ones are stale, and judged again at their next packet. Expired flows pass only
 * a filter for them.
 */
export function flowPasses(flow: FlowRecord, filter: FlowFilter, generation: number): boolean {
  const { interfaces, peers, port, protocols, state } = filter;
  return (
    (state === "expired" || flow.expiresMs >= 0) &&
    (interfaces === undefined || (flow.ifindex !== undefined && interfaces.has(flow.ifindex))) &&
    (protocols === undefined || protocols.has(flow.protocol)) &&
    (port === undefined || (hasPorts(flow.protocol) && [flow.localPort, flow.remotePort].includes(port))) &&
    (state === undefined || isIn(flow, state, generation)) &&
    (peers === undefined || isAmong(flow.remote, peers))
  );
}

function isIn({ state, expiresMs, generation }: FlowRecord, wanted: FlowStateName, current: number): boolean {
  switch (wanted) {
    case "new":
      return !state.includes("replied");
    case "expired":
      return expiresMs < 0;
    case "stale":
      return generation !== current;
    default:
      return state.includes(wanted);
  }
}

function isAmong(remote: string, peers: readonly Cidr[]): boolean {
  const address = parseAddress(remote);
  return address.ok && peers.some((peer) => cidrContains(peer, address.value));
}
