// What did not fit: of which namespace, by how much, which objects lose what by it, and how that reads.

import type { Problem } from "../../model/problem.ts";

/** What is limited, as people know it. */
export type Limited =
  | "port classes"
  | "port sets"
  | "port ranges for peers"
  | "port classes in port sets"
  | "identities"
  | "IPv4 prefixes"
  | "IPv6 prefixes"
  | "endpoints"
  | "IPv4 sources"
  | "IPv6 sources"
  | "IPv4 addresses"
  | "IPv6 addresses"
  | "IPv4 ports of Services"
  | "IPv6 ports of Services"
  | "sets of backends";

/** One object of a namespace that asks for more than its share. */
export interface Excess {
  readonly limit: Limited;
  readonly namespace: string;
  /** What the namespace asks for, what of it fits, and what the node has for all. */
  readonly wanted: number;
  readonly share: number;
  readonly capacity: number;
  readonly askers: number;
  /** As in Problem. */
  readonly object: string;
  /** Of a policy: its rules that are left out, as fields ("spec.ingress[3]"). */
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
      reason: `namespace ${namespace} asks for ${wanted} ${limit} of this node; ${share} fit (the node has ${capacity}${shared})`,
      effect,
      fix: FIXES[limit],
      topic: "capacity",
    };
  });

const FIXES: { readonly [limit in Limited]: string } = {
  "port classes": "name fewer distinct ports, or ranges of them",
  "port sets": "let more rules and peers have the same ports",
  "port ranges for peers": "name fewer ports in rules with many peers, or ranges of them",
  "port classes in port sets": "let fewer ranges of ports overlap",
  identities: "let more rules have the same peers",
  "IPv4 prefixes": "name fewer prefixes, or wider ones",
  "IPv6 prefixes": "name fewer prefixes, or wider ones",
  endpoints: "run fewer pods on the node",
  "IPv4 sources": "give weir.dev/allowed-sources fewer prefixes, or wider ones",
  "IPv6 sources": "give weir.dev/allowed-sources fewer prefixes, or wider ones",
  "IPv4 addresses": "run fewer pods",
  "IPv6 addresses": "run fewer pods",
  "IPv4 ports of Services": "have fewer Services, or ports of Services",
  "IPv6 ports of Services": "have fewer Services, or ports of Services",
  "sets of backends": "have fewer Services, or ports of Services",
};
