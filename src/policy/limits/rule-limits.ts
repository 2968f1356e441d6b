// The rules that apply on this node, each namespace's demand by them, and which of them fit.
//
// Demands are measured so that their sum over namespaces is never less than what all of them together need: then
// shares that fit by these numbers fit in the tables.

import { append } from "../../base/append.ts";
import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import type { Family } from "../../base/ip.ts";
import { follow } from "../../base/versioned-map.ts";
import { keyOf } from "../../model/cluster.ts";
import type { ClusterPolicy } from "../../model/cluster-network-policy.ts";
import { exceptionsOf, type Peer, type Policy } from "../../model/network-policy.ts";
import type { Draft, Planned } from "../enforced-policies.ts";
import { type TermSet, termSetOf } from "../identities.ts";
import { podsOf } from "../local-endpoints.ts";
import { type PortSet, portSetKey } from "../port-classes.ts";
import { type CompiledPolicy, compilePolicy, planRows } from "../rows.ts";
import { allClauses, ruleSource, type Side, tierPoliciesOf } from "../subjects.ts";
import { spansOfTiers, type TierPolicy } from "../tiers.ts";

/** A rule of a policy that selects a pod of this node. */
export interface LiveRule {
  readonly policy: Policy;
  readonly direction: Direction;
  readonly index: number;
  /** As its clauses name it. */
  readonly source: string;
}

/**
 * What rules consume: entries of tables, and the time and memory of a compile. `matches` are those of the classification; `ranges` the
 * port ranges of all rules, each once for every term set that its peers are in; `bits` the classes of all rows.
 */
export type RuleLimit =
  | "matches"
  | "ranges"
  | "rows"
  | "classes"
  | "bits"
  | "identities"
  | "cidrs4"
  | "cidrs6";

/** What is limited before and after computing what each policy allows each term set. */
export type Worked = Draft | Planned;

/** Owner of what cluster policies need, among the namespaces: no namespace is called so. */
export const CLUSTER = "";

/** The rules of a compile, for evaluating subsets of them. */
export interface Usage {
  /** By namespace, in the order in which they are kept: the smallest ones first, then by policy and position in it. */
  readonly rules: ReadonlyMap<string, readonly LiveRule[]>;
  /** The cluster policies that select pods of this node, the largest ones first. */
  readonly clusterPolicies: readonly ClusterPolicy[];
  /** The demand of each namespace, and of CLUSTER: the prefixes and identities of cluster policies, whose ports are in the former. */
  demands(limit: RuleLimit): ReadonlyMap<string, number>;
  /** The demand of a namespace with its first rules only, and all rules of the others. */
  demand(limit: RuleLimit, namespace: string, kept: number): number;
}

/** A side as it is compiled for one or several endpoints. */
interface LiveSide {
  readonly side: Side;
  /** Namespaces of the pods that have it. */
  readonly namespaces: ReadonlySet<string>;
}

export function usageOf(contents: Worked): Usage {
  const sides = liveSides(contents);
  const rules = liveRules(sides.map(({ side }) => side));
  const ranks = new Map(
    [...rules].flatMap(([, own]) => own.map(({ source }, rank) => [source, rank] as const)),
  );
  const namespaceOf = new Map(
    [...rules].flatMap(([namespace, own]) => own.map(({ source }) => [source, namespace] as const)),
  );
  const tierClauses = [...new Set(sides.flatMap(({ side }) => tierPoliciesOf(side)))];
  for (const { source } of tierClauses.flatMap(({ clauses }) => clauses)) {
    ranks.set(source, 0);
    namespaceOf.set(source, CLUSTER);
  }
  const { byTerm } = contents;
  const guarded = "plan" in contents ? guardRows(contents) : new Map<string, ReadonlySet<string>>();
  const facts: Facts = { contents, sides, namespaceOf, ranks, origins: originsOf(sides) };
  const places = placesOf(facts);

  const demand = (limit: RuleLimit, namespace: string, kept: number): number => {
    const isKept = (source: string): boolean =>
      namespaceOf.get(source) !== namespace || (ranks.get(source) as number) < kept;
    switch (limit) {
      case "matches":
        return places.matches(namespace, kept);
      case "ranges":
      case "rows":
      case "bits":
      case "classes": {
        const own = sides.filter(({ namespaces }) => namespaces.has(namespace));
        const traits = { domains: contents.domains };
        const compiled = own
          .map(({ side }) => compilePolicy(withRules(side, isKept), contents.termNumbers, traits))
          .flatMap((policy) => [policy, ...(policy.byDomain?.values() ?? [])]);
        if (limit === "ranges") return rangesIn(compiled, byTerm);
        const { rows } = planRows(new Map(compiled.map((each) => [each.content, each])), byTerm);
        if (limit === "classes") return weightOf(rows.values());
        if (limit === "bits") return bitsIn([...rows.values()]);
        return new Set([...rows.keys(), ...(guarded.get(namespace) ?? [])]).size;
      }
      case "cidrs4":
      case "cidrs6":
        return places.prefixes(limit === "cidrs4" ? 4 : 6, namespace, kept);
      case "identities":
        return places.identities(namespace, kept);
    }
  };
  return {
    rules,
    clusterPolicies: bySize(tierClauses),
    demand,
    demands: (limit) =>
      new Map(
        // A pod's term for itself takes an identity without any rule.
        [
          ...new Set([
            ...rules.keys(),
            ...(tierClauses.length === 0 ? [] : [CLUSTER, ...sides.flatMap((each) => [...each.namespaces])]),
            ...guarded.keys(),
            ...[...contents.senders.values()].flatMap((each) => [...each]),
          ]),
        ]
          .sort()
          .map((namespace) => [namespace, demand(limit, namespace, Number.POSITIVE_INFINITY)]),
      ),
  };
}

function liveSides({ sides }: Draft): LiveSide[] {
  const found = new Map<Side, Set<string>>();
  for (const { local, sides: own } of sides) {
    for (const direction of DIRECTIONS) {
      const side = own[direction];
      if (side === undefined) continue;
      const namespaces = found.get(side) ?? new Set<string>();
      found.set(side, namespaces);
      for (const { namespace } of podsOf(local)) namespaces.add(namespace);
    }
  }
  return [...found].map(([side, namespaces]) => ({ side, namespaces }));
}

/** The distinct ones, by what their clauses name. */
function bySize(all: readonly TierPolicy[]): ClusterPolicy[] {
  const sizes = new Map<ClusterPolicy, number>();
  for (const { policy, clauses } of all) {
    const size = clauses.reduce((sum, { ports, peers }) => sum + weightOf([ports]) + blocksIn(peers), 0);
    sizes.set(policy, (sizes.get(policy) ?? 0) + size);
  }
  return [...sizes].sort(([a, x], [b, y]) => y - x || compare(a.name, b.name)).map(([policy]) => policy);
}

function liveRules(sides: readonly Side[]): Map<string, LiveRule[]> {
  const weights = new Map<string, number>();
  const clauses = new Map<string, { readonly ports: PortSet[]; readonly blocks: number }>();
  for (const side of sides) {
    for (const { source, ports, peers } of side.clauses) {
      const there = clauses.get(source) ?? { ports: [], blocks: blocksIn(peers) };
      clauses.set(source, there);
      there.ports.push(ports);
    }
  }
  for (const [source, { ports, blocks }] of clauses) weights.set(source, weightOf(ports) + blocks);
  const policies = new Map(sides.flatMap((side) => side.policies.map((policy) => [keyOf(policy), policy])));
  const rules = [...policies.values()].flatMap((policy) =>
    DIRECTIONS.flatMap((direction) =>
      policy.rules[direction].flatMap((_, index): LiveRule[] => {
        const source = ruleSource(policy, direction, index);
        return clauses.has(source) ? [{ policy, direction, index, source }] : [];
      }),
    ),
  );
  const order = (a: LiveRule, b: LiveRule): number =>
    (weights.get(a.source) as number) - (weights.get(b.source) as number) || compareRules(a, b);
  return Map.groupBy(rules.sort(order), ({ policy }) => policy.namespace);
}

/** Rules of one namespace, by policy and position in it. */
export const compareRules = (a: LiveRule, b: LiveRule): number =>
  compare(a.policy.name, b.policy.name) || compare(a.direction, b.direction) || a.index - b.index;

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

const blocksIn = (peers: "anyone" | readonly Peer[]): number =>
  peers === "anyone"
    ? 0
    : peers.reduce((sum, peer) => sum + (peer.kind === "block" ? 1 + exceptionsOf(peer).length : 0), 0);

function withRules(side: Side, isKept: (source: string) => boolean): Side {
  const clauses = side.clauses.filter(({ source }) => isKept(source));
  if (side.candidates === undefined) return { ...side, clauses };
  return { ...side, clauses, candidates: side.candidates.map((each) => withRules(each, isKept)) };
}

/**
 * Never less than the number of classes that these sets add to those of any others. On the port line a set begins and ends a span;
 * each beginning may begin a class. Where a span ends that has another's beginning inside, a class begins too: a span of one
 * port has nothing inside.
 */
export function weightOf(sets: Iterable<PortSet>): number {
  const edges = new Map<number, number>();
  for (const set of sets) {
    for (const { first, last } of set) {
      edges.set(first, (edges.get(first) ?? 0) + 1);
      edges.set(last + 1, (edges.get(last + 1) ?? 0) - 1);
    }
  }
  const places = [...edges.keys()].sort((a, b) => a - b);
  let weight = 0;
  let open = 0;
  for (const [at, place] of places.entries()) {
    open += edges.get(place) as number;
    const next = places[at + 1];
    if (open > 0 && next !== undefined) weight += next - place === 1 ? 1 : 2;
  }
  return weight;
}

/** Never less than the spans of all sets of ports that `planRows` builds from the rules of these policies. */
export function rangesIn(policies: Iterable<CompiledPolicy>, byTerm: Draft["byTerm"]): number {
  return rangesOfTerms(policies)
    .entries()
    .reduce((sum, [term, of]) => sum + (byTerm.get(term)?.length ?? 0) * of, 0);
}

/** The same, in the time of the terms whose sets have changed since the last call. */
export function openRanges(policies: Iterable<CompiledPolicy>): (byTerm: Draft["byTerm"]) => number {
  const ofTerms = rangesOfTerms(policies);
  const total = follow<number, readonly TermSet[], { count: number }>(
    () => ({ count: 0 }),
    (state, { key, before, after }) => {
      state.count += ((after?.length ?? 0) - (before?.length ?? 0)) * (ofTerms.get(key) ?? 0);
    },
  );
  return (byTerm) => total(byTerm).count;
}

/** The spans for each term set with a term, by term. */
function rangesOfTerms(policies: Iterable<CompiledPolicy>): Map<number, number> {
  const ranges = new Map<number, number>();
  for (const { grants } of policies)
    for (const { others, byTerm: ports, tiers } of grants) {
      const spans: (readonly [number, number])[] = [...ports].map(([term, set]) => [
        term,
        set.length + others.length,
      ]);
      // Each span of a tier may cut one of another in two.
      if (tiers !== undefined)
        append(
          spans,
          spansOfTiers(tiers).map(([term, of]) => [term, 2 * of] as const),
        );
      for (const [term, of] of spans) ranges.set(term, (ranges.get(term) ?? 0) + of);
    }
  return ranges;
}

/** Never less than the classes of these rows, if only these rows define the classes. */
export function bitsIn(rows: readonly PortSet[]): number {
  const boundaries = new Set<number>();
  for (const set of rows) for (const { first, last } of set) boundaries.add(first).add(last + 1);
  const places = [...boundaries].sort((a, b) => a - b);
  const atomAt = new Map(places.map((place, atom) => [place, atom]));
  let count = 0;
  for (const set of rows)
    for (const { first, last } of set)
      count += (atomAt.get(last + 1) as number) - (atomAt.get(first) as number);
  return count;
}

/** Rows that exist because guards distinguish senders, by the senders' namespaces: the demand of the senders' rules. */
function guardRows({ policies, plan, senders, termSets }: Planned): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  if (senders.size === 0) return found;
  for (const [content, cells] of plan.cells) {
    const limits = policies.get(content)?.limits;
    if (limits === undefined || limits.size === 0) continue;
    for (const [set, ports] of cells) {
      for (const term of termSets.get(set)?.terms ?? []) {
        if (!limits.has(term)) continue;
        for (const namespace of senders.get(term) ?? []) {
          const there = found.get(namespace) ?? new Set();
          found.set(namespace, there.add(portSetKey(ports)));
        }
      }
    }
  }
  return found;
}

interface Facts {
  readonly contents: Draft;
  readonly sides: readonly LiveSide[];
  readonly namespaceOf: ReadonlyMap<string, string>;
  readonly ranks: ReadonlyMap<string, number>;
  readonly origins: Origins;
}

/** The rules that need each term and prefix. */
interface Origins {
  /** By the term's key. */
  readonly terms: ReadonlyMap<string, ReadonlySet<string>>;
  /** By the prefix's text. */
  readonly prefixes: ReadonlyMap<string, ReadonlySet<string>>;
}

function originsOf(sides: readonly LiveSide[]): Origins {
  const terms = new Map<string, Set<string>>();
  const prefixes = new Map<string, Set<string>>();
  const note = (map: Map<string, Set<string>>, key: string, source: string): void => {
    const there = map.get(key);
    if (there === undefined) map.set(key, new Set([source]));
    else there.add(source);
  };
  for (const { side } of sides) {
    for (const { term, source } of allClauses(side)) {
      if (term === undefined || terms.get(term.key)?.has(source) === true) continue;
      note(terms, term.key, source);
      for (const peer of term.set.peers === "anyone" ? [] : term.set.peers) {
        if (peer.kind !== "block") continue;
        for (const { text } of [peer.cidr, ...exceptionsOf(peer)]) note(prefixes, text, source);
      }
    }
  }
  return { terms, prefixes };
}

interface Places {
  matches(namespace: string, kept: number): number;
  prefixes(family: Family, namespace: string, kept: number): number;
  identities(namespace: string, kept: number): number;
}

/** The lowest rank of a namespace's rules among some: if at least that many rules are kept, that rule is one of them. */
type LowestRank = (sources: Iterable<string>, namespace: string) => number | undefined;

/**
 * A prefix, and its identity, is charged to each namespace whose rules name it; the identity of a pod's address to
 * each namespace with a term that matches it.
 */
function placesOf({ contents, namespaceOf, ranks, origins }: Facts): Places {
  const { classified, senders, termNumbers, terms } = contents;
  const lowest: LowestRank = (sources, namespace) => {
    let found: number | undefined;
    for (const source of sources) {
      if (namespaceOf.get(source) !== namespace) continue;
      const rank = ranks.get(source) as number;
      if (found === undefined || rank < found) found = rank;
    }
    return found;
  };
  const sourcesOf = new Map(
    terms.map(({ key }) => [termNumbers.get(key) as number, origins.terms.get(key) ?? new Set<string>()]),
  );
  const memo = new Map<string, PlacesOfNamespace>();
  const placesOfNamespace = (namespace: string): PlacesOfNamespace => {
    const known = memo.get(namespace);
    if (known !== undefined) return known;
    const rank = new Map<number, number>();
    const shared = new Set<number>();
    for (const [number, sources] of sourcesOf) {
      const own = lowest(sources, namespace);
      if (own !== undefined) rank.set(number, own);
      if ([...sources].some((source) => namespaceOf.get(source) !== namespace)) shared.add(number);
      if (senders.has(number)) shared.add(number);
    }
    // Of equal term sets one is enough: the one that needs the fewest rules.
    const named = new Map<TermSet, number>();
    const ranksOfPrefixes: Record<Family, number[]> = { 4: [], 6: [] };
    for (const [text, { cidr, terms: set }] of classified.cidrs) {
      const own = lowest(origins.prefixes.get(text) ?? [], namespace);
      if (own === undefined) continue;
      ranksOfPrefixes[cidr.family].push(own);
      named.set(set, Math.min(own, named.get(set) ?? own));
    }
    const matched = new Set<TermSet>();
    for (const set of new Set(classified.addresses.values()))
      if (set.terms.some((term) => rank.has(term) || senders.get(term)?.has(namespace) === true))
        matched.add(set);
    const made = { rank, shared, named, matched, ranksOfPrefixes };
    memo.set(namespace, made);
    return made;
  };
  // What several namespaces name is there once: it is charged to all of them in equal parts.
  const parts = matchesByOwner({ contents, origins, namespaceOf });
  return {
    matches: (namespace, kept) =>
      (parts.get(namespace) ?? []).reduce(
        (sum, { sources, part }) =>
          (lowest(sources, namespace) ?? Number.POSITIVE_INFINITY) < kept ? sum + part : sum,
        0,
      ),
    prefixes: (family, namespace, kept) =>
      placesOfNamespace(namespace).ranksOfPrefixes[family].filter((rank) => rank < kept).length,
    identities(namespace, kept) {
      const { rank, shared, named, matched } = placesOfNamespace(namespace);
      const isThere = (term: number): boolean =>
        shared.has(term) || (rank.get(term) ?? Number.POSITIVE_INFINITY) < kept;
      const isOwn = (term: number): boolean =>
        (rank.get(term) ?? Number.POSITIVE_INFINITY) < kept || senders.get(term)?.has(namespace) === true;
      const found = new Set<string>();
      for (const [set, own] of named) if (own < kept) found.add(projected(set, isThere));
      for (const set of matched) if (set.terms.some(isOwn)) found.add(projected(set, isThere));
      found.delete("");
      return found.size;
    },
  };
}

/** By namespace, the peer sets that its rules name, with its part of what they take. */
function matchesByOwner({
  contents: { excess, terms },
  origins,
  namespaceOf,
}: Pick<Facts, "contents" | "origins" | "namespaceOf">) {
  const parts = new Map<string, { readonly sources: ReadonlySet<string>; readonly part: number }[]>();
  if (excess === undefined) return parts;
  for (const [key, own] of Map.groupBy(terms, ({ set }) => set.key)) {
    const sources = new Set(own.flatMap((term) => [...(origins.terms.get(term.key) ?? [])]));
    const owners = new Set([...sources].flatMap((source) => namespaceOf.get(source) ?? []));
    const part = Math.ceil((excess.ofSets.get(key) ?? 0) / owners.size);
    for (const owner of part === 0 ? [] : owners) {
      const there = parts.get(owner);
      if (there === undefined) parts.set(owner, [{ sources, part }]);
      else there.push({ sources, part });
    }
  }
  return parts;
}

interface PlacesOfNamespace {
  /** The lowest rank of the namespace's rules that need each term. */
  readonly rank: ReadonlyMap<number, number>;
  /** Terms that exist without the namespace too. */
  readonly shared: ReadonlySet<number>;
  /** Term sets of prefixes that it names, with the lowest rank of a rule that names one. */
  readonly named: ReadonlyMap<TermSet, number>;
  /** Term sets of pods' addresses with one of its terms. */
  readonly matched: ReadonlySet<TermSet>;
  readonly ranksOfPrefixes: Readonly<Record<Family, readonly number[]>>;
}

/** The content that a term set would have with only some of its terms. */
function projected({ terms, candidates, perhaps }: TermSet, isThere: (term: number) => boolean): string {
  if (candidates === undefined)
    return termSetOf(terms.filter(isThere), perhaps && { ...perhaps, terms: perhaps.terms.filter(isThere) })
      .content;
  return [...new Set(candidates.map((set) => projected(set, isThere)))].sort().join("&");
}
