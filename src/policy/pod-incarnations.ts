// Incarnations: numbers of running pods, by which flows are keyed, so that a pod's interfaces share flows and a later pod inherits none.

import { keyOf, type Pod } from "../model/cluster.ts";
import { INCARNATIONS, NO_INCARNATION } from "../state/desired-state.ts";
import { addressesOfLocal, type LocalEndpoint, podsOf } from "./local-endpoints.ts";

/** The owner for which an interface was numbered. */
export interface Incarnation {
  readonly number: number;
  /** The pods that may have owned it; undefined if an earlier agent numbered it. */
  readonly pods: readonly Pick<Pod, "namespace" | "name" | "uid">[] | undefined;
  readonly addresses: readonly string[];
}

export interface Incarnations {
  /** The last number assigned: numbers are assigned in order, so that each is reused as late as possible. */
  readonly last: number;
  /** By interface index. */
  readonly of: ReadonlyMap<number, Incarnation>;
}

export const NO_INCARNATIONS: Incarnations = { last: NO_INCARNATION, of: new Map() };

/**
 * A number for each endpoint. All interfaces of a pod have the same number, and keep it for as long as one of them exists. A new
 * interface, or one that belongs to another pod than before, gets a number that no endpoint has had. A number is reused only after
 * all others: at one new pod a second that takes half a year, and the longest timeout of a flow is five days.
 */
export function assignIncarnations(locals: readonly LocalEndpoint[], previous: Incarnations): Incarnations {
  const of = new Map<number, Incarnation>();
  const taken = new Set<number>();
  const inUse = new Set([...previous.of.values()].map(({ number }) => number));
  let { last } = previous;
  const inOrder = [...locals].sort((a, b) => a.ifindex - b.ifindex);
  for (const group of Map.groupBy(inOrder, ownerText).values()) {
    const before = group.flatMap((local) => {
      const earlier = previous.of.get(local.ifindex);
      return earlier !== undefined && continues(local, earlier) ? [earlier.number] : [];
    });
    let number = before.find((each) => !taken.has(each));
    while (number === undefined) {
      last = (last % (INCARNATIONS - 1)) + 1;
      if (!inUse.has(last) && !taken.has(last)) number = last;
    }
    taken.add(number);
    for (const local of group)
      of.set(local.ifindex, { number, pods: podsOf(local), addresses: textsOf(local) });
  }
  return { last, of };
}

/** One text for the same pods. */
const ownerText = (local: LocalEndpoint): string =>
  podsOf(local)
    .map((pod) => `${keyOf(pod)} ${pod.uid ?? ""}`)
    .sort()
    .join(",");

/** Sorted. */
const textsOf = (local: LocalEndpoint): string[] =>
  addressesOfLocal(local)
    .map(({ text }) => text)
    .sort();

/** Whether the interface still belongs to the same pod. If only an earlier agent had the owner, addresses are compared. */
function continues(local: LocalEndpoint, { pods, addresses }: Incarnation): boolean {
  if (pods !== undefined)
    return podsOf(local).some((pod) => pods.some((each) => keyOf(each) === keyOf(pod) && maySame(each, pod)));
  const now = textsOf(local);
  return now.length === 0 ? addresses.length === 0 : now.some((text) => addresses.includes(text));
}

/** Manifests rarely have uids. */
const maySame = (a: Pick<Pod, "uid">, b: Pick<Pod, "uid">): boolean =>
  a.uid === undefined || b.uid === undefined || a.uid === b.uid;
