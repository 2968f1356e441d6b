// What lint calls useless is so: in random worlds it is removed, and the oracle answers every question as before.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Direction } from "../../../../src/base/direction.ts";
import { cidrContains, LINK_LOCAL_V6, MULTICAST, UNSPECIFIED_V4 } from "../../../../src/base/ip.ts";
import { type Cluster, isSubject, keyOf } from "../../../../src/model/cluster.ts";
import type { ClusterPolicy, ClusterRule } from "../../../../src/model/cluster-network-policy.ts";
import type { Policy, Rule } from "../../../../src/model/network-policy.ts";
import type { WarningCode } from "../../../../src/model/problem.ts";
import { matches } from "../../../../src/model/selector.ts";
import type { Finding, Path } from "../../../../src/policy/lint/lint-policies.ts";
import { permits, sideVerdict } from "../../../../src/policy/oracle.ts";
import { selectsPod } from "../../../../src/policy/tiers.ts";
import { lint } from "../../../support/lint.ts";
import { address, outside } from "../../../support/model.ts";
import { type AnsweredQuestion, questions } from "../../../support/questions.ts";
import { cluster as anyCluster } from "../../../support/worlds.ts";

/** Codes of what can be removed without a change. */
const USELESS: readonly WarningCode[] = [
  "no-pod-selected",
  "no-pod-matched",
  "no-namespace-matched",
  "port-name-unknown",
  "selector-impossible",
  "except-whole-block",
  "peer-redundant",
  "rule-redundant",
  "policy-redundant",
  "tier-rule-shadowed",
];

const OFTEN_SEEN = USELESS.filter((code) => code !== "except-whole-block" && code !== "policy-redundant");

const RUNS = 600;
/** Of the thousands of questions about a world, one in this many is checked; which ones differs from world to world. */
const STEP = 11;

/** Lint reads every policy as if it were enforced (docs/lint.md), so here each one is. */
const cluster = anyCluster.map(
  (world): Cluster => ({
    ...world,
    policies: new Map([...world.policies].map(([key, policy]) => [key, { ...policy, mode: "enforce" }])),
  }),
);

/** The world without the element that a finding is about; undefined for the policy as a whole. */
function without(world: Cluster, { code, policy, path }: Finding): Cluster {
  if ("tier" in policy) return withRules(world, policy, path, () => []);
  const policies = new Map(world.policies);
  const changed =
    code === "policy-redundant" || path[1] === "podSelector" || path[0] === "metadata"
      ? undefined
      : withoutElement(policy, path);
  if (changed === undefined) policies.delete(keyOf(policy));
  else policies.set(keyOf(policy), changed);
  return { ...world, policies };
}

/** The world with other rules in the place of a cluster policy's one. */
function withRules(
  world: Cluster,
  policy: ClusterPolicy,
  [, direction, index]: Path,
  instead: (rule: ClusterRule) => readonly ClusterRule[],
): Cluster {
  const key = direction as Direction;
  const rules = policy.rules[key].flatMap((rule, at) => (at === index ? instead(rule) : [rule]));
  const changed = { ...policy, rules: { ...policy.rules, [key]: rules } };
  return { ...world, clusterPolicies: new Map(world.clusterPolicies).set(policy.name, changed) };
}

function withoutElement(policy: Policy, [, direction, index, list, element]: Path): Policy {
  const key = direction as Direction;
  const rules = policy.rules[key].flatMap((rule, at): readonly Rule[] => {
    if (at !== index) return [rule];
    if (list === undefined) return [];
    const field = list === "ports" ? "ports" : "peers";
    const items: readonly unknown[] = rule[field] as readonly unknown[];
    const left = items.filter((_, position) => position !== element);
    // An empty list would be everyone.
    return left.length === 0 ? [] : [{ ...rule, [field]: left } as Rule];
  });
  return { ...policy, rules: { ...policy.rules, [key]: rules } };
}

const answers = (
  world: Cluster,
  step: number,
  counts: (question: AnsweredQuestion) => boolean = () => true,
): readonly boolean[] => [...questions(world, step)].filter(counts).map(({ allowed }) => allowed);

/** Rules of cluster policies may deny link-local and multicast addresses and 0.0.0.0 beside their peers, which lint does not consider (docs/lint.md). */
const isGlobal = ({ remote }: AnsweredQuestion): boolean =>
  ![LINK_LOCAL_V6, UNSPECIFIED_V4, ...MULTICAST].some((cidr) => cidrContains(cidr, remote));

describe("in random worlds", { timeout: 300_000 }, () => {
  it("what lint calls useless changes no verdict", () => {
    const seen = new Map<WarningCode, number>();
    fc.assert(
      fc.property(cluster, fc.integer({ min: 0, max: 5 }), (world, more) => {
        const found = lint({ cluster: world }).filter(({ code }) => USELESS.includes(code));
        if (found.length === 0) return;
        for (const finding of found) {
          seen.set(finding.code, (seen.get(finding.code) ?? 0) + 1);
          const counts = "tier" in finding.policy ? isGlobal : undefined;
          const before = answers(world, STEP + more, counts);
          const after = answers(without(world, finding), STEP + more, counts);
          expect(after, `${finding.code} ${finding.path.join(".")}: ${finding.reason}`).toEqual(before);
        }
      }),
      { numRuns: RUNS },
    );
    expect([...seen.keys()], "what is rare may be missing").toEqual(expect.arrayContaining([...OFTEN_SEEN]));
  });

  it("a Pass into nothing is an Accept", () => {
    let seen = 0;
    fc.assert(
      fc.property(cluster, fc.integer({ min: 0, max: 5 }), (world, more) => {
        for (const { code, policy, path } of lint({ cluster: world })) {
          if (code !== "pass-unused" || !("tier" in policy) || policy.tier !== "Baseline") continue;
          seen += 1;
          const after = withRules(world, policy, path, (rule) => [{ ...rule, action: "Accept" }]);
          expect(answers(after, STEP + more, isGlobal)).toEqual(answers(world, STEP + more, isGlobal));
        }
      }),
      { numRuns: RUNS },
    );
    expect(seen).toBeGreaterThan(10);
  });

  it("names that open nothing change no verdict", () => {
    let seen = 0;
    fc.assert(
      fc.property(cluster, fc.integer({ min: 0, max: 5 }), (world, more) => {
        for (const { code, policy, path, reason } of lint({ cluster: world })) {
          if (code !== "names-unneeded" || !("tier" in policy)) continue;
          seen += 1;
          const after = withRules(world, policy, path, (rule) => [
            {
              ...rule,
              peers: rule.peers === "anyone" ? [] : rule.peers.filter(({ kind }) => kind !== "domain"),
            },
          ]);
          expect(answers(after, STEP + more, isGlobal), reason).toEqual(
            answers(world, STEP + more, isGlobal),
          );
        }
      }),
      { numRuns: RUNS },
    );
    expect(seen).toBeGreaterThan(10);
  });

  it("pods that can ask no resolver can ask none, and those that can ask anybody can ask a stranger", () => {
    const seen = { "names-unresolved": 0, "names-any-resolver": 0 };
    fc.assert(
      fc.property(cluster, (world) => {
        for (const { code, policy, reason } of lint({ cluster: world })) {
          if (code !== "names-unresolved" && code !== "names-any-resolver") continue;
          if (!("tier" in policy)) throw new Error(`${code} is about cluster policies`);
          for (const pod of world.pods.values()) {
            if (!isSubject(pod) || !selectsPod(world, policy, pod)) continue;
            seen[code] += 1;
            const allowed = (text: string): boolean =>
              pod.ips
                .filter(({ family }) => family === address(text).family)
                .some((own) => {
                  const from = { kind: "pod", pod, address: own } as const;
                  const probe = { from, to: outside(text), protocol: "UDP", port: 53, names: [] } as const;
                  return permits(sideVerdict(world, probe, "egress"));
                });
            const [v4, v6] = ["203.0.113.77", "2001:db8:77::1"].map(allowed);
            if (code === "names-unresolved") expect([v4, v6], reason).toEqual([false, false]);
            // Rules about all addresses of one family leave the other one open.
            else expect(v4 || v6 || pod.ips.every(({ family }) => family === 6), reason).toBe(true);
          }
        }
      }),
      { numRuns: RUNS * 12 },
    );
    expect(Math.min(...Object.values(seen))).toBeGreaterThan(10);
  });

  it("a rule that opens everything to everyone does so", () => {
    fc.assert(
      // Cluster policies come before and after.
      fc.property(
        cluster.map(({ clusterPolicies: _, ...world }) => world),
        (world) => {
          const open = lint({ cluster: world }).filter(
            ({ code, reason }) => code === "opens-all" && reason.includes("restricts no"),
          );
          for (const { policy, path } of open) {
            if ("tier" in policy) throw new Error("opens-all is about NetworkPolicies");
            const closed = [...questions(world, STEP)].filter(
              ({ allowed, direction, local }) =>
                !allowed &&
                direction === path[1] &&
                [...world.pods.values()].some(
                  (pod) =>
                    pod.namespace === policy.namespace &&
                    matches(policy.subject, pod.labels) &&
                    pod.ips.some(({ text }) => text === local.text),
                ),
            );
            expect(closed.map(({ why }) => why())).toEqual([]);
          }
        },
      ),
      { numRuns: RUNS },
    );
  });
});
