// The owners of each interface: the evidence, ranked (docs/decisions/0019).
//
// An interface belongs to a pod by the strongest of these that there is:
//   1. claim       the pod for which the runtime made it (its container's sandbox, reported by the CNI plugin)
//   2. incumbent   the pod that had it before, while it is the same link; what an annotation names goes before a pod
//                  without other evidence
//   3. namespace   the pod that has another interface into the same network namespace, by 1 or 2
//   4. addresses   the pod whose address is behind it: by a host route, in its namespace, by a bridge's port, by a prefix;
//                  then an ended pod for which this was true before (see Incumbent.provisional). The interfaces of known pods
//                  count only where the address is behind no other
// Of pods that are equal there, one that has not finished goes before one that has, one that is not being deleted before one
// that is, and the one whose object got the address last. What is still equal is ambiguous: the policies of all hold.

import type { Address } from "../base/ip.ts";
import { keyOf, type Pod } from "../model/cluster.ts";
import { isUnknown, unknownPod } from "../model/unclaimed-interface.ts";
import { isPairElsewhere } from "../node/node-tables.ts";
import {
  add,
  bestPlaces,
  type Candidate,
  type Incumbent,
  maySame,
  PROOF_RANK,
  type Scene,
  sandboxOf,
  shareAddress,
} from "./interface-evidence.ts";

/** A pod that has an interface. */
export interface Owner {
  readonly pod: Pod;
  readonly incumbent?: Incumbent;
  /** Why its object no longer shows it as running; absent where it does. */
  readonly why?: string;
  /** Its object runs elsewhere: a running pod whose address is here has the interface instead. */
  readonly hasLeft?: true;
}

/** Owners by interface; unclaimed interfaces are not among them. */
export function ownersOf(scene: Scene): Map<number, readonly Owner[]> {
  const { tables, claimed, annotated, options } = scene;
  const asked = new Set([
    ...tables.links.values().flatMap((link) => (isPairElsewhere(link) ? [link.ifindex] : [])),
    ...claimed.keys(),
    ...annotated.keys(),
    ...options.incumbents.keys(),
  ]);
  const first = new Map<number, readonly Owner[]>();
  for (const ifindex of asked) {
    const owners = firstHand(scene, ifindex);
    if (owners.length > 0) first.set(ifindex, owners);
  }
  const evidence = evidenceByInterface(scene, first);
  const found = new Map<number, readonly Owner[]>();
  for (const ifindex of asked) {
    const sandbox = sandboxOf(scene, ifindex);
    const own = first.get(ifindex);
    const owners =
      own === undefined
        ? distinct(sandbox.flatMap((each) => first.get(each) ?? []))
        : (successors(scene, own, { sandbox, evidence }) ??
          distinct([
            ...remaining(own),
            ...contradicting(scene, own, { ifindex, evidence }),
            ...contending(scene, own, { sandbox, evidence }),
          ]));
    const before = incumbentsOf(scene, ifindex, { provisional: true });
    const best = owners.length > 0 ? owners : ownersByAddress(scene, sandbox, evidence);
    // One whose object still says that it runs may have the interface as well: the policies of both hold. Only a running pod
    // succeeds one that does not.
    const rivals = claimed.has(ifindex)
      ? []
      : before.filter((each) => isRunning(each) || !best.some(isRunning));
    const all = best.length > 0 ? distinct([...best, ...rivals]) : before;
    const last = all.length > 0 ? all : unknownOwners(scene, ifindex);
    if (last.length > 0) found.set(ifindex, last);
  }
  return found;
}

const isRunning = ({ pod, why }: Owner): boolean => why === undefined && pod.deleting !== true;

/** An interface that was made for a pod that is not known yet is not another pod's, whatever the addresses of others. */
function ownersByAddress(
  scene: Scene,
  sandbox: readonly number[],
  evidence: ReadonlyMap<number, readonly Evidence[]>,
): readonly Owner[] {
  if (sandbox.some((each) => scene.spokenFor.has(each))) return [];
  return likeliest(
    scene,
    sandbox.flatMap((each) => evidence.get(each) ?? []),
  );
}

/**
 * The running pods whose address is behind the interface, where all who had it have left: their objects name other
 * addresses, which are behind other interfaces. An old status at a restart of the node may have named the wrong pod.
 */
function successors(
  scene: Scene,
  owners: readonly Owner[],
  {
    sandbox,
    evidence,
  }: { readonly sandbox: readonly number[]; readonly evidence: ReadonlyMap<number, readonly Evidence[]> },
): readonly Owner[] | undefined {
  if (!owners.every(({ hasLeft }) => hasLeft === true)) return undefined;
  const running = sandbox
    .flatMap((each) => evidence.get(each) ?? [])
    .filter(({ candidate: { pod } }) => !pod.finished && pod.deleting !== true);
  return running.length === 0 ? undefined : likeliest(scene, running);
}

/** Without those that have left, where a running pod remains. */
function remaining(owners: readonly Owner[]): readonly Owner[] {
  const stay = owners.filter(({ hasLeft }) => hasLeft !== true);
  return stay.some(({ why }) => why === undefined) ? stay : owners;
}

/**
 * Running pods whose addresses are here and nowhere else, though another had the interface first, where nobody knows whether
 * that one's object was old: after a restart of the node the object of a pod that cannot start names an address that is the
 * next pod's by then. A claim or an annotation decides. Manifests have no statuses that could be old, and no uids.
 */
function contending(
  scene: Scene,
  owners: readonly Owner[],
  {
    sandbox,
    evidence,
  }: { readonly sandbox: readonly number[]; readonly evidence: ReadonlyMap<number, readonly Evidence[]> },
): readonly Owner[] {
  const { claimed, annotated, spokenFor } = scene;
  if (sandbox.some((each) => claimed.has(each) || annotated.has(each) || spokenFor.has(each))) return [];
  if (!owners.some(({ incumbent }) => incumbent?.unwitnessed === true)) return [];
  return sandbox
    .flatMap((each) => evidence.get(each) ?? [])
    .filter(
      ({ contends, candidate: { pod } }) =>
        contends && pod.uid !== undefined && !pod.finished && pod.deleting !== true,
    )
    .map(({ candidate }) => ownerOf(scene, candidate, -1));
}

/** The owners of an interface by first-hand evidence: claims, annotations, and who had it. */
function firstHand(scene: Scene, ifindex: number): readonly Owner[] {
  const claimed = scene.claimed.get(ifindex);
  if (claimed !== undefined) return claimed.map((each) => ownerOf(scene, each, ifindex));
  const incumbents = incumbentsOf(scene, ifindex, { provisional: false });
  const annotated = foremost(scene.annotated.get(ifindex) ?? []).map((each) => ownerOf(scene, each, ifindex));
  const isAnnotated = ({ pod }: Owner): boolean => annotated.some((each) => each.pod === pod);
  if (annotated.length === 0) return incumbents;
  const both = incumbents.filter(isAnnotated);
  const named = both.length > 0 ? both : annotated;
  // A pod that had it as one of several is no reason for the others to lose it.
  const rivals = incumbents.filter((each) => !isAnnotated(each) && isSupported(scene, each, ifindex));
  return [...named, ...rivals];
}

/** Whether there is evidence, besides having had it, that a running pod has an interface. */
function isSupported(scene: Scene, { pod, why }: Owner, ifindex: number): boolean {
  if (why !== undefined) return false;
  const sandbox = sandboxOf(scene, ifindex);
  const { named, places = [] } = scene.candidates.get(keyOf(pod)) ?? {};
  return [...(named ?? []), ...places].some((each) => sandbox.includes(each.ifindex));
}

/**
 * Pods whose addresses are behind an interface that only an annotation assigns to another: where the annotated pod has
 * that address too, the annotation decides between them; where not, they contradict each other.
 */
function contradicting(
  scene: Scene,
  owners: readonly Owner[],
  {
    ifindex,
    evidence,
  }: { readonly ifindex: number; readonly evidence: ReadonlyMap<number, readonly Evidence[]> },
): readonly Owner[] {
  const named = scene.annotated.get(ifindex);
  if (named === undefined || scene.claimed.has(ifindex)) return [];
  if ((scene.options.incumbents.get(ifindex) ?? []).length > 0) return [];
  const own = new Set(
    owners.flatMap(({ pod }) => (scene.candidates.get(keyOf(pod))?.addresses ?? []).map(({ text }) => text)),
  );
  const others = sandboxOf(scene, ifindex).flatMap((each) => evidence.get(each) ?? []);
  return likeliest(
    scene,
    others.filter(({ address }) => !own.has(address.text)),
  );
}

/** The pods that had an interface, as they are now: those that are sure to have had it, or the provisional ones. */
function incumbentsOf(
  scene: Scene,
  ifindex: number,
  { provisional }: { readonly provisional: boolean },
): readonly Owner[] {
  const { incumbents, adopted } = scene.options;
  const known = incumbents.get(ifindex);
  if (known !== undefined)
    return known
      .filter((each) => !isUnknown(each.pod) && (each.provisional === true) === provisional)
      .map((incumbent) => asNow(scene, incumbent, ifindex));
  if (provisional) return [];
  const texts = new Set(adopted.get(ifindex)?.addresses ?? []);
  if (texts.size === 0) return [];
  // An earlier agent found it to be that of the pod with these addresses.
  const here = [...scene.candidates.values()].filter(
    ({ named, addresses }) => named === undefined && addresses.some(({ text }) => texts.has(text)),
  );
  return foremost(here).map((each) => ownerOf(scene, each, ifindex));
}

function asNow(scene: Scene, incumbent: Incumbent, ifindex: number): Owner {
  const { pod } = incumbent;
  const gone = (why: string): Owner => ({ pod, incumbent, why });
  scene.lookedUp.pods.add(keyOf(pod));
  const object = scene.cluster.pods.get(keyOf(pod));
  if (object === undefined) return gone("its object was deleted");
  if (!maySame(pod, object)) return gone("its object was deleted, and another pod has its name");
  const candidate = scene.candidates.get(keyOf(pod));
  if (candidate === undefined) return gone("its object is of another node");
  if (hasLeft(scene, pod, candidate, ifindex))
    return { ...gone("its object names other addresses, which are behind another interface"), hasLeft: true };
  return ownerOf(scene, candidate, ifindex, incumbent);
}

/** Whether the object names none of the addresses that the pod had here, and has an interface elsewhere. */
function hasLeft(scene: Scene, before: Pod, { pod, named, places }: Candidate, ifindex: number): boolean {
  const sandbox = sandboxOf(scene, ifindex);
  const elsewhere = [...(named ?? []), ...places];
  if (elsewhere.length === 0 || elsewhere.some((each) => sandbox.includes(each.ifindex))) return false;
  return !shareAddress(pod, before);
}

function ownerOf(scene: Scene, { pod }: Candidate, ifindex: number, given?: Incumbent): Owner {
  const incumbent =
    given ??
    scene.options.incumbents
      .get(ifindex)
      ?.find((each) => keyOf(each.pod) === keyOf(pod) && maySame(each.pod, pod));
  return {
    pod,
    ...(incumbent === undefined ? {} : { incumbent }),
    ...(pod.finished ? { why: "its phase is Succeeded or Failed" } : {}),
  };
}

interface Evidence {
  readonly candidate: Candidate;
  readonly proof: number;
  readonly address: Address;
  /** The interface is first-hand another's, and the pod has none elsewhere. */
  readonly contends: boolean;
}

/**
 * Whose addresses are behind each interface. A pod that has interfaces first-hand has others only by a stronger proof.
 * The other pods' interfaces count for a pod only where its addresses are nowhere else, however strong the proof: a pod with
 * CAP_NET_ADMIN may put any address into its own network namespace.
 */
function evidenceByInterface(
  scene: Scene,
  first: ReadonlyMap<number, readonly Owner[]>,
): Map<number, readonly Evidence[]> {
  const owned = new Map<Pod, number[]>();
  for (const [ifindex, owners] of first) for (const { pod } of owners) add(owned, pod, ifindex);
  const isTaken = (ifindex: number): boolean =>
    sandboxOf(scene, ifindex).some((each) => first.get(each)?.some(({ hasLeft }) => hasLeft !== true));
  const found = new Map<number, Evidence[]>();
  for (const candidate of scene.candidates.values()) {
    const own = new Set((owned.get(candidate.pod) ?? []).flatMap((ifindex) => sandboxOf(scene, ifindex)));
    const isOthers = (ifindex: number): boolean => !own.has(ifindex) && isTaken(ifindex);
    const free = candidate.places.some(({ ifindex }) => isOthers(ifindex))
      ? candidate.addresses.flatMap((each) => bestPlaces(scene, each, (ifindex) => !isOthers(ifindex)))
      : candidate.places;
    for (const { ifindex, proof, address } of free.length > 0 ? free : candidate.places) {
      const rank = PROOF_RANK.get(proof) ?? 0;
      const proofHere = scene.owners
        .placesOf(address)
        .filter((place) => own.has(place.ifindex))
        .map((place) => PROOF_RANK.get(place.proof) ?? 0);
      if (proofHere.length > 0 && Math.min(...proofHere) <= rank) continue;
      add(found, ifindex, { candidate, proof: rank, address, contends: own.size === 0 && isOthers(ifindex) });
    }
  }
  return found;
}

/** The pods with the strongest evidence; of those that are equal there, the foremost. */
function likeliest(scene: Scene, evidence: readonly Evidence[]): readonly Owner[] {
  const best = Math.min(...evidence.map(({ proof }) => proof));
  const strongest = evidence.filter(({ proof }) => proof === best);
  const first = new Set(foremost(strongest.map(({ candidate }) => candidate)));
  const left = strongest.filter(({ candidate }) => first.has(candidate));
  const byAddress = [...Map.groupBy(left, ({ address }) => address.text).values()].flatMap((same) => {
    const at = ({ candidate, address }: Evidence): number =>
      scene.options.appeared?.get(address.text)?.get(keyOf(candidate.pod)) ?? 0;
    const newest = Math.max(...same.map(at));
    return same.filter((each) => at(each) === newest);
  });
  return distinct(byAddress.map(({ candidate }) => ownerOf(scene, candidate, -1)));
}

const preferring = <T>(all: readonly T[], isBetter: (one: T) => boolean): readonly T[] =>
  all.some(isBetter) ? all.filter(isBetter) : all;

/** Those that run, if any does; of these those that are not being deleted. */
const foremost = (all: readonly Candidate[]): readonly Candidate[] =>
  preferring(
    preferring(all, ({ pod }) => !pod.finished),
    ({ pod }) => pod.deleting !== true,
  );

/** One for each pod, in a stable order, for people. */
function distinct(owners: readonly Owner[]): readonly Owner[] {
  const byId = new Map(
    owners.map((owner) => [`${keyOf(owner.pod)} ${owner.why ?? ""} ${owner.pod.uid ?? ""}`, owner]),
  );
  return [...byId].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, owner]) => owner);
}

/** A pod must have been isolated there; there is no evidence which. */
function unknownOwners({ options, tables }: Scene, ifindex: number): readonly Owner[] {
  const name = tables.links.get(ifindex)?.name ?? String(ifindex);
  const known = options.incumbents.get(ifindex)?.find(({ pod }) => isUnknown(pod));
  if (known !== undefined) return [{ pod: known.pod, incumbent: known, why: UNKNOWN_WHY }];
  const left = options.incumbents.has(ifindex) ? undefined : options.adopted.get(ifindex);
  if (left?.isolated !== true) return [];
  return [{ pod: unknownPod(name), why: UNKNOWN_WHY }];
}

const UNKNOWN_WHY = "an earlier agent isolated it, and its pod is unknown";
