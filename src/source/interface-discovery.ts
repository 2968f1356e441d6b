// The owner of each host-side interface, and of each address: the evidence (interface-evidence.ts), the owners of
// interfaces by it (interface-owners.ts), and what follows for addresses (pod-holdings.ts).

import { append } from "../base/append.ts";
import { type Address, parseAddress } from "../base/ip.ts";
import { sameItems } from "../base/stage.ts";
import { changesBetween } from "../base/versioned-map.ts";
import { type Cluster, isSelectable, keyOf, type Pod, type Surroundings } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";
import { isUnknown } from "../model/unclaimed-interface.ts";
import type { Node } from "../node/netlink-watch.ts";
import { addressesBehind } from "../node/node-tables.ts";
import {
  type Candidate,
  isHere,
  type Lost,
  type ResolveOptions,
  type Scene,
  sceneOf,
} from "./interface-evidence.ts";
import { type Owner, ownersOf } from "./interface-owners.ts";
import { type LinkBinding, linkBindings } from "./link-bindings.ts";
import { type Holding, type Holdings, holdingsOf, isFurther, replaced } from "./pod-holdings.ts";

export type { Adopted, ClaimedInterface, Incumbent, Lost, ResolveOptions } from "./interface-evidence.ts";

export interface PodInterface {
  readonly pod: Pod;
  /** Other pods that may have it, where the evidence does not decide. */
  readonly rivals?: readonly Pod[];
  readonly ifindex: number;
  readonly name: string;
  /** The source addresses allowed on it. */
  readonly addresses: readonly Address[];
  /** The binding of its frames. */
  readonly link?: LinkBinding;
  /** The MAC address that the pod is bound to, even where another owner has it. */
  readonly hardware?: string;
  /** The CNI plugin has said that it is the pod's. */
  readonly claimed?: true;
  /** Why, and since when, the pod's earlier ownership is the only evidence that the interface is its own. */
  readonly lost?: Lost;
}

export interface Resolved {
  /** The cluster with the addresses that its pods have, and the evidence of this node for them. */
  readonly cluster: Cluster;
  /** By interface index. A pod has several where several lead into its namespace. */
  readonly found: readonly PodInterface[];
  /** Keys of pods that should have an interface here and have none. */
  readonly missing: readonly string[];
  readonly problems: readonly Problem[];
  /** Of the node's tables that this comes from. */
  readonly surroundings?: Surroundings;
}

export const resolveInterfaces = (cluster: Cluster, node: Node, options: ResolveOptions = {}): Resolved =>
  resolve(cluster, node, options).resolved;

interface Resolution {
  readonly resolved: Resolved;
  readonly scene: Scene;
  readonly changed: Holdings["changed"];
}

/**
 * As resolveInterfaces. What it has found stays the same, and takes the time of the changed pods, while nothing changes that it
 * depends on: pods of other nodes matter only where they have been looked up.
 */
export function openInterfaceResolver(): typeof resolveInterfaces {
  let last: Resolution | undefined;
  return (cluster, node, options = {}) => {
    if (last === undefined || !isAsBefore(last, { cluster, node, options })) {
      last = resolve(cluster, node, options);
      return last.resolved;
    }
    const { ownership } = last.resolved.cluster;
    const pods = replaced(cluster.pods, last.changed);
    const resolved = {
      ...last.resolved,
      cluster: { ...cluster, pods, ...(ownership === undefined ? {} : { ownership }) },
    };
    last = { ...last, resolved, scene: { ...last.scene, cluster } };
    return resolved;
  };
}

function isAsBefore(
  { scene }: Resolution,
  {
    cluster,
    node,
    options,
  }: { readonly cluster: Cluster; readonly node: Node; readonly options: ResolveOptions },
): boolean {
  const { cluster: before, options: given, lookedUp } = scene;
  if (
    scene.tables !== node.tables() ||
    before.namespaces !== cluster.namespaces ||
    before.nodes !== cluster.nodes
  )
    return false;
  const isSame =
    options.node !== undefined &&
    options.node === given.node &&
    sameItems(options.claims ?? [], given.claims ?? []) &&
    options.incumbents === given.incumbents &&
    options.adopted === given.adopted &&
    options.bound === given.bound &&
    options.appeared === given.appeared &&
    options.sealGone === given.sealGone;
  if (!isSame) return false;
  // What is at a path may change without an event.
  if (scene.candidates.values().some(({ pod }) => pod.attachment?.kind === "netns")) return false;
  for (const { key, before: was, after } of changesBetween(before.pods, cluster.pods)) {
    if (lookedUp.pods.has(key)) return false;
    for (const pod of [was, after])
      if (
        pod !== undefined &&
        (isHere(pod, options.node) || pod.ips.some(({ text }) => lookedUp.addresses.has(text)))
      )
        return false;
  }
  return true;
}

function resolve(cluster: Cluster, node: Node, options: ResolveOptions): Resolution {
  const problems: Problem[] = [];
  const missing = new Set<string>();
  const scene = sceneOf(cluster, node, options, (pod, reason) => {
    missing.add(keyOf(pod));
    problems.push(problemOf(pod, reason));
  });
  const owned = ownersOf(scene);
  const holdings = holdingsOf(scene, owned);
  const found = bound(
    scene,
    [...owned]
      .sort(([a], [b]) => a - b)
      .map(([ifindex, owners]) => interfaceOf(scene, holdings, { ifindex, owners })),
    problems,
  );
  const having = new Set([...owned.values()].flat().map(({ pod }) => pod));
  for (const candidate of scene.candidates.values()) {
    const { pod, named, places } = candidate;
    if (!isSelectable(pod) || having.has(pod) || missing.has(keyOf(pod))) continue;
    const isHere = options.node !== undefined && pod.ips.length > 0;
    if (named === undefined && places.length === 0 && !isHere) continue;
    const taken = takenFrom(candidate, owned);
    // The pod that replaces it has the interface already.
    if (taken !== undefined && pod.deleting === true) continue;
    missing.add(keyOf(pod));
    if (taken === undefined) continue;
    const name = scene.tables.links.get(taken.ifindex)?.name;
    problems.push(problemOf(pod, `interface ${name} already belongs to pod ${namesOf(taken.owners)}`));
  }
  append(problems, found.flatMap(interfaceProblems));
  const { changed, ownership } = holdings;
  const resolved = {
    cluster: { ...cluster, pods: replaced(cluster.pods, changed), ownership },
    found,
    missing: [...missing].sort(),
    problems,
  };
  return { resolved, scene, changed };
}

/** With the bindings of their frames. */
function bound(scene: Scene, found: readonly PodInterface[], problems: Problem[]): readonly PodInterface[] {
  const bindings = linkBindings(
    scene,
    found.map(({ ifindex, pod, rivals = [] }) => ({ ifindex, pods: [pod, ...rivals] })),
  );
  return found.map((each) => {
    const binding = bindings.get(each.ifindex);
    if (binding === undefined) return each;
    const { link, hardware } = binding;
    append(problems, binding.problems);
    return { ...each, link, ...(hardware === undefined ? {} : { hardware }) };
  });
}

const namesOf = (owners: readonly Owner[]): string => owners.map(({ pod }) => keyOf(pod)).join(" or ");

/** The interface that would be the pod's if it were not another's. */
function takenFrom({ named = [], places }: Candidate, owned: ReadonlyMap<number, readonly Owner[]>) {
  for (const { ifindex } of [...named, ...places]) {
    const owners = owned.get(ifindex);
    if (owners !== undefined) return { ifindex, owners };
  }
  return undefined;
}

interface Owned {
  readonly ifindex: number;
  readonly owners: readonly Owner[];
}

function interfaceOf(scene: Scene, holdings: Holdings, { ifindex, owners }: Owned): PodInterface {
  const [first, ...others] = owners.map(holdings.holdingOf) as [Holding, ...Holding[]];
  const own = (holding: Holding): readonly Address[] =>
    holding.pod.ips.filter((address) => !holdings.isOfAnother(holding, address));
  const addresses =
    others.length === 0
      ? [...own(first), ...furtherAddresses(scene, holdings, { ifindex, holding: first })]
      : own(first).filter(({ text }) =>
          others.every((other) => own(other).some((address) => address.text === text)),
        );
  const lost = lostOf(scene, first, owners[0] as Owner);
  return {
    pod: first.pod,
    ...(others.length === 0 ? {} : { rivals: others.map(({ pod }) => pod) }),
    ifindex,
    name: scene.tables.links.get(ifindex)?.name ?? "",
    addresses,
    ...(lost === undefined || others.length > 0 ? {} : { lost }),
    ...(scene.claimed.has(ifindex) ? { claimed: true as const } : {}),
  };
}

/**
 * The source addresses of a further interface to which the node routes nothing: the addresses at its other end, for
 * lack of other evidence. None that is another pod's.
 */
function furtherAddresses(
  scene: Scene,
  holdings: Holdings,
  { ifindex, holding }: { readonly ifindex: number; readonly holding: Holding },
): readonly Address[] {
  const link = scene.tables.links.get(ifindex);
  if (link === undefined || !isFurther(scene, holding.pod, ifindex)) return [];
  return addressesBehind(scene.tables, link)
    .map(({ address }) => address)
    .filter((text) => !holdings.isDeclared(text))
    .flatMap((text) => {
      const parsed = parseAddress(text);
      return parsed.ok && !holdings.isOfAnother(holding, parsed.value) ? [parsed.value] : [];
    });
}

/** Why, and since when, an interface is the pod's only because it was before. */
function lostOf(scene: Scene, { pod }: Holding, { incumbent }: Owner): Lost | undefined {
  if (pod.retained !== undefined) return { since: pod.retained.since, why: pod.retained.why };
  const candidate = scene.candidates.get(keyOf(pod));
  if (incumbent === undefined || candidate === undefined || candidate.named !== undefined) return undefined;
  const why =
    candidate.pod.ips.length === 0
      ? "its status has no address any more"
      : candidate.places.length === 0
        ? "none of its addresses is seen behind it any more"
        : undefined;
  return why === undefined ? undefined : { since: incumbent.lost?.since ?? scene.options.now, why };
}

function interfaceProblems({ pod, rivals = [], name }: PodInterface): Problem[] {
  const about = (reason: string, effect: string): Problem[] => [
    { severity: "warning", object: `interface ${name}`, reason, effect, topic: "interface" },
  ];
  if (rivals.length > 0) {
    const all = [pod, ...rivals].map(keyOf).join(" or of ");
    return about(
      `it may belong to pod ${all}: which one is ambiguous`,
      "the policies of all of them apply together",
    );
  }
  if (!isUnknown(pod) || pod.retained === undefined) return [];
  return about(pod.retained.why, "everything is denied to and from it until its pod is known");
}

/** Where an annotation is. */
const PATH = {
  link: { path: 'metadata.annotations["weir.dev/interface"]' },
  netns: { path: 'metadata.annotations["weir.dev/netns"]' },
} as const;

/** The problem of a pod whose interface cannot be used. */
function problemOf(pod: Pod, reason: string): Problem {
  const path = pod.attachment === undefined ? {} : PATH[pod.attachment.kind];
  return {
    severity: "error",
    object: `Pod ${keyOf(pod)}`,
    ...path,
    reason,
    effect: "the pod is not enforced",
    topic: "interface",
  };
}
