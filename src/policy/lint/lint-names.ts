// Rules with domain names: names that pods cannot resolve, resolvers that may be anybody, and names that open nothing.

import { type Cidr, cidrCovers, cidrOf, FAMILIES, type Family, LINK_LOCAL_V6 } from "../../base/ip.ts";
import {
  type ClusterPolicy,
  type ClusterRule,
  clusterPolicyText,
  compareRank,
  TIERS,
} from "../../model/cluster-network-policy.ts";
import type { PortMatch, Rule } from "../../model/network-policy.ts";
import { matches } from "../../model/selector.ts";
import { type Finding, isWhole, pathName, rulePath, type World } from "./lint-input.ts";
import { peersCover, type RuleAt, rulesOf, subjectCovers, subjectsOverlap } from "./lint-tiers.ts";
import { mayOverlap, portsCover, portsOverlap } from "./rule-coverage.ts";

/** Only what comes from here is learned; see docs/decisions/0035-domain-names-are-learned-in-the-kernel.md. */
const RESOLVER: readonly PortMatch[] = [{ kind: "range", protocol: "UDP", first: 53, last: 53 }];

/** What names lead to there is never learned (`is_nameless()` in bpf/dns.h): loopback, link-local and multicast addresses. */
const NEVER_LEARNED: readonly Cidr[] = [
  cidrOf(4, 0n, 8),
  cidrOf(4, 127n << 24n, 8),
  cidrOf(4, ((169n << 8n) + 254n) << 16n, 16),
  cidrOf(4, 224n << 24n, 3),
  cidrOf(6, 0n, 64),
  LINK_LOCAL_V6,
  cidrOf(6, 0xffn << 120n, 8),
];

/** One finding for each policy and code, at its first rule with names. */
export function nameFindings(world: World): readonly Finding[] {
  const all = [...(world.cluster.clusterPolicies?.values() ?? [])];
  return all.flatMap((policy): readonly Finding[] => {
    const named = rulesOf(policy).filter(({ rule }) => namesIn(rule));
    const applying = all.filter((each) => subjectsOverlap(each, policy));
    const [first] = named;
    // What cannot be read denies more than it says, or may be the rule that is missing.
    if (first === undefined || !applying.every(isWhole)) return [];
    const chain = applying
      .toSorted(compareRank)
      .flatMap(rulesOf)
      .filter(({ direction }) => direction === "egress");
    const scope: Scope = {
      policy,
      families: familiesIn(world),
      mayBeIsolated: isIsolationPossible(world, policy),
    };
    const unneeded = named.flatMap((at) => unneededNames(chain, at, scope));
    return unneeded.length > 0 ? unneeded : resolverFindings(chain, first, scope);
  });
}

interface Scope {
  readonly policy: ClusterPolicy;
  readonly families: readonly Family[];
  /** Whether a NetworkPolicy may decide about its pods. */
  readonly mayBeIsolated: boolean;
}

const namesIn = ({ peers }: ClusterRule): boolean =>
  peers !== "anyone" && peers.some(({ kind }) => kind === "domain");

/** The families that any pod or rule mentions: in a cluster of one, rules about the other are not missed. */
function familiesIn(world: World): readonly Family[] {
  const { clusterPolicies, policies } = world.cluster;
  const lists = [...(clusterPolicies?.values() ?? []), ...policies.values()].flatMap(
    ({ rules }): readonly Pick<ClusterRule | Rule, "peers">[] => [...rules.ingress, ...rules.egress],
  );
  const mentioned = new Set<Family>(
    [...world.podsIn.values()].flat().flatMap(({ ips }) => ips.map(({ family }) => family)),
  );
  for (const { peers } of lists)
    for (const peer of peers === "anyone" ? [] : peers)
      if (peer.kind === "block") mentioned.add(peer.cidr.family);
  return FAMILIES.filter((family) => mentioned.has(family));
}

function isIsolationPossible(world: World, { subject }: ClusterPolicy): boolean {
  return [...world.cluster.policies.values()].some((policy) => {
    if (!policy.isolates.egress || !mayOverlap(policy.subject, subject.pods)) return false;
    const given = world.cluster.namespaces.get(policy.namespace);
    return given === undefined || matches(subject.namespaces, given.labels);
  });
}

const isEverywhere = ({ peers }: ClusterRule, { families }: Scope): boolean =>
  peers === "anyone" ||
  (families.length > 0 &&
    families.every((family) =>
      peers.some((peer) => peer.kind === "block" && peer.cidr.family === family && peer.cidr.length === 0),
    ));

/**
 * Names whose addresses are allowed on the rule's ports without it: nothing after it denies them, or what accepts everything comes first. An Accept
 * before the rule is another matter: then the rule is shadowed.
 */
function unneededNames(chain: readonly RuleAt[], at: RuleAt, scope: Scope): readonly Finding[] {
  const { policy, index, rule } = at;
  const isAfter = (each: RuleAt): boolean =>
    each.policy === policy
      ? each.index > index
      : each.policy.tier === policy.tier
        ? each.policy.priority >= policy.priority
        : each.policy.tier === "Baseline";
  const isNeeded = (each: RuleAt): boolean =>
    each.rule.action === "Deny" && portsOverlap(each.rule.ports, rule.ports) && deniesLearned(each.rule);
  const accepts = (each: RuleAt): boolean =>
    each.rule.action === "Accept" &&
    isEverywhere(each.rule, scope) &&
    portsCover(each.rule.ports, rule.ports) &&
    subjectCovers(each.policy, policy);
  const found = (reason: string): readonly Finding[] => [
    {
      code: "names-unneeded",
      policy,
      path: rulePath("egress", index),
      reason: `opens nothing by its names: ${reason}`,
      fix: 'put a rule after it that denies the rest, as in action: Deny, to: [{ networks: [0.0.0.0/0, "::/0"] }]',
    },
  ];
  for (const tier of TIERS.slice(TIERS.indexOf(policy.tier))) {
    const after = chain.filter((each) => each.policy.tier === tier && isAfter(each));
    for (const [, level] of Map.groupBy(after, (each) => each.policy.priority)) {
      const decided = level.find((each) => isNeeded(each) || accepts(each));
      if (decided === undefined) continue;
      // Of equal priorities the Deny counts, wherever it is.
      const isTied = level.some((each) => each.policy !== decided.policy && isNeeded(each));
      if (isNeeded(decided) || isTied) return [];
      return found(`${whereText(decided, policy)} accepts these ports of every address`);
    }
    if (tier === "Admin" && scope.mayBeIsolated) return [];
  }
  return found("no rule denies its pods these ports of other addresses");
}

/** Whether a Deny may concern an address that is learned by a name. */
const deniesLearned = ({ peers }: ClusterRule): boolean =>
  peers === "anyone" ||
  peers.some((peer) => peer.kind !== "block" || !NEVER_LEARNED.some((range) => cidrCovers(range, peer.cidr)));

/** Whom the pods of a policy may ask: resolvers are by address or by labels, never by name. */
function resolverFindings(chain: readonly RuleAt[], first: RuleAt, scope: Scope): readonly Finding[] {
  const { policy } = scope;
  const asked = askedBy(chain, scope);
  const path = rulePath("egress", first.index);
  if (asked === "some") return [];
  if (asked.who === "nobody")
    return [
      {
        code: "names-unresolved",
        policy,
        path,
        reason: `its names are never known: ${whereText(asked.by, policy)} denies its pods UDP port 53 of every address, and no rule before that accepts a resolver by its address or labels`,
        fix: "put a rule before it that accepts port 53 of UDP and TCP to the cluster's DNS",
      },
    ];
  const how =
    asked.by === undefined
      ? "no rule denies its pods UDP port 53 of other addresses"
      : `${whereText(asked.by, policy)} accepts UDP port 53 of every address`;
  return [
    {
      code: "names-any-resolver",
      policy,
      path,
      reason: `any host may say which addresses its names have: ${how}`,
      fix: "accept UDP port 53 of the resolvers that you trust, and deny it to all others",
    },
  ];
}

type Asked =
  | "some"
  | { readonly who: "nobody"; readonly by: RuleAt }
  | { readonly who: "anybody"; readonly by: RuleAt | undefined };

/** "some" where it is not certain, too. */
function askedBy(chain: readonly RuleAt[], scope: Scope): Asked {
  const asking = chain.filter(({ rule }) => mayHaveResolver(rule));
  const denied: ClusterRule[] = [];
  /** Some resolver is accepted; or another tier decides, or it depends on the pod. */
  let [some, isOpen] = [false, false];
  for (const tier of TIERS) {
    for (const at of asking.filter(({ policy }) => policy.tier === tier)) {
      const { rule } = at;
      const isSure = portsCover(rule.ports, RESOLVER) && subjectCovers(at.policy, scope.policy);
      const isAll = isSure && isEverywhere(rule, scope);
      if (rule.action === "Pass") isOpen = true;
      else if (rule.action === "Accept") {
        // Of equal priorities another action counts.
        if (isAll && !asking.some((other) => isTied(other, at) && other.rule.action !== "Accept"))
          return isOpen ? "some" : { who: "anybody", by: at };
        const peers = rule.peers === "anyone" ? [] : rule.peers.filter(({ kind }) => kind !== "domain");
        if (peers.length > 0 && !denied.some((each) => peersCover(each.peers, peers))) some = true;
      } else if (isAll) return some || isOpen ? "some" : { who: "nobody", by: at };
      else {
        if (isSure) denied.push(rule);
        if (isWide(rule)) isOpen = true;
      }
    }
    if (tier === "Admin" && scope.mayBeIsolated) return "some";
  }
  return isOpen ? "some" : { who: "anybody", by: undefined };
}

const isTied = ({ policy: a }: RuleAt, { policy: b }: RuleAt): boolean => a !== b && compareRank(a, b) === 0;

/** Of every address of some family at least. */
const isWide = ({ peers }: ClusterRule): boolean =>
  peers === "anyone" || peers.some((peer) => peer.kind === "block" && peer.cidr.length === 0);

const mayHaveResolver = ({ ports }: ClusterRule): boolean =>
  portsOverlap(ports, RESOLVER) ||
  (ports !== "all" && ports.some((port) => port.kind === "name" && port.protocol === "UDP"));

const whereText = ({ policy, index }: RuleAt, from: ClusterPolicy): string => {
  const place = pathName(rulePath("egress", index));
  return policy === from ? place : `${place} of ${clusterPolicyText(policy)}`;
};
