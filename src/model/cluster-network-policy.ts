// ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2) as closed unions: the pods that it selects, and its ordered rules.

import type { Direction } from "../base/direction.ts";
import type { Cidr } from "../base/ip.ts";
import type { PortMatch } from "./network-policy.ts";
import { type Selector, selectorText } from "./selector.ts";

/** The Admin tier is evaluated before NetworkPolicies, the Baseline tier after them. */
export const TIERS = ["Admin", "Baseline"] as const;

export type Tier = (typeof TIERS)[number];

/**
 * Accept and Deny decide; Pass leaves the decision to the next tier. In the order in which they take precedence where policies of
 * equal priority differ, the strongest last.
 */
export const ACTIONS = ["Accept", "Pass", "Deny"] as const;

export type Action = (typeof ACTIONS)[number];

export type ClusterPeer =
  | { readonly kind: "pods"; readonly namespaces: Selector; readonly pods: Selector }
  /** The addresses in the status of the nodes. */
  | { readonly kind: "nodes"; readonly nodes: Selector }
  | { readonly kind: "block"; readonly cidr: Cidr; readonly except: readonly Cidr[] }
  /** Only in Accept rules of egress. See base/domain-name.ts. */
  | { readonly kind: "domain"; readonly name: string };

/** One element of spec.ingress or spec.egress, in the order of the manifest: the first that matches applies. */
export interface ClusterRule {
  readonly name?: string;
  readonly action: Action;
  /** "anyone" only where a rule that cannot be read denies everything. */
  readonly peers: "anyone" | readonly ClusterPeer[];
  /** "all" where `protocols` is missing: every protocol and port, ICMP included. */
  readonly ports: "all" | readonly PortMatch[];
}

export interface ClusterPolicy {
  readonly name: string;
  readonly tier: Tier;
  /** 0 to 1000: the lowest is evaluated first. */
  readonly priority: number;
  /** The pods of these namespaces that have these labels. */
  readonly subject: { readonly namespaces: Selector; readonly pods: Selector };
  readonly rules: { readonly [direction in Direction]: readonly ClusterRule[] };
  /**
   * Set where something other than an Accept rule cannot be read: it then denies more than it says (see
   * source/parse/parse-cluster-network-policy.ts). The text is the reason.
   */
  readonly unreadable?: string;
  /** Set where only Accept rules cannot be read: these match nothing. The text is the reason. */
  readonly omitted?: string;
}

/** The order of evaluation, for sorting: 0 where tier and priority are equal. */
export const compareRank = (
  a: Pick<ClusterPolicy, "tier" | "priority">,
  b: Pick<ClusterPolicy, "tier" | "priority">,
): number => TIERS.indexOf(a.tier) - TIERS.indexOf(b.tier) || a.priority - b.priority;

/** The selectors in kubectl's notation, as in "namespaces team=a, pods app=web"; "" is every pod. */
export function subjectText({ namespaces, pods }: ClusterPolicy["subject"]): string {
  const texts = [
    ["namespaces", selectorText(namespaces)],
    ["pods", selectorText(pods)],
  ];
  return texts.flatMap(([what, text]) => (text === "" ? [] : `${what} ${text}`)).join(", ");
}

/** As in "deny-metadata (Admin, priority 10)". */
export const clusterPolicyText = ({
  name,
  tier,
  priority,
}: Pick<ClusterPolicy, "name" | "tier" | "priority">): string => `${name} (${tier}, priority ${priority})`;
