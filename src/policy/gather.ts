// What is to be enforced, told apart by content: the policies of this node's endpoints, their peers, rows and Services.

import { DIRECTIONS, type Direction } from "../base/direction.ts";
import type { Cluster } from "../model/cluster.ts";
import { LIMITS, LimitError } from "../state/state.ts";
import { type CompiledPolicy, compilePolicy, type Limits, type Plan, planRows } from "./contents.ts";
import { type Classified, classify, type TermSet } from "./identity.ts";
import { type LocalEndpoint, podsOf, sendsAsItself } from "./locals.ts";
import type { Numbering } from "./numbers.ts";
import type { Term } from "./peers.ts";
import { classesOf, type PortClass, type PortSet, portSetKey } from "./ports.ts";
import {
  type Behind,
  behindFrontends,
  type EgressPolicy,
  groupFrontends,
  sendersOf,
  withSenders,
} from "./services.ts";
import { isAuditedForAny, type Side, sideOfAll } from "./subjects.ts";

export interface EndpointSides {
  readonly local: LocalEndpoint;
  readonly sides: { readonly [direction in Direction]: Side | undefined };
}

/** Only terms have numbers yet. */
export interface Contents {
  readonly sides: readonly EndpointSides[];
  readonly terms: readonly Term[];
  readonly termNumbers: ReadonlyMap<string, number>;
  readonly nextTerm: number;
  readonly classified: Classified;
  readonly termSets: ReadonlyMap<string, TermSet>;
  /** The compiled policies of each endpoint, by interface index, and the distinct ones by content. */
  readonly policiesOf: ReadonlyMap<number, CompiledSides>;
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
  readonly plan: Plan;
  readonly classes: ReadonlyMap<string, PortClass>;
  readonly behind: readonly Behind[];
}

type CompiledSides = { readonly [direction in Direction]: CompiledPolicy | undefined };

export function contentsOf(
  cluster: Cluster,
  locals: readonly LocalEndpoint[],
  previous: Numbering,
): Contents {
  const sides = locals.map((local) => ({
    local,
    sides: {
      ingress: sideOfAll(cluster, podsOf(local), "ingress"),
      egress: sideOfAll(cluster, podsOf(local), "egress"),
    },
  }));
  const live = sidesIn(sides).flatMap(({ clauses }) => clauses.flatMap(({ term }) => term ?? []));
  const numbers = numberTerms(live, { known: previous.terms, nextTerm: previous.nextTerm });
  const direct: Classes = { classified: classify(cluster, numbers.terms, numbers.termNumbers), ...numbers };
  const policiesOf = compileSides(sides, numbers.termNumbers);
  const { behind, limited, ...rest } = withServices(cluster, locals, { direct, policiesOf, previous });
  const compiled = limited.size === 0 ? policiesOf : compileSides(sides, rest.termNumbers, limited);
  checkSizes(rest.classified, behind);
  const termSets = distinctTermSets(rest.classified);
  const policies = new Map(policiesIn(compiled).map((policy) => [policy.content, policy]));
  const plan = planRows(policies, termSets);
  const classes = new Map(classesOf([...plan.rows.values()]).map((each) => [portSetKey(each.spans), each]));
  return { sides, ...rest, termSets, policiesOf: compiled, policies, plan, classes, behind };
}

interface Classes extends NumberedTerms {
  readonly classified: Classified;
}

/** What guards leave to senders, by the guard's interface index. */
type Limited = ReadonlyMap<number, Limits>;

/**
 * Services matter to pods that are isolated for egress only. Where some backends of one are denied to such a pod, and guarded
 * by endpoints of this node, the pod's addresses get a term of their own, by which the guards know it.
 */
function withServices(
  cluster: Cluster,
  locals: readonly LocalEndpoint[],
  {
    direct,
    policiesOf,
    previous,
  }: { readonly direct: Classes; readonly policiesOf: Contents["policiesOf"]; readonly previous: Numbering },
): Classes & { readonly behind: readonly Behind[]; readonly limited: Limited } {
  const egress = egressPolicies(locals, policiesOf);
  if (egress.size === 0 || cluster.services.size === 0) return { ...direct, behind: [], limited: new Map() };
  const behind = behindFrontends(cluster, locals, direct.classified);
  const isGuarded = behind.some(({ backends }) => backends.some(({ guards }) => guards !== undefined));
  const { groups } = groupFrontends(isGuarded ? behind : [], (place) => place);
  // What an audited pod sends is not dropped by guards either.
  const enforcing = locals.filter((local) => !isAuditedForAny(cluster, local, "egress"));
  const senders = sendersOf(egressPolicies(enforcing, policiesOf).values(), groups.values());
  if (senders.length === 0) return { ...direct, behind, limited: new Map() };
  const own = senders.map(
    ({ key }): Term => ({ key, set: { key, namespace: "", peers: [] }, resolves: undefined }),
  );
  const more = numberTerms(own, { known: previous.terms, nextTerm: direct.nextTerm });
  const termNumbers = new Map([...direct.termNumbers, ...more.termNumbers]);
  const classified = withSenders(direct.classified, senders, termNumbers);
  const limited = new Map<number, Map<number, PortSet>>();
  for (const { key, limits } of senders) {
    for (const [guard, ports] of limits) {
      const known = limited.get(guard) ?? new Map<number, PortSet>();
      limited.set(guard, known.set(termNumbers.get(key) as number, ports));
    }
  }
  return {
    terms: [...direct.terms, ...more.terms],
    termNumbers,
    nextTerm: more.nextTerm,
    classified,
    behind: behindFrontends(cluster, locals, classified),
    limited,
  };
}

export function egressPolicies(
  locals: readonly LocalEndpoint[],
  policiesOf: Contents["policiesOf"],
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

function compileSides(
  sides: readonly EndpointSides[],
  termNumbers: ReadonlyMap<string, number>,
  limited: Limited = new Map(),
): Map<number, CompiledSides> {
  return new Map(
    sides.map(({ local, sides: { ingress, egress } }) => {
      const limits = limited.get(local.ifindex);
      const isJudged = ingress !== undefined || limits !== undefined;
      return [
        local.ifindex,
        {
          ingress: isJudged ? compilePolicy(ingress, termNumbers, { limits }) : undefined,
          egress: egress && compilePolicy(egress, termNumbers, { isKnown: sendsAsItself(local) }),
        },
      ];
    }),
  );
}

const policiesIn = (compiled: Contents["policiesOf"]): CompiledPolicy[] =>
  [...compiled.values()].flatMap((each) => DIRECTIONS.flatMap((direction) => each[direction] ?? []));

const sidesIn = (sides: readonly EndpointSides[]): Side[] =>
  sides.flatMap((entry) => DIRECTIONS.flatMap((direction) => entry.sides[direction] ?? []));

interface NumberedTerms {
  readonly terms: readonly Term[];
  readonly termNumbers: ReadonlyMap<string, number>;
  readonly nextTerm: number;
}

/** A term keeps its number for as long as it lives; numbers are never given again. */
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

function checkSizes(classified: Classified, behind: readonly Behind[]): void {
  const frontends = behind.map(({ frontend }) => frontend.address.text);
  const sizes = {
    addresses: new Set([...classified.addresses.keys(), ...frontends]).size,
    cidrs: classified.cidrs.size,
    services: behind.length,
  };
  for (const name of ["addresses", "cidrs", "services"] as const) {
    if (sizes[name] > LIMITS[name]) throw new LimitError(name, sizes[name]);
  }
}

function distinctTermSets(classified: Classified): Map<string, TermSet> {
  const all = [...classified.cidrs.values(), ...classified.addresses.values()].map(({ terms }) => terms);
  return new Map(all.filter(({ content }) => content !== "").map((terms) => [terms.content, terms]));
}
