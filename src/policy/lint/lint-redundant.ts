// Parts of a policy without effect: rules that do not apply, and what another rule or policy already allows or isolates.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { keyOf } from "../../model/cluster.ts";
import type { Policy, Rule } from "../../model/network-policy.ts";
import { type Finding, pathName, peerPath, peersField, rulePath, type World } from "./lint-input.ts";
import { peerCovers, ruleCovers, selectorCovers } from "./rule-coverage.ts";

const TYPE_NAMES: Readonly<Record<Direction, string>> = { ingress: "Ingress", egress: "Egress" };

export const redundancyFindings = (world: World, policy: Policy): readonly Finding[] => [
  ...emptyTypes(world, policy),
  ...DIRECTIONS.flatMap((direction) =>
    policy.isolates[direction]
      ? [...redundantRules(policy, direction), ...redundantPeers(policy, direction)]
      : unusedRules(world, policy, direction),
  ),
  ...redundantPolicy(world, policy),
];

function emptyTypes(world: World, policy: Policy): readonly Finding[] {
  const path = ["spec", "policyTypes"];
  if (!world.writes(policy, path) || world.writes(policy, [...path, 0])) return [];
  const isolated = policy.isolates.egress ? "ingress and egress are" : "ingress is";
  const reason = `is empty, which means the same as leaving it out: ${isolated} isolated`;
  const types = DIRECTIONS.filter((direction) => policy.isolates[direction]).map(
    (direction) => TYPE_NAMES[direction],
  );
  return [{ code: "types-empty", policy, path, reason, fix: `write policyTypes: [${types.join(", ")}]` }];
}

function unusedRules(world: World, policy: Policy, direction: Direction): readonly Finding[] {
  const path = ["spec", direction];
  if (!world.writes(policy, path) || !world.writes(policy, ["spec", "policyTypes", 0])) return [];
  const type = TYPE_NAMES[direction];
  const what = policy.rules[direction].length > 0 ? "its rules do nothing" : `it isolates no ${direction}`;
  const reason = `policyTypes does not name ${type}, so ${what}`;
  return [
    {
      code: "rules-unused",
      policy,
      path,
      reason,
      fix: `add ${type} to policyTypes, or remove ${direction}`,
    },
  ];
}

/**
 * The index of an item that covers the one at `at`, if any. Of two that cover each other, the later one is superfluous.
 */
function covererOf<T>(
  items: readonly T[],
  at: number,
  covers: (outer: T, inner: T) => boolean,
): number | undefined {
  const inner = items[at] as T;
  const found = items.findIndex(
    (outer, index) => index !== at && covers(outer, inner) && (index < at || !covers(inner, outer)),
  );
  return found < 0 ? undefined : found;
}

function redundantRules(policy: Policy, direction: Direction): readonly Finding[] {
  const rules = policy.rules[direction];
  const covers = (outer: Rule, inner: Rule): boolean => ruleCovers(outer, inner, policy.namespace);
  return rules.flatMap((_, index) => {
    const by = covererOf(rules, index, covers);
    if (by === undefined) return [];
    const path = rulePath(direction, index);
    const reason = `allows nothing that ${pathName(rulePath(direction, by))} does not allow`;
    return [
      {
        code: "rule-redundant" as const,
        policy,
        path,
        reason,
        fix: "remove it, or correct the wider rule",
      },
    ];
  });
}

function redundantPeers(policy: Policy, direction: Direction): readonly Finding[] {
  return policy.rules[direction].flatMap(({ peers }, rule) => {
    if (peers === "anyone") return [];
    return peers.flatMap((_, index) => {
      const by = covererOf(peers, index, (outer, inner) => peerCovers(outer, inner, policy.namespace));
      if (by === undefined) return [];
      const path = peerPath(direction, rule, index);
      const reason = `matches nothing that ${peersField(direction)}[${by}] does not match`;
      return [
        {
          code: "peer-redundant" as const,
          policy,
          path,
          reason,
          fix: "remove it, or correct the wider one",
        },
      ];
    });
  });
}

/** A policy whose isolation and rules are all contained in others of its namespace that select at least the same pods. */
function redundantPolicy(world: World, policy: Policy): readonly Finding[] {
  const policies = world.policies.filter(({ namespace }) => namespace === policy.namespace);
  const at = policies.indexOf(policy);
  const isolated = DIRECTIONS.filter((direction) => policy.isolates[direction]);
  const coverers = isolated.map((direction) => {
    const by = covererOf(policies, at, (outer, inner) => policyCovers(outer, inner, direction));
    return by === undefined ? undefined : policies[by];
  });
  if (isolated.length === 0 || !coverers.every((each) => each !== undefined)) return [];
  const names = [...new Set(coverers.map(keyOf))].join(" and ");
  const reason = `isolates and allows nothing beyond ${names}`;
  return [
    {
      code: "policy-redundant",
      policy,
      path: ["spec"],
      reason,
      fix: "remove the policy, or correct one of them",
    },
  ];
}

/**
 * A policy without rules is a default deny: next to others that allow something it is intended, so only another one without
 * rules makes it redundant.
 */
const policyCovers = (outer: Policy, inner: Policy, direction: Direction): boolean =>
  outer.isolates[direction] &&
  (inner.rules[direction].length > 0 || outer.rules[direction].length === 0) &&
  selectorCovers(outer.subject, inner.subject) &&
  inner.rules[direction].every((rule) =>
    outer.rules[direction].some((each) => ruleCovers(each, rule, inner.namespace)),
  );
