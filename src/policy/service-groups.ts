// Services as policies see them: the backends of each frontend, and whether a policy lets its pods connect to it.
//
// A packet to a frontend is judged before it is rewritten, so the verdict must be right for every backend.
// Frontends whose backends no policy distinguishes share one identity. See docs/services.md and decision 5.

import type { Family } from "../base/ip.ts";
import { overlaid } from "../base/versioned-map.ts";
import { type Cluster, keyOf, type Pod } from "../model/cluster.ts";
import { type Frontend, frontendsOf } from "../model/frontends.ts";
import { type TermSet, withTerm } from "./identities.ts";
import { addressesOfLocal, type LocalEndpoint, podsOf } from "./local-endpoints.ts";
import { ALL_PORTS, holds, isAll, NO_PORTS, type PortSet, placeOf } from "./port-classes.ts";
import { type CompiledPolicy, portsOf } from "./rows.ts";
import { isAuditedForAny } from "./subjects.ts";
import type { Classified } from "./workloads.ts";

/** One frontend with its backends, as the terms that policies are compiled to. */
export interface Behind {
  readonly frontend: Frontend;
  readonly backends: readonly ResolvedBackend[];
}

export interface ResolvedBackend {
  readonly terms: TermSet;
  /** The index of its port on the port line. */
  readonly place: number;
  /** Interface indexes of its endpoint on this node, if the programs there can recognize the client. */
  readonly guards: readonly number[] | undefined;
}

/** Every frontend of the cluster, with the backends on the way from this node. */
export function frontendsHere(cluster: Cluster, locals: readonly LocalEndpoint[]): Frontend[] {
  const nodes = new Set(locals.flatMap((local) => podsOf(local).flatMap(({ node }) => node ?? [])));
  return frontendsOf(cluster, nodes);
}

interface Scene {
  readonly cluster: Cluster;
  readonly locals: readonly LocalEndpoint[];
  readonly frontends: readonly Frontend[];
}

/** Each with its backends. */
export function behindFrontends({ cluster, locals, frontends }: Scene, classified: Classified): Behind[] {
  const { termsOf } = classified;
  // A guard drops by its ingress policy, so that one must be enforced.
  const guarding = locals.filter((local) => !isAuditedForAny(cluster, local, "ingress"));
  const guards = guardsOf(guarding, classified);
  return frontends.map((frontend) => ({
    frontend,
    backends: frontend.backends.map(({ address, port }) => ({
      terms: termsOf(address),
      place: placeOf(frontend.protocol, port),
      guards: frontend.keepsSource ? guards.get(address.text) : undefined,
    })),
  }));
}

/**
 * Endpoints by their only address of a family: what applies to that address applies to all traffic
 * that reaches them by that family.
 */
function guardsOf(locals: readonly LocalEndpoint[], classified: Classified): Map<string, readonly number[]> {
  const guards = new Map<string, readonly number[]>();
  for (const [pod, interfaces] of Map.groupBy(locals, (local) => local.pod)) {
    if (interfaces.some(({ rivals = [] }) => rivals.length > 0)) continue;
    for (const address of pod.ips) {
      const alone = pod.ips.filter(({ family }) => family === address.family).length === 1;
      const isOwner = isHolder(classified, pod, address.text);
      if (alone && isOwner)
        guards.set(
          address.text,
          interfaces.map(({ ifindex }) => ifindex),
        );
    }
  }
  return guards;
}

/** Whether it is certain that a pod has an address. */
function isHolder({ holders }: Classified, pod: Pod, text: string): boolean {
  const [first, second] = holders.get(text)?.pods ?? [];
  return first !== undefined && second === undefined && keyOf(first) === keyOf(pod);
}

/** Frontends that no policy distinguishes. */
export interface ServiceGroup {
  readonly family: Family;
  readonly backends: readonly GroupedBackend[];
}

export interface GroupedBackend {
  readonly terms: TermSet;
  readonly place: number;
  /** The endpoints that guard backends like this one; undefined if one of them has no guard. */
  readonly guards: ReadonlySet<number> | undefined;
}

export interface Grouped {
  /** By canonical text, by which identities are numbered. */
  readonly groups: ReadonlyMap<string, ServiceGroup>;
  /** The group of each frontend, in the order given. */
  readonly contents: readonly string[];
}

/** A group under construction. */
interface Draft {
  readonly terms: TermSet;
  readonly place: number;
  guards: Set<number> | undefined;
}

/** The group of frontends that lead nowhere: no egress policy allows it. */
export const nowhere = (family: Family): string => `service of IPv${family} to `;

/** Groups frontends. Ports are compared by `portKey`, which is equal for ports that no policy distinguishes. */
export function groupFrontends(all: readonly Behind[], portKey: (place: number) => string | number): Grouped {
  const groups = new Map<string, { readonly family: Family; readonly backends: readonly Draft[] }>();
  const contents = all.map(({ frontend, backends }) => {
    const drafts = draftsOf(backends, portKey);
    const { family } = frontend.address;
    const keys = [...drafts.keys()].sort();
    const texts = keys.map((key) => (drafts.get(key)?.guards === undefined ? `${key}!` : key));
    const content = `${nowhere(family)}${texts.join(" ")}`;
    const own = keys.map((key) => drafts.get(key) as Draft);
    const known = groups.get(content)?.backends;
    if (known === undefined) groups.set(content, { family, backends: own });
    else
      for (const [index, { guards }] of own.entries())
        for (const guard of guards ?? []) known[index]?.guards?.add(guard);
    return content;
  });
  return { groups, contents };
}

function draftsOf(
  backends: readonly ResolvedBackend[],
  portKey: (place: number) => string | number,
): Map<string, Draft> {
  const drafts = new Map<string, Draft>();
  for (const { terms, place, guards } of backends) {
    const key = `${terms.content}@${portKey(place)}`;
    const known = drafts.get(key);
    if (known === undefined) drafts.set(key, { terms, place, guards: guards && new Set(guards) });
    else if (guards === undefined) known.guards = undefined;
    else for (const guard of guards) known.guards?.add(guard);
  }
  return drafts;
}

/** A policy's verdict on a group. */
export type GroupVerdict =
  | { readonly kind: "allowed" }
  /** Also if there are no backends. */
  | { readonly kind: "denied" }
  /** Every denied backend has guards: a packet may pass, since the guards drop it. */
  | { readonly kind: "guarded"; readonly denied: readonly GroupedBackend[] };

export function groupVerdict(policy: CompiledPolicy, group: ServiceGroup): GroupVerdict {
  const denied = group.backends.filter(({ terms, place }) => !allows(policy, terms, place));
  if (denied.length === group.backends.length) return { kind: "denied" };
  if (denied.length === 0) return { kind: "allowed" };
  const isGuarded = policy.isKnown && denied.every(({ guards }) => guards !== undefined);
  return isGuarded ? { kind: "guarded", denied } : { kind: "denied" };
}

/** Without the limits, which come from other policies. */
const allows = ({ grants }: CompiledPolicy, set: TermSet, place: number): boolean =>
  (set.candidates ?? [set]).every(({ terms }) =>
    grants.every(
      ({ others, byTerm }) =>
        holds(others, place) || terms.some((term) => holds(byTerm.get(term) ?? NO_PORTS, place)),
    ),
  );

/** A pod behind a Service that its own policies deny. It cannot block itself: its addresses get a term that these policies allow. */
export interface Self {
  readonly key: string;
  readonly addresses: ReadonlySet<string>;
  readonly namespaces: ReadonlySet<string>;
  /** Its interfaces, by index. */
  readonly interfaces: readonly number[];
}

/** `egressOf`: the policy of an endpoint, by interface index; none if nothing isolates it. */
export function selvesOf(
  { locals, frontends }: Pick<Scene, "locals" | "frontends">,
  classified: Classified,
  egressOf: (ifindex: number) => CompiledPolicy | undefined,
): Self[] {
  const own = new Map<string, LocalEndpoint[]>();
  for (const local of locals) {
    const policy = egressOf(local.ifindex);
    if (policy === undefined || isAll(policy.others)) continue;
    if (local.rivals !== undefined || local.pod.retained !== undefined) continue;
    for (const { text } of addressesOfLocal(local)) {
      if (!isHolder(classified, local.pod, text)) continue;
      own.set(text, [...(own.get(text) ?? []), local]);
    }
  }
  if (own.size === 0) return [];
  const found = new Map<string, LocalEndpoint>();
  for (const { protocol, backends } of frontends) {
    for (const { address, port } of backends) {
      for (const local of own.get(address.text) ?? []) {
        const terms = classified.termsOf(address);
        const policy = egressOf(local.ifindex) as CompiledPolicy;
        if (!allows(policy, terms, placeOf(protocol, port))) found.set(keyOf(local.pod), local);
      }
    }
  }
  return [...found].map(([key, { pod }]) => {
    const all = [...own].filter(([, each]) => each.some((local) => local.pod === pod));
    return {
      key: JSON.stringify(["self", key]),
      addresses: new Set(all.map(([text]) => text)),
      namespaces: new Set([pod.namespace]),
      interfaces: [...new Set(all.flatMap(([, each]) => each.map(({ ifindex }) => ifindex)))],
    };
  });
}

/** An egress policy and the endpoints that have it. */
export interface EgressPolicy {
  readonly policy: CompiledPolicy;
  readonly locals: readonly LocalEndpoint[];
}

/** A pod whose packets are dropped by other pods' guards: its addresses of one family get a term of their own. */
export interface Sender {
  readonly key: string;
  readonly addresses: ReadonlySet<string>;
  /** Of the pods. */
  readonly namespaces: ReadonlySet<string>;
  /** What it may reach on each guard, by interface index: its own end already judges direct packets the same way. */
  readonly limits: ReadonlyMap<number, PortSet>;
}

/** The pods whose packets may go to a guarded frontend. */
export function sendersOf(egress: Iterable<EgressPolicy>, groups: Iterable<ServiceGroup>): Sender[] {
  const all = [...groups];
  return [...egress].flatMap((each) =>
    ([4, 6] as const).flatMap((family) => {
      const limits = new Map<number, PortSet>();
      for (const group of all) {
        if (group.family !== family) continue;
        const verdict = groupVerdict(each.policy, group);
        if (verdict.kind !== "guarded") continue;
        for (const { terms, guards } of verdict.denied)
          for (const guard of guards ?? []) limits.set(guard, portsOf(each.policy, terms));
      }
      if (limits.size === 0) return [];
      const own = each.locals.flatMap((local) =>
        addressesOfLocal(local).filter((address) => address.family === family),
      );
      const key = JSON.stringify(["sender", each.policy.content, family]);
      const namespaces = each.locals.flatMap((local) => podsOf(local).map(({ namespace }) => namespace));
      const addresses = new Set(own.map(({ text }) => text));
      return [{ key, addresses, namespaces: new Set(namespaces), limits }];
    }),
  );
}

/** The terms of these pods' addresses, with the pods' own terms added; by address. */
export function ownTermSets(
  classified: Classified,
  pods: readonly Pick<Sender, "key" | "addresses">[],
  termNumbers: ReadonlyMap<string, number>,
): Map<string, TermSet> {
  const own = new Map<string, TermSet>();
  for (const { key, addresses } of pods) {
    for (const text of addresses) {
      const held = classified.holders.get(text);
      if (held === undefined) continue;
      const before = own.get(text) ?? classified.termsOf(held.address);
      own.set(text, withTerm(before, termNumbers.get(key) as number));
    }
  }
  return own;
}

export const withTermSets = (
  { cidrs, holders, ...base }: Classified,
  own: ReadonlyMap<string, TermSet>,
): Classified => ({
  cidrs,
  holders,
  addresses: overlaid(base.addresses, own),
  termsOf: (address) => own.get(address.text) ?? base.termsOf(address),
});

/** The cells that groups need in an egress policy: none if equal to the cell of everyone else. */
export function serviceCells(
  policy: CompiledPolicy,
  groups: ReadonlyMap<string, ServiceGroup>,
): Map<string, PortSet> {
  const cells = new Map<string, PortSet>();
  if (isAll(policy.others)) return cells;
  for (const [content, group] of groups) {
    if (groupVerdict(policy, group).kind !== "denied") cells.set(content, ALL_PORTS);
    else if (policy.others.length > 0) cells.set(content, NO_PORTS);
  }
  return cells;
}
