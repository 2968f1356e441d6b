// What is to be enforced, deduplicated by content: the policies of this node's endpoints, their peers, rows and Services.

import { DIRECTIONS, type Direction } from "../base/direction.ts";
import type { Address } from "../base/ip.ts";
import type { Cluster } from "../model/cluster.ts";
import { type Classified, classify, type TermSet } from "./identities.ts";
import type { Numbering } from "./identity-allocation.ts";
import { addressesOfLocal, type LocalEndpoint, podsOf, sendsAsItself } from "./local-endpoints.ts";
import type { Term } from "./peer-selectors.ts";
import { classesOf, type PortClass, type PortSet, portSetKey } from "./port-classes.ts";
import { type CompiledPolicy, compilePolicy, type Limits, type Plan, planRows, setsByTerm } from "./rows.ts";
import {
  type Behind,
  behindFrontends,
  type EgressPolicy,
  frontendsHere,
  groupFrontends,
  selvesOf,
  sendersOf,
  withOwnTerms,
} from "./service-groups.ts";
import { isAuditedForAny, type Side, sideOfAll } from "./subjects.ts";

export interface EndpointSides {
  readonly local: LocalEndpoint;
  readonly sides: { readonly [direction in Direction]: Side | undefined };
}

/** Only terms have numbers yet. What each policy allows each term set is not computed yet either: it may be too much. */
export interface Draft {
  readonly sides: readonly EndpointSides[];
  readonly terms: readonly Term[];
  readonly termNumbers: ReadonlyMap<string, number>;
  readonly nextTerm: number;
  readonly classified: Classified;
  readonly termSets: ReadonlyMap<string, TermSet>;
  /** The compiled policies of each endpoint, by interface index, and the distinct ones by content. */
  readonly policiesOf: ReadonlyMap<number, CompiledSides>;
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
  /** The term sets that hold each term. */
  readonly byTerm: ReadonlyMap<number, readonly TermSet[]>;
  readonly behind: readonly Behind[];
  /** Addresses of Services that are denied as a whole. */
  readonly denied: readonly Address[];
  /** The terms by which guards recognize senders, and pods allow themselves, with the namespaces of these pods. */
  readonly senders: ReadonlyMap<number, ReadonlySet<string>>;
}

/** With the rows that policies need, and the port classes that rows distinguish. */
export interface Contents extends Draft {
  readonly plan: Plan;
  readonly classes: ReadonlyMap<string, PortClass>;
}

/** What is left out of a compile if the tables cannot hold it: see policy/limits. Each of these only denies more. */
export interface Restrictions {
  /** Addresses that are treated as if no pod had them. */
  readonly leftOut: ReadonlySet<string>;
  /** Addresses of Services whose ports are not distinguished: an egress policy denies everything to them. */
  readonly denied: ReadonlySet<string>;
  /** Namespaces whose pods may send to a Service only if all of its backends are allowed. */
  readonly unguarded: ReadonlySet<string>;
}

const NOTHING_LEFT_OUT: Restrictions = { leftOut: new Set(), denied: new Set(), unguarded: new Set() };

type CompiledSides = { readonly [direction in Direction]: CompiledPolicy | undefined };

export function draftOf(
  cluster: Cluster,
  locals: readonly LocalEndpoint[],
  previous: Numbering,
  restrictions: Restrictions = NOTHING_LEFT_OUT,
): Draft {
  const sides = locals.map((local) => ({
    local,
    sides: {
      ingress: sideOfAll(cluster, podsOf(local), "ingress"),
      egress: sideOfAll(cluster, podsOf(local), "egress"),
    },
  }));
  const live = sidesIn(sides).flatMap(({ clauses }) => clauses.flatMap(({ term }) => term ?? []));
  const numbers = numberTerms(live, { known: previous.terms, nextTerm: previous.nextTerm });
  const classified = classify(cluster, numbers.terms, numbers.termNumbers, restrictions.leftOut);
  const isKnown = (local: LocalEndpoint): boolean =>
    sendsAsItself(local) &&
    addressesOfLocal(local).every(({ text }) => classified.addresses.has(text)) &&
    !podsOf(local).some(({ namespace }) => restrictions.unguarded.has(namespace));
  const plain = compileSides(sides, { termNumbers: numbers.termNumbers, isKnown });
  const isRestricted = [...plain.values()].some(({ egress }) => egress !== undefined);
  const frontends = isRestricted && cluster.services.size > 0 ? frontendsHere(cluster, locals) : [];
  const scene = { cluster, locals, frontends };
  const selves = selvesOf(scene, classified, (ifindex) => plain.get(ifindex)?.egress).filter(
    ({ namespaces }) => namespaces.isDisjointFrom(restrictions.unguarded),
  );
  const direct = withTerms({ classified, ...numbers }, selves, previous);
  const selfOf = new Map(
    selves.flatMap(({ key, interfaces }) =>
      interfaces.map((ifindex) => [ifindex, direct.termNumbers.get(key) as number] as const),
    ),
  );
  const policiesOf =
    selves.length === 0 ? plain : compileSides(sides, { termNumbers: direct.termNumbers, isKnown, selfOf });
  const found = withServices(scene, { direct, policiesOf, previous });
  const { behind: all, limited, ...rest } = found;
  const senders = new Map([...namespacesOf(selves, direct.termNumbers), ...found.senders]);
  const compiled =
    limited.size === 0
      ? policiesOf
      : compileSides(sides, { termNumbers: rest.termNumbers, isKnown, selfOf, limited });
  const isDenied = ({ frontend: { address } }: Behind): boolean => restrictions.denied.has(address.text);
  const behind = restrictions.denied.size === 0 ? all : all.filter((each) => !isDenied(each));
  const denied = restrictions.denied.size === 0 ? [] : addressesOfFrontends(all.filter(isDenied));
  const termSets = distinctTermSets(rest.classified);
  const policies = new Map(policiesIn(compiled).map((policy) => [policy.content, policy]));
  const byTerm = setsByTerm(termSets.values());
  return { sides, ...rest, senders, termSets, policiesOf: compiled, policies, byTerm, behind, denied };
}

/** Computes what each policy allows each term set. */
export function contentsOf(draft: Draft): Contents {
  const plan = planRows(draft.policies, draft.byTerm);
  const classes = new Map(classesOf([...plan.rows.values()]).map((each) => [portSetKey(each.spans), each]));
  return { ...draft, plan, classes };
}

interface Classes extends NumberedTerms {
  readonly classified: Classified;
}

/** What guards let senders reach, by the guard's interface index. */
type Limited = ReadonlyMap<number, Limits>;

/** Pods whose addresses get a term of their own. */
type OwnTerm = {
  readonly key: string;
  readonly addresses: ReadonlySet<string>;
  readonly namespaces: ReadonlySet<string>;
};

function withTerms(direct: Classes, pods: readonly OwnTerm[], previous: Numbering): Classes {
  if (pods.length === 0) return direct;
  const own = pods.map(
    ({ key }): Term => ({ key, set: { key, namespace: "", peers: [] }, resolves: undefined }),
  );
  const more = numberTerms(own, { known: previous.terms, nextTerm: direct.nextTerm });
  const termNumbers = new Map([...direct.termNumbers, ...more.termNumbers]);
  return {
    terms: [...direct.terms, ...more.terms],
    termNumbers,
    nextTerm: more.nextTerm,
    classified: withOwnTerms(direct.classified, pods, termNumbers),
  };
}

const namespacesOf = (pods: readonly OwnTerm[], termNumbers: ReadonlyMap<string, number>): Draft["senders"] =>
  new Map(pods.map(({ key, namespaces }) => [termNumbers.get(key) as number, namespaces]));

/**
 * Services matter only to pods that are isolated for egress. If some backends of a Service are denied to such a pod, and guarded
 * by endpoints of this node, the pod's addresses get a term of their own, by which the guards recognize it.
 */
function withServices(
  scene: Parameters<typeof behindFrontends>[0],
  {
    direct,
    policiesOf,
    previous,
  }: { readonly direct: Classes; readonly policiesOf: Draft["policiesOf"]; readonly previous: Numbering },
): Classes & Pick<Draft, "behind" | "senders"> & { readonly limited: Limited } {
  const { cluster, locals, frontends } = scene;
  const nobody = { senders: new Map(), limited: new Map() };
  if (frontends.length === 0) return { ...direct, behind: [], ...nobody };
  const behind = behindFrontends(scene, direct.classified);
  const isGuarded = behind.some(({ backends }) => backends.some(({ guards }) => guards !== undefined));
  const { groups } = groupFrontends(isGuarded ? behind : [], (place) => place);
  // Guards do not drop packets of an audited pod either.
  const enforcing = locals.filter((local) => !isAuditedForAny(cluster, local, "egress"));
  const senders = sendersOf(egressPolicies(enforcing, policiesOf).values(), groups.values());
  if (senders.length === 0) return { ...direct, behind, ...nobody };
  const known = withTerms(direct, senders, previous);
  const { termNumbers, classified } = known;
  const limited = new Map<number, Map<number, PortSet>>();
  for (const { key, limits } of senders) {
    for (const [guard, ports] of limits) {
      const there = limited.get(guard) ?? new Map<number, PortSet>();
      limited.set(guard, there.set(termNumbers.get(key) as number, ports));
    }
  }
  return {
    ...known,
    behind: behindFrontends(scene, classified),
    senders: namespacesOf(senders, termNumbers),
    limited,
  };
}

export function egressPolicies(
  locals: readonly LocalEndpoint[],
  policiesOf: Draft["policiesOf"],
): Map<string, EgressPolicy> {
  const found = new Map<string, { policy: CompiledPolicy; locals: LocalEndpoint[] }>();
  for (const local of locals) {
    const policy = policiesOf.get(local.ifindex)?.egress;
    if (policy === undefined) continue;
    const known = found.get(policy.content);
    if (known === undefined) found.set(policy.content, { policy, locals: [local] });
    else known.locals.push(local);
  }
  return found;
}

interface SideTraits {
  readonly termNumbers: ReadonlyMap<string, number>;
  /** Whether guards can recognize this endpoint as the sender. */
  readonly isKnown: (local: LocalEndpoint) => boolean;
  /** Numbers of the terms by which pods allow themselves, by interface index. */
  readonly selfOf?: ReadonlyMap<number, number>;
  readonly limited?: Limited;
}

function compileSides(
  sides: readonly EndpointSides[],
  { termNumbers, isKnown, selfOf, limited }: SideTraits,
): Map<number, CompiledSides> {
  // Endpoints share sides: each is compiled once.
  const known = new Map<string, Map<Side, CompiledPolicy>>();
  const once = (side: Side, kind: string, compiled: () => CompiledPolicy): CompiledPolicy => {
    const ofKind = known.get(kind) ?? new Map<Side, CompiledPolicy>();
    known.set(kind, ofKind);
    const policy = ofKind.get(side) ?? compiled();
    ofKind.set(side, policy);
    return policy;
  };
  const ingressOf = (side: Side | undefined, limits: Limits | undefined): CompiledPolicy | undefined => {
    if (limits !== undefined) return compilePolicy(side, termNumbers, { limits });
    return side && once(side, "ingress", () => compilePolicy(side, termNumbers));
  };
  const egressOf = (side: Side | undefined, local: LocalEndpoint): CompiledPolicy | undefined => {
    const traits = { isKnown: isKnown(local), self: selfOf?.get(local.ifindex) };
    const kind = `egress ${traits.isKnown} ${traits.self ?? ""}`;
    return side && once(side, kind, () => compilePolicy(side, termNumbers, traits));
  };
  return new Map(
    sides.map(({ local, sides: { ingress, egress } }) => [
      local.ifindex,
      { ingress: ingressOf(ingress, limited?.get(local.ifindex)), egress: egressOf(egress, local) },
    ]),
  );
}

const policiesIn = (compiled: Draft["policiesOf"]): CompiledPolicy[] =>
  [...compiled.values()].flatMap((each) => DIRECTIONS.flatMap((direction) => each[direction] ?? []));

/** Without duplicates. */
export const sidesIn = (sides: readonly EndpointSides[]): readonly Side[] => [
  ...new Set(sides.flatMap((entry) => DIRECTIONS.flatMap((direction) => entry.sides[direction] ?? []))),
];

interface NumberedTerms {
  readonly terms: readonly Term[];
  readonly termNumbers: ReadonlyMap<string, number>;
  readonly nextTerm: number;
}

/** A term keeps its number for as long as it exists; numbers are never reused. */
function numberTerms(
  live: readonly Term[],
  { known, nextTerm: first }: { readonly known: ReadonlyMap<string, number>; readonly nextTerm: number },
): NumberedTerms {
  const terms = new Map(live.map((term) => [term.key, term]));
  const termNumbers = new Map<string, number>();
  let nextTerm = first;
  for (const key of [...terms.keys()].sort()) {
    const number = known.get(key);
    termNumbers.set(key, number ?? nextTerm);
    if (number === undefined) nextTerm += 1;
  }
  return { terms: [...terms.values()], termNumbers, nextTerm };
}

const addressesOfFrontends = (behind: readonly Behind[]): Address[] => [
  ...new Map(behind.map(({ frontend: { address } }) => [address.text, address])).values(),
];

function distinctTermSets(classified: Classified): Map<string, TermSet> {
  const all = [...classified.cidrs.values(), ...classified.addresses.values()].map(({ terms }) => terms);
  return new Map(all.filter(({ content }) => content !== "").map((terms) => [terms.content, terms]));
}
