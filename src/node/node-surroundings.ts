// The node's network around its pods, from its tables: addresses of nodes, prefixes on a bridge's link, and tunnel
// ports.

import { RouteType } from "bpf-ts";
import { addressBits, type Cidr, cidrOf, parseAddress } from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import type { NetLink, NetRoute, NodeTables } from "./node-tables.ts";

/** As model/cluster.ts has them. */
export interface NodeSurroundings {
  readonly nodeAddresses: readonly Cidr[];
  readonly onLink: ReadonlyMap<number, readonly Cidr[]>;
  readonly tunnelPorts: readonly number[];
}

/** GTP-U has one port (3GPP TS 29.281), which its devices do not name. */
const GTP_PORT = 2152;

const TUNNEL_KINDS: ReadonlySet<string | undefined> = new Set([
  ...["vxlan", "geneve", "bareudp", "gtp", "ipip", "sit", "ip6tnl", "vti", "vti6"],
  ...["gre", "gretap", "erspan", "ip6gre", "ip6gretap", "ip6erspan"],
]);

/** The same object for as long as its content is the same: callers compare by identity. */
export function surroundingsReader(): (tables: NodeTables) => NodeSurroundings {
  let last: { readonly text: string; readonly found: NodeSurroundings } | undefined;
  const read = memo((tables: NodeTables) => {
    const found = surroundingsIn(tables);
    const text = textOf(found);
    if (last?.text !== text) last = { text, found };
    return last.found;
  });
  return read;
}

const textOf = ({ nodeAddresses, onLink, tunnelPorts }: NodeSurroundings): string =>
  JSON.stringify([textsOf(nodeAddresses), [...onLink].map(([link, of]) => [link, textsOf(of)]), tunnelPorts]);

const textsOf = (prefixes: readonly Cidr[]): string[] => prefixes.map(({ text }) => text);

/** Sorted, so that equal tables give equal results. */
export function surroundingsIn({ links, routes, local }: NodeTables): NodeSurroundings {
  const own = local.flatMap(destinationOf);
  // Tunnel devices are routed to other nodes' addresses.
  const others = routes.flatMap(({ hops }) =>
    hops.flatMap(({ ifindex, gateway }) =>
      gateway !== undefined && isTunnel(links.get(ifindex)) ? addressAt(gateway) : [],
    ),
  );
  const onLink = new Map<number, Cidr[]>();
  for (const route of routes) {
    const bridge = bridgeOf(route, links);
    if (bridge !== undefined) onLink.set(bridge, [...(onLink.get(bridge) ?? []), ...destinationOf(route)]);
  }
  const ports = [...links.values()].flatMap(({ kind, udpPorts = [] }) =>
    kind === "gtp" ? [GTP_PORT] : udpPorts,
  );
  return {
    nodeAddresses: sorted([...own, ...others]),
    onLink: new Map([...onLink].sort(([a], [b]) => a - b).map(([bridge, of]) => [bridge, sorted(of)])),
    tunnelPorts: [...new Set(ports)].sort((a, b) => a - b),
  };
}

const isTunnel = (link: NetLink | undefined): boolean => link !== undefined && TUNNEL_KINDS.has(link.kind);

/** The bridge on whose link the destination is. */
function bridgeOf({ type, hops }: NetRoute, links: NodeTables["links"]): number | undefined {
  const [hop, other] = hops;
  if (type !== RouteType.UNICAST || hop === undefined || other !== undefined || hop.gateway !== undefined)
    return undefined;
  return links.get(hop.ifindex)?.kind === "bridge" ? hop.ifindex : undefined;
}

function destinationOf({ family, destination, length }: NetRoute): Cidr[] {
  const parsed = parseAddress(destination);
  return parsed.ok ? [cidrOf(family, parsed.value.value, length)] : [];
}

function addressAt(text: string): Cidr[] {
  const parsed = parseAddress(text);
  if (!parsed.ok) return [];
  const { family, value } = parsed.value;
  return [cidrOf(family, value, addressBits(family))];
}

const sorted = (prefixes: readonly Cidr[]): Cidr[] =>
  [...new Map(prefixes.map((prefix) => [prefix.text, prefix])).values()].sort((a, b) =>
    a.text < b.text ? -1 : 1,
  );
