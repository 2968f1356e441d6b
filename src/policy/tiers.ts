// Cluster policies on the endpoints of this node: which select a pod, their rules as ordered clauses over terms, and what
// becomes of a set of ports that goes through them. See docs/decisions/0030-tiers-are-compiled-away.md.

import type { Direction } from "../base/direction.ts";
import { hasName } from "../base/domain-name.ts";
import {
  addressBits,
  type Cidr,
  cidrCovers,
  cidrOf,
  LINK_LOCAL_V6,
  MULTICAST,
  UNSPECIFIED_V4,
} from "../base/ip.ts";
import { memo } from "../base/memo.ts";
import { sameItems } from "../base/stage.ts";
import { type Cluster, isSealed, isSubject, namespaceLabels, type Pod } from "../model/cluster.ts";
import {
  type Action,
  type ClusterPeer,
  type ClusterPolicy,
  type ClusterRule,
  clusterPolicyText,
  compareRank,
  type Tier,
} from "../model/cluster-network-policy.ts";
import type { Peer, PortMatch } from "../model/network-policy.ts";
import { matches } from "../model/selector.ts";
import type { TermSet } from "./identities.ts";
import { numbersOf, type PeerSet, peerSetOf, portsText, type Term, termOf } from "./peer-selectors.ts";
import {
  ALL_PORTS,
  intersection,
  NO_PORTS,
  type PortSet,
  rangeOf,
  subtraction,
  union,
} from "./port-classes.ts";

/** A part of a rule: what is done with these ports of peers of this term, or of everyone if there is none. */
export interface TierClause {
  readonly term: Term | undefined;
  /** Without a term: of these domain names. */
  readonly domains?: readonly string[];
  readonly ports: PortSet;
  readonly action: Action;
  /** The rule that it is from, as readable text. */
  readonly source: string;
  readonly direction: Direction;
  /** The rule's own peers, with nodes as the blocks of their addresses. */
  readonly peers: "anyone" | readonly Peer[];
}

/** A cluster policy on a pod in one direction, its clauses in the order of its rules. */
export interface TierPolicy {
  readonly policy: ClusterPolicy;
  readonly clauses: readonly TierClause[];
}

/** The policies that select a pod and have rules for the direction, in order of priority and name. */
export type Tiers = Readonly<Record<Tier, readonly TierPolicy[]>>;

/** A rule of a cluster policy as clauses name it. */
export const clusterRuleText = (policy: ClusterPolicy, direction: Direction, index: number): string => {
  const name = policy.rules[direction][index]?.name;
  const named = name === undefined ? "" : ` ${JSON.stringify(name)}`;
  return `${clusterPolicyText(policy)} ${direction}[${index}]${named}`;
};

const NO_POLICIES: ReadonlyMap<string, ClusterPolicy> = new Map();

/** All of them, the strongest first. */
const ranked = memo((policies: ReadonlyMap<string, ClusterPolicy>): readonly ClusterPolicy[] =>
  [...policies.values()].sort((a, b) => compareRank(a, b) || (a.name < b.name ? -1 : 1)),
);

/** Whether a cluster policy selects a pod, if the pod can be isolated at all. */
export const selectsPod = (cluster: Cluster, { subject }: ClusterPolicy, pod: Pod): boolean =>
  matches(subject.namespaces, namespaceLabels(cluster, pod.namespace)) && matches(subject.pods, pod.labels);

/** The cluster policies with rules for a pod in a direction, the strongest first. */
export function clusterPoliciesOn(
  cluster: Cluster,
  pod: Pod,
  direction: Direction,
): readonly ClusterPolicy[] {
  const all = ranked(cluster.clusterPolicies ?? NO_POLICIES);
  if (all.length === 0 || !isSubject(pod) || isSealed(pod)) return [];
  return all.filter((policy) => policy.rules[direction].length > 0 && selectsPod(cluster, policy, pod));
}

/** The tiers of a pod; undefined if no cluster policy has rules for it. The same object for pods with equal ones. */
export function tiersOn(cluster: Cluster, pod: Pod, direction: Direction): Tiers | undefined {
  const selecting = clusterPoliciesOn(cluster, pod, direction);
  const [first] = selecting;
  if (first === undefined) return undefined;
  const all = selecting.map((policy) => tierPolicy(cluster, policy, { pod, direction }));
  const shared = tiersFrom(first);
  const known = shared.find((each) => sameItems([...each.Admin, ...each.Baseline], all));
  if (known !== undefined) return known;
  const of = (tier: Tier): TierPolicy[] => all.filter(({ policy }) => policy.tier === tier);
  const tiers = { Admin: of("Admin"), Baseline: of("Baseline") };
  if (shared.length >= KEPT) shared.length = 0;
  shared.push(tiers);
  return tiers;
}

/** Combinations that are not needed again would be kept for as long as the policy. */
const KEPT = 64;

/** Kept with the first of their policies. */
const tiersFrom = memo((_: ClusterPolicy): Tiers[] => []);

/** The port names in egress rules, whose numbers are those that other pods declare. */
export const egressPortNamesOf = memo(({ rules: { egress } }: ClusterPolicy) =>
  egress.flatMap(({ ports }) =>
    ports === "all" ? [] : ports.flatMap((match) => (match.kind === "name" ? [match] : [])),
  ),
);

const namesPorts = memo(({ rules: { ingress } }: ClusterPolicy) =>
  ingress.some(({ ports }) => ports !== "all" && ports.some(({ kind }) => kind === "name")),
);

/** Whether any of these has nodes as peers: then what it means depends on the nodes. */
export const namesNodes = memo((policies: ReadonlyMap<string, ClusterPolicy>): boolean =>
  policies
    .values()
    .some(({ rules }) =>
      [...rules.ingress, ...rules.egress].some(
        ({ peers }) => peers !== "anyone" && peers.some(({ kind }) => kind === "nodes"),
      ),
    ),
);

interface Subject {
  readonly pod: Pod;
  readonly direction: Direction;
}

function tierPolicy(cluster: Cluster, policy: ClusterPolicy, { pod, direction }: Subject): TierPolicy {
  const names = direction === "egress" ? egressPortNamesOf(policy) : [];
  const key = [
    direction,
    direction === "ingress" && namesPorts(policy) ? portsText(pod.ports) : "",
    direction === "egress" && isNameless(cluster, pod) ? "nameless" : "",
    ...names.map(({ name, protocol }) => numbersOf(cluster, name, protocol).join(",")),
  ].join("\n");
  const kept = tierPoliciesFrom(policy);
  const nodes = ownNodes(cluster);
  if (kept.nodes !== nodes || kept.byKey.size >= KEPT) kept.byKey.clear();
  kept.nodes = nodes;
  const known = kept.byKey.get(key);
  if (known !== undefined) return known;
  const clauses = policy.rules[direction].flatMap((rule, index) =>
    ruleClauses(cluster, rule, { pod, direction, source: clusterRuleText(policy, direction, index) }),
  );
  const made = { policy, clauses };
  kept.byKey.set(key, made);
  return made;
}

/** The nodes, where any policy names some. */
const ownNodes = ({ clusterPolicies = NO_POLICIES, nodes }: Cluster): Cluster["nodes"] =>
  namesNodes(clusterPolicies) ? nodes : undefined;

const tierPoliciesFrom = memo(
  (_: ClusterPolicy): { nodes: Cluster["nodes"]; readonly byKey: Map<string, TierPolicy> } => ({
    nodes: undefined,
    byKey: new Map(),
  }),
);

/** Nodes as the blocks of their addresses. */
function peersOf(cluster: Cluster, { peers }: ClusterRule): "anyone" | readonly Peer[] {
  if (peers === "anyone") return peers;
  return peers.flatMap((peer): Peer[] => {
    if (peer.kind === "domain") return [];
    if (peer.kind !== "nodes") return [peer];
    return [...(cluster.nodes?.values() ?? [])]
      .sort((a, b) => (a.name < b.name ? -1 : 1))
      .filter(({ labels }) => matches(peer.nodes, labels))
      .flatMap(({ addresses }) =>
        addresses.map(({ family, value }): Peer => {
          const cidr = cidrOf(family, value, addressBits(family));
          return { kind: "block", cidr, except: [] };
        }),
      );
  });
}

/** What is certain comes first: a Pass that has a link-local or multicast address in a network applies to it. */
const ruleClauses = (
  cluster: Cluster,
  rule: ClusterRule,
  subject: Subject & { readonly source: string },
): TierClause[] => [...clausesOfPeers(cluster, rule, subject), ...anybodysClauses(rule, subject)];

const blockOf = (cidr: Cidr): Peer => ({ kind: "block", cidr, except: [] });
const LINK_LOCAL: readonly Peer[] = [blockOf(LINK_LOCAL_V6)];
const UNSPECIFIED: readonly Peer[] = [blockOf(UNSPECIFIED_V4)];
const GROUPS: readonly Peer[] = MULTICAST.map(blockOf);
const LINK_LOCAL_TERM = termOf(peerSetOf(LINK_LOCAL, ""), undefined);
const UNSPECIFIED_TERM = termOf(peerSetOf(UNSPECIFIED, ""), undefined);
const GROUPS_TERM = termOf(peerSetOf(GROUPS, ""), undefined);

/** Whether pods or nodes that the peer means may have link-local addresses that it does not mean. */
const mayBeOnLink = (peer: ClusterPeer): boolean =>
  peer.kind === "block"
    ? peer.cidr.family === 6 && !cidrCovers(LINK_LOCAL_V6, peer.cidr)
    : peer.kind !== "domain";

/** Whether pods or nodes that the peer means may send without an address. */
const mayHaveNoAddress = (peer: ClusterPeer): boolean =>
  peer.kind === "block"
    ? peer.cidr.family === 4 && !cidrCovers(peer.cidr, UNSPECIFIED_V4)
    : peer.kind !== "domain";

/** Whether pods or nodes that the peer means may be in a multicast group. */
const mayBeInGroup = ({ kind }: ClusterPeer): boolean => kind === "pods" || kind === "nodes";

/**
 * Whose a link-local address is, no object says, nor who sends without an address, nor who receives what is sent to a multicast address: what denies pods
 * or nodes, or leaves them to the next tier, denies all of these addresses. See docs/decisions/0019-ranking-of-evidence.md.
 */
function anybodysClauses(
  { action, peers, ports }: ClusterRule,
  { pod, direction, source }: Subject & { readonly source: string },
): TierClause[] {
  if (action === "Accept" || peers === "anyone") return [];
  const spansOf = (match: PortMatch) =>
    match.kind === "name" && direction === "egress"
      ? [rangeOf(match.protocol, 0, 65535)]
      : fixedSpans(match, { pod, direction });
  const denied = ports === "all" ? ALL_PORTS : union(ports.flatMap(spansOf));
  if (denied.length === 0) return [];
  const clauseOf = (term: Term, of: readonly Peer[]): TierClause => ({
    term,
    ports: denied,
    action: "Deny",
    source,
    direction,
    peers: of,
  });
  return [
    ...(peers.some(mayBeOnLink) ? [clauseOf(LINK_LOCAL_TERM, LINK_LOCAL)] : []),
    ...(direction === "ingress" && peers.some(mayHaveNoAddress)
      ? [clauseOf(UNSPECIFIED_TERM, UNSPECIFIED)]
      : []),
    // Nothing is sent from there.
    ...(direction === "egress" && peers.some(mayBeInGroup) ? [clauseOf(GROUPS_TERM, GROUPS)] : []),
  ];
}

function clausesOfPeers(
  cluster: Cluster,
  rule: ClusterRule,
  { pod, direction, source }: Subject & { readonly source: string },
): TierClause[] {
  const peers = peersOf(cluster, rule);
  const named = isNameless(cluster, pod) ? [] : domainClauses(rule, { pod, direction, source });
  if (peers !== "anyone" && peers.length === 0) return named;
  const set = peerSetOf(peers, "");
  const term = peers === "anyone" ? undefined : termOf(set, undefined);
  const origin = { action: rule.action, source, direction, peers };
  if (rule.ports === "all") return [{ term, ports: ALL_PORTS, ...origin }, ...named];
  const fixed = union(rule.ports.flatMap((match) => fixedSpans(match, { pod, direction })));
  const clauses: TierClause[] = fixed.length === 0 ? [] : [{ term, ports: fixed, ...origin }];
  if (direction === "ingress") return clauses;
  // All parts of a rule have its action, so their order among each other decides nothing.
  const byPortName = rule.ports.flatMap((match) =>
    match.kind !== "name"
      ? []
      : numbersOf(cluster, match.name, match.protocol).map(
          (port): TierClause => ({
            term: termOf(set, { name: match.name, protocol: match.protocol, port }),
            ports: [rangeOf(match.protocol, port, port)],
            ...origin,
          }),
        ),
  );
  return [
    ...clauses,
    ...byPortName,
    ...(rule.action === "Accept" ? [] : ofUnknownPorts(rule, set, origin)),
    ...named,
  ];
}

/** For pods whose port names are not known: any port may have one. No pod has a number like this. */
const UNKNOWN_PORT = -1;

const ofUnknownPorts = (
  { ports }: ClusterRule,
  set: PeerSet,
  origin: Omit<TierClause, "term" | "ports">,
): TierClause[] =>
  ports === "all"
    ? []
    : ports.flatMap((match) =>
        match.kind !== "name"
          ? []
          : {
              term: termOf(set, { name: match.name, protocol: match.protocol, port: UNKNOWN_PORT }),
              ports: [rangeOf(match.protocol, 0, 65535)],
              ...origin,
            },
      );

/** Whether rules accept nothing by domain names for a pod. */
export const isNameless = ({ nameless = [] }: Cluster, { namespace }: Pod): boolean =>
  nameless.includes(namespace);

/** Of a rule's domain names. Port names are those of pods, and a domain name is none's. */
function domainClauses(
  { peers, ports, action }: ClusterRule,
  { pod, direction, source }: Subject & { readonly source: string },
): TierClause[] {
  const domains =
    peers === "anyone" ? [] : peers.flatMap((peer) => (peer.kind === "domain" ? [peer.name] : []));
  if (domains.length === 0) return [];
  const fixed =
    ports === "all" ? ALL_PORTS : union(ports.flatMap((match) => fixedSpans(match, { pod, direction })));
  if (fixed.length === 0) return [];
  return [{ term: undefined, domains, ports: fixed, action, source, direction, peers: [] }];
}

/** The domain names of all rules, sorted. */
export const domainsIn = memo((policies: ReadonlyMap<string, ClusterPolicy>): readonly string[] =>
  [
    ...new Set(
      policies
        .values()
        .flatMap(({ rules: { egress } }) => egress)
        .flatMap(({ peers }) =>
          peers === "anyone" ? [] : peers.flatMap((peer) => (peer.kind === "domain" ? [peer.name] : [])),
        ),
    ),
  ].sort(),
);

/** Ports that do not depend on the peer: numbers, and for ingress names too, which the subject itself resolves. */
export function fixedSpans(match: PortMatch, { pod, direction }: Subject) {
  if (match.kind === "range") return [rangeOf(match.protocol, match.first, match.last)];
  if (match.kind === "nothing" || direction === "egress") return [];
  return pod.ports
    .filter((port) => port.name === match.name && port.protocol === match.protocol)
    .map((port) => rangeOf(port.protocol, port.port, port.port));
}

/** A clause in term numbers; without a number it applies to everyone. */
export interface RankedClause {
  readonly term: number | undefined;
  /** Then only for addresses resolved from one of these names: see withDomain(). */
  readonly domains?: readonly string[];
  readonly ports: PortSet;
  readonly action: Action;
}

/** The policies of one priority, each with its clauses in order. */
export type RankedGroup = readonly (readonly RankedClause[])[];

/** The tiers of an endpoint, by falling priority. */
export interface RankedTiers {
  readonly admin: readonly RankedGroup[];
  /** Empty if NetworkPolicies isolate the endpoint: then they decide. */
  readonly baseline: readonly RankedGroup[];
}

export function rankTiers(
  tiers: Tiers,
  isolated: boolean,
  termNumbers: ReadonlyMap<string, number>,
): RankedTiers {
  const of = (policies: readonly TierPolicy[]): RankedGroup[] =>
    [...Map.groupBy(policies, ({ policy }) => policy.priority).values()].map((group) =>
      group.map(({ clauses }) =>
        clauses.map(({ term, domains, ports, action }) => ({
          term: term && (termNumbers.get(term.key) as number),
          ...(domains && { domains }),
          ports,
          action,
        })),
      ),
    );
  return { admin: of(tiers.Admin), baseline: isolated ? [] : of(tiers.Baseline) };
}

/** What is left of the ports that NetworkPolicies allow to peers of these terms, with what the tiers accept and deny. */
export function throughTiers(
  { admin, baseline }: RankedTiers,
  set: Pick<TermSet, "terms" | "perhaps">,
  allowed: PortSet,
): PortSet {
  const first = decidedBy(admin, set);
  // What the Baseline tier passes, and what it does not name, is allowed as without it.
  const last = baseline.length === 0 ? NO_PORTS : decidedBy(baseline, set).denied;
  return union([...first.accepted, ...subtraction(intersection(first.left, allowed), last)]);
}

/** The ports that a tier accepts and denies, and those that it leaves to the next one. */
function decidedBy(groups: readonly RankedGroup[], set: Pick<TermSet, "terms" | "perhaps">) {
  let accepted = NO_PORTS;
  let denied = NO_PORTS;
  let passed = NO_PORTS;
  let open = ALL_PORTS;
  for (const group of groups) {
    const each = group.map((clauses) => matchedBy(clauses, set));
    const all = (action: Action): PortSet => union(each.flatMap((one) => one[action]));
    const take = (ports: PortSet): PortSet => {
      const taken = intersection(open, ports);
      open = subtraction(open, ports);
      return taken;
    };
    // Of rules of equal priority, the strongest action first.
    denied = union([...denied, ...take(all("Deny"))]);
    passed = union([...passed, ...take(all("Pass"))]);
    accepted = union([...accepted, ...take(all("Accept"))]);
  }
  return { accepted, denied, left: union([...passed, ...open]) };
}

/** Of one policy: the ports by the action of the first clause that matches them. */
function matchedBy(
  clauses: readonly RankedClause[],
  { terms, perhaps }: Pick<TermSet, "terms" | "perhaps">,
): Record<Action, PortSet> {
  const by: Record<Action, PortSet> = { Accept: NO_PORTS, Pass: NO_PORTS, Deny: NO_PORTS };
  let open: PortSet = ALL_PORTS;
  for (const { term, domains, ports, action } of clauses) {
    if (open.length === 0) break;
    if (domains !== undefined) continue;
    const counts = action === "Deny" || (action === "Pass" && perhaps?.passes === true);
    const isMatched =
      term === undefined || terms.includes(term) || (counts && perhaps?.terms.includes(term) === true);
    if (!isMatched) continue;
    by[action] = union([...by[action], ...intersection(open, ports)]);
    open = subtraction(open, ports);
  }
  return by;
}

/** Canonical text: policies of one priority are in no order. */
export const tiersText = ({ admin, baseline }: RankedTiers): string =>
  JSON.stringify([admin, baseline].map((groups) => groups.map((group) => group.map(clausesText).sort())));

const clausesText = (clauses: readonly RankedClause[]): string =>
  clauses
    .map(
      ({ term, domains, ports, action }) =>
        `${action} ${domains?.join(" ") ?? term ?? "*"} ${ports.map(({ first, last }) => `${first}-${last}`).join(",")}`,
    )
    .join(";");

/** The domain names in them. */
export const domainsOfTiers = ({ admin, baseline }: RankedTiers): readonly string[] =>
  [admin, baseline].flat(3).flatMap(({ domains }) => domains ?? []);

/**
 * The tiers for what is known by a name: rules that have the name are for everyone, and other rules by names are left out. So what
 * comes before such a rule still comes before it.
 */
export function withDomain({ admin, baseline }: RankedTiers, name: string): RankedTiers {
  const of = (groups: readonly RankedGroup[]): readonly RankedGroup[] =>
    groups.map((group) =>
      group.map((clauses) =>
        clauses.flatMap(({ domains, ...clause }): RankedClause[] =>
          domains === undefined || domains.some((each) => hasName(each, name)) ? [clause] : [],
        ),
      ),
    );
  return { admin: of(admin), baseline: of(baseline) };
}

/** The numbers of the terms that they distinguish. */
export const termsOfTiers = memo(({ admin, baseline }: RankedTiers): readonly number[] => [
  ...new Set([admin, baseline].flat(3).flatMap(({ term }) => term ?? [])),
]);

/** How many spans each clause has, by its term. */
export const spansOfTiers = ({ admin, baseline }: RankedTiers): readonly (readonly [number, number])[] =>
  [admin, baseline].flat(3).flatMap(({ term, ports }) => (term === undefined ? [] : [[term, ports.length]]));
