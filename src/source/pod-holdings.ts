// What each pod has here: all of its interfaces, its addresses, and for which of them this node has first-hand
// evidence.

import { type Address, parseAddress } from "../base/ip.ts";
import { overlaid } from "../base/versioned-map.ts";
import { decided, isClaimed } from "../model/address-ownership.ts";
import { type Cluster, keyOf, type Pod, type Retained } from "../model/cluster.ts";
import { isUnknown } from "../model/unclaimed-interface.ts";
import { addressesOf, maySame, type Scene, sandboxOf } from "./interface-evidence.ts";
import type { Owner } from "./interface-owners.ts";

/** A pod with all of its interfaces here. */
export interface Holding {
  /** As policies are evaluated for it: with its addresses; retained where its object no longer shows it as running. */
  readonly pod: Pod;
  readonly interfaces: readonly number[];
  /** The evidence for each of these. */
  readonly owners: readonly Owner[];
}

export interface Holdings {
  /** Pods whose addresses are other ones than in their objects, by key. */
  readonly changed: ReadonlyMap<string, Pod>;
  readonly ownership: NonNullable<Cluster["ownership"]>;
  holdingOf(owner: Owner): Holding;
  /** Whether any pod's object has an address. */
  isDeclared(address: string): boolean;
  /** Whether an address is known to be another pod's. */
  isOfAnother(holding: Holding, address: Address): boolean;
}

type Ids = ReadonlyMap<string, { readonly address: Address; readonly ids: readonly string[] }>;

/** `owned`: the owners of each interface. */
export function holdingsOf(scene: Scene, owned: ReadonlyMap<number, readonly Owner[]>): Holdings {
  const { cluster, options } = scene;
  const drafts = draftsOf(scene, owned);
  const appeared = options.appeared ?? new Map();
  const known = firstHandAddresses(scene, drafts, appeared);
  const routed = routedAddresses(scene, { owned, drafts, known });
  const held: Ids = new Map([
    ...known,
    ...[...routed].flatMap(([id, all]) =>
      all.map((address) => [address.text, { address, ids: [id] }] as const),
    ),
  ]);
  const changed = new Map<string, Pod>();
  for (const { pod, addresses } of scene.candidates.values()) {
    const now = withAddresses(pod, addresses);
    if (now !== pod) changed.set(keyOf(pod), now);
  }
  const byId = new Map<string, Holding>();
  for (const [id, draft] of drafts) {
    const ips = addressesOf({ status: draft.pod.ips, routed: routed.get(id) ?? [] });
    const pod = withAddresses(draft.pod, ips);
    byId.set(id, { ...draft, pod });
    if (pod.retained === undefined && pod !== cluster.pods.get(id)) changed.set(id, pod);
  }
  const holders = [...held].map(([text, { address, ids }]) => {
    const all = ids.map((id) => byId.get(id)?.pod as Pod);
    return [
      text,
      { address, holders: all.map((pod) => (pod.retained === undefined ? keyOf(pod) : pod)) },
    ] as const;
  });
  return {
    changed,
    ownership: { held: new Map(holders), appeared },
    isDeclared: (address) => isDeclared(scene, address),
    holdingOf: (owner) => byId.get(idOf(owner)) as Holding,
    isOfAnother({ owners: [owner] }, { text }) {
      const ids = held.get(text)?.ids;
      return ids !== undefined && owner !== undefined && !ids.includes(idOf(owner));
    },
  };
}

function isDeclared({ cluster, lookedUp }: Scene, address: string): boolean {
  lookedUp.addresses.add(address);
  return isClaimed(cluster.pods, address);
}

/** A pod that no longer has an object is not the later one of its name. */
const idOf = ({ pod, why, incumbent }: Owner): string =>
  why === undefined || pod.finished ? keyOf(pod) : `${keyOf(pod)} ${incumbent?.pod.uid ?? ""} (gone)`;

function draftsOf(scene: Scene, owned: ReadonlyMap<number, readonly Owner[]>): Map<string, Holding> {
  const byId = new Map<string, { owners: Owner[]; interfaces: number[] }>();
  for (const [ifindex, owners] of owned) {
    for (const owner of owners) {
      const known = byId.get(idOf(owner)) ?? { owners: [], interfaces: [] };
      byId.set(idOf(owner), known);
      known.owners.push(owner);
      known.interfaces.push(ifindex);
    }
  }
  return new Map([...byId].map(([id, each]) => [id, { ...each, pod: judgedPod(scene, each.owners) }]));
}

/** A pod as policies are evaluated for it, without the addresses that only routes show. */
function judgedPod(scene: Scene, owners: readonly Owner[]): Pod {
  const { cluster, options } = scene;
  const [{ pod, why }] = owners as [Owner];
  const isGone = why !== undefined && !pod.finished;
  const own = isGone ? undefined : scene.candidates.get(keyOf(pod));
  const incumbents = owners.flatMap(({ incumbent }) => incumbent ?? []);
  const ips = own?.addresses ?? addressesOf({ last: incumbents.flatMap((each) => each.pod.ips) });
  if (why === undefined) return withAddresses(pod, ips);
  const isLost = incumbents.some(({ namespace }) => {
    const now = cluster.namespaces.get(pod.namespace);
    return namespace.known && (now === undefined || !maySame(namespace, now));
  });
  const sealed = isLost || isUnknown(pod) || (isGone && options.sealGone === true);
  const retained: Retained = {
    isolated: {
      ingress: isUnknown(pod) || incumbents.some(({ isolated }) => isolated.ingress),
      egress: isUnknown(pod) || incumbents.some(({ isolated }) => isolated.egress),
    },
    ...(sealed ? { sealed } : {}),
    since: incumbents.map(({ lost }) => lost?.since ?? options.now).sort()[0] ?? options.now,
    why,
  };
  const { attachment: _, deleting: __, ...rest } = pod;
  return { ...rest, ips, finished: false, retained };
}

/** Strengths of this node's evidence for an address, the strongest first. Ties are decided as between objects. */
const CLAIMED = 0;
const PROVED = 1;
/** The pod's object no longer shows it as running: as long as no other pod is proved to have the address. */
const RETAINED = 2;

/** Addresses that are known to be behind the interfaces of pods here. */
function firstHandAddresses(
  scene: Scene,
  drafts: ReadonlyMap<string, Holding>,
  appeared: NonNullable<Cluster["ownership"]>["appeared"],
): Map<string, { readonly address: Address; readonly ids: readonly string[] }> {
  const found = new Map<string, { readonly address: Address; readonly by: Map<number, string[]> }>();
  for (const [id, holding] of drafts) {
    for (const address of holding.pod.ips) {
      const strength = strengthOf(scene, holding, address);
      if (strength === undefined) continue;
      const each = found.get(address.text) ?? { address, by: new Map<number, string[]>() };
      found.set(address.text, each);
      each.by.set(strength, [...(each.by.get(strength) ?? []), id]);
    }
  }
  const withOrder: Cluster = { ...scene.cluster, ownership: { held: new Map(), appeared } };
  return new Map(
    [...found].map(([text, { address, by }]) => {
      const strongest = by.get(Math.min(...by.keys())) ?? [];
      const ends = strongest.every((id) => drafts.get(id)?.pod.deleting === true);
      // One that is ending says no more than one that has no object, if they have one interface.
      const ids = ends ? sharing([...by.values()].flat(), strongest, drafts) : strongest;
      const pods = new Map(ids.map((id) => [drafts.get(id)?.pod as Pod, id]));
      if (ids.length === 1 || shareInterface(ids, drafts)) return [text, { address, ids }];
      const left = decided(withOrder, address, [...pods.keys()]);
      return [text, { address, ids: left.map((pod) => pods.get(pod) as string) }];
    }),
  );
}

/**
 * Whether pods have one interface, so that it is ambiguous: then its addresses are, too, whichever object got them last or is
 * being deleted.
 */
function shareInterface(ids: readonly string[], drafts: ReadonlyMap<string, Holding>): boolean {
  const all = ids.flatMap((id) => [...new Set(drafts.get(id)?.interfaces)]);
  return new Set(all).size < all.length;
}

/** Those of all pods that are among the strongest, or have an interface with one of them. */
function sharing(
  all: readonly string[],
  strongest: readonly string[],
  drafts: ReadonlyMap<string, Holding>,
): readonly string[] {
  const interfaces = new Set(strongest.flatMap((id) => drafts.get(id)?.interfaces ?? []));
  return all.filter(
    (id) => strongest.includes(id) || drafts.get(id)?.interfaces.some((each) => interfaces.has(each)),
  );
}

function strengthOf(
  scene: Scene,
  { pod, owners, interfaces }: Holding,
  address: Address,
): number | undefined {
  if (isUnknown(pod)) return undefined;
  if (pod.retained !== undefined) return RETAINED;
  const { named } = scene.candidates.get(keyOf(pod)) ?? {};
  if (named?.some(({ ifindex }) => scene.claimed.has(ifindex)) === true) return CLAIMED;
  const sandboxes = new Set(interfaces.flatMap((ifindex) => sandboxOf(scene, ifindex)));
  if (scene.owners.placesOf(address).some(({ ifindex }) => sandboxes.has(ifindex))) return PROVED;
  // The address is no longer seen there, which disproves nothing.
  const had = owners.some(({ incumbent }) => incumbent?.pod.ips.some(({ text }) => text === address.text));
  return had ? PROVED : undefined;
}

interface Routing {
  readonly owned: ReadonlyMap<number, readonly Owner[]>;
  readonly drafts: ReadonlyMap<string, Holding>;
  readonly known: ReadonlyMap<string, unknown>;
}

/**
 * Whether an interface is a further one of a pod (the second veth that some plugins make for IPv4, Multus): one behind
 * which there is none of the pod's known addresses, while another one into its namespace has them.
 */
export function isFurther(scene: Scene, pod: Pod, ifindex: number): boolean {
  const carries = (each: number): boolean =>
    scene.claimed.has(each) ||
    pod.ips.some((address) => scene.owners.placesOf(address).some((place) => place.ifindex === each));
  return !carries(ifindex) && sandboxOf(scene, ifindex).some(carries);
}

/**
 * Addresses that the node routes to a further interface of a pod, and that no other pod has by other evidence; by the
 * pod's id. To the one that carries its own addresses the node may route others (those of a VPN, say), which count for
 * the pod only where an annotation allows them.
 */
function routedAddresses(scene: Scene, { owned, drafts, known }: Routing): Map<string, Address[]> {
  const found = new Map<string, Address[]>();
  for (const [id, { pod, interfaces }] of drafts) {
    if (isUnknown(pod)) continue;
    const certain = interfaces.filter(
      (ifindex) => owned.get(ifindex)?.length === 1 && isFurther(scene, pod, ifindex),
    );
    const own = new Set(pod.ips.map(({ text }) => text));
    const more = certain
      .flatMap((ifindex) => scene.owners.routedTo(ifindex))
      .filter((text) => !own.has(text) && !known.has(text) && !isDeclared(scene, text));
    const addresses = more.flatMap((text) => {
      const parsed = parseAddress(text);
      return parsed.ok ? [parsed.value] : [];
    });
    if (addresses.length > 0) found.set(id, addresses);
  }
  return found;
}

/** The same object for the same addresses, so that a comparison by identity sees an unchanged pod. */
function withAddresses(pod: Pod, ips: readonly Address[]): Pod {
  if (pod.ips.length === ips.length && pod.ips.every(({ text }, index) => text === ips[index]?.text))
    return pod;
  const key = ips.map(({ text }) => text).join(" ");
  const before = made.get(pod);
  if (before?.key === key) return before.pod;
  const now = { ...pod, ips };
  made.set(pod, { key, pod: now });
  return now;
}

const made = new WeakMap<Pod, { readonly key: string; readonly pod: Pod }>();

const lastReplaced = new WeakMap<
  Cluster["pods"],
  { readonly changed: ReadonlyMap<string, Pod>; readonly pods: Cluster["pods"] }
>();

/** The same map for the same changes. */
export function replaced(pods: Cluster["pods"], changed: ReadonlyMap<string, Pod>): Cluster["pods"] {
  if (changed.size === 0) return pods;
  const before = lastReplaced.get(pods);
  const isSame =
    before?.changed.size === changed.size &&
    [...changed].every(([key, pod]) => before.changed.get(key) === pod);
  if (before !== undefined && isSame) return before.pods;
  const now = overlaid(pods, changed);
  lastReplaced.set(pods, { changed, pods: now });
  return now;
}
