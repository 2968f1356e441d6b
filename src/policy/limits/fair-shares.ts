// Fair shares of a limited resource, and the problems reported for what exceeds them.

import { waterLevel } from "../../base/water-level.ts";
import type { Problem } from "../../model/problem.ts";

/** How many of a list's first items fit: the greatest number found by halving for which `fits` holds. It holds for none. */
export function longestFit(length: number, fits: (count: number) => boolean): number {
  let [low, high] = [0, length + 1];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

/** Items of several owners beyond the owners' levels, in the order of the list: each owner's first ones stay. */
export function beyond<T>(
  items: readonly T[],
  ownerOf: (item: T) => string,
  capacity: number,
): { readonly surplus: readonly T[]; readonly level: number; readonly demands: ReadonlyMap<string, number> } {
  const byOwner = Map.groupBy(items, ownerOf);
  const demands = new Map([...byOwner].map(([owner, own]) => [owner, own.length]));
  const level = waterLevel(demands.values(), capacity);
  return { surplus: [...byOwner.values()].flatMap((own) => own.slice(level)), level, demands };
}

// What did not fit: the namespace, by how much, what each object loses, and the text of the problem.

/** The readable name of what is limited. */
export type Limited =
  | "rules and ports of pods"
  | "matches of selectors and prefixes"
  | "port classes"
  | "port sets"
  | "port ranges for peers"
  | "port classes in port sets"
  | "identities"
  | "IPv4 prefixes"
  | "IPv6 prefixes"
  | "policies"
  | "domain names"
  | "domain names for policies"
  | "endpoints"
  | "IPv4 sources"
  | "IPv6 sources"
  | "IPv4 addresses"
  | "IPv6 addresses"
  | "IPv4 ports of Services"
  | "IPv6 ports of Services"
  | "sets of backends"
  | "endpoints at ports of Services";

/** One object of a namespace that exceeds its share. */
export interface Excess {
  readonly limit: Limited;
  /** "" for cluster policies. */
  readonly namespace: string;
  /** The namespace's demand, the part that fits, and the node's capacity for all. */
  readonly wanted: number;
  readonly share: number;
  readonly capacity: number;
  readonly askers: number;
  /** As in Problem. */
  readonly object: string;
  /** For a policy: its rules that are left out, as field paths ("spec.ingress[3]"). */
  readonly rules?: readonly string[];
  readonly effect: string;
}

/** One Problem for each object and limit, in the order given. */
export const excessProblems = (all: readonly Excess[]): Problem[] =>
  all.map(({ limit, namespace, wanted, share, capacity, askers, object, rules, effect }) => {
    const [first, ...more] = rules ?? [];
    const path =
      first === undefined ? {} : { path: more.length === 0 ? first : `${first} and ${more.length} more` };
    const shared = askers === 1 ? "" : `, which ${askers} namespaces share`;
    return {
      severity: "error",
      object,
      ...path,
      reason: `${namespace === "" ? "cluster policies need" : `namespace ${namespace} needs`} ${wanted} ${limit} on this node; ${share} fit (the node has ${capacity}${shared})`,
      effect,
      fix: FIXES[limit],
      topic: "capacity",
    };
  });

const FIXES: { readonly [limit in Limited]: string } = {
  "rules and ports of pods": "have fewer rules and ports, or let more pods have the same policies",
  "matches of selectors and prefixes":
    "let more rules have the same peers, name labels with their values in selectors, and fewer overlapping prefixes",
  "port classes": "name fewer distinct ports, or ranges of them",
  "port sets": "let more rules and peers have the same ports",
  "port ranges for peers": "name fewer ports in rules with many peers, or ranges of them",
  "port classes in port sets": "let fewer ranges of ports overlap",
  identities: "let more rules have the same peers",
  "IPv4 prefixes": "name fewer prefixes, or wider ones",
  "IPv6 prefixes": "name fewer prefixes, or wider ones",
  policies: "let more rules with domain names have the same peers and ports",
  "domain names": "name fewer domain names, or wildcards",
  "domain names for policies": "name fewer domain names, or wildcards",
  endpoints: "run fewer pods on the node",
  "IPv4 sources": "give weir.dev/allowed-sources fewer prefixes, or wider ones",
  "IPv6 sources": "give weir.dev/allowed-sources fewer prefixes, or wider ones",
  "IPv4 addresses": "run fewer pods",
  "IPv6 addresses": "run fewer pods",
  "IPv4 ports of Services": "have fewer Services, or ports of Services",
  "IPv6 ports of Services": "have fewer Services, or ports of Services",
  "sets of backends": "have fewer Services, or ports of Services",
  "endpoints at ports of Services": "have fewer ports of Services, or fewer endpoints where these are many",
};
