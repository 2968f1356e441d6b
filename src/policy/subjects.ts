// The policies that select each endpoint of this node, and their rules as clauses over terms.

import { append } from "../base/append.ts";
import { present } from "../base/assert.ts";
import { digestOf } from "../base/digest.ts";
import type { Direction } from "../base/direction.ts";
import { memo } from "../base/memo.ts";
import { sameItems } from "../base/stage.ts";
import { follow } from "../base/versioned-map.ts";
import { type Cluster, isSealed, isSubject, keyOf, type Pod } from "../model/cluster.ts";
import { isOpened, modeOn } from "../model/enforcement-mode.ts";
import type { Policy, PortMatch, Rule } from "../model/network-policy.ts";
import { matches } from "../model/selector.ts";
import { isUnknown } from "../model/unclaimed-interface.ts";
import { type LocalEndpoint, podsOf } from "./local-endpoints.ts";
import { numbersOf, type PeerSet, peerSetOf, portsText, type Term, termOf } from "./peer-selectors.ts";
import { ALL_PORTS, type PortSet, rangeOf, union } from "./port-classes.ts";
import {
  clusterPoliciesOn,
  fixedSpans,
  type TierClause,
  type TierPolicy,
  type Tiers,
  tiersOn,
} from "./tiers.ts";

/** A part of a rule: these ports are allowed for peers of this term, or for everyone if there is none. */
export interface Clause {
  readonly term: Term | undefined;
  readonly ports: PortSet;
  /** The rule that it is from, as readable text: "alpha/access-nginx ingress[0]". */
  readonly source: string;
  readonly direction: Direction;
  /** The rule's own peers, in the order of the manifest. */
  readonly peers: Rule["peers"];
}

/** All policies that decide for an endpoint in one direction. */
export interface Side {
  readonly direction: Direction;
  /** Whether only what `clauses` allow may pass, but for what `tiers` decide; else everything may. */
  readonly isolated: boolean;
  readonly policies: readonly Policy[];
  /** Made when they are first read: there may be too many. */
  readonly clauses: readonly Clause[];
  /** What the clauses take: see `sizeOfRule`. */
  readonly size: number;
  /** The cluster policies before and after these; absent if none has rules for the pod. */
  readonly tiers?: Tiers;
  /** None of the policies is enforced: what they deny passes, and is reported. */
  readonly audit: boolean;
  /** If several pods may own the interface, the sides that must all allow: one for each isolated pod. */
  readonly candidates?: readonly Side[];
}

/**
 * The policies that decide for a pod in a direction, in key order: the enforced ones or, if none of them isolates
 * it, the audited ones. Beside an enforced policy, an audited one changes nothing: it could only allow more. Beside cluster
 * policies it is left out: what these deny is dropped, and what only it denies is not, which one number cannot say.
 */
export function policiesOn(cluster: Cluster, pod: Pod, direction: Direction): readonly Policy[] {
  const all = selecting(cluster, pod, direction);
  const enforced = all.filter((policy) => modeOn(cluster, policy, pod) === "enforce");
  if (enforced.length > 0 || all.length === 0) return enforced;
  const isLeftOut = !isOpened(cluster, pod) && clusterPoliciesOn(cluster, pod, direction).length > 0;
  return isLeftOut ? enforced : all;
}

/** Whether what is denied to a pod in a direction is only reported: by audited policies alone, or on a node in audit mode. */
export const isAuditedFor = (cluster: Cluster, pod: Pod, direction: Direction): boolean =>
  isOpened(cluster, pod)
    ? policiesOn(cluster, pod, direction).length > 0 || clusterPoliciesOn(cluster, pod, direction).length > 0
    : policiesOn(cluster, pod, direction).some((policy) => modeOn(cluster, policy, pod) === "audit");

function selecting(cluster: Cluster, pod: Pod, direction: Direction): readonly Policy[] {
  if (!isSubject(pod) || isSealed(pod)) return [];
  return policiesIn(cluster.policies, pod.namespace).filter(
    (policy) => policy.isolates[direction] && matches(policy.subject, pod.labels),
  );
}

/** A rule as clauses name it. */
export const ruleSource = (policy: Policy, direction: Direction, index: number): string =>
  `${keyOf(policy)} ${direction}[${index}]`;

/** The policies of a namespace, in key order; the same list as long as they are the same. */
export function policiesIn(policies: Cluster["policies"], namespace: string): readonly Policy[] {
  const here = byNamespace(policies).get(namespace);
  if (here === undefined) return NO_POLICIES;
  here.sorted ??= [...here.policies].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, policy]) => policy);
  return here.sorted;
}

const NO_POLICIES: readonly Policy[] = [];

interface OfNamespace {
  readonly policies: Map<string, Policy>;
  sorted: readonly Policy[] | undefined;
}

const byNamespace = follow<string, Policy, Map<string, OfNamespace>>(
  () => new Map(),
  (spaces, { key, before, after }) => {
    const { namespace } = present(after ?? before, "a policy that changes");
    const here = spaces.get(namespace) ?? { policies: new Map<string, Policy>(), sorted: undefined };
    spaces.set(namespace, here);
    here.sorted = undefined;
    if (after !== undefined) here.policies.set(key, after);
    else if (here.policies.delete(key) && here.policies.size === 0) spaces.delete(namespace);
  },
);

/** Whether any of the pods that may own an interface is isolated by audited policies alone. */
export const isAuditedForAny = (cluster: Cluster, local: LocalEndpoint, direction: Direction): boolean =>
  podsOf(local).some((pod) => isAuditedFor(cluster, pod, direction));

/**
 * The side of an interface that one of these pods owns. It is isolated if any of them is, and allows what all of them
 * allow; beside enforced sides, those of audited policies change nothing.
 */
export function sideOfAll(cluster: Cluster, pods: readonly Pod[], direction: Direction): Side | undefined {
  const sides = pods.flatMap((pod) => sideOf(cluster, pod, direction) ?? []);
  const enforced = sides.filter(({ audit }) => !audit);
  const candidates = enforced.length > 0 ? enforced : sides;
  const [first, second] = candidates;
  if (second === undefined) return first;
  const policies = new Map(
    candidates.flatMap((side) => side.policies.map((policy) => [keyOf(policy), policy])),
  );
  return lazySide(
    {
      direction,
      isolated: candidates.some(({ isolated }) => isolated),
      policies: [...policies].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, policy]) => policy),
      size: candidates.reduce((sum, { size }) => sum + size, 0),
      audit: enforced.length === 0,
      candidates,
    },
    () => candidates.flatMap(({ clauses }) => clauses),
  );
}

/** The cluster policies of a side, and of its candidates. */
export const tierPoliciesOf = (side: Side): readonly TierPolicy[] => [
  ...new Set(
    [side, ...(side.candidates ?? [])].flatMap(({ tiers }) =>
      tiers === undefined ? [] : [...tiers.Admin, ...tiers.Baseline],
    ),
  ),
];

/** `namespace/name` of the policies of a side; of cluster policies, whose namespace is empty, `/name`. */
export const policyKeysOf = (side: Side | undefined): readonly string[] =>
  side === undefined
    ? []
    : [...side.policies.map(keyOf), ...tierPoliciesOf(side).map(({ policy }) => `/${policy.name}`)];

/** The clauses of NetworkPolicies and of cluster policies. */
export const allClauses = (side: Side): readonly (Clause | TierClause)[] => [
  ...side.clauses,
  ...tierPoliciesOf(side).flatMap(({ clauses }) => clauses),
];

/** The numbers of the terms by which cluster policies deny, or pass. */
export const closingTerms = (
  sides: readonly Side[],
  termNumbers: ReadonlyMap<string, number>,
): ReadonlySet<number> =>
  new Set(
    sides
      .flatMap(tierPoliciesOf)
      .flatMap(({ clauses }) => clauses)
      .flatMap(({ action, term }) =>
        action === "Accept" || term === undefined ? [] : (termNumbers.get(term.key) as number),
      ),
  );

/** The side of a pod in a direction, or undefined if nothing isolates it. */
export function sideOf(cluster: Cluster, pod: Pod, direction: Direction): Side | undefined {
  const closed: Side = {
    direction,
    isolated: true,
    policies: [],
    clauses: [],
    size: 0,
    audit: isOpened(cluster, pod),
  };
  // An unknown pod is isolated without any policy, and so is one about which too little is still known.
  if (isUnknown(pod) || isSealed(pod)) return closed;
  const policies = policiesOn(cluster, pod, direction);
  const audit = isAuditedFor(cluster, pod, direction);
  if (pod.retained?.isolated[direction] === true && (policies.length === 0 || audit)) return closed;
  const tiers = tiersOn(cluster, pod, direction);
  const [owner] = [...policies, ...(tiers === undefined ? [] : [tiers])];
  if (owner === undefined) return undefined;
  // Pods with the same policies share a side, unless port names have other numbers on them.
  const isNamed = direction === "ingress" && policies.some(namesPorts);
  const numbers = direction === "egress" ? numbersOfNames(cluster, policies) : NO_NUMBERS;
  const key = [
    direction,
    audit,
    isNamed ? portsText(pod.ports) : "",
    ...policies.map(keyOf),
    ...[...numbers].map(([name, of]) => `${name} ${of.join(",")}`),
  ].join("\n");
  const kept = key.length <= KEY_MAX ? key : digestOf(key);
  const shared = sidesFrom(owner);
  const known = shared.get(kept);
  if (known !== undefined && known.tiers === tiers && sameItems(known.policies, policies)) return known;
  const side = lazySide(
    {
      ...{ direction, isolated: policies.length > 0, policies, audit, ...(tiers && { tiers }) },
      size: policies.reduce((sum, policy) => sum + sizeOfPolicy(policy, direction, numbers), 0),
    },
    () => policies.flatMap((policy) => policyClauses(policy, { pod, direction, numbers })),
  );
  // Port names whose numbers change all the time leave many that are not needed again.
  if (shared.size >= SIDES_KEPT) shared.clear();
  shared.set(kept, side);
  return side;
}

/** Of a key that is kept as it is. */
const KEY_MAX = 256;

/** A side that makes its clauses when they are first read. A copy of it has them already. */
function lazySide(side: Omit<Side, "clauses">, make: () => readonly Clause[]): Side {
  let made: readonly Clause[] | undefined;
  return {
    ...side,
    get clauses() {
      made ??= make();
      return made;
    },
  };
}

/** The numbers of port names, by protocol and name. */
type NumbersOfNames = ReadonlyMap<string, readonly number[]>;

const NO_NUMBERS: NumbersOfNames = new Map();

const nameKey = ({ protocol, name }: PortMatch & { readonly kind: "name" }): string => `${protocol} ${name}`;

/** Of all that egress rules of these policies name. */
const numbersOfNames = (cluster: Cluster, policies: readonly Policy[]): NumbersOfNames =>
  new Map(
    policies
      .flatMap(egressPortNames)
      .map((match) => [nameKey(match), numbersOf(cluster, match.name, match.protocol)]),
  );

/** What a rule takes on a pod: one for itself and for each port, and in egress rules for each number of a port name. */
export function sizeOfRule(
  { peers, ports, leftOut }: Rule,
  direction: Direction,
  numbers: NumbersOfNames,
): number {
  if (leftOut === true || isNobody(peers)) return 0;
  if (ports === "all") return 1;
  return ports.reduce(
    (sum, match) =>
      sum +
      (match.kind === "name" && direction === "egress" ? (numbers.get(nameKey(match))?.length ?? 0) : 1),
    1,
  );
}

const isNobody = (peers: Rule["peers"]): boolean =>
  peers !== "anyone" && peers.every(({ kind }) => kind === "nothing");

const sizeOfPolicy = (policy: Policy, direction: Direction, numbers: NumbersOfNames): number =>
  direction === "ingress" || egressPortNames(policy).length === 0
    ? sizesWithoutNames(policy)[direction]
    : sizeOfRules(policy, direction, numbers);

const sizesWithoutNames = memo((policy: Policy) => ({
  ingress: sizeOfRules(policy, "ingress", NO_NUMBERS),
  egress: sizeOfRules(policy, "egress", NO_NUMBERS),
}));

const sizeOfRules = ({ rules }: Policy, direction: Direction, numbers: NumbersOfNames): number =>
  rules[direction].reduce((sum, rule) => sum + sizeOfRule(rule, direction, numbers), 0);

/** What each rule of a policy takes on a pod. */
export const sizesOf = (cluster: Cluster, policy: Policy, direction: Direction): readonly number[] => {
  const numbers = direction === "egress" ? numbersOfNames(cluster, [policy]) : NO_NUMBERS;
  return policy.rules[direction].map((rule) => sizeOfRule(rule, direction, numbers));
};

function policyClauses(
  policy: Policy,
  { pod, direction, numbers }: Pick<RuleContext, "pod" | "direction" | "numbers">,
): Clause[] {
  return policy.rules[direction].flatMap((rule, index) => {
    if (isNobody(rule.peers)) return [];
    const source = ruleSource(policy, direction, index);
    const set = peerSetOf(rule.peers, policy.namespace);
    return ruleClauses({ pod, direction, numbers, rule, set, source });
  });
}

/** More than a node has endpoints with the same first policy. */
const SIDES_KEPT = 256;

/** Kept with the first of their policies, or with their tiers; the others are compared. */
const sidesFrom = memo((_: Policy | Tiers) => new Map<string, Side>());

/** The port names in egress rules, whose numbers are those that other pods declare. */
export const egressPortNames = memo(({ rules: { egress } }: Policy) =>
  egress.flatMap(({ ports }) =>
    ports === "all" ? [] : ports.flatMap((match) => (match.kind === "name" ? [match] : [])),
  ),
);

const namesPorts = memo(({ rules: { ingress } }: Policy) =>
  ingress.some(({ ports }) => ports !== "all" && ports.some(({ kind }) => kind === "name")),
);

interface RuleContext {
  /** The subject. */
  readonly pod: Pod;
  readonly direction: Direction;
  readonly numbers: NumbersOfNames;
  readonly rule: Rule;
  readonly set: PeerSet;
  readonly source: string;
}

function ruleClauses(context: RuleContext): Clause[] {
  const { rule, set } = context;
  const term = set.peers === "anyone" ? undefined : termOf(set, undefined);
  const origin = originOf(context);
  if (rule.ports === "all") return [{ term, ports: ALL_PORTS, ...origin }];
  const fixed = union(rule.ports.flatMap((match) => fixedSpans(match, context)));
  const clauses: Clause[] = fixed.length === 0 ? [] : [{ term, ports: fixed, ...origin }];
  if (context.direction === "egress")
    append(
      clauses,
      rule.ports.flatMap((match) => namedClauses(match, context)),
    );
  return clauses;
}

const originOf = ({ source, direction, rule }: RuleContext) => ({ source, direction, peers: rule.peers });

/** For egress each destination pod declares the number of a port name: one term for each number that any pod declares. */
function namedClauses(match: PortMatch, context: RuleContext): Clause[] {
  if (match.kind !== "name") return [];
  return (context.numbers.get(nameKey(match)) ?? []).map((port) => ({
    term: termOf(context.set, { name: match.name, protocol: match.protocol, port }),
    ports: [rangeOf(match.protocol, port, port)],
    ...originOf(context),
  }));
}
