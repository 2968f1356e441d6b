// The evidence for the pod that an interface and its addresses belong to.

import { assertNever } from "../base/assert.ts";
import { messageOf } from "../base/errors.ts";
import type { Address } from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import { follow } from "../base/versioned-map.ts";
import { type Attachment, type Cluster, keyOf, type Pod, type Retained } from "../model/cluster.ts";
import { type Owners, ownersIn, type Place, PROOFS } from "../node/address-owners.ts";
import type { Node } from "../node/netlink-watch.ts";
import {
  isPairElsewhere,
  linkNamed,
  type NetLink,
  type NodeTables,
  netnsBehind,
} from "../node/node-tables.ts";

export interface Lost {
  /** ISO 8601. */
  readonly since: string;
  readonly why: string;
}

/** The owner of an interface when it was last enforced. */
export interface Incumbent {
  /** As its object last was, with the addresses that it had. */
  readonly pod: Pod;
  /** The pod's namespace then: whether it was known, and its uid where it has one. */
  readonly namespace: { readonly known: boolean; readonly uid?: string };
  readonly isolated: Retained["isolated"];
  readonly lost?: Lost;
  /**
   * An address was the only evidence for the pod when the link came, and the pod had ended or was about to, or its object had
   * the address before the link was there: the link may be of the pod that gets the address next, whose object does not
   * have it yet. That object then decides.
   */
  readonly provisional?: true;
  /**
   * An address was the only evidence for the pod, and no agent of this boot has seen which came first, the link or the address:
   * the pods whose objects name the address later may have the interface as well.
   */
  readonly unwitnessed?: true;
}

/** What the CNI plugin has reported of an interface. */
export interface ClaimedInterface {
  readonly ifindex: number;
  readonly name: string;
  /** Distinguishes the link from a later one, where it is known. */
  readonly birth?: string;
  /** The pod's key, where the pod is known; else the interface is known not to be another pod's. */
  readonly pod: string | undefined;
  readonly addresses: readonly Address[];
  /** The MAC address that the plugins gave the pod's end. */
  readonly hardware?: string;
}

/** What an earlier agent left enforced on an interface, where there is no other evidence of its owner. */
export interface Adopted {
  /** Undefined where the kernel's tables cannot be read: those of another layout. */
  readonly addresses: readonly string[] | undefined;
  readonly isolated: boolean;
  /** The MAC address that its pod was bound to. */
  readonly hardware?: string;
}

export interface ResolveOptions {
  /**
   * The name of this node, where pods name theirs: those of other nodes then have no interface here, and its own ones
   * must have one.
   */
  readonly node?: string;
  readonly claims?: readonly ClaimedInterface[];
  /** By interface index; only of links that are the same as then. */
  readonly incumbents?: ReadonlyMap<number, readonly Incumbent[]>;
  /** By interface index, beside those; used until there is other evidence for the interface. */
  readonly adopted?: ReadonlyMap<number, Adopted>;
  /** MAC addresses that pods were bound to before, by interface index; only of links that are the same as then. */
  readonly bound?: ReadonlyMap<number, string>;
  /** See Ownership. */
  readonly appeared?: NonNullable<Cluster["ownership"]>["appeared"];
  /** Whether pods without an object are denied everything. */
  readonly sealGone?: boolean;
  /** ISO 8601: when what is noticed now has begun. */
  readonly now?: string;
}

/** A pod that may have interfaces here, and the evidence for that. */
export interface Candidate {
  readonly pod: Pod;
  /** Without those that only routes show. */
  readonly addresses: readonly Address[];
  /** Interfaces that were made for it, or that its annotation names; undefined where there is neither. */
  readonly named: readonly NetLink[] | undefined;
  /** Where each of its addresses is, the best places only. */
  readonly places: readonly AddressPlace[];
}

/** Where an address of a pod is. */
export type AddressPlace = Place & { readonly address: Address };

/** All evidence at one moment. */
export interface Scene {
  readonly cluster: Cluster;
  readonly tables: NodeTables;
  readonly owners: Owners;
  readonly options: Required<Pick<ResolveOptions, "incumbents" | "adopted" | "now">> & ResolveOptions;
  readonly candidates: ReadonlyMap<string, Candidate>;
  /** Pods by the interfaces that their claims or annotations name. */
  readonly claimed: ReadonlyMap<number, readonly Candidate[]>;
  readonly annotated: ReadonlyMap<number, readonly Candidate[]>;
  /** Claimed for a pod that is not known yet. */
  readonly spokenFor: ReadonlySet<number>;
  /** What was looked up among all pods: keys, and addresses. Only these of other nodes' pods matter here. */
  readonly lookedUp: { readonly pods: Set<string>; readonly addresses: Set<string> };
  /** By interface; only those of the links that are there now. */
  readonly claimsOn: ReadonlyMap<number, readonly ClaimedInterface[]>;
}

/** Many reconciliations see the same tables. */
const placesIn = memo(ownersIn);

export function sceneOf(
  cluster: Cluster,
  node: Node,
  given: ResolveOptions,
  refuse: (pod: Pod, reason: string) => void,
): Scene {
  const tables = node.tables();
  const owners = placesIn(tables);
  const options = { incumbents: new Map(), adopted: new Map(), now: "", ...given };
  const live = (given.claims ?? []).filter((claim) => isOf(claim, tables));
  const claimsOf = Map.groupBy(live, ({ pod }) => pod);
  const before = Map.groupBy([...options.incumbents.values()].flat(), (each) => keyOf(each.pod));
  const candidates = new Map<string, Candidate>();
  const claimed = new Map<number, Candidate[]>();
  const annotated = new Map<number, Candidate[]>();
  for (const [key, pod] of podsHere(cluster.pods, given.node)) {
    const claims = claimsOf.get(key) ?? [];
    const addresses = addressesOf({
      claims: claims.map((claim) => claim.addresses),
      status: pod.ips,
      last: (before.get(key) ?? []).flatMap((each) => (maySame(each.pod, pod) ? each.pod.ips : [])),
    });
    const answer = namedBy(pod, claims, node);
    if ("reason" in answer) refuse(pod, answer.reason);
    const named = "links" in answer ? answer.links : undefined;
    const places =
      named === undefined ? addresses.flatMap((each) => bestPlaces({ owners, tables }, each)) : [];
    const candidate: Candidate = { pod, addresses, named, places };
    candidates.set(key, candidate);
    const by = claims.length > 0 ? claimed : annotated;
    for (const { ifindex } of named ?? []) add(by, ifindex, candidate);
  }
  const spokenFor = new Set((claimsOf.get(undefined) ?? []).map(({ ifindex }) => ifindex));
  const claimsOn = Map.groupBy(live, ({ ifindex }) => ifindex);
  const lookedUp = { pods: new Set<string>(), addresses: new Set<string>() };
  return { cluster, tables, owners, options, candidates, claimsOn, claimed, annotated, spokenFor, lookedUp };
}

export function add<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}

/** A claim's link may have gone, and another one have its index. */
const isOf = ({ ifindex, birth }: ClaimedInterface, { links }: NodeTables): boolean => {
  const link = links.get(ifindex);
  return link !== undefined && (birth === undefined || link.birth === undefined || birth === link.birth);
};

/** Pods that may have an interface here. Where pods name their node, one that names none is on no node yet. */
function podsHere(pods: Cluster["pods"], node: string | undefined): ReadonlyMap<string, Pod> {
  const known = followers.get(node);
  if (known !== undefined) return known(pods);
  const podsOn = follow<string, Pod, Map<string, Pod>>(
    () => new Map(),
    (here, { key, after }) => {
      if (after === undefined || !isHere(after, node)) here.delete(key);
      else here.set(key, after);
    },
  );
  followers.set(node, podsOn);
  return podsOn(pods);
}

export const isHere = (pod: Pod, node: string | undefined): boolean =>
  !pod.hostNetwork && (node === undefined || pod.node === node);

/** By the node's name, which is one for a process. */
const followers = new Map<string | undefined, (pods: Cluster["pods"]) => ReadonlyMap<string, Pod>>();

/** Whether two objects of one name may be of one pod. Manifests rarely have uids. */
export const maySame = (a: { readonly uid?: string }, b: { readonly uid?: string }): boolean =>
  a.uid === undefined || b.uid === undefined || a.uid === b.uid;

/** Whether two states of a pod have an address in common. */
export const shareAddress = (a: Pick<Pod, "ips">, b: Pick<Pod, "ips">): boolean =>
  a.ips.some(({ text }) => b.ips.some((other) => other.text === text));

export const PROOF_RANK = new Map(PROOFS.map((proof, index) => [proof, index]));

/** Of the places that may count, those with the strongest proof, the likeliest of these. */
export function bestPlaces(
  { owners, tables }: Pick<Scene, "owners" | "tables">,
  address: Address,
  mayCount: (ifindex: number) => boolean = () => true,
): readonly AddressPlace[] {
  const places = owners
    .placesOf(address)
    .filter(({ ifindex }) => tables.links.has(ifindex) && mayCount(ifindex));
  const weight = ({ proof, rank }: Place): number => (PROOF_RANK.get(proof) ?? 0) * 1e6 + rank;
  const best = Math.min(...places.map(weight));
  return places.filter((place) => weight(place) === best).map((place) => ({ ...place, address }));
}

type Named =
  | { readonly links: readonly NetLink[] }
  | { readonly reason: string }
  | { readonly links?: never };

/** Interfaces that claims, else an annotation, assign to a pod. */
function namedBy(pod: Pod, claims: readonly ClaimedInterface[], node: Node): Named {
  const { links } = node.tables();
  if (claims.length > 0) {
    const own = claims.flatMap(({ ifindex }) => links.get(ifindex) ?? []);
    const other = own.find(({ kind }) => kind !== "veth" && kind !== "netkit");
    return other === undefined ? { links: own } : { reason: `interface ${other.name} is not a veth` };
  }
  return pod.attachment === undefined ? {} : byAnnotation(pod.attachment, node);
}

function byAnnotation(attachment: Attachment, node: Node): Named {
  switch (attachment.kind) {
    case "link": {
      const { name } = attachment;
      const link = linkNamed(node.tables(), name);
      if (link === undefined) return { reason: `interface ${name} does not exist` };
      const why = unsuitable(link);
      return why === undefined ? { links: [link] } : { reason: `interface ${name} ${why}` };
    }
    case "netns":
      return inNamespace(attachment.name, node);
    default:
      return assertNever(attachment, "attachment");
  }
}

/** Interfaces that may be a pod's: anything but the loopback device and bridges, which carry the traffic of others. */
function unsuitable({ name, kind }: NetLink): string | undefined {
  if (name === "lo") return "is the loopback device";
  if (kind === "bridge") return "is a bridge, which carries the traffic of others too";
  return undefined;
}

/** The host sides of all pairs into a namespace. */
function inNamespace(name: string, node: Node): Named {
  let id: number | undefined;
  try {
    id = node.idOf(name);
  } catch (error) {
    return { reason: `network namespace ${name} cannot be read: ${messageOf(error)}` };
  }
  const pairs = [...node.tables().links.values()].filter(
    (link) => id !== undefined && isPairElsewhere(link) && link.peerNetns === id,
  );
  if (pairs.length > 0) return { links: pairs };
  return { reason: `network namespace ${name} has no veth whose other end is on this node` };
}

/** All interfaces of this node into one network namespace, which is one pod's sandbox; one alone where its id is not known. */
export function sandboxOf({ tables }: Scene, ifindex: number): readonly number[] {
  const netns = netnsBehind(tables.links.get(ifindex));
  return (netns === undefined ? undefined : sandboxesIn(tables).get(netns)) ?? [ifindex];
}

const sandboxesIn = memo(({ links }: NodeTables): ReadonlyMap<number, readonly number[]> => {
  const found = new Map<number, number[]>();
  for (const link of links.values()) {
    const netns = netnsBehind(link);
    if (netns !== undefined) add(found, netns, link.ifindex);
  }
  return found;
});

// Which addresses a pod has: one result from all evidence, in whatever order that came.

/** The evidence for a pod's addresses. */
export interface AddressSources {
  /** Of each of its live sandboxes, as reported by the CNI plugin. */
  readonly claims?: readonly (readonly Address[])[];
  /** status.podIPs of its object: empty where there is no object, or where it is not set yet, or has been cleared. */
  readonly status?: readonly Address[];
  /** Those that it had before, where one of its interfaces is still there. */
  readonly last?: readonly Address[];
  /** Addresses that the node routes, one by one, to a further interface of it, and that no other pod has by other evidence. */
  readonly routed?: readonly Address[];
}

/**
 * The plugin's report ranks above the status, which after a new sandbox still has the old address; the status above
 * what was known before. Of two live sandboxes both have theirs. What is seen inside a pod's namespace never counts:
 * gVisor and KubeVirt take the address away there, and a pod may add others.
 */
export function addressesOf({ claims = [], status = [], last = [], routed = [] }: AddressSources): Address[] {
  const claimed = claims.flat();
  const own = claimed.length > 0 ? claimed : status.length > 0 ? status : last;
  return [...new Map([...own, ...routed].map((address) => [address.text, address])).values()];
}
