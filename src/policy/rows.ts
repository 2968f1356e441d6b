// Compiled policies as content: which ports each term may reach, and the distinct sets of ports that need a row.

import { patternsOf } from "../base/domain-name.ts";
import { changesBetween, patched, versionOf } from "../base/versioned-map.ts";
import { NO_NAME, type Span } from "../state/desired-state.ts";
import type { TermSet } from "./identities.ts";
import {
  ALL_PORTS,
  intersection,
  isAll,
  NO_PORTS,
  type PortClass,
  type PortSet,
  portSetKey,
  union,
} from "./port-classes.ts";
import type { Clause, Side } from "./subjects.ts";
import {
  domainsOfTiers,
  type RankedGroup,
  type RankedTiers,
  rankTiers,
  termsOfTiers,
  throughTiers,
  tiersText,
  withDomain,
} from "./tiers.ts";

/** The rules of one pod. */
export interface Grant {
  /** Ports that NetworkPolicies allow for everyone: all where none isolates. */
  readonly others: PortSet;
  /** Ports allowed for peers of a term, by term number, `others` not included. */
  readonly byTerm: ReadonlyMap<number, PortSet>;
  /** The tiers before and after. */
  readonly tiers?: RankedTiers;
}

/** The same for every endpoint and direction with the same clauses. */
export interface CompiledPolicy {
  /** Canonical text, in term numbers. */
  readonly content: string;
  /** Ports allowed for everyone. */
  readonly others: PortSet;
  /** The sides of the pods that may own the interface: one, or several if the owner is ambiguous. All must allow. */
  readonly grants: readonly Grant[];
  /** The most that peers of a term may reach, regardless of other rules: see policy/service-groups.ts. */
  readonly limits: Limits;
  /** Whether pods with it are known to send from their own addresses only, so that others can recognize them. */
  readonly isKnown: boolean;
  /**
   * Of egress, by domain name: what applies, in the place of this policy, to addresses for which this is the most specific name of a
   * rule. Only names that some rule of this policy has. And, as NO_NAME, what judges resolvers.
   */
  readonly byDomain?: ReadonlyMap<string, CompiledPolicy>;
  /** It judges resolvers: see placesJudged() in policy/service-groups.ts. */
  readonly ofResolvers?: true;
}

/** By term number. */
export type Limits = ReadonlyMap<number, PortSet>;

const NO_LIMITS: Limits = new Map();

export interface Traits {
  readonly limits?: Limits | undefined;
  /** The number of a term to which everything is allowed. */
  readonly self?: number | undefined;
  readonly isKnown?: boolean;
  /** The domain names of all rules of all policies, sorted. */
  readonly domains?: readonly string[];
}

/** Without a side nothing isolates the endpoint: everything is allowed except for the limits. */
export function compilePolicy(
  side: Side | undefined,
  termNumbers: ReadonlyMap<string, number>,
  { limits = NO_LIMITS, self, isKnown = true, domains = [] }: Traits = {},
): CompiledPolicy {
  const sides: readonly Clauses[] = side === undefined ? [UNRESTRICTED] : (side.candidates ?? [side]);
  const grants = sides.map((each) => withSelf(grantOf(each, termNumbers), self));
  const compiled = policyOf(grants, { limits, isKnown });
  const byDomain = variantsOf(compiled, domains);
  if (byDomain.size === 0) return compiled;
  // A pod that could ask itself would choose what a name's addresses are: without `self`.
  const own = sides.map((each) => grantOf(each, termNumbers));
  byDomain.set(NO_NAME, policyOf(own, { limits, isKnown: false, ofResolvers: true }));
  return { ...compiled, byDomain };
}

function policyOf(
  all: readonly Grant[],
  {
    limits,
    isKnown,
    ofResolvers,
  }: Required<Pick<Traits, "isKnown">> & Pick<CompiledPolicy, "limits" | "ofResolvers">,
): CompiledPolicy {
  const byContent = new Map(all.map((grant) => [grantText(grant), grant]));
  const contents = [...byContent.keys()].sort();
  const grants = contents.map((each) => byContent.get(each) as Grant);
  const limited: Limits = new Map([...limits].sort(([a], [b]) => a - b));
  const content = JSON.stringify([
    ...contents,
    ...(limits.size === 0 ? [] : [{ limits: listed(limited) }]),
    ...(isKnown ? [] : ["of unknown addresses"]),
    ...(ofResolvers ? ["of resolvers"] : []),
  ]);
  const others = allOf(grants.map((grant) => grantedPorts(grant, NOBODY)));
  return { content, others, grants, limits, isKnown, ...(ofResolvers && { ofResolvers }) };
}

/** See CompiledPolicy.byDomain. */
function variantsOf(
  { grants, limits }: CompiledPolicy,
  domains: readonly string[],
): Map<string, CompiledPolicy> {
  const own = new Set(grants.flatMap(({ tiers }) => (tiers === undefined ? [] : domainsOfTiers(tiers))));
  const variants = new Map<string, CompiledPolicy>();
  if (own.size === 0) return variants;
  const known = new Map<string, CompiledPolicy>();
  for (const name of domains) {
    const having = [...patternsOf(name)].filter((pattern) => own.has(pattern));
    if (having.length === 0) continue;
    const key = having.join(" ");
    const made =
      known.get(key) ??
      // It has no guards, so a Service is allowed only if all of its backends are.
      policyOf(
        grants.map(({ tiers, ...grant }) => ({ ...grant, ...(tiers && { tiers: withDomain(tiers, name) }) })),
        { limits, isKnown: false },
      );
    known.set(key, made);
    variants.set(name, made);
  }
  return variants;
}

function withSelf(grant: Grant, self: number | undefined): Grant {
  if (self === undefined) return grant;
  const { byTerm, tiers } = grant;
  // Before any rule of a cluster policy, too.
  const first: RankedGroup = [[{ term: self, ports: ALL_PORTS, action: "Accept" }]];
  return {
    ...grant,
    byTerm: new Map([...byTerm, [self, ALL_PORTS] as const].sort(([a], [b]) => a - b)),
    ...(tiers && { tiers: { ...tiers, admin: [first, ...tiers.admin] } }),
  };
}

const grantText = ({ others, byTerm, tiers }: Grant): string =>
  JSON.stringify([
    portSetKey(others),
    ...listed(byTerm),
    ...(tiers === undefined ? [] : [{ tiers: tiersText(tiers) }]),
  ]);

type Clauses = Pick<Side, "isolated" | "tiers"> & {
  readonly clauses: readonly Pick<Clause, "term" | "ports">[];
};

const UNRESTRICTED: Clauses = { isolated: false, clauses: [] };

const listed = (map: Limits) => [...map].map(([term, set]) => [term, portSetKey(set)] as const);

function grantOf({ isolated, clauses, tiers }: Clauses, termNumbers: ReadonlyMap<string, number>): Grant {
  const more = tiers && { tiers: rankTiers(tiers, isolated, termNumbers) };
  if (!isolated) return { others: ALL_PORTS, byTerm: new Map(), ...more };
  const others = union(clauses.filter(({ term }) => term === undefined).flatMap(({ ports }) => ports));
  const spans = new Map<number, Span[]>();
  for (const { term, ports } of clauses) {
    if (term === undefined) continue;
    const number = termNumbers.get(term.key) as number;
    const there = spans.get(number);
    if (there === undefined) spans.set(number, [...ports]);
    else for (const span of ports) there.push(span);
  }
  const byTerm = [...spans].sort(([a], [b]) => a - b).map(([number, all]) => [number, union(all)] as const);
  return { others, byTerm: new Map(byTerm), ...more };
}

/** What one pod's rules allow to peers with these terms. */
export function grantedPorts(
  { others, byTerm, tiers }: Grant,
  set: Pick<TermSet, "terms" | "perhaps">,
): PortSet {
  const allowed = union([...others, ...set.terms.flatMap((term) => byTerm.get(term) ?? NO_PORTS)]);
  return tiers === undefined ? allowed : throughTiers(tiers, set, allowed);
}

const NOBODY: Pick<TermSet, "terms"> = { terms: [] };

/** Whether anything may be denied to anyone. */
export const mayDeny = ({ others, grants }: CompiledPolicy): boolean =>
  !isAll(others) || grants.some(({ tiers }) => tiers !== undefined);

/** The numbers of the terms that a policy distinguishes. */
const termsOfPolicy = ({ grants, limits }: CompiledPolicy): number[] => [
  ...grants.flatMap(({ byTerm, tiers }) => [...byTerm.keys(), ...(tiers ? termsOfTiers(tiers) : [])]),
  ...limits.keys(),
];

/** The intersection of the sets. */
const allOf = (sets: readonly PortSet[]): PortSet => sets.reduce((all, set) => intersection(all, set));

/** The ports that a policy allows for an address with these terms. */
export function portsOf(policy: CompiledPolicy, set: TermSet): PortSet {
  const { terms, candidates } = set;
  if (candidates !== undefined) return allOf(candidates.map((each) => portsOf(policy, each)));
  const { grants, limits } = policy;
  let ports = allOf(grants.map((grant) => grantedPorts(grant, set)));
  for (const term of terms) {
    const limit = limits.get(term);
    if (limit !== undefined) ports = intersection(ports, limit);
  }
  return ports;
}

export interface Plan {
  /** Distinct sets of ports that need a row, by their canonical text: neither nothing nor all. */
  readonly rows: ReadonlyMap<string, PortSet>;
  /**
   * For each policy the ports of each term set (by content; "" is everyone else) whose ports differ from those of everyone
   * else. They are more, except for limits.
   */
  readonly cells: ReadonlyMap<string, ReadonlyMap<string, PortSet>>;
}

/** `byTerm`: the term sets that hold each term. */
export function planRows(
  policies: ReadonlyMap<string, CompiledPolicy>,
  byTerm: ReadonlyMap<number, readonly TermSet[]>,
): Plan {
  return openPlan()(policies, new Map(), byTerm);
}

/** A policy with the cells that it has, and the terms that it distinguishes. */
interface Planned {
  readonly live: ReadonlySet<number>;
  readonly cells: ReadonlyMap<string, PortSet>;
}

/** In the time of the policies and term sets that have changed since the last call. `termSets` are those in `byTerm`, by content. */
export function openPlan(): (
  policies: ReadonlyMap<string, CompiledPolicy>,
  termSets: ReadonlyMap<string, TermSet>,
  byTerm: ReadonlyMap<number, readonly TermSet[]>,
) => Plan {
  const planned = new Map<string, Planned>();
  /** The policies that distinguish each term. */
  const distinguishing = new Map<number, Set<string>>();
  const uses = new Map<string, { readonly set: PortSet; count: number }>();
  let lastSets: ReadonlyMap<string, TermSet> = new Map();
  let lastPolicies: ReadonlyMap<string, CompiledPolicy> = new Map();
  let rows: Plan["rows"] = new Map();
  /** Whether rows may have come or gone since the last call. */
  let isOther = false;
  let allCells: Plan["cells"] = new Map();
  const use = (set: PortSet | undefined, by: 1 | -1): void => {
    if (set === undefined || set.length === 0 || isAll(set)) return;
    const key = portSetKey(set);
    const known = uses.get(key) ?? { set, count: 0 };
    known.count += by;
    if (known.count === 0) uses.delete(key);
    else uses.set(key, known);
    isOther ||= rows.has(key) !== uses.has(key);
  };
  /** Many cells have equal sets: one object for all of them. */
  const shared = (set: PortSet): PortSet => {
    if (set.length === 0) return NO_PORTS;
    return isAll(set) ? ALL_PORTS : (uses.get(portSetKey(set))?.set ?? set);
  };
  const planAll = (policy: CompiledPolicy, byTerm: ReadonlyMap<number, readonly TermSet[]>): Planned => {
    const own = new Map<string, PortSet>();
    const put = (content: string, set: PortSet): void => {
      own.set(content, shared(set));
      use(set, 1);
    };
    if (policy.others.length > 0) put("", policy.others);
    const live = new Set(termsOfPolicy(policy));
    for (const set of new Set([...live].flatMap((term) => byTerm.get(term) ?? []))) {
      const cell = cellOf(policy, set);
      if (cell !== undefined) put(set.content, cell);
    }
    return { live, cells: versionOf(own) };
  };
  const keep = (content: string, made: Planned | undefined): void => {
    const known = planned.get(content);
    for (const term of known?.live ?? []) {
      const others = distinguishing.get(term);
      others?.delete(content);
      if (others?.size === 0) distinguishing.delete(term);
    }
    if (made === undefined) planned.delete(content);
    else planned.set(content, made);
    for (const term of made?.live ?? []) {
      const others = distinguishing.get(term);
      if (others === undefined) distinguishing.set(term, new Set([content]));
      else others.add(content);
    }
  };
  return (policies, termSets, byTerm) => {
    const patch = new Map<string, Planned["cells"] | undefined>();
    const fresh = new Set<string>();
    if (policies !== lastPolicies) {
      for (const [content, { cells }] of planned) {
        if (policies.has(content)) continue;
        keep(content, undefined);
        patch.set(content, undefined);
        for (const set of cells.values()) use(set, -1);
      }
      for (const [content, policy] of policies) {
        if (planned.has(content)) continue;
        const made = planAll(policy, byTerm);
        keep(content, made);
        patch.set(content, made.cells);
        fresh.add(content);
      }
    }
    /** By policy, the cells of term sets that have come or gone. */
    const changed = new Map<string, Map<string, PortSet | undefined>>();
    for (const { key, before, after } of changesBetween(lastSets, termSets)) {
      if (before !== undefined && after !== undefined) continue;
      const { terms } = (after ?? before) as TermSet;
      for (const content of new Set(terms.flatMap((term) => [...(distinguishing.get(term) ?? [])]))) {
        if (fresh.has(content)) continue;
        const cells = changed.get(content) ?? new Map<string, PortSet | undefined>();
        changed.set(content, cells);
        const cell = after && cellOf(policies.get(content) as CompiledPolicy, after);
        cells.set(key, cell && shared(cell));
      }
    }
    for (const [content, cells] of changed) {
      const known = planned.get(content) as Planned;
      for (const [each, set] of cells) {
        use(set, 1);
        use(known.cells.get(each), -1);
      }
      const next = { ...known, cells: patched(known.cells, cells) };
      planned.set(content, next);
      patch.set(content, next.cells);
    }
    lastSets = termSets;
    lastPolicies = policies;
    if (isOther && (uses.size !== rows.size || uses.keys().some((key) => !rows.has(key))))
      rows = new Map(uses.entries().map(([key, { set }]) => [key, set]));
    isOther = false;
    allCells = patched(allCells, patch);
    return { rows, cells: allCells };
  };
}

/** The ports of a term set, where they differ from those of everyone else. */
function cellOf(policy: CompiledPolicy, set: TermSet): PortSet | undefined {
  const ports = portsOf(policy, set);
  return portSetKey(ports) === portSetKey(policy.others) ? undefined : ports;
}

/** The term sets that hold each term. */
export const setsByTerm = (termSets: ReadonlyMap<string, TermSet>) => openSetsByTerm()(termSets);

/** The same, in the time of the sets that have come or gone since the last call. */
export function openSetsByTerm(): (
  termSets: ReadonlyMap<string, TermSet>,
) => ReadonlyMap<number, readonly TermSet[]> {
  let last: ReadonlyMap<string, TermSet> = new Map();
  let byTerm: ReadonlyMap<number, readonly TermSet[]> = new Map();
  return (termSets) => {
    const gone = new Map<number, Set<string>>();
    const come = new Map<number, TermSet[]>();
    for (const { key, before, after } of changesBetween(last, termSets)) {
      for (const term of before?.terms ?? []) {
        const there = gone.get(term);
        if (there === undefined) gone.set(term, new Set([key]));
        else there.add(key);
      }
      for (const term of after?.terms ?? []) {
        const there = come.get(term);
        if (there === undefined) come.set(term, [after as TermSet]);
        else there.push(after as TermSet);
      }
    }
    const patch = new Map<number, readonly TermSet[] | undefined>();
    for (const term of new Set([...gone.keys(), ...come.keys()])) {
      const known = byTerm.get(term) ?? [];
      const without = gone.get(term);
      const left = without === undefined ? known : known.filter(({ content }) => !without.has(content));
      const sets = [...left, ...(come.get(term) ?? [])];
      patch.set(term, sets.length === 0 ? undefined : sets);
    }
    last = termSets;
    byTerm = patched(byTerm, patch);
    return byTerm;
  };
}

/** Row number to the sorted numbers of the classes that it holds. */
export function rowBits(
  rows: readonly PortSet[],
  classes: readonly (PortClass & { readonly number: number })[],
  rowNumber: (set: PortSet) => number,
): Map<number, number[]> {
  const lists = rows.map((): number[] => []);
  const sorted = [...classes].sort((a, b) => a.number - b.number);
  for (const { sets, number } of sorted) for (const index of sets) lists[index]?.push(number);
  return new Map(rows.map((set, index) => [rowNumber(set), lists[index] as number[]]));
}
