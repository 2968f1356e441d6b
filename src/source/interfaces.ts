// Which host-side interface is whose: pods to links of this node, by annotation, network namespace, or their addresses.

import { assertNever } from "../base/assert.ts";
import { messageOf } from "../base/errors.ts";
import { memo } from "../base/memo.ts";
import { type Attachment, isSelectable, keyOf, type Pod } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";
import type { Node } from "../node/follow.ts";
import { type Owners, ownersIn, PROOFS } from "../node/owners.ts";
import {
  addressesBehind,
  isPairElsewhere,
  linkNamed,
  type NetLink,
  type NodeTables,
} from "../node/tables.ts";

export interface PodInterface {
  readonly pod: Pod;
  readonly ifindex: number;
  readonly name: string;
}

export interface Resolved {
  /** A pod has several where its addresses are behind different interfaces. */
  readonly found: readonly PodInterface[];
  /** Keys of pods that should have an interface here and have none. */
  readonly missing: readonly string[];
  readonly problems: readonly Problem[];
}

export interface ResolveOptions {
  /** The name of this node, where pods tell theirs: those of other nodes then have no interface here, and its own ones must have one. */
  readonly node?: string;
  /** What was found before: of equally likely interfaces an address keeps its own, and a pod its last one that nobody else has. */
  readonly before?: readonly PodInterface[];
  /** What an earlier agent has left in the kernel, by interface index: it counts as found before. */
  readonly inKernel?: ReadonlyMap<number, { readonly addresses: readonly string[] }>;
}

/** That a pod may have an interface; lower weights come first. */
interface Claim {
  readonly pod: Pod;
  readonly link: NetLink;
  readonly weight: readonly number[];
  /** The address that proves it, where one does. */
  readonly address?: string;
}

/** An interface that was an address's; of which pod and by what name, unless an earlier agent found it. */
interface Earlier {
  readonly ifindex: number;
  readonly key?: string;
  readonly name?: string;
}

type Answer = { readonly claims: readonly Claim[] } | { readonly reason: string };

/**
 * Finds the interfaces of every pod. An annotation counts more than an address, a stronger proof (see PROOFS) more than a
 * weaker one, and a pod that is being deleted less than one that is not; then the first in key order. An interface stays a
 * pod's until it has gone, or the pod, or another pod is proved to have it: what proved it may be for the pod to take away,
 * and it would be rid of its policies with it. Without the node's name a pod whose address leads to no interface of this node, and that names none, is taken for a pod of another node.
 */
export function resolveInterfaces(
  pods: Iterable<Pod>,
  node: Node,
  { node: nodeName, before = [], inKernel = new Map() }: ResolveOptions = {},
): Resolved {
  const owners = ownersOf(node.tables());
  const earlier = earlierOf(before, inKernel);
  const problems: Problem[] = [];
  const missing = new Set<string>();
  const claims: Claim[] = [];
  const candidates: Pod[] = [];
  for (const pod of pods) {
    if (!isSelectable(pod) || isElsewhere(pod, nodeName)) continue;
    const answer =
      pod.attachment === undefined
        ? {
            claims: [
              ...byAddress(pod, node.tables(), owners, earlier),
              ...byHabit(pod, node.tables(), earlier),
            ],
          }
        : byAnnotation(pod, pod.attachment, node);
    if ("reason" in answer) {
      missing.add(keyOf(pod));
      problems.push(problemOf(pod, answer.reason));
    } else claims.push(...answer.claims);
    const isHere = nodeName !== undefined && pod.node === nodeName && pod.ips.length > 0;
    if ("claims" in answer && (answer.claims.length > 0 || isHere)) candidates.push(pod);
  }
  const { found, lost } = settle(claims);
  const having = new Set(found.map(({ pod }) => pod));
  for (const pod of candidates.sort(byKey)) {
    if (having.has(pod)) continue;
    const owner = lost.get(pod);
    // The one that takes its place has the interface already.
    if (owner !== undefined && pod.deleting === true) continue;
    missing.add(keyOf(pod));
    if (owner !== undefined)
      problems.push(problemOf(pod, `interface ${owner.name} is already that of pod ${keyOf(owner.pod)}`));
  }
  return { found, missing: [...missing].sort(), problems };
}

/** Many rounds see the same tables. */
const ownersOf = memo(ownersIn);

/** Where pods tell their node, one that tells none is on no node yet. */
const isElsewhere = (pod: Pod, nodeName: string | undefined): boolean =>
  nodeName !== undefined && pod.node !== nodeName;

const byKey = (a: Pod, b: Pod): number => (keyOf(a) < keyOf(b) ? -1 : 1);

/** The runtime has made the interface for the pod; an annotation is only somebody's word. */
const CLAIMED = -2;
const SURE = -1;

type EarlierOf = ReadonlyMap<string, readonly Earlier[]>;

/** By address. */
function earlierOf(
  before: readonly PodInterface[],
  inKernel: NonNullable<ResolveOptions["inKernel"]>,
): EarlierOf {
  const all = [
    ...[...inKernel].flatMap(([ifindex, { addresses }]) =>
      addresses.map((text): [string, Earlier] => [text, { ifindex }]),
    ),
    ...before
      .filter(({ pod }) => pod.attachment === undefined)
      .flatMap(({ pod, ifindex, name }) =>
        pod.ips.map(({ text }): [string, Earlier] => [text, { ifindex, name, key: keyOf(pod) }]),
      ),
  ];
  const found = new Map<string, Earlier[]>();
  for (const [text, each] of all) {
    const there = found.get(text);
    if (there === undefined) found.set(text, [each]);
    else there.push(each);
  }
  return found;
}

/** Weaker than any proof. */
const HABIT = PROOFS.length;

/** Interfaces that were the pod's, under an address that it still has. An index may have been given to another link meanwhile. */
function byHabit(pod: Pod, tables: NodeTables, earlier: EarlierOf): Claim[] {
  return pod.ips.flatMap(({ text }) =>
    (earlier.get(text) ?? []).flatMap(({ ifindex, key = keyOf(pod), name }): Claim[] => {
      const link = tables.links.get(ifindex);
      if (link === undefined || !isPairElsewhere(link)) return [];
      if (key !== keyOf(pod) || (name !== undefined && name !== link.name)) return [];
      return [{ pod, link, weight: [HABIT, pod.deleting === true ? 1 : 0] }];
    }),
  );
}

function byAddress(pod: Pod, tables: NodeTables, owners: Owners, earlier: EarlierOf): Claim[] {
  return pod.ips.flatMap((address) =>
    owners.placesOf(address).flatMap(({ ifindex, proof, rank }): Claim[] => {
      const link = tables.links.get(ifindex);
      if (link === undefined) return [];
      const isHeld = earlier.get(address.text)?.some((each) => each.ifindex === ifindex) === true;
      const weight = [PROOFS.indexOf(proof), pod.deleting === true ? 1 : 0, isHeld ? 0 : 1, rank];
      return [{ pod, link, weight, address: address.text }];
    }),
  );
}

interface Settled {
  readonly found: readonly PodInterface[];
  /** Pods to which an interface was refused that another one has. */
  readonly lost: ReadonlyMap<Pod, PodInterface>;
}

/** Gives each interface to one pod, and each address of a pod one interface. */
function settle(claims: readonly Claim[]): Settled {
  const owners = new Map<number, PodInterface>();
  const placed = new Set<string>();
  const lost = new Map<Pod, PodInterface>();
  for (const { pod, link, address } of [...claims].sort(byWeight)) {
    const own = address === undefined ? undefined : `${keyOf(pod)} ${address}`;
    if (own !== undefined && placed.has(own)) continue;
    const owner = owners.get(link.ifindex);
    if (owner !== undefined && owner.pod !== pod) {
      lost.set(pod, owner);
      continue;
    }
    owners.set(link.ifindex, { pod, ifindex: link.ifindex, name: link.name });
    if (own !== undefined) placed.add(own);
  }
  return { found: [...owners.values()], lost };
}

function byWeight(a: Claim, b: Claim): number {
  const place = a.weight.findIndex((weight, index) => weight !== b.weight[index]);
  if (place < 0) return byKey(a.pod, b.pod);
  return (a.weight[place] ?? SURE) - (b.weight[place] ?? SURE);
}

function byAnnotation(pod: Pod, attachment: Attachment, node: Node): Answer {
  const sure = (link: NetLink): Answer => ({ claims: [{ pod, link, weight: [SURE] }] });
  switch (attachment.kind) {
    case "link": {
      const { name } = attachment;
      const link = linkNamed(node.tables(), name);
      if (link === undefined) return { reason: `interface ${name} does not exist` };
      const why = unsuitable(link);
      return why === undefined ? sure(link) : { reason: `interface ${name} ${why}` };
    }
    case "netns": {
      const answer = inNamespace(attachment.name, pod, node);
      return "reason" in answer ? answer : sure(answer.link);
    }
    case "claim": {
      const link = node.tables().links.get(attachment.ifindex);
      if (link === undefined) return { reason: `interface ${attachment.name} has gone` };
      if (link.kind !== "veth" && link.kind !== "netkit")
        return { reason: `interface ${attachment.name} is no veth` };
      return { claims: [{ pod, link, weight: [CLAIMED] }] };
    }
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

/** The host side of the pair into a namespace: the one behind which an address of the pod is, else the only one. */
function inNamespace(
  name: string,
  pod: Pod,
  node: Node,
): { readonly link: NetLink } | { readonly reason: string } {
  let id: number | undefined;
  try {
    id = node.idOf(name);
  } catch (error) {
    return { reason: `network namespace ${name} cannot be read: ${messageOf(error)}` };
  }
  const tables = node.tables();
  const pairs = [...tables.links.values()].filter(
    (link) => id !== undefined && isPairElsewhere(link) && link.peerNetns === id,
  );
  const own = new Set(pod.ips.map(({ text }) => text));
  const carries = (link: NetLink) => addressesBehind(tables, link).some(({ address }) => own.has(address));
  const withAddress = pairs.filter(carries);
  const [only, second] = withAddress.length > 0 ? withAddress : pairs;
  if (only === undefined)
    return { reason: `network namespace ${name} has no veth whose other end is on this node` };
  if (second !== undefined && withAddress.length === 0) {
    return { reason: `network namespace ${name} has several veths, and none carries an address of the pod` };
  }
  return { link: only };
}

/** Where the attachment is said, unless by the CNI plugin. */
const PATH = {
  link: { path: 'metadata.annotations["weir.dev/interface"]' },
  netns: { path: 'metadata.annotations["weir.dev/netns"]' },
  claim: {},
} as const;

/** What to say where a pod's interface is not to be had. */
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
