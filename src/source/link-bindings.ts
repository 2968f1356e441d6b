// What the frames of each pod are bound to: the MAC addresses that it may send from, and the bridge that its interface
// is a port of.
//
// A pod with CAP_NET_ADMIN chooses the MAC address of its end at any time. It is bound to what it cannot choose later:
// the one that the CNI plugins reported when they made the link, else the one that it was bound to before, else the one
// that the link had when it was first seen.

import { NO_HARDWARE } from "../base/mac-address.ts";
import { memo } from "../base/memo.ts";
import type { Pod } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";
import { type NodeTables, netnsBehind } from "../node/node-tables.ts";
import type { Scene } from "./interface-evidence.ts";

/** As an endpoint's link in state/desired-state.ts. */
export interface LinkBinding {
  readonly hardware: readonly string[];
  readonly bridge?: number;
  readonly netns?: number;
}

/** An interface, and the pods that may have it. */
interface Owned {
  readonly ifindex: number;
  readonly pods: readonly [Pod, ...Pod[]];
}

interface Bound {
  readonly link: LinkBinding;
  /** The MAC address that the pod is bound to, even where another owner has it. */
  readonly hardware?: string;
  readonly problems: readonly Problem[];
}

interface Candidate extends Owned {
  readonly name: string;
  readonly bridge: number | undefined;
  readonly own: string | undefined;
  readonly isClaimed: boolean;
  readonly birth: string | undefined;
}

export function linkBindings(scene: Scene, owned: readonly Owned[]): ReadonlyMap<number, Bound> {
  const { tables } = scene;
  const candidates = owned.map((each) => candidateOf(scene, each));
  const ofPods = new Set(owned.flatMap(({ pods }) => pods.flatMap(({ ips }) => ips.map(({ text }) => text))));
  const holders = new Map(
    [...Map.groupBy(candidates, ({ bridge }) => bridge)].flatMap(([bridge, ports]) =>
      bridge === undefined ? [] : [[bridge, holdersOn(nodesOn(tables, bridge, ofPods), ports)] as const],
    ),
  );
  return new Map(
    candidates.map((each) => {
      const bound =
        each.bridge === undefined
          ? routed(tables, each)
          : bridged(tables, each, { bridge: each.bridge, holders: holders.get(each.bridge) ?? new Map() });
      const netns = netnsBehind(tables.links.get(each.ifindex));
      const link = { ...bound.link, ...(netns === undefined ? {} : { netns }) };
      return [each.ifindex, { ...bound, link, ...(each.own === undefined ? {} : { hardware: each.own }) }];
    }),
  );
}

function candidateOf({ tables, options, claimsOn }: Scene, { ifindex, pods }: Owned): Candidate {
  const link = tables.links.get(ifindex);
  const claimed = claimsOn.get(ifindex)?.find(({ hardware }) => hardware !== undefined)?.hardware;
  const master = link?.master === undefined ? undefined : tables.links.get(link.master);
  return {
    ifindex,
    pods,
    name: link?.name ?? "",
    bridge: master?.kind === "bridge" ? master.ifindex : undefined,
    own:
      claimed ??
      options.bound?.get(ifindex) ??
      options.adopted.get(ifindex)?.hardware ??
      tables.ends.get(ifindex)?.first,
    isClaimed: claimed !== undefined,
    birth: link?.birth,
  };
}

/**
 * Only the pod and the node are on a routed link: what the pod changes there misleads no other, unless it takes the
 * node's own.
 */
function routed({ links, ends }: NodeTables, { ifindex, own }: Candidate): Bound {
  const now = ends.get(ifindex)?.now;
  const isFree = now !== undefined && now !== links.get(ifindex)?.address;
  const hardware = own === undefined ? [] : distinct([own, ...(isFree ? [now] : [])]);
  return { link: { hardware }, problems: [] };
}

type Holders = ReadonlyMap<string, number | "node">;

interface Domain {
  readonly bridge: number;
  /** The holder of each MAC address: an endpoint, by interface index, or this node or a router. */
  readonly holders: Holders;
}

function bridged(tables: NodeTables, port: Candidate, { bridge, holders }: Domain): Bound {
  const { ifindex, pods, own, name } = port;
  if (own === undefined) return { link: { hardware: [], bridge }, problems: [] };
  const about = (severity: Problem["severity"], reason: string, effect: string): Problem => ({
    severity,
    object: `interface ${name}`,
    reason,
    effect,
    topic: "interface",
  });
  const isFree = (mac: string): boolean => (holders.get(mac) ?? ifindex) === ifindex;
  const allowed = commonMacs(pods);
  const taken = allowed.filter((mac) => !isFree(mac));
  const problems = taken.map((mac) =>
    about(
      "error",
      `weir.dev/allowed-macs: ${mac} is ${ownerText(tables, holders.get(mac))}`,
      "it is not allowed",
    ),
  );
  if (!isFree(own)) {
    const reason = `the MAC address of its pod, ${own}, is ${ownerText(tables, holders.get(own))}`;
    const none = { hardware: [NO_HARDWARE], bridge };
    return {
      link: none,
      problems: [...problems, about("error", reason, "all frames of the pod are dropped")],
    };
  }
  const hardware = distinct([own, ...allowed.filter(isFree)]);
  const now = tables.ends.get(ifindex)?.now;
  if (now !== undefined && !hardware.includes(now)) {
    const reason = `its pod's end has the MAC address ${now}, but was created with ${own}`;
    const effect = "frames from the new one are dropped; allow it by weir.dev/allowed-macs";
    problems.push(about("warning", reason, effect));
  }
  return { link: { hardware, bridge }, problems };
}

const ownerText = ({ links }: NodeTables, holder: number | "node" | undefined): string =>
  typeof holder === "number"
    ? `that of the pod at interface ${links.get(holder)?.name ?? holder}`
    : "this node's or a router's";

/**
 * The holders of the MAC addresses on a bridge. Of endpoints with the same one, the one that the CNI plugins reported
 * has it, and of equals the older link.
 */
function holdersOn(ofNode: Iterable<string>, ports: readonly Candidate[]): Holders {
  const ranked = [...ports].sort(
    (a, b) => Number(b.isClaimed) - Number(a.isClaimed) || ageOrder(a, b) || a.ifindex - b.ifindex,
  );
  const holders = new Map<string, number | "node">([...ofNode].map((mac) => [mac, "node"]));
  for (const { own, ifindex } of ranked)
    if (own !== undefined && !holders.has(own)) holders.set(own, ifindex);
  return holders;
}

/** The kernel numbers links in the order in which they are made (node/link-identity.ts). */
function ageOrder({ birth: a }: Candidate, { birth: b }: Candidate): number {
  if (a === undefined || b === undefined || a === b) return 0;
  const [first, second] = [a, b].map((text) => (/^\d+$/.test(text) ? BigInt(text) : 0n)) as [bigint, bigint];
  return first < second ? -1 : first > second ? 1 : 0;
}

interface Surroundings {
  /** MAC addresses of the bridge itself, of its ports' ends on this node, and of devices over it. */
  readonly own: ReadonlySet<string>;
  /** Routers that the node reaches by it. */
  readonly routers: readonly { readonly address: string; readonly hardware: string }[];
}

/** The MAC addresses of this node and of routers there. A pod may be a router: its MAC address is its own all the same. */
function nodesOn(tables: NodeTables, bridge: number, ofPods: ReadonlySet<string>): string[] {
  const { own = [], routers = [] } = surroundingsIn(tables).get(bridge) ?? {};
  return [...own, ...routers.flatMap(({ address, hardware }) => (ofPods.has(address) ? [] : [hardware]))];
}

/** By bridge. */
const surroundingsIn = memo(
  ({ links, routes, neighbours }: NodeTables): ReadonlyMap<number, Surroundings> => {
    /** The bridge that a device of this node is, or is on top of (a VLAN of it, a macvlan). */
    const below = (ifindex: number): number | undefined => {
      const link = links.get(ifindex);
      if (link?.kind === "bridge") return ifindex;
      return link?.peerNetns === undefined && link?.kind !== "veth" ? link?.peer : undefined;
    };
    const gateways = new Set(
      routes.flatMap(({ hops }) =>
        hops.flatMap(({ ifindex, gateway }) => (gateway === undefined ? [] : [`${ifindex} ${gateway}`])),
      ),
    );
    const bridges = [...links.values()].filter(({ kind }) => kind === "bridge");
    return new Map(
      bridges.map(({ ifindex: bridge }) => {
        const own = [...links.values()].flatMap(({ ifindex, address, master }) =>
          address !== undefined && (master === bridge || below(ifindex) === bridge) ? [address] : [],
        );
        const routers = neighbours.flatMap(({ ifindex, address, hardware }) =>
          address !== undefined &&
          hardware !== undefined &&
          below(ifindex) === bridge &&
          gateways.has(`${ifindex} ${address}`)
            ? [{ address, hardware }]
            : [],
        );
        return [bridge, { own: new Set(own), routers }];
      }),
    );
  },
);

const distinct = <T>(all: readonly T[]): T[] => [...new Set(all)];

/** The MAC addresses that each of the pods was given. */
function commonMacs(pods: readonly Pod[]): readonly string[] {
  const [first = [], ...others] = pods.map(({ macs = [] }) => macs);
  return first.filter((mac) => others.every((macs) => macs.includes(mac)));
}
