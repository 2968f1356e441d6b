// Reduces a cluster to the capacity of the tables: allow rules beyond their namespace's share are left out, and other
// objects by object-limits.ts. Isolation is never left out, so what is missing only denies more.
//
// Stateless between compiles: the same cluster, endpoints and capacities give the same result.

import { append } from "../../base/append.ts";
import { assert } from "../../base/assert.ts";
import type { Direction } from "../../base/direction.ts";
import { DIRECTIONS } from "../../base/direction.ts";
import type { Family } from "../../base/ip.ts";
import { memo } from "../../base/memo.ts";
import { openStage } from "../../base/stage.ts";
import { overlaid } from "../../base/versioned-map.ts";
import { waterLevel } from "../../base/water-level.ts";
import { type Cluster, keyOf } from "../../model/cluster.ts";
import type { ClusterPolicy, ClusterRule } from "../../model/cluster-network-policy.ts";
import { FRONTEND_CAPACITIES } from "../../model/frontend-shares.ts";
import type { Policy, Rule } from "../../model/network-policy.ts";
import { LIMITS, NO_NAME } from "../../state/desired-state.ts";
import {
  type Contents,
  type Draft,
  type DraftInput,
  type DraftStages,
  type EndpointSides,
  openDraftStages,
  type Planned,
  type Restrictions,
  sidesIn,
} from "../enforced-policies.ts";
import { type LocalEndpoint, podsOf } from "../local-endpoints.ts";
import type { CompiledPolicy } from "../rows.ts";
import { ruleSource, sizesOf, tierPoliciesOf } from "../subjects.ts";
import { type Excess, type Limited, longestFit } from "./fair-shares.ts";
import { addressesLeftOut, frontendExcesses } from "./object-limits.ts";
import {
  bitsIn,
  CLUSTER,
  compareRules,
  type LiveRule,
  openRanges,
  type RuleLimit,
  type Usage,
  usageOf,
  type Worked,
} from "./rule-limits.ts";

/**
 * The sizes of tables, and limits that keep a compile within some seconds and the heap of the chart's container: the last ones, and
 * `backends`.
 */
export const CAPACITIES = {
  ...LIMITS,
  ...FRONTEND_CAPACITIES,
  clauses: 32_768,
  matches: 524_288,
  ranges: 524_288,
  bits: 1_048_576,
} as const;

export type Capacities = { readonly [limit in keyof typeof CAPACITIES]: number };

/** The heap for which `CAPACITIES` is made, in bytes. */
const CHART_HEAP = 256 << 20;
/** What a port of a Service takes at the highest point, in bytes. */
const SERVICE_PORT_BYTES = 16 << 10;

/** For a heap of at most so many bytes. */
export const capacitiesFor = (heap: number): Capacities => {
  const inProportion = (capacity: number): number => Math.floor((capacity * heap) / CHART_HEAP);
  return {
    ...CAPACITIES,
    clauses: inProportion(CAPACITIES.clauses),
    matches: inProportion(CAPACITIES.matches),
    backends: inProportion(CAPACITIES.backends),
    services: Math.min(CAPACITIES.services, Math.floor(heap / SERVICE_PORT_BYTES)),
  };
};

export interface Fitted {
  readonly contents: Contents;
  /** The cluster without what was left out: its policies describe what the kernel enforces. */
  readonly enforced: Cluster;
  readonly excesses: readonly Excess[];
}

/** What to compile with. Each step of leaving something out keeps its own results, for the next compile. */
export interface FittingStages {
  readonly steps: Step[];
}

interface Step {
  readonly stages: DraftStages;
  readonly cut: ReturnType<typeof openStage<Cut | undefined>>;
}

export const openFittingStages = (): FittingStages => ({ steps: [] });

/**
 * Compiles as much of a cluster as fits, in the time of what has changed since the last call: as long as everything fits, this costs
 * a run of the stages and some comparisons. Else each step leaves out more, in stages of its own.
 */
export function contentsThatFit(
  { cluster, locals, previous }: DraftInput,
  capacities: Capacities,
  { steps }: FittingStages,
): Fitted {
  let enforced = cluster;
  const restrictions = {
    leftOut: new Set<string>(),
    unguarded: new Set<string>(),
  };
  const excesses: Excess[] = [];
  for (let count = 0; ; count += 1) {
    const step = steps[count] ?? { stages: openDraftStages(), cut: openStage<Cut | undefined>() };
    steps[count] = step;
    const tooMany = cutClauses(
      step.stages.sides({ cluster: enforced, locals }),
      enforced,
      capacities.clauses,
    );
    if (tooMany !== undefined) {
      append(excesses, tooMany.excesses);
      enforced = withoutRules(enforced, tooMany.rules);
      continue;
    }
    const draft = step.stages.draft({ cluster: enforced, locals, previous }, restrictions, capacities);
    const situation = {
      locals,
      capacities,
      restrictions,
      nameless: new Set(enforced.nameless),
      keep: step.cut,
    };
    const early = nextCut(draft, situation);
    const planned = early === undefined ? step.stages.plan(draft) : undefined;
    const ofRows = planned && cutOfRows(planned, situation);
    // Before it is known that all bits fit, classes may be far too many.
    const contents =
      planned !== undefined && ofRows === undefined ? step.stages.contents(planned) : undefined;
    const next = early ?? ofRows ?? (contents && cutOfClasses(contents, situation));
    if (contents !== undefined && next === undefined) {
      // The others would keep every later version of the maps.
      steps.length = count + 1;
      return {
        contents,
        enforced,
        excesses: merged([...frontendExcesses(contents.excessServices), ...excesses]),
      };
    }
    assert(next !== undefined, "a cut where something does not fit");
    append(excesses, next.excesses);
    if (next.rules !== undefined) enforced = withoutRules(enforced, next.rules);
    if (next.nameless !== undefined)
      enforced = { ...enforced, nameless: [...(enforced.nameless ?? []), ...next.nameless].sort() };
    if (next.clusterPolicy !== undefined) enforced = denyingAll(enforced, next.clusterPolicy);
    for (const [name, added] of Object.entries(next.restrictions ?? {}))
      for (const each of added) restrictions[name as keyof Restrictions].add(each);
  }
}

interface Cut {
  readonly excesses: readonly Excess[];
  readonly rules?: readonly LiveRule[];
  /** One that denies everything instead of its rules: then it needs nothing. */
  readonly clusterPolicy?: ClusterPolicy;
  readonly restrictions?: Partial<Restrictions>;
  /** Namespaces for whose pods rules accept nothing by domain names. */
  readonly nameless?: readonly string[];
}

interface Situation {
  readonly locals: readonly LocalEndpoint[];
  readonly capacities: Capacities;
  readonly restrictions: Restrictions;
  /**
   * Namespaces whose pods have no names any more. An interface that may be that of pods of several namespaces has names until all of
   * these are among them.
   */
  readonly nameless: ReadonlySet<string>;
  /** Keeps what is to be cut from rules, as long as nothing that it depends on changes. */
  readonly keep: Step["cut"];
}

/** What to leave out next; undefined if everything fits. Each step leaves out something that was not left out before. */
function nextCut(contents: Draft, situation: Situation): Cut | undefined {
  const { locals, capacities } = situation;
  if (contents.excess !== undefined) return cutRules(contents, "matches", situation);
  for (const limit of ["policies", "domains", "names"] as const) {
    const cut = cutNames(contents, limit, situation);
    if (cut !== undefined) return cut;
  }
  for (const family of [4, 6] as const) {
    const addresses = addressesLeftOut(contents, { family, capacity: capacities.addresses, locals });
    if (addresses === undefined) continue;
    // A Deny or Pass that no longer sees an address would open: such policies deny everything first.
    const clusterPolicy = closingByLabels(contents);
    if (clusterPolicy === undefined)
      return { excesses: addresses.excesses, restrictions: { leftOut: addresses.addresses } };
    const [sizes] = addresses.excesses as [Excess];
    const { name } = clusterPolicy;
    const excess = {
      ...sizes,
      namespace: CLUSTER,
      object: `ClusterNetworkPolicy ${name}`,
      effect: DENIES_ALL,
    };
    return { excesses: [excess], clusterPolicy };
  }
  for (const limit of ["cidrs4", "cidrs6", "identities", "ranges"] as const) {
    if (usedByTerms(contents, limit) <= capacityOf(capacities, limit)) continue;
    const cut = cutRules(contents, limit, situation);
    if (cut !== undefined) return cut;
  }
  return undefined;
}

/** The first by name of the cluster policies in use with a rule, other than Accept, for peers by labels. */
const closingByLabels = ({ sides }: Draft): ClusterPolicy | undefined =>
  sidesIn(sides)
    .flatMap(tierPoliciesOf)
    .map(({ policy }) => policy)
    .filter(({ unreadable }) => unreadable !== DOES_NOT_FIT)
    .filter(({ rules }) => DIRECTIONS.some((direction) => rules[direction].some(closesByLabels)))
    .reduce<ClusterPolicy | undefined>(
      (first, each) => (first === undefined || each.name < first.name ? each : first),
      undefined,
    );

const closesByLabels = ({ action, peers }: ClusterRule): boolean =>
  action !== "Accept" && peers !== "anyone" && peers.some(({ kind }) => kind === "pods");

function cutOfRows(contents: Planned, situation: Situation): Cut | undefined {
  const { rows } = contents.plan;
  const { capacities } = situation;
  if (rows.size > capacities.rows) return cutRules(contents, "rows", situation);
  return bitsOf(rows) > capacities.bits ? cutRules(contents, "bits", situation) : undefined;
}

const cutOfClasses = (contents: Contents, situation: Situation): Cut | undefined =>
  contents.classes.size > situation.capacities.classes ? cutRules(contents, "classes", situation) : undefined;

type NameLimit = "policies" | "domains" | "names";

/** What rules by domain names need of a table: all of it, by namespace, and what is used by anything else. */
interface NameDemands {
  readonly used: ReadonlySet<string>;
  readonly demands: ReadonlyMap<string, ReadonlySet<string>>;
  readonly others: number;
}

/** By limit. It depends on which endpoint has which policy, and on nothing else. */
const demandsOfNames = memo((_: Draft["policiesOf"]) => new Map<NameLimit, NameDemands>());

function nameDemands({ sides, policiesOf }: Draft, limit: NameLimit): NameDemands {
  const known = demandsOfNames(policiesOf);
  const found = known.get(limit);
  if (found !== undefined) return found;
  const plain = new Set(
    policiesOf.values().flatMap((each) => DIRECTIONS.flatMap((direction) => each[direction]?.content ?? [])),
  );
  const needed = (policy: CompiledPolicy): string[] => {
    const all = [...(policy.byDomain ?? [])];
    switch (limit) {
      case "policies":
        return all.map(([, { content }]) => content).filter((content) => !plain.has(content));
      case "domains":
        return all.flatMap(([name]) => (name === NO_NAME ? [] : name));
      case "names":
        return all.map(([name]) => `${policy.content} ${name}`);
    }
  };
  const having = new Map<string, Set<CompiledPolicy>>();
  for (const { local } of sides) {
    const policy = policiesOf.get(local.ifindex)?.egress;
    if (policy?.byDomain === undefined) continue;
    for (const { namespace } of podsOf(local))
      having.set(namespace, (having.get(namespace) ?? new Set()).add(policy));
  }
  const demands = new Map(
    [...having].map(([namespace, policies]) => [namespace, new Set([...policies].flatMap(needed))]),
  );
  const used = new Set(demands.values().flatMap((each) => [...each]));
  const made = { used, demands, others: limit === "policies" ? plain.size : 0 };
  known.set(limit, made);
  return made;
}

const NAME_LIMITS: Readonly<Record<NameLimit, Limited>> = {
  policies: "policies",
  domains: "domain names",
  names: "domain names for policies",
};

/** All names of a namespace: which of an address's names are left decides nothing else, and names only accept. */
const NAMELESS =
  "rules of cluster policies accept nothing by domain names for its pods on this node; all other rules apply";

function cutNames(
  contents: Draft,
  limit: NameLimit,
  { capacities, nameless }: Pick<Situation, "capacities" | "nameless">,
): Cut | undefined {
  const { used, demands, others } = nameDemands(contents, limit);
  const capacity = capacities[limit];
  if (others + used.size <= capacity || used.size === 0) return undefined;
  const sizes = new Map(
    [...demands].flatMap(([namespace, each]) =>
      nameless.has(namespace) ? [] : [[namespace, each.size] as const],
    ),
  );
  const level = Math.max(0, waterLevel(sizes.values(), capacity - others));
  const greedy = [...sizes].filter(([, size]) => size > level).sort(([a], [b]) => (a < b ? -1 : 1));
  const excesses = greedy.map(
    ([namespace, wanted]): Excess => ({
      limit: NAME_LIMITS[limit],
      namespace,
      wanted,
      share: level,
      capacity,
      askers: [...sizes.values()].filter((each) => each > 0).length,
      object: `Namespace ${namespace}`,
      effect: NAMELESS,
    }),
  );
  return { excesses, nameless: greedy.map(([namespace]) => namespace) };
}

function usedByTerms(
  { classified, termSets, policies, byTerm }: Draft,
  limit: "cidrs4" | "cidrs6" | "identities" | "ranges",
): number {
  switch (limit) {
    case "cidrs4":
      return prefixesOf(classified.cidrs)[4];
    case "cidrs6":
      return prefixesOf(classified.cidrs)[6];
    case "identities":
      return termSets.size;
    case "ranges":
      return rangesOf(policies)(byTerm);
  }
}

// Most updates change none of these.
const bitsOf = memo((rows: Contents["plan"]["rows"]) => bitsIn([...rows.values()]));
const rangesOf = memo((policies: Draft["policies"]) => openRanges(policies.values()));
const prefixesOf = memo((cidrs: Draft["classified"]["cidrs"]): Record<Family, number> => {
  const counts = { 4: 0, 6: 0 };
  for (const { cidr } of cidrs.values()) counts[cidr.family] += 1;
  return counts;
});

const capacityOf = (capacities: Capacities, limit: RuleLimit): number =>
  limit === "cidrs4" || limit === "cidrs6" ? capacities.cidrs : capacities[limit];

const LIMITED: { readonly [limit in RuleLimit]: Limited } = {
  matches: "matches of selectors and prefixes",
  cidrs4: "IPv4 prefixes",
  cidrs6: "IPv6 prefixes",
  identities: "identities",
  ranges: "port ranges for peers",
  bits: "port classes in port sets",
  rows: "port sets",
  classes: "port classes",
};

/** Those to which domain names add. */
const WITH_NAMES: ReadonlySet<RuleLimit> = new Set(["ranges", "rows", "classes", "bits"]);

/** Soft limits: if the sum exceeds one, but no namespace exceeds its share, everything stays. */
const SOFT: ReadonlySet<RuleLimit> = new Set(["ranges", "bits"]);

/**
 * What is to be cut depends on policies and on the sets of terms that addresses have, not on which address has which. `ranges` is
 * checked before rows are known: then there is no plan.
 */
function cutRules(contents: Worked, limit: RuleLimit, situation: Situation): Cut | undefined {
  const { sides, policies, terms, termNumbers, termSets, byTerm, senders, classified, excess } = contents;
  const { capacities, restrictions, keep } = situation;
  const plan = "plan" in contents ? contents.plan : undefined;
  const unguarded = [...restrictions.unguarded].sort().join(" ");
  const without = [...situation.nameless].sort().join(" ");
  const own = [
    sides,
    policies,
    terms,
    termNumbers,
    termSets,
    byTerm,
    senders,
    classified.cidrs,
    plan,
    excess,
  ];
  return keep([...own, limit, ...Object.values(capacities), unguarded, without], () =>
    cutFrom(contents, limit, situation),
  );
}

function cutFrom(
  contents: Worked,
  limit: RuleLimit,
  { capacities, restrictions, nameless: without }: Situation,
): Cut | undefined {
  const usage = usageOf(contents);
  const demands = new Map(usage.demands(limit));
  const capacity = capacityOf(capacities, limit);
  const ofCluster = demands.get(CLUSTER) ?? 0;
  // Cluster policies come first, but for no more than half of it.
  if (ofCluster > capacity / 2)
    return cutClusterPolicy(usage, { limit, capacity, wanted: ofCluster, share: Math.floor(capacity / 2) });
  demands.delete(CLUSTER);
  const level = waterLevel(demands.values(), capacity - ofCluster);
  const greedy = [...demands].filter(([, demand]) => demand > level).map(([namespace]) => namespace);
  if (greedy.length === 0) {
    assert(SOFT.has(limit), `the demands for ${limit} are never less than what is used`);
    return undefined;
  }
  const excessOf = (namespace: string, more: Pick<Excess, "object" | "rules" | "effect">): Excess => ({
    limit: LIMITED[limit],
    namespace,
    wanted: demands.get(namespace) as number,
    share: level,
    capacity,
    askers: [...demands.values()].filter((each) => each > 0).length,
    ...more,
  });
  // Names only accept: without them nothing else changes.
  const { demands: named } = nameDemands(contents, "names");
  const nameless = WITH_NAMES.has(limit)
    ? greedy.filter((namespace) => named.has(namespace) && !without.has(namespace))
    : [];
  if (nameless.length > 0) {
    const excesses = nameless.map((namespace) =>
      excessOf(namespace, { object: `Namespace ${namespace}`, effect: NAMELESS }),
    );
    return { excesses, nameless };
  }
  // Guards serve Services that a policy allows only in part; without guards these are denied, and nothing else changes.
  const guarded = greedy.filter(
    (namespace) =>
      !restrictions.unguarded.has(namespace) &&
      [...contents.senders.values()].some((namespaces) => namespaces.has(namespace)),
  );
  if (guarded.length > 0) {
    const effect =
      "Services of which its pods' policies allow only some backends are denied to them as a whole";
    const excesses = guarded.map((namespace) =>
      excessOf(namespace, { object: `Namespace ${namespace}`, effect }),
    );
    return { excesses, restrictions: { unguarded: new Set(guarded) } };
  }
  const cuts = greedy.map((namespace) => {
    const rules = usage.rules.get(namespace) ?? [];
    const kept = longestFit(rules.length, (count) => usage.demand(limit, namespace, count) <= level);
    return { namespace, surplus: rules.slice(kept) };
  });
  const rules = cuts.flatMap(({ surplus }) => surplus);
  if (rules.length > 0) return { excesses: excessesOfRules(cuts, excessOf), rules };
  // What is left needs too much by cluster policies alone.
  const wanted = Math.max(...greedy.map((namespace) => demands.get(namespace) as number));
  return cutClusterPolicy(usage, { limit, capacity, wanted, share: level });
}

interface RulesCut {
  readonly namespace: string;
  readonly surplus: readonly LiveRule[];
}

const excessesOfRules = (
  cuts: readonly RulesCut[],
  excessOf: (namespace: string, more: Pick<Excess, "object" | "rules" | "effect">) => Excess,
): Excess[] =>
  cuts.flatMap(({ namespace, surplus }) =>
    [...Map.groupBy(surplus, ({ policy }) => keyOf(policy))].map(([key, own]) =>
      excessOf(namespace, {
        object: `NetworkPolicy ${key}`,
        rules: own.map(({ direction, index }) => `spec.${direction}[${index}]`),
        effect:
          "the rules named here allow nothing on this node; pods stay isolated, and all other rules apply",
      }),
    ),
  );

/**
 * The rules to leave out where all sides together take too much: of each namespace beyond its share the largest. Before any clause is
 * made. Cluster policies are not among them.
 */
function cutClauses(
  all: readonly EndpointSides[],
  cluster: Cluster,
  capacity: number,
): { readonly excesses: readonly Excess[]; readonly rules: readonly LiveRule[] } | undefined {
  const sides = sidesIn(all);
  if (sides.reduce((sum, { size }) => sum + size, 0) <= capacity) return undefined;
  const uses = { ingress: new Map<Policy, number>(), egress: new Map<Policy, number>() };
  for (const { direction, policies } of sides.flatMap((each) => each.candidates ?? [each]))
    for (const policy of policies) uses[direction].set(policy, (uses[direction].get(policy) ?? 0) + 1);
  const found = DIRECTIONS.flatMap((direction) =>
    [...uses[direction]].flatMap(([policy, count]) =>
      sizesOf(cluster, policy, direction).flatMap((size, index) =>
        size === 0
          ? []
          : [{ policy, direction, index, source: ruleSource(policy, direction, index), size: size * count }],
      ),
    ),
  );
  const byNamespace = Map.groupBy(found, ({ policy }) => policy.namespace);
  const demands = new Map(
    [...byNamespace].map(([namespace, own]) => [namespace, own.reduce((sum, { size }) => sum + size, 0)]),
  );
  const level = waterLevel(demands.values(), capacity);
  const cuts = [...byNamespace].flatMap(([namespace, own]): RulesCut[] => {
    if ((demands.get(namespace) as number) <= level) return [];
    let left = level;
    const surplus = own
      .sort((a, b) => a.size - b.size || compareRules(a, b))
      .filter(({ size }) => {
        left -= size;
        return left < 0;
      });
    return [{ namespace, surplus }];
  });
  const excesses = excessesOfRules(cuts, (namespace, more) => ({
    ...{ limit: "rules and ports of pods", namespace, capacity, share: level, askers: demands.size },
    wanted: demands.get(namespace) as number,
    ...more,
  }));
  return { excesses, rules: cuts.flatMap(({ surplus }) => surplus) };
}

/** The largest of those that still have rules. */
function cutClusterPolicy(
  { clusterPolicies }: Usage,
  sizes: {
    readonly limit: RuleLimit;
    readonly capacity: number;
    readonly wanted: number;
    readonly share: number;
  },
): Cut {
  const clusterPolicy = clusterPolicies.find(({ unreadable }) => unreadable !== DOES_NOT_FIT);
  assert(clusterPolicy !== undefined, `what is beyond a share of ${sizes.limit} has rules`);
  const excess: Excess = {
    ...sizes,
    limit: LIMITED[sizes.limit],
    namespace: CLUSTER,
    askers: 1,
    object: `ClusterNetworkPolicy ${clusterPolicy.name}`,
    effect: DENIES_ALL,
  };
  return { excesses: [excess], clusterPolicy };
}

const DENIES_ALL = "the policy denies everything at its place on this node, instead of its rules";
const DOES_NOT_FIT = "it does not fit in the tables of this node";

/** In each direction for which it has rules. */
function denyingAll(cluster: Cluster, policy: ClusterPolicy): Cluster {
  const closed = (direction: Direction): ClusterPolicy["rules"][Direction] =>
    policy.rules[direction].length === 0 ? [] : [{ action: "Deny", peers: "anyone", ports: "all" }];
  const rules = { ingress: closed("ingress"), egress: closed("egress") };
  const clusterPolicies = new Map(cluster.clusterPolicies);
  clusterPolicies.set(policy.name, { ...policy, rules, unreadable: DOES_NOT_FIT });
  return { ...cluster, clusterPolicies };
}

/** Keeps its index, so that the names of the others do not change. */
const NO_RULE: Rule = { peers: [], ports: [], leftOut: true };

function withoutRules(cluster: Cluster, rules: readonly LiveRule[]): Cluster {
  const reduced = [...Map.groupBy(rules, ({ policy }) => keyOf(policy))].map(([key, own]) => {
    const policy = cluster.policies.get(key) as Policy;
    return [
      key,
      withoutOwn(policy, new Set(own.map(({ direction, index }) => `${direction} ${index}`))),
    ] as const;
  });
  return { ...cluster, policies: overlaid(cluster.policies, new Map(reduced)) };
}

const reductions = memo((_: Policy) => new Map<string, Policy>());

/** The same object for the same rules. */
function withoutOwn(policy: Policy, surplus: ReadonlySet<string>): Policy {
  const known = reductions(policy);
  const key = [...surplus].sort().join(",");
  const left = (direction: Direction): readonly Rule[] =>
    policy.rules[direction].map((rule, index) => (surplus.has(`${direction} ${index}`) ? NO_RULE : rule));
  const reduced = known.get(key) ?? {
    ...policy,
    rules: { ingress: left("ingress"), egress: left("egress") },
  };
  if (known.size >= REDUCTIONS_KEPT) known.clear();
  known.set(key, reduced);
  return reduced;
}

const REDUCTIONS_KEPT = 8;

/** Everything that one object loses by one limit, even if found in several steps. */
function merged(excesses: readonly Excess[]): Excess[] {
  const found = new Map<string, Excess>();
  for (const each of excesses) {
    const key = `${each.limit} ${each.object}`;
    const there = found.get(key);
    found.set(
      key,
      there === undefined ? each : { ...there, rules: [...(there.rules ?? []), ...(each.rules ?? [])] },
    );
  }
  return [...found.values()].map((each) =>
    each.rules === undefined ? each : { ...each, rules: [...each.rules].sort(inNumericOrder) },
  );
}

const inNumericOrder = (a: string, b: string): number => {
  const [direction, index] = partsOf(a);
  const [other, otherIndex] = partsOf(b);
  return direction === other ? index - otherIndex : direction < other ? -1 : 1;
};

const partsOf = (rule: string): [string, number] => {
  const [, direction = "", index] = /^spec\.(\w+)\[(\d+)\]$/.exec(rule) ?? [];
  return [direction, Number(index)];
};
