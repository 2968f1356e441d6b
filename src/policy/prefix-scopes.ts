// The prefix scopes that belong to no endpoint: the addresses of nodes, and the prefixes on the links of bridges.

import { present } from "../base/assert.ts";
import {
  type Address,
  addressBits,
  type Cidr,
  cidrOf,
  FAMILIES,
  type Family,
  parseCidr,
} from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import { openStage } from "../base/stage.ts";
import { changesBetween } from "../base/versioned-map.ts";
import { isClaimed } from "../model/address-ownership.ts";
import type { Cluster, Surroundings } from "../model/cluster.ts";
import { sourceTexts } from "../state/anti-spoofing.ts";
import { LIMITS, NODE_SCOPE, TUNNEL_PORTS_MAX } from "../state/desired-state.ts";
import { addressesOfLocal, type LocalEndpoint } from "./local-endpoints.ts";

type Nodes = NonNullable<Cluster["nodes"]>;
const NO_NODES: Nodes = new Map();

/**
 * Prefixes to which every node listens: loopback and link-local addresses, which for a pod are always those of its own node or link,
 * and multicast and broadcast, which the kernel delivers to every UDP socket with that port that is bound to no address.
 */
const EVERY_NODE: readonly Cidr[] = ["127.0.0.0/8", "169.254.0.0/16", "224.0.0.0/4", "255.255.255.255/32"]
  .concat(["::1/128", "fe80::/10", "ff00::/8"])
  .flatMap((text) => {
    const parsed = parseCidr(text);
    return parsed.ok ? [parsed.value] : [];
  });

/**
 * UDP ports at which nodes decapsulate without a key: VXLAN (IANA's and Linux's port), VXLAN-GPE, Geneve, GUE, GRE and MPLS in UDP, and
 * flannel's udp backend.
 */
const TUNNEL_PORTS: readonly number[] = [4789, 8472, 4790, 6081, 6080, 4754, 6635, 8285];

/** Sorted. If there are too many, ports of this node's own tunnels have priority. */
export const tunnelPortsOf = ({ tunnelPorts }: Surroundings): number[] =>
  [...new Set([...TUNNEL_PORTS, ...tunnelPorts])].slice(0, TUNNEL_PORTS_MAX).sort((a, b) => a - b);

const exactly = ({ family, value }: Address): Cidr => cidrOf(family, value, addressBits(family));

/**
 * The usual positions of a node's own addresses in its pod CIDR: plugins assign the first one to the bridge (host-local) or to the
 * tunnel (flannel), and do not announce it to other nodes.
 */
const firstAddresses = memo((nodes: Nodes): readonly Cidr[] =>
  [...nodes.values()].flatMap(({ podCidrs }) =>
    podCidrs
      .filter(({ family, length }) => length < addressBits(family) - 1)
      .flatMap(({ family, value }) =>
        [0n, 1n].map((host) => cidrOf(family, value + host, addressBits(family))),
      ),
  ),
);

/** The address of a prefix that is one address. */
const addressText = ({ text }: Cidr): string => text.slice(0, text.lastIndexOf("/"));

/** Half the table: ten of each family for each node of the largest cluster that Kubernetes supports would be too many. */
const NODE_PREFIXES_MAX = LIMITS.sources / 2;

/** The prefixes of one family; if they are too many, wider ones that cover them: encapsulation is dropped for more addresses, never for fewer. */
function widened(prefixes: readonly Cidr[], family: Family): readonly Cidr[] {
  let fitting = prefixes.filter((prefix) => prefix.family === family);
  for (let bits = addressBits(family) - 1; fitting.length > NODE_PREFIXES_MAX; bits -= 1) {
    const shortened = fitting.map(({ value, length }) => cidrOf(family, value, Math.min(length, bits)));
    fitting = [...new Map(shortened.map((prefix) => [prefix.text, prefix])).values()];
  }
  return fitting;
}

/** The first addresses that no pod has: the same list as long as they are the same. */
function openFirstAddresses(): (cluster: Cluster) => readonly Cidr[] {
  let last:
    | { readonly nodes: Nodes; readonly pods: Cluster["pods"]; readonly free: readonly Cidr[] }
    | undefined;
  const candidates = openStage<ReadonlyMap<string, Cidr>>();
  return ({ nodes = NO_NODES, pods }) => {
    const all = candidates(
      [nodes],
      () => new Map(firstAddresses(nodes).map((prefix) => [addressText(prefix), prefix])),
    );
    const isChanged = (): boolean =>
      changesBetween(present(last, "pods of before").pods, pods).some(({ before, after }) =>
        [before, after].some((pod) => pod?.ips.some(({ text }) => all.has(text))),
      );
    const free =
      last === undefined || last.nodes !== nodes || (all.size > 0 && isChanged())
        ? [...all].flatMap(([text, prefix]) => (isClaimed(pods, text) ? [] : prefix))
        : last.free;
    last = { nodes, pods, free };
    return free;
  };
}

/** Prefixes of all nodes. */
function nodeScope(nodes: Nodes, { nodeAddresses }: Surroundings, first: readonly Cidr[]): readonly string[] {
  const told = [...nodes.values()].flatMap(({ addresses }) => addresses.map(exactly));
  const exact = [...nodeAddresses, ...told, ...first];
  return sourceTexts([...EVERY_NODE, ...FAMILIES.flatMap((family) => widened(exact, family))]);
}

const ON_LINK_BITS = 64;

/** The prefixes on the link of a bridge that has a pod. If the node has no address there, they follow from the pods' own addresses. */
function bridgeScope(locals: readonly LocalEndpoint[], known: readonly Cidr[] = []): string[] {
  const isV6 = ({ family }: { readonly family: Family }): boolean => family === 6;
  const told = known.filter(isV6);
  const own = locals
    .flatMap((local) => addressesOfLocal(local).filter(isV6))
    .map(({ value }) => cidrOf(6, value, ON_LINK_BITS));
  return sourceTexts(told.length > 0 ? told : own);
}

/** By scope; only IPv6 needs the prefixes on a link. */
export function openScopes(): (
  cluster: Cluster,
  locals: readonly LocalEndpoint[],
  surroundings: Surroundings,
) => ReadonlyMap<number, readonly string[]> {
  const firstOf = openFirstAddresses();
  const ofNodes = openStage<readonly string[]>();
  const all = openStage<ReadonlyMap<number, readonly string[]>>();
  return (cluster, locals, surroundings) => {
    const { nodes = NO_NODES } = cluster;
    const first = firstOf(cluster);
    const node = ofNodes([nodes, surroundings, first], () => nodeScope(nodes, surroundings, first));
    return all([node, locals, surroundings], () => {
      const scopes = new Map([[NODE_SCOPE, node]]);
      for (const [bridge, of] of Map.groupBy(locals, ({ link }) => link?.bridge)) {
        const prefixes = bridge === undefined ? [] : bridgeScope(of, surroundings.onLink.get(bridge));
        if (bridge !== undefined && prefixes.length > 0) scopes.set(bridge, prefixes);
      }
      return scopes;
    });
  };
}
