// ClusterNetworkPolicies: rules that are never reached, priorities that leave the order open, Pass where nothing follows, and Deny
// that takes DNS away.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { hasName } from "../../base/domain-name.ts";
import { cidrCovers, cidrOf, FAMILIES, type Family } from "../../base/ip.ts";
import type { Pod } from "../../model/cluster.ts";
import {
  type ClusterPeer,
  type ClusterPolicy,
  type ClusterRule,
  clusterPolicyText,
  compareRank,
} from "../../model/cluster-network-policy.ts";
import { matches } from "../../model/selector.ts";
import { selectsPod } from "../tiers.ts";
import { hasDnsPort, matchesDns, namesDns } from "./dns-rules.ts";
import { type Finding, isWhole, pathName, podNames, rulePath, type World } from "./lint-input.ts";
import { blockCovers, mayOverlap, portsCover, portsOverlap, selectorCovers } from "./rule-coverage.ts";

/** One rule, where it is. */
export interface RuleAt {
  readonly policy: ClusterPolicy;
  readonly direction: Direction;
  readonly index: number;
  readonly rule: ClusterRule;
}

/** The time is in the square of the rules. */
export function tierFindings(world: World): readonly Finding[] {
  const policies = [...(world.cluster.clusterPolicies?.values() ?? [])];
  const whole = policies.filter(isWhole);
  return [
    ...whole.flatMap((policy) => tied(policies, policy)),
    ...whole
      .flatMap(rulesOf)
      .flatMap((at) => [
        ...shadowed(whole, at),
        ...passUnused(world, policies, at),
        ...dnsDenied(world, policies, at),
        ...dnsShut(world, policies, at),
      ]),
  ];
}

export const rulesOf = (policy: ClusterPolicy): readonly RuleAt[] =>
  DIRECTIONS.flatMap((direction) =>
    policy.rules[direction].map((rule, index) => ({ policy, direction, index, rule })),
  );

/** Whether a policy's rules are always evaluated before another's. */
const isBefore = (a: ClusterPolicy, b: ClusterPolicy): boolean => compareRank(a, b) < 0;

export const subjectsOverlap = ({ subject: a }: ClusterPolicy, { subject: b }: ClusterPolicy): boolean =>
  mayOverlap(a.namespaces, b.namespaces) && mayOverlap(a.pods, b.pods);

export const subjectCovers = (
  { subject: outer }: ClusterPolicy,
  { subject: inner }: ClusterPolicy,
): boolean => selectorCovers(outer.namespaces, inner.namespaces) && selectorCovers(outer.pods, inner.pods);

/** The other policy of the same priority whose rules may decide differently about the same traffic; reported at the later one. */
function tied(policies: readonly ClusterPolicy[], policy: ClusterPolicy): readonly Finding[] {
  const before = policies.slice(0, policies.indexOf(policy));
  const other = before.find(
    (each) =>
      compareRank(each, policy) === 0 &&
      subjectsOverlap(each, policy) &&
      DIRECTIONS.some((direction) =>
        policy.rules[direction].some((rule) =>
          each.rules[direction].some((one) => one.action !== rule.action && rulesOverlap(one, rule)),
        ),
      ),
  );
  if (other === undefined) return [];
  const reason = `is also that of ${other.name}, whose rules may match the same traffic with another action; then Deny takes precedence, and Pass before Accept`;
  const fix = "give one of the two another priority";
  return [{ code: "priority-tied", policy, path: ["spec", "priority"], reason, fix }];
}

/** A rule of which an earlier one in the policy, or one of a policy that comes before it in the tier, matches everything. */
function shadowed(policies: readonly ClusterPolicy[], at: RuleAt): readonly Finding[] {
  const { policy, direction, index, rule } = at;
  const own = policy.rules[direction].slice(0, index).findIndex((each) => ruleCovers(each, rule));
  const [other] =
    own >= 0
      ? []
      : policies
          .filter(
            (each) => each.tier === policy.tier && isBefore(each, policy) && subjectCovers(each, policy),
          )
          .flatMap((each) =>
            each.rules[direction].flatMap((one, position) =>
              ruleCovers(one, rule) ? [{ each, position }] : [],
            ),
          );
  if (own < 0 && other === undefined) return [];
  const by =
    other === undefined
      ? pathName(rulePath(direction, own))
      : `${pathName(rulePath(direction, other.position))} of ${clusterPolicyText(other.each)}`;
  const reason = `is never reached: ${by} matches everything that it matches`;
  return [
    {
      code: "tier-rule-shadowed",
      policy,
      path: rulePath(direction, index),
      reason,
      fix: "remove it, or put it before that rule",
    },
  ];
}

/** Pass that decides the same as Accept: in the last tier, and for given pods that no later policy isolates. */
function passUnused(world: World, policies: readonly ClusterPolicy[], at: RuleAt): readonly Finding[] {
  const { policy, direction, index, rule } = at;
  if (rule.action !== "Pass") return [];
  const finding = (reason: string, fix: string): readonly Finding[] => [
    { code: "pass-unused", policy, path: [...rulePath(direction, index), "action"], reason, fix },
  ];
  if (policy.tier === "Baseline")
    return finding("no tier follows the Baseline tier, so Pass allows", "write Accept");
  const selectable = [...world.selectableIn.values()].flat();
  const pods = selectable.filter((pod) => selectsPod(world.cluster, policy, pod));
  const isFollowed =
    pods.length === 0 ||
    pods.some((pod) => isIsolated(world, pod, direction)) ||
    policies.some(
      (each) => each.tier === "Baseline" && each.rules[direction].length > 0 && subjectsOverlap(each, policy),
    );
  if (isFollowed) return [];
  const reason = `passes to nothing: no NetworkPolicy isolates the ${direction} of ${podNames(pods)}, and no Baseline policy has rules for them, so Pass allows`;
  return finding(reason, "write Accept, or add the policies that are meant to decide");
}

const isIsolated = (world: World, pod: Pod, direction: Direction): boolean =>
  [...world.cluster.policies.values()].some(
    ({ namespace, isolates, subject }) =>
      namespace === pod.namespace && isolates[direction] && matches(subject, pod.labels),
  );

/** A wide Deny that DNS falls under, with no rule before it that lets DNS through. */
function dnsDenied(world: World, policies: readonly ClusterPolicy[], at: RuleAt): readonly Finding[] {
  const { policy, direction, index, rule } = at;
  if (direction !== "egress" || rule.action !== "Deny" || !matchesDns(world, rule)) return [];
  // Written for DNS: it is meant.
  if (rule.ports !== "all" && rule.ports.some(namesDns)) return [];
  const letsThrough = (each: ClusterRule): boolean => each.action !== "Deny" && matchesDns(world, each);
  const isLetThrough =
    policy.rules.egress.slice(0, index).some(letsThrough) ||
    policies.some(
      (each) =>
        each.tier === policy.tier &&
        isBefore(each, policy) &&
        subjectsOverlap(each, policy) &&
        each.rules.egress.some(letsThrough),
    );
  if (isLetThrough) return [];
  return [
    {
      code: "dns-denied",
      policy,
      path: rulePath(direction, index),
      reason: "denies its pods DNS (UDP port 53) as well, and no rule before it accepts or passes that",
      fix: "put a rule before it that accepts port 53 of UDP and TCP to the cluster's DNS",
    },
  ];
}

/** A Deny of all pods that the cluster's DNS falls under as a subject, with no rule before it that lets questions in. */
function dnsShut(world: World, policies: readonly ClusterPolicy[], at: RuleAt): readonly Finding[] {
  const { policy, direction, index, rule } = at;
  if (direction !== "ingress" || rule.action !== "Deny" || !isFromAll(rule) || !hasDnsPort(rule)) return [];
  const shut = world.dns.filter(
    (pod) =>
      selectsPod(world.cluster, policy, pod) &&
      // Where a NetworkPolicy isolates it, the Baseline tier does not count.
      (policy.tier === "Admin" || !isIsolated(world, pod, direction)),
  );
  const letsIn = (each: ClusterRule): boolean => each.action !== "Deny" && hasDnsPort(each);
  const isLetIn =
    policy.rules.ingress.slice(0, index).some(letsIn) ||
    policies.some(
      (each) =>
        isBefore(each, policy) &&
        each.rules.ingress.some(letsIn) &&
        shut.some((pod) => selectsPod(world.cluster, each, pod)),
    );
  if (shut.length === 0 || isLetIn) return [];
  return [
    {
      code: "dns-denied",
      policy,
      path: rulePath(direction, index),
      reason: `applies to the cluster's DNS (${podNames(shut)}) as well, and no rule before it lets pods ask that (UDP port 53)`,
      fix: "put a rule before it that accepts port 53 of UDP and TCP, or leave that namespace out of the subject",
    },
  ];
}

/** Whether a rule is about all pods, but for some namespaces. */
const isFromAll = ({ peers }: ClusterRule): boolean =>
  peers === "anyone" ||
  peers.some(
    (peer) =>
      peer.kind === "pods" &&
      peer.pods.requirements.length === 0 &&
      peer.namespaces.requirements.every(
        ({ operator }) => operator === "NotIn" || operator === "DoesNotExist",
      ),
  );

const ruleCovers = (outer: ClusterRule, inner: ClusterRule): boolean =>
  peersCover(outer.peers, inner.peers) && portsCover(outer.ports, inner.ports);

export function peersCover(outer: ClusterRule["peers"], inner: ClusterRule["peers"]): boolean {
  if (outer === "anyone") return true;
  if (inner === "anyone" || inner.length === 0) return false;
  const isEverywhere = FAMILIES.every((family) =>
    outer.some((each) => each.kind === "block" && blockCovers(each, everythingOf(family))),
  );
  return inner.every(
    (peer) => (peer.kind === "domain" && isEverywhere) || outer.some((each) => peerCovers(each, peer)),
  );
}

/** Whatever addresses names have, they are among these. */
const everythingOf = (family: Family) =>
  ({ kind: "block", cidr: cidrOf(family, 0n, 0), except: [] }) as const;

function peerCovers(outer: ClusterPeer, inner: ClusterPeer): boolean {
  if (outer.kind === "pods")
    return (
      inner.kind === "pods" &&
      selectorCovers(outer.namespaces, inner.namespaces) &&
      selectorCovers(outer.pods, inner.pods)
    );
  if (outer.kind === "nodes") return inner.kind === "nodes" && selectorCovers(outer.nodes, inner.nodes);
  if (outer.kind === "domain") return inner.kind === "domain" && hasName(outer.name, inner.name);
  // Which addresses a name has is known only where it is resolved.
  if (inner.kind === "domain") return false;
  return inner.kind === "block" && blockCovers(outer, inner);
}

const rulesOverlap = (a: ClusterRule, b: ClusterRule): boolean =>
  peersOverlap(a.peers, b.peers) && portsOverlap(a.ports, b.ports);

function peersOverlap(a: ClusterRule["peers"], b: ClusterRule["peers"]): boolean {
  if (a === "anyone" || b === "anyone") return true;
  return a.some((one) => b.some((other) => peerOverlaps(one, other)));
}

/** Of different kinds only if one is a block of everything: which addresses pods, nodes and names have is another matter. */
function peerOverlaps(a: ClusterPeer, b: ClusterPeer): boolean {
  if (a.kind === "pods" && b.kind === "pods")
    return mayOverlap(a.namespaces, b.namespaces) && mayOverlap(a.pods, b.pods);
  if (a.kind === "nodes" && b.kind === "nodes") return mayOverlap(a.nodes, b.nodes);
  if (a.kind === "domain" && b.kind === "domain") return hasName(a.name, b.name) || hasName(b.name, a.name);
  if (a.kind === "block" && b.kind === "block")
    return cidrCovers(a.cidr, b.cidr) || cidrCovers(b.cidr, a.cidr);
  return [a, b].some((each) => each.kind === "block" && each.cidr.length === 0);
}
