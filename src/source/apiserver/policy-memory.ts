// The agent's memory for policies, shared by namespaces: policies beyond their namespace's share are kept without their rules.
//
// Stateless: the weights of all policies and the capacity decide. A further policy only lowers shares, so while a list comes in, a policy
// that is beyond its share stays beyond it.

import { getHeapStatistics } from "node:v8";
import { waterLevel } from "../../base/water-level.ts";
import type { ClusterPolicy } from "../../model/cluster-network-policy.ts";
import type { Peer, Policy } from "../../model/network-policy.ts";
import type { Problem } from "../../model/problem.ts";
import { EVERYTHING, type Selector } from "../../model/selector.ts";

/**
 * Bytes of the heap for each part of a policy while an update that has it is compiled, the state before included: as measured
 * at the highest point, with room. docs/limits.md has the figures.
 */
const BYTES = {
  policy: 4_096,
  rule: 2_048,
  prefix: 3_072,
  selector: 2_048,
  value: 384,
  port: 640,
} as const;

/** The part of the heap that policies may take. The agent itself takes the rest, with all other objects of the cluster. */
const PART = 0.5;

/** What V8's limit of the heap leaves for policies, in bytes. */
export const policyMemory = (limit = getHeapStatistics().heap_size_limit): number => Math.floor(limit * PART);

/** A selector of pods with more values than this counts as one of every pod, where the policy is kept without its rules. */
const SUBJECT_BYTES_MAX = 64 << 10;

const selectorBytes = ({ requirements }: Selector): number =>
  requirements.reduce(
    (sum, each) => sum + BYTES.value * (1 + ("values" in each ? each.values.length : 0)),
    0,
  );

type AnyPeer = Peer | ClusterPolicy["rules"]["ingress"][number]["peers"][number];

function peerBytes(peer: Exclude<AnyPeer, string>): number {
  switch (peer.kind) {
    case "block":
      return BYTES.prefix * (1 + peer.except.length);
    case "pods":
      return (
        BYTES.selector + selectorBytes(peer.pods) + (peer.namespaces ? selectorBytes(peer.namespaces) : 0)
      );
    case "nodes":
      return BYTES.selector + selectorBytes(peer.nodes);
    default:
      return BYTES.selector;
  }
}

/** The memory that a policy takes, in bytes. */
export function weightOf(policy: Policy | ClusterPolicy): number {
  const { subject, rules } = policy;
  const selectors = "requirements" in subject ? [subject] : [subject.namespaces, subject.pods];
  let bytes = BYTES.policy + selectors.reduce((sum, each) => sum + selectorBytes(each), 0);
  for (const { peers, ports } of [...rules.ingress, ...rules.egress]) {
    bytes += BYTES.rule;
    if (ports !== "all") bytes += BYTES.port * ports.length;
    if (peers !== "anyone") for (const peer of peers) bytes += peerBytes(peer);
  }
  return bytes;
}

/** A policy that isolates its pods, and allows nothing. */
export function withoutRules(policy: Policy): Policy {
  if (policy.exceeds === true) return policy;
  const { namespace, name, isolates, mode } = policy;
  const isWide = selectorBytes(policy.subject) > SUBJECT_BYTES_MAX;
  return {
    ...{ namespace, name, isolates },
    subject: isWide ? EVERYTHING : policy.subject,
    rules: { ingress: [], egress: [] },
    unreadable: `takes ${megabytes(weightOf(policy))} of memory, beyond its namespace's share`,
    exceeds: true,
    ...(mode && { mode }),
  };
}

const megabytes = (bytes: number): string => `${(bytes / (1 << 20)).toFixed(1)} MiB`;

export interface Shares {
  /** Keys of the policies beyond their namespace's share. */
  readonly beyond: ReadonlySet<string>;
  problems(): readonly Problem[];
}

export const ALL_FIT: Shares = { beyond: new Set(), problems: () => [] };

/**
 * Of each namespace the smallest policies stay, as many as fit into its share; of equal ones the first by name.
 * `weights`: by the policies' keys. `capacity`: for all policies together.
 */
export function sharesOf(weights: ReadonlyMap<string, number>, capacity: number): Shares {
  const all = weights.values().reduce((sum, weight) => sum + weight, 0);
  if (all <= capacity) return ALL_FIT;
  const byNamespace = Map.groupBy(weights, ([key]) => namespaceOf(key));
  const demands = new Map(
    [...byNamespace].map(([namespace, own]) => [namespace, own.reduce((sum, [, weight]) => sum + weight, 0)]),
  );
  const level = waterLevel(demands.values(), Math.max(0, capacity));
  const beyond = new Map<string, number>();
  for (const [namespace, own] of byNamespace) {
    if ((demands.get(namespace) as number) <= level) continue;
    let left = level;
    for (const [key, weight] of own.sort(([a, x], [b, y]) => x - y || compare(a, b))) {
      left -= weight;
      if (left < 0) beyond.set(key, weight);
    }
  }
  const facts = { demands, level, capacity };
  return {
    beyond: new Set(beyond.keys()),
    problems: () => [...beyond].sort(([a], [b]) => compare(a, b)).map((each) => problemOf(each, facts)),
  };
}

const ALLOWS_NOTHING = "the policy isolates its pods and allows nothing";

/** The problem of a policy whose rules are not there yet. */
export const fitsAgain = (key: string): Problem => ({
  severity: "error",
  object: `NetworkPolicy ${key}`,
  reason: "fits into its namespace's share of the agent's memory again; its rules come with the next list",
  effect: ALLOWS_NOTHING,
  topic: "capacity",
});

interface Facts {
  readonly demands: ReadonlyMap<string, number>;
  readonly level: number;
  readonly capacity: number;
}

function problemOf([key, weight]: readonly [string, number], { demands, level, capacity }: Facts): Problem {
  const namespace = namespaceOf(key);
  const wanted = demands.get(namespace) as number;
  const among = demands.size === 1 ? "" : `, which ${demands.size} namespaces share`;
  return {
    severity: "error",
    object: `NetworkPolicy ${key}`,
    reason: `takes ${megabytes(weight)} of the agent's memory; namespace ${namespace} needs ${megabytes(wanted)} for its policies, and ${megabytes(level)} fit (the agent has ${megabytes(capacity)} for policies${among})`,
    effect: ALLOWS_NOTHING,
    fix: "name fewer prefixes, ports or labels, or give the agent more memory",
    topic: "capacity",
  };
}

const namespaceOf = (key: string): string => key.slice(0, key.indexOf("/"));

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);
