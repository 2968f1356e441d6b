// Tables of a node for tests.

import { LinkType, type NetRoute, RouteProtocol, RouteTable, RouteType } from "bpf-ts";
import type { NetLink, NodeTables } from "../../../src/node/node-tables.ts";

/** A veth whose other end has index 2 in the namespace with this id. */
export const veth = (ifindex: number, name: string, peerNetns?: number): NetLink => ({
  ifindex,
  name,
  kind: "veth",
  type: LinkType.ETHER,
  flags: 0,
  peer: 2,
  ...(peerNetns === undefined ? {} : { peerNetns }),
});

/** A device of some kind, or hardware. */
export const link = (ifindex: number, name: string, more: Partial<NetLink> = {}): NetLink => ({
  ifindex,
  name,
  type: LinkType.ETHER,
  flags: 0,
  ...more,
});

export const bridge = (ifindex: number, name: string): NetLink => ({
  ifindex,
  name,
  kind: "bridge",
  type: LinkType.ETHER,
  flags: 0,
});

/** "10.0.0.1/32" by way of a link, in the main table by default. */
export function route(prefix: string, ifindex: number, more: Partial<NetRoute> = {}): NetRoute {
  const [destination = "", length] = prefix.split("/");
  return {
    family: destination.includes(":") ? 6 : 4,
    destination,
    length: Number(length),
    table: RouteTable.MAIN,
    priority: 0,
    tos: 0,
    type: RouteType.UNICAST,
    protocol: RouteProtocol.BOOT,
    scope: 0,
    hops: [{ ifindex }],
    ...more,
  };
}

export const tables = (links: readonly NetLink[], more: Partial<NodeTables> = {}): NodeTables => ({
  links: new Map(links.map((link) => [link.ifindex, link])),
  routes: [],
  local: [],
  neighbours: [],
  forwarding: [],
  inside: new Map(),
  ends: new Map(),
  version: 1,
  ...more,
});
