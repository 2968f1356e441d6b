// Services as policies see them: the backends of each frontend, and whether a policy lets its pods connect to it.
//
// A packet to a frontend is judged before it is rewritten, so the verdict must be right for every backend.
// Frontends whose backends no policy distinguishes share one identity. See docs/services.md and decision 5.

import { present } from "../base/assert.ts";
import { type Address, FAMILIES, type Family } from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import { openKeep, openStage, sameItems } from "../base/stage.ts";
import { changesBetween, overlaid, patched } from "../base/versioned-map.ts";
import { keyOf, type Pod } from "../model/cluster.ts";
import { type Frontend, type Frontends, isJudgedAsItself } from "../model/frontends.ts";
import { type TermSet, withTerm } from "./identities.ts";
import { addressesOfLocal, type LocalEndpoint, podsOf } from "./local-endpoints.ts";
import { ALL_PORTS, holds, isAll, NO_PORTS, type PortSet, placeOf, portSetKey } from "./port-classes.ts";
import { type CompiledPolicy, grantedPorts, mayDeny, portsOf } from "./rows.ts";
import type { Classification, Classified } from "./workloads.ts";

/** One frontend with its backends, as the terms that policies are compiled to. */
export interface Behind {
  readonly frontend: Frontend;
  /** One for each port. */
  readonly backends: readonly ResolvedBackends[];
  /** What its address is without the Service, where that counts too: see Frontend.judgedAsItself. */
  readonly itself?: Place;
  /** Its backends are not known, or it does not fit in the tables: denied to every pod to which anything can be denied. */
  readonly refused?: true;
}

/** Where packets may go to. */
export interface Place {
  readonly terms: TermSet;
  /** The index of its port on the port line. */
  readonly place: number;
}

/** The backends of a frontend at one port. */
export interface ResolvedBackends {
  /** Those that no policy can distinguish are one. Frontends with the same addresses share the list. */
  readonly resolved: readonly ResolvedBackend[];
  /** As in Place. */
  readonly place: number;
}

export interface ResolvedBackend extends Pick<Place, "terms"> {
  /** Interface indexes of its endpoint on this node, if the programs there can recognize the client. */
  readonly guards: readonly number[] | undefined;
}

/** The names of this node, as far as its pods name it. */
export const nodesOf = (locals: readonly LocalEndpoint[]): Set<string> =>
  new Set(locals.flatMap((local) => podsOf(local).flatMap(({ node }) => node ?? [])));

/** What the backends of frontends are resolved with. */
export interface Resolution {
  readonly base: Pick<Classification, "termsOf" | "changed">;
  /** The terms of addresses that have other ones than in `base`. */
  readonly own: ReadonlyMap<string, TermSet>;
  readonly guards: ReadonlyMap<string, readonly number[]>;
}

/** Every frontend with its backends, in the time of what has changed since the last call. */
export function openBehind(): (frontends: Frontends, resolution: Resolution) => ReadonlyMap<string, Behind> {
  let behind: ReadonlyMap<string, Behind> = new Map();
  let last: Frontends["all"] = new Map();
  let known: Pick<Resolution, "own" | "guards"> = { own: new Map(), guards: new Map() };
  return (frontends, resolution) => {
    const { base, own, guards } = resolution;
    const { all } = frontends;
    const resolve = openResolver(resolution);
    const keys = new Set<string>();
    for (const { key } of changesBetween(last, all)) keys.add(key);
    if (base.changed === undefined) for (const key of all.keys()) keys.add(key);
    else {
      const texts = new Set(base.changed);
      for (const { key, before, after } of changesBetween(known.own, own))
        if (before?.content !== after?.content) texts.add(key);
      for (const { key } of changesBetween(known.guards, guards)) texts.add(key);
      for (const key of frontends.leadingTo(texts)) keys.add(key);
    }
    const patch = keys.values().map((key) => {
      const frontend = all.get(key);
      const was = behind.get(key);
      const is = frontend && behindOne(frontend, resolve);
      return [key, is !== undefined && isSameBehind(is, was) ? was : is] as const;
    });
    behind = patched(behind, new Map(patch));
    last = all;
    known = { own, guards };
    return behind;
  };
}

/** Frontends with their backends, but others for those that lead to addresses with other terms. */
export function behindWith(
  behind: ReadonlyMap<string, Behind>,
  frontends: Frontends,
  resolution: Resolution,
): ReadonlyMap<string, Behind> {
  const resolve = openResolver(resolution);
  const keys = frontends.leadingTo(resolution.own.keys());
  const patch = keys.values().flatMap((key) => {
    const frontend = frontends.all.get(key);
    return frontend === undefined ? [] : [[key, behindOne(frontend, resolve)] as const];
  });
  return overlaid(behind, new Map(patch));
}

/** The terms of addresses: of each list once, as the frontends of a Service share theirs. */
interface Resolver {
  termsOf(address: Address): TermSet;
  resolved(addresses: readonly Address[], keepsSource: boolean): readonly ResolvedBackend[];
}

function openResolver({ base, own, guards }: Resolution): Resolver {
  const termsOf = (address: Address): TermSet => own.get(address.text) ?? base.termsOf(address);
  const openList = (guardsAt: (text: string) => readonly number[] | undefined) =>
    memo((addresses: readonly Address[]): readonly ResolvedBackend[] => {
      const distinct = new Map<string, ResolvedBackend>();
      for (const address of addresses) {
        const terms = termsOf(address);
        const by = guardsAt(address.text);
        distinct.set(`${terms.content}@${by?.join(",") ?? ""}`, { terms, guards: by });
      }
      return [...distinct.values()];
    });
  const guarded = openList((text) => guards.get(text));
  const unguarded = openList(() => undefined);
  return {
    termsOf,
    resolved: (addresses, keepsSource) => (keepsSource ? guarded(addresses) : unguarded(addresses)),
  };
}

function behindOne(frontend: Frontend, { termsOf, resolved }: Resolver): Behind {
  const { address, protocol, port, refused } = frontend;
  if (refused === true) return { frontend, backends: [], refused };
  const backends = frontend.backends.map(({ addresses, port: number }) => ({
    resolved: resolved(addresses, frontend.keepsSource),
    place: placeOf(protocol, number),
  }));
  if (!frontend.judgedAsItself) return { frontend, backends };
  return { frontend, backends, itself: { terms: termsOf(address), place: placeOf(protocol, port) } };
}

const isSameBehind = (one: Behind, other: Behind | undefined): boolean =>
  one.frontend === other?.frontend &&
  one.itself?.terms.content === other.itself?.terms.content &&
  one.backends.length === other.backends.length &&
  one.backends.every(({ resolved, place }, index) => {
    const there = other.backends[index];
    return there?.place === place && isSameResolved(resolved)(there.resolved);
  });

const isSameResolved = memo((a: readonly ResolvedBackend[]) =>
  memo(
    (b: readonly ResolvedBackend[]) =>
      a.length === b.length &&
      a.every(
        ({ terms, guards }, index) => b[index]?.terms.content === terms.content && b[index].guards === guards,
      ),
  ),
);

const isGuarded = memo((all: readonly ResolvedBackend[]) => all.some(({ guards }) => guards !== undefined));

/** Whether some backend has a guard. */
export const hasGuards = ({ backends }: Behind): boolean =>
  backends.some(({ resolved }) => isGuarded(resolved));

/**
 * Endpoints by their only address of a family: what applies to that address applies to all traffic
 * that reaches them by that family.
 */
export function guardsOf(
  locals: readonly LocalEndpoint[],
  classified: Pick<Classified, "holders">,
): Map<string, readonly number[]> {
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
function isHolder({ holders }: Pick<Classified, "holders">, pod: Pod, text: string): boolean {
  const [first, second] = holders.get(text)?.pods ?? [];
  return first !== undefined && second === undefined && keyOf(first) === keyOf(pod);
}

/** Frontends that no policy distinguishes. */
export interface ServiceGroup {
  readonly family: Family;
  readonly backends: readonly GroupedBackend[];
  readonly itself?: Place;
  readonly refused?: true;
}

export interface GroupedBackend extends Place {
  /** The endpoints that guard backends like this one; undefined if one of them has no guard. */
  readonly guards: ReadonlySet<number> | undefined;
}

export interface Grouped {
  /** By canonical text, by which identities are numbered. */
  readonly groups: ReadonlyMap<string, ServiceGroup>;
  /** The group of each frontend, by the frontend's key. */
  readonly contents: ReadonlyMap<string, string>;
}

/** A group under construction. */
interface Draft extends Place {
  guards: Set<number> | undefined;
}

/** The group of frontends that lead nowhere: no egress policy allows it. */
export const nowhere = (family: Family): string => `service of IPv${family} to `;

/** The group of frontends that are left out at a limit: unlike those that lead nowhere, the node may still rewrite them. */
export const refusedGroup = (family: Family): string => `refused service of IPv${family}`;

/** A group and its members, by their keys. */
interface Membership {
  readonly members: Set<string>;
  group: ServiceGroup;
}

/**
 * Groups frontends, in the time of what has changed since the last call. Ports are compared by `portKey`, which is equal for ports
 * that no policy distinguishes.
 */
export function openGroups(): (
  all: ReadonlyMap<string, Behind>,
  portKey: (place: number) => number,
) => Grouped {
  const memberships = new Map<string, Membership>();
  /** The key of every port that a backend has, or had. */
  const places = new Map<number, number>();
  let last: ReadonlyMap<string, Behind> = new Map();
  let grouped: Grouped = { groups: new Map(), contents: new Map() };
  let textsOf = openTexts();
  return (all, portKey) => {
    const keyOfPlace = (place: number): number => {
      const known = places.get(place) ?? portKey(place);
      places.set(place, known);
      return known;
    };
    const touched = new Set<string>();
    const changed = new Set<string>();
    for (const { key } of changesBetween(last, all)) touched.add(key);
    if (places.entries().some(([place, known]) => portKey(place) !== known)) {
      for (const key of all.keys()) touched.add(key);
      for (const content of memberships.keys()) changed.add(content);
      memberships.clear();
      places.clear();
      textsOf = openTexts();
    }
    const contents = new Map<string, string | undefined>();
    for (const key of touched) {
      const was = grouped.contents.get(key);
      const each = all.get(key);
      const is = each && contentOf(each, keyOfPlace, textsOf);
      if (was !== undefined) {
        memberships.get(was)?.members.delete(key);
        changed.add(was);
      }
      if (is !== undefined) {
        const known = memberships.get(is);
        if (known === undefined)
          memberships.set(is, { members: new Set([key]), group: groupOf([each as Behind], keyOfPlace) });
        else known.members.add(key);
        changed.add(is);
      }
      contents.set(key, is);
    }
    const groups = new Map<string, ServiceGroup | undefined>();
    for (const content of changed) {
      const membership = memberships.get(content);
      const members = [...(membership?.members ?? [])].map((key) => all.get(key) as Behind);
      if (membership === undefined || members.length === 0) {
        memberships.delete(content);
        groups.set(content, undefined);
        continue;
      }
      // Its guards are those of all members. Without guards the members are alike.
      if (membership.group.backends.some(({ guards }) => guards !== undefined)) {
        const group = groupOf(members, keyOfPlace);
        if (!isSameGroup(group, membership.group)) membership.group = group;
      }
      groups.set(content, membership.group);
    }
    last = all;
    const next = {
      groups: patched(grouped.groups, groups),
      contents: patched(grouped.contents, contents),
    };
    if (next.groups !== grouped.groups || next.contents !== grouped.contents) grouped = next;
    return grouped;
  };
}

/** The texts of what is behind one port: of each list once for each key of a port. */
type Texts = (all: readonly ResolvedBackend[]) => Map<number, string>;

const openTexts = (): Texts => memo((_: readonly ResolvedBackend[]) => new Map());

function contentOf(
  { frontend, backends, itself, refused }: Behind,
  portKey: (place: number) => number,
  textsOf: Texts,
): string {
  if (refused === true) return refusedGroup(frontend.address.family);
  const also = itself === undefined ? "" : ` or itself ${placeText(itself, portKey)}`;
  return `${nowhere(frontend.address.family)}${backendsText(backends, portKey, textsOf)}${also}`;
}

function backendsText(
  backends: readonly ResolvedBackends[],
  portKey: (place: number) => number,
  textsOf: Texts,
): string {
  const texts = (): string =>
    [...draftsOf(backends, portKey)]
      .map(([key, { guards }]) => (guards === undefined ? `${key}!` : key))
      .sort()
      .join(" ");
  const [first, second] = backends;
  if (first === undefined || second !== undefined) return texts();
  const known = textsOf(first.resolved);
  const key = portKey(first.place);
  const text = known.get(key) ?? texts();
  known.set(key, text);
  return text;
}

/** The group of frontends with one content. */
function groupOf(members: readonly Behind[], portKey: (place: number) => number): ServiceGroup {
  const { frontend, itself, refused } = members[0] as Behind;
  const { family } = frontend.address;
  if (refused === true) return { family, backends: [], refused };
  const drafts = draftsOf(
    members.flatMap(({ backends }) => backends),
    portKey,
  );
  const keys = [...drafts.keys()].sort();
  const grouped = keys.map((key) => drafts.get(key) as Draft);
  return { family, backends: grouped, ...(itself && { itself }) };
}

const isSameGroup = (one: ServiceGroup, other: ServiceGroup): boolean =>
  one.backends.every(({ terms, place, guards }, index) => {
    const there = other.backends[index];
    if (there?.terms.content !== terms.content || there.place !== place) return false;
    if (guards === undefined || there.guards === undefined) return guards === there.guards;
    return guards.symmetricDifference(there.guards).size === 0;
  });

/** Equal for places that no policy distinguishes. */
const placeText = ({ terms, place }: Place, portKey: (place: number) => number): string =>
  `${terms.content}@${portKey(place)}`;

function draftsOf(
  backends: readonly ResolvedBackends[],
  portKey: (place: number) => number,
): Map<string, Draft> {
  const drafts = new Map<string, Draft>();
  const seen = new Map<readonly ResolvedBackend[], Set<number>>();
  for (const { resolved, place } of backends) {
    const keys = seen.get(resolved) ?? new Set();
    if (keys.has(portKey(place))) continue;
    seen.set(resolved, keys.add(portKey(place)));
    for (const { terms, guards } of resolved) {
      const key = placeText({ terms, place }, portKey);
      const known = drafts.get(key);
      if (known === undefined) drafts.set(key, { terms, place, guards: guards && new Set(guards) });
      else if (guards === undefined) known.guards = undefined;
      else for (const guard of guards) known.guards?.add(guard);
    }
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
  if (group.refused === true) return { kind: "denied" };
  const isDenied = ({ terms, place }: Place): boolean =>
    !placesJudged(policy, place).every((each) => allows(policy, terms, each));
  if (group.itself !== undefined && isDenied(group.itself)) return { kind: "denied" };
  const denied = group.backends.filter(isDenied);
  // Where only single peers are denied, one that leads nowhere is refused by the node, at once.
  if (group.backends.length === 0)
    return { kind: isAll(policy.others) && policy.ofResolvers !== true ? "allowed" : "denied" };
  if (denied.length === group.backends.length) return { kind: "denied" };
  if (denied.length === 0) return { kind: "allowed" };
  const isGuarded = policy.isKnown && denied.every(({ guards }) => guards !== undefined);
  return isGuarded ? { kind: "guarded", denied } : { kind: "denied" };
}

const RESOLVER_PLACE = placeOf("UDP", 53);

/**
 * The places of the port line at which a backend must be allowed. A resolver at port 53, too, whatever its own port is: else who may create Services
 * could make a resolver of any peer that rules allow at any port.
 */
const placesJudged = ({ ofResolvers }: CompiledPolicy, place: number): number[] =>
  ofResolvers === true ? [place, RESOLVER_PLACE] : [place];

/** Without the limits, which come from other policies. */
const allows = ({ grants }: CompiledPolicy, set: TermSet, place: number): boolean =>
  (set.candidates ?? [set]).every((each) => grants.every((grant) => holds(grantedPorts(grant, each), place)));

/** A pod behind a Service that its own policies deny. It cannot block itself: its addresses get a term that these policies allow. */
export interface Self {
  readonly key: string;
  readonly addresses: ReadonlySet<string>;
  readonly namespaces: ReadonlySet<string>;
  /** Its interfaces, by index. */
  readonly interfaces: readonly number[];
}

export interface SelvesInput {
  readonly locals: readonly LocalEndpoint[];
  /** Those that lead to addresses of the endpoints. */
  readonly frontends: readonly Frontend[];
  readonly classified: Classified;
  /** Another object whenever holders or terms of the endpoints' addresses may be others than before. */
  readonly ofLocals: object;
  /** The policies of endpoints by interface index, without regard to Services. */
  readonly policiesOf: ReadonlyMap<number, { readonly egress: CompiledPolicy | undefined }>;
}

/** The pods that their own policies keep from themselves, in the time of the frontends that have changed since the last call. */
export function openSelves(): (input: SelvesInput) => readonly Self[] {
  const owners = openStage<ReadonlyMap<string, readonly LocalEndpoint[]>>();
  const keep = openKeep<readonly Self[]>(
    (a, b) => a.length === b.length && a.every((self, index) => isSameSelf(self, b[index] as Self)),
  );
  let last: ReadonlyMap<string, readonly LocalEndpoint[]> | undefined;
  let deniedBy = new WeakMap<Frontend, readonly LocalEndpoint[]>();
  let ownIn: OwnIn = () => [];
  return ({ locals, frontends, classified, ofLocals, policiesOf }) => {
    const own = owners([locals, ofLocals, policiesOf], () => ownersOf(locals, classified, policiesOf));
    if (own !== last) {
      deniedBy = new WeakMap();
      ownIn = memo((addresses) => addresses.filter(({ text }) => own.has(text)));
    }
    last = own;
    const found = new Map<string, LocalEndpoint>();
    for (const frontend of frontends) {
      const denied = deniedBy.get(frontend) ?? deniedTo(frontend, { own, ownIn, classified, policiesOf });
      deniedBy.set(frontend, denied);
      for (const local of denied) found.set(keyOf(local.pod), local);
    }
    if (found.size === 0) return keep([]);
    const ofPod = new Map<Pod, { readonly texts: Set<string>; readonly interfaces: Set<number> }>();
    for (const [text, all] of own)
      for (const { pod, ifindex } of all) {
        const each = ofPod.get(pod) ?? { texts: new Set(), interfaces: new Set() };
        each.texts.add(text);
        each.interfaces.add(ifindex);
        ofPod.set(pod, each);
      }
    return keep(
      [...found].map(([key, { pod }]) => {
        const { texts, interfaces } = present(ofPod.get(pod), "the addresses of a pod behind a Service");
        return {
          key: JSON.stringify(["self", key]),
          addresses: texts,
          namespaces: new Set([pod.namespace]),
          interfaces: [...interfaces],
        };
      }),
    );
  };
}

const isSameSelf = (a: Self, b: Self): boolean =>
  a.key === b.key &&
  sameItems(a.interfaces, b.interfaces) &&
  sameItems([...a.addresses], [...b.addresses]) &&
  sameItems([...a.namespaces], [...b.namespaces]);

/** The endpoints to which something may be denied, by each of their addresses that are certainly theirs. */
function ownersOf(
  locals: readonly LocalEndpoint[],
  classified: Classified,
  policiesOf: SelvesInput["policiesOf"],
): ReadonlyMap<string, readonly LocalEndpoint[]> {
  const own = new Map<string, LocalEndpoint[]>();
  for (const local of locals) {
    const policy = policiesOf.get(local.ifindex)?.egress;
    if (policy === undefined || !mayDeny(policy)) continue;
    if (local.rivals !== undefined || local.pod.retained !== undefined) continue;
    for (const { text } of addressesOfLocal(local)) {
      if (!isHolder(classified, local.pod, text)) continue;
      own.set(text, [...(own.get(text) ?? []), local]);
    }
  }
  return own;
}

/** The endpoints behind a frontend whose own policies deny that. */
function deniedTo(
  frontend: Frontend,
  {
    own,
    ownIn,
    classified,
    policiesOf,
  }: Pick<SelvesInput, "classified" | "policiesOf"> & {
    readonly own: ReadonlyMap<string, readonly LocalEndpoint[]>;
    readonly ownIn: OwnIn;
  },
): readonly LocalEndpoint[] {
  const itself = isJudgedAsItself(frontend) ? [{ addresses: [frontend.address], port: frontend.port }] : [];
  return [...frontend.backends, ...itself].flatMap(({ addresses, port }) =>
    ownIn(addresses).flatMap((address) =>
      (own.get(address.text) ?? []).filter((local) => {
        const policy = policiesOf.get(local.ifindex)?.egress as CompiledPolicy;
        return !allows(policy, classified.termsOf(address), placeOf(frontend.protocol, port));
      }),
    ),
  );
}

/** The addresses of a list that are those of endpoints. */
type OwnIn = (addresses: readonly Address[]) => readonly Address[];

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

/** The guarded backends that a policy denies, by the group that they are in. */
type DeniedOfGroups = Map<string, { readonly family: Family; readonly denied: readonly GroupedBackend[] }>;

/**
 * The pods whose packets may go to a guarded frontend, in the time of the policies and groups that have changed since the last call;
 * the same list while they are the same.
 * `egress` by the policy's content, which says all that a verdict depends on.
 */
export function openSenders(): (
  egress: ReadonlyMap<string, EgressPolicy>,
  groups: Grouped["groups"],
) => readonly Sender[] {
  const keep = openKeep<readonly Sender[]>(
    (a, b) => a.length === b.length && a.every((sender, index) => isSameSender(sender, b[index] as Sender)),
  );
  const known = new Map<string, DeniedOfGroups>();
  let last: Grouped["groups"] = new Map();
  const judge = (of: DeniedOfGroups, policy: CompiledPolicy, key: string, group?: ServiceGroup): void => {
    const verdict = group && groupVerdict(policy, group);
    if (group === undefined || verdict?.kind !== "guarded") of.delete(key);
    else of.set(key, { family: group.family, denied: verdict.denied });
  };
  return (egress, groups) => {
    const changes = [...changesBetween(last, groups)];
    for (const content of known.keys()) if (!egress.has(content)) known.delete(content);
    for (const [content, { policy }] of egress) {
      const denied = known.get(content);
      if (denied !== undefined) for (const { key, after } of changes) judge(denied, policy, key, after);
      else {
        const all: DeniedOfGroups = new Map();
        for (const [key, group] of groups) judge(all, policy, key, group);
        known.set(content, all);
      }
    }
    last = groups;
    return keep(
      egress
        .entries()
        .flatMap(([content, each]) => sendersWith(each, known.get(content)))
        .toArray(),
    );
  };
}

function sendersWith({ policy, locals }: EgressPolicy, all: DeniedOfGroups = new Map()): Sender[] {
  if (all.size === 0) return [];
  return FAMILIES.flatMap((family) => {
    const limits = new Map<number, PortSet>();
    for (const { family: of, denied } of all.values())
      for (const { terms, guards } of of === family ? denied : [])
        for (const guard of guards ?? []) limits.set(guard, portsOf(policy, terms));
    if (limits.size === 0) return [];
    const own = locals.flatMap((local) =>
      addressesOfLocal(local).filter((address) => address.family === family),
    );
    const key = JSON.stringify(["sender", policy.content, family]);
    const namespaces = locals.flatMap((local) => podsOf(local).map(({ namespace }) => namespace));
    const addresses = new Set(own.map(({ text }) => text));
    return [{ key, addresses, namespaces: new Set(namespaces), limits }];
  });
}

const isSameSender = (a: Sender, b: Sender): boolean =>
  a.key === b.key &&
  sameItems([...a.addresses], [...b.addresses]) &&
  sameItems([...a.namespaces], [...b.namespaces]) &&
  a.limits.size === b.limits.size &&
  a.limits.entries().every(([guard, ports]) => {
    const other = b.limits.get(guard);
    return other !== undefined && portSetKey(other) === portSetKey(ports);
  });

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

/** `addresses`: those of `base` with the ones of `own` instead. */
export const withTermSets = (
  { cidrs, holders, ...base }: Classified,
  own: ReadonlyMap<string, TermSet>,
  addresses: Classified["addresses"],
): Classified => ({
  cidrs,
  holders,
  addresses,
  termsOf: (address) => own.get(address.text) ?? base.termsOf(address),
});

/** The cell that a group needs in an egress policy: none if it is equal to the cell of everyone else. */
export function serviceCell(policy: CompiledPolicy, group: ServiceGroup): PortSet | undefined {
  if (!mayDeny(policy)) return undefined;
  if (groupVerdict(policy, group).kind !== "denied") return isAll(policy.others) ? undefined : ALL_PORTS;
  return policy.others.length > 0 ? NO_PORTS : undefined;
}
