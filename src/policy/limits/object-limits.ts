// Limits on objects other than rules: endpoints, their sources, addresses of pods, Services. What a namespace has beyond its
// share is left out in key order, and always so that this only denies more.

import { present } from "../../base/assert.ts";
import type { Family } from "../../base/ip.ts";
import { holdersText } from "../../model/address-ownership.ts";
import { keyOf, namespaceOf } from "../../model/cluster.ts";
import type { FrontendExcess } from "../../model/frontend-shares.ts";
import { type Frontend, frontendKey } from "../../model/frontends.ts";
import { closedKey } from "../../state/desired-state.ts";
import type { Draft } from "../enforced-policies.ts";
import { addressesOfLocal, type LocalEndpoint, podsOf } from "../local-endpoints.ts";
import type { Behind } from "../service-groups.ts";
import { beyond, type Excess, type Limited } from "./fair-shares.ts";

/** Pods of this node that exceed capacity: their interfaces drop everything, since peers could not be distinguished there. */
export function endpointsShut(
  locals: readonly LocalEndpoint[],
  capacity: number,
): { readonly shut: readonly LocalEndpoint[]; readonly excesses: readonly Excess[] } {
  if (locals.length <= capacity) return { shut: [], excesses: [] };
  const { surplus, ...share } = beyond(inOrder(locals), ({ pod }) => pod.namespace, capacity);
  const excesses = surplus.map(({ pod }) =>
    excessOf(share, {
      limit: "endpoints",
      namespace: pod.namespace,
      object: `Pod ${keyOf(pod)}`,
      effect: "everything is denied to and from its interface",
      capacity,
    }),
  );
  return { shut: surplus, excesses };
}

/** The sources of each endpoint besides its own addresses, as far as they fit: `sources` by interface index, as texts of one family. */
export function sourcesCut(
  locals: readonly LocalEndpoint[],
  {
    family,
    capacity,
    sources,
  }: {
    readonly family: Family;
    readonly capacity: number;
    readonly sources: ReadonlyMap<number, readonly string[]>;
  },
): { readonly cut: ReadonlyMap<number, ReadonlySet<string>>; readonly excesses: readonly Excess[] } {
  const isOfFamily = (text: string): boolean => text.includes(":") === (family === 6);
  const all = inOrder(locals).flatMap(({ pod, ifindex }) =>
    (sources.get(ifindex) ?? []).filter(isOfFamily).map((text) => ({ pod, ifindex, text })),
  );
  const cut = new Map<number, Set<string>>();
  if (all.length <= capacity) return { cut, excesses: [] };
  const { surplus, ...share } = beyond(all, ({ pod }) => pod.namespace, capacity);
  for (const { ifindex, text } of surplus) {
    const there = cut.get(ifindex) ?? new Set();
    cut.set(ifindex, there.add(text));
  }
  const excesses = [...Map.groupBy(surplus, ({ pod }) => keyOf(pod))].map(([key, own]) =>
    excessOf(share, {
      limit: `IPv${family} sources`,
      namespace: (own[0] as (typeof own)[number]).pod.namespace,
      object: `Pod ${key}`,
      effect: `what it sends from ${own.length === 1 ? own[0]?.text : `${own[0]?.text} and ${own.length - 1} more`} is dropped`,
      capacity,
    }),
  );
  return { cut, excesses };
}

interface Cut {
  readonly addresses: ReadonlySet<string>;
  readonly excesses: readonly Excess[];
}

/**
 * Addresses of pods that are to be judged as if no pod had them, so that they lose what selectors allow. Those that no selector
 * distinguishes from their prefix need no entry, and are never among them. Undefined if all fit.
 */
export function addressesLeftOut(
  contents: Draft,
  {
    family,
    capacity,
    locals,
  }: { readonly family: Family; readonly capacity: number; readonly locals: readonly LocalEndpoint[] },
): Cut | undefined {
  const { classified, behind, closed } = contents;
  if (classified.addresses.size + behind.size + 1 <= capacity) return undefined;
  const ofServices = new Set(
    behind
      .values()
      .map(({ frontend }) => frontend.address)
      .filter((address) => address.family === family)
      .map(({ text }) => text),
  );
  // Those of Services that are denied as a whole have one entry together.
  if (closed.words.length > 0) ofServices.add(closedKey(family));
  const isOfFamily = (text: string): boolean => text.includes(":") === (family === 6);
  const ofPods = [...classified.addresses.keys()].filter((text) => isOfFamily(text) && !ofServices.has(text));
  const free = capacity - ofServices.size;
  if (ofPods.length === 0 || ofPods.length <= free) return undefined;
  const here = new Set(locals.flatMap((local) => addressesOfLocal(local).map(({ text }) => text)));
  // In each namespace the pods of this node are removed last: guards recognize senders by their addresses.
  const order = ofPods
    .map((text) => {
      const held = present(classified.holders.get(text), "the pod of an entry");
      const { namespace } = held.pods[0];
      return { text, pod: holdersText(held), namespace, rank: here.has(text) ? 0 : 1 };
    })
    .sort((a, b) => a.rank - b.rank || (a.pod < b.pod ? -1 : a.pod > b.pod ? 1 : a.text < b.text ? -1 : 1));
  const { surplus, ...share } = beyond(order, ({ namespace }) => namespace, Math.max(0, free));
  const excesses = [...Map.groupBy(surplus, ({ pod }) => pod)].map(([pod, own]) =>
    excessOf(share, {
      limit: `IPv${family} addresses`,
      namespace: (own[0] as (typeof own)[number]).namespace,
      object: `Pod ${pod}`,
      effect: "no rule's selector matches its address on this node",
      capacity,
    }),
  );
  return { addresses: new Set(surplus.map(({ text }) => text)), excesses };
}

/** Frontends that are denied because there are too many sets of backends. */
export function groupsDenied(
  behind: ReadonlyMap<string, Behind>,
  contents: ReadonlyMap<string, string>,
  capacity: number,
): { readonly surplus: ReadonlySet<Behind>; readonly excesses: readonly Excess[] } {
  // One frontend for each group that a namespace has: the others of the group are treated alike.
  const groupOf = ({ frontend }: Behind): string =>
    `${namespaceOf(frontend.service)} ${contents.get(frontendKey(frontend))}`;
  const firsts = new Map<string, Behind>();
  const all = inServiceOrder(behind);
  for (const each of all) if (!firsts.has(groupOf(each))) firsts.set(groupOf(each), each);
  const { surplus, ...share } = beyond([...firsts.values()], namespaceOfFrontend, capacity);
  const lost = new Set(surplus.map(groupOf));
  const denied = all.filter((each) => lost.has(groupOf(each)));
  return {
    surplus: new Set(denied),
    excesses: excessesOfServices(denied, share, { limit: "sets of backends", capacity }),
  };
}

const OF_FRONTENDS: { readonly [limit in FrontendExcess["limit"]]: Limited } = {
  4: "IPv4 ports of Services",
  6: "IPv6 ports of Services",
  backends: "endpoints at ports of Services",
};

/** Services whose frontends, or the backends of these, are too many: model/frontend-shares.ts. */
export const frontendExcesses = (all: readonly FrontendExcess[]): Excess[] =>
  all.map(({ limit, service, ...sizes }) => ({
    ...sizes,
    limit: OF_FRONTENDS[limit],
    namespace: namespaceOf(service),
    object: `Service ${service}`,
    effect: NOT_REACHED,
  }));

/** By Service and then by frontend, which decides what is left out. */
const inServiceOrder = (behind: ReadonlyMap<string, Behind>): Behind[] =>
  [...behind]
    .map(([key, each]) => ({ each, order: `${each.frontend.service} ${key}` }))
    .sort((a, b) => (a.order < b.order ? -1 : 1))
    .map(({ each }) => each);

const namespaceOfFrontend = ({ frontend }: { readonly frontend: Pick<Frontend, "service"> }): string =>
  namespaceOf(frontend.service);

const NOT_REACHED =
  "pods of this node that are isolated for egress, or to which a cluster policy may deny something, do not reach it by its address";

type Share = Omit<ReturnType<typeof beyond>, "surplus">;

const excessesOfServices = (
  surplus: readonly Behind[],
  share: Share,
  { limit, capacity }: { readonly limit: Limited; readonly capacity: number },
): Excess[] =>
  [...Map.groupBy(surplus, ({ frontend }) => frontend.service)].map(([service, own]) =>
    excessOf(share, {
      limit,
      namespace: namespaceOfFrontend(own[0] as Behind),
      object: `Service ${service}`,
      effect: NOT_REACHED,
      capacity,
    }),
  );

const excessOf = (
  { level, demands }: Share,
  excess: Pick<Excess, "limit" | "namespace" | "object" | "effect" | "capacity">,
): Excess => ({
  ...excess,
  wanted: demands.get(excess.namespace) as number,
  share: level,
  askers: demands.size,
});

const inOrder = (locals: readonly LocalEndpoint[]): LocalEndpoint[] =>
  [...locals].sort((a, b) => {
    const [one, other] = [keyOf(podsOf(a)[0]), keyOf(podsOf(b)[0])];
    return one === other ? a.ifindex - b.ifindex : one < other ? -1 : 1;
  });
