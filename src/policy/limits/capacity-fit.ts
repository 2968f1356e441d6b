// Reduces a cluster to the capacity of the tables: allow rules beyond their namespace's share are left out, and other
// objects by object-limits.ts. Isolation is never left out, so what is missing only denies more.
//
// Stateless between compiles: the same cluster, endpoints and capacities give the same result.

import { assert } from "../../base/assert.ts";
import type { Direction } from "../../base/direction.ts";
import type { Family } from "../../base/ip.ts";
import { memo } from "../../base/memo.ts";
import { type Cluster, keyOf } from "../../model/cluster.ts";
import type { Policy, Rule } from "../../model/network-policy.ts";
import { LIMITS } from "../../state/desired-state.ts";
import {
  type Contents,
  type Draft,
  type DraftInput,
  type DraftStages,
  openDraftStages,
  type Restrictions,
} from "../enforced-policies.ts";
import type { LocalEndpoint } from "../local-endpoints.ts";
import { type Excess, type Limited, longestFit, waterLevel } from "./fair-shares.ts";
import { addressesLeftOut, servicesDenied } from "./object-limits.ts";
import { bitsIn, type LiveRule, type RuleLimit, rangesIn, usageOf, type Worked } from "./rule-limits.ts";

/** The sizes of tables, and limits that keep a compile within some seconds and some hundred megabytes. */
export const CAPACITIES = { ...LIMITS, ranges: 524_288, bits: 1_048_576 } as const;

export type Capacities = { readonly [limit in keyof typeof CAPACITIES]: number };

export interface Fitted {
  readonly contents: Contents;
  /** The cluster without what was left out: its policies describe what the kernel enforces. */
  readonly enforced: Cluster;
  readonly excesses: readonly Excess[];
}

/**
 * Compiles as much of a cluster as fits. If everything fits, as it nearly always does, this costs a run of the stages and some
 * comparisons; what is left out is determined from the whole cluster again.
 */
export function contentsThatFit(
  { cluster, locals, previous }: DraftInput,
  capacities: Capacities,
  whole: DraftStages,
): Fitted {
  let stages = whole;
  let enforced = cluster;
  const restrictions = {
    leftOut: new Set<string>(),
    denied: new Set<string>(),
    unguarded: new Set<string>(),
  };
  const excesses: Excess[] = [];
  for (;;) {
    const draft = stages.draft({ cluster: enforced, locals, previous }, restrictions);
    const early = nextCut(draft, { locals, capacities, restrictions });
    const contents = early === undefined ? stages.contents(draft) : undefined;
    const step = contents === undefined ? early : cutOfRows(contents, { capacities, restrictions });
    if (contents !== undefined && step === undefined)
      return { contents, enforced, excesses: merged(excesses) };
    assert(step !== undefined, "a cut where something does not fit");
    excesses.push(...step.excesses);
    if (step.rules !== undefined) enforced = withoutRules(enforced, step.rules);
    for (const [name, added] of Object.entries(step.restrictions ?? {}))
      for (const each of added) restrictions[name as keyof Restrictions].add(each);
    stages = openDraftStages(new Set(restrictions.leftOut));
  }
}

interface Cut {
  readonly excesses: readonly Excess[];
  readonly rules?: readonly LiveRule[];
  readonly restrictions?: Partial<Restrictions>;
}

interface Situation {
  readonly locals: readonly LocalEndpoint[];
  readonly capacities: Capacities;
  readonly restrictions: Restrictions;
}

/** What to leave out next; undefined if everything fits. Each step leaves out something that was not left out before. */
function nextCut(contents: Draft, { locals, capacities, restrictions }: Situation): Cut | undefined {
  for (const family of [4, 6] as const) {
    const services = servicesDenied(contents, family, capacities.services);
    if (services !== undefined)
      return { excesses: services.excesses, restrictions: { denied: services.addresses } };
  }
  for (const family of [4, 6] as const) {
    const addresses = addressesLeftOut(contents, { family, capacity: capacities.addresses, locals });
    if (addresses !== undefined)
      return { excesses: addresses.excesses, restrictions: { leftOut: addresses.addresses } };
  }
  for (const limit of ["cidrs4", "cidrs6", "identities", "ranges"] as const) {
    if (usedByTerms(contents, limit) <= capacityOf(capacities, limit)) continue;
    const cut = cutRules(contents, limit, { capacities, restrictions });
    if (cut !== undefined) return cut;
  }
  return undefined;
}

function cutOfRows(contents: Contents, situation: Omit<Situation, "locals">): Cut | undefined {
  const { capacities } = situation;
  const { plan, classes } = contents;
  if (plan.rows.size > capacities.rows) return cutRules(contents, "rows", situation);
  if (classes.size > capacities.classes) return cutRules(contents, "classes", situation);
  if (bitsOf(plan.rows) > capacities.bits) return cutRules(contents, "bits", situation);
  return undefined;
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
const rangesOf = memo((policies: Draft["policies"]) =>
  memo((byTerm: Draft["byTerm"]) => rangesIn(policies.values(), byTerm)),
);
const prefixesOf = memo((cidrs: Draft["classified"]["cidrs"]): Record<Family, number> => {
  const counts = { 4: 0, 6: 0 };
  for (const { cidr } of cidrs.values()) counts[cidr.family] += 1;
  return counts;
});

const capacityOf = (capacities: Capacities, limit: RuleLimit): number =>
  limit === "cidrs4" || limit === "cidrs6" ? capacities.cidrs : capacities[limit];

const LIMITED: { readonly [limit in RuleLimit]: Limited } = {
  cidrs4: "IPv4 prefixes",
  cidrs6: "IPv6 prefixes",
  identities: "identities",
  ranges: "port ranges for peers",
  bits: "port classes in port sets",
  rows: "port sets",
  classes: "port classes",
};

/** Soft limits: if the sum exceeds one, but no namespace exceeds its share, everything stays. */
const SOFT: ReadonlySet<RuleLimit> = new Set(["ranges", "bits"]);

function cutRules(
  contents: Worked,
  limit: RuleLimit,
  { capacities, restrictions }: Omit<Situation, "locals">,
): Cut | undefined {
  const usage = usageOf(contents);
  const demands = usage.demands(limit);
  const capacity = capacityOf(capacities, limit);
  const level = waterLevel(demands.values(), capacity);
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
  const excesses = cuts.flatMap(({ namespace, surplus }) =>
    [...Map.groupBy(surplus, ({ policy }) => keyOf(policy))].map(([key, own]) =>
      excessOf(namespace, {
        object: `NetworkPolicy ${key}`,
        rules: own.map(({ direction, index }) => `spec.${direction}[${index}]`),
        effect:
          "the rules named here allow nothing on this node; pods stay isolated, and all other rules apply",
      }),
    ),
  );
  const rules = cuts.flatMap(({ surplus }) => surplus);
  assert(rules.length > 0, `what is beyond a share of ${limit} has rules`);
  return { excesses, rules };
}

/** Keeps its index, so that the names of the others do not change. */
const NO_RULE: Rule = { peers: [], ports: [], leftOut: true };

function withoutRules(cluster: Cluster, rules: readonly LiveRule[]): Cluster {
  const policies = new Map(cluster.policies);
  for (const [key, own] of Map.groupBy(rules, ({ policy }) => keyOf(policy))) {
    const policy = policies.get(key) as Policy;
    const surplus = new Set(own.map(({ direction, index }) => `${direction} ${index}`));
    const left = (direction: Direction): readonly Rule[] =>
      policy.rules[direction].map((rule, index) => (surplus.has(`${direction} ${index}`) ? NO_RULE : rule));
    policies.set(key, { ...policy, rules: { ingress: left("ingress"), egress: left("egress") } });
  }
  return { ...cluster, policies };
}

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
