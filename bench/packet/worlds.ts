// The clusters that packets are judged in: three pods of this node, and policies with so many prefixes or rules.

import { addressBits, addressOf, type Cidr, cidrOf, type Family } from "../../src/base/ip.ts";
import {
  type Cluster,
  keyOf,
  NAMESPACE_NAME_LABEL,
  type Namespace,
  type Pod,
} from "../../src/model/cluster.ts";
import type { ClusterPolicy, ClusterRule } from "../../src/model/cluster-network-policy.ts";
import type { Peer, Policy, PortMatch, Rule } from "../../src/model/network-policy.ts";
import { EVERYTHING, type Selector } from "../../src/model/selector.ts";
import { type Random, randomFrom } from "../common/random.ts";

export const WORLDS = {
  /** One rule, of so many prefixes of each family, lets peers reach one port. */
  "cidrs-10": { cidrs: 10, rules: 0 },
  "cidrs-1k": { cidrs: 1_000, rules: 0 },
  "cidrs-10k": { cidrs: 10_000, rules: 0 },
  "cidrs-100k": { cidrs: 100_000, rules: 0 },
  /** So many rules, each of which names one pod by its label and gives it two ports, one of them its own. */
  "rules-10": { cidrs: 0, rules: 10 },
  "rules-1k": { cidrs: 0, rules: 1_000 },
  "rules-10k": { cidrs: 0, rules: 10_000 },
  /** As rules-1k, and cluster policies of both tiers for all pods. */
  "rules-1k-tiers": { cidrs: 0, rules: 1_000, tiers: 20 },
  /** The kernel's conntrack has seen every packet: bench/common/assigned.bpf.c. */
  assigned: { cidrs: 10, rules: 0 },
} as const satisfies Readonly<Record<string, WorldSize>>;
interface WorldSize {
  readonly cidrs: number;
  readonly rules: number;
  /** Policies of the Admin tier. */
  readonly tiers?: number;
}
export type WorldName = keyof typeof WORLDS;

/** Pods of this node: isolated in both directions, in neither, or for ingress only. */
export const POD_NAMES = ["isolated", "open", "ingress"] as const;
export type PodName = (typeof POD_NAMES)[number];

/** What every rule lets through, and what none does. */
export const PORT_ALLOWED = 443;
export const PORT_DENIED = 80;

export interface Facts {
  readonly cluster: Cluster;
  readonly pods: Readonly<Record<PodName, Pod>>;
  /** The prefixes and the pods that rules let through, by family. */
  readonly cidrs: Readonly<Record<Family, readonly Cidr[]>>;
  readonly peers: Readonly<Record<Family, readonly bigint[]>>;
}

const NAMESPACE = "bench";
const SEED = 20_261_121;

/** Rules differ in one port each, as far as the tables of ports (4,094 rows) allow. */
const OWN_PORT_FIRST = 20_000;
const OWN_PORTS = 4_000;

export function factsOf(name: WorldName): Facts {
  const random = randomFrom(SEED);
  const { cidrs: cidrCount, rules: ruleCount, tiers = 0 }: WorldSize = WORLDS[name];
  const cidrs = { 4: cidrsOf(4, cidrCount, random), 6: cidrsOf(6, cidrCount, random) };
  const peers = { 4: peersOf(4, ruleCount, random), 6: peersOf(6, ruleCount, random) };
  const pods = {
    isolated: ownPod("isolated", 1),
    open: ownPod("open", 2),
    ingress: ownPod("ingress", 3),
  };
  const others = peers[4].map((value, index) =>
    podOf(`peer-${index}`, [addressOf(4, value), addressOf(6, peers[6][index] as bigint)]),
  );
  const rules = rulesOf([...cidrs[4], ...cidrs[6]], ruleCount);
  return {
    cluster: {
      namespaces: new Map([[NAMESPACE, namespaceOf(NAMESPACE)]]),
      pods: new Map([...Object.values(pods), ...others].map((pod) => [keyOf(pod), pod])),
      policies: new Map(
        [policyOf("isolated", rules, true), policyOf("ingress", rules, false)].map((each) => [
          keyOf(each),
          each,
        ]),
      ),
      ...(tiers === 0 ? {} : { clusterPolicies: clusterPoliciesOf(tiers) }),
      services: new Map(),
      slices: new Map(),
    },
    pods,
    cidrs,
    peers,
  };
}

const PREFIX_LENGTHS: Readonly<Record<Family, { readonly shortest: number; readonly longest: number }>> = {
  4: { shortest: 16, longest: 32 },
  6: { shortest: 32, longest: 64 },
};

/** Distinct prefixes, anywhere; of IPv6 in 2000::/3. Every length is as likely as any other. */
function cidrsOf(family: Family, count: number, random: Random): Cidr[] {
  const { shortest, longest } = PREFIX_LENGTHS[family];
  const found = new Map<string, Cidr>();
  while (found.size < count) {
    const bits = random.bits(addressBits(family));
    const value = family === 4 ? bits : (bits >> 3n) | (1n << 125n);
    const cidr = cidrOf(family, value, shortest + random.below(longest - shortest + 1));
    found.set(cidr.text, cidr);
  }
  return [...found.values()];
}

/** Distinct addresses in 10.128.0.0/9 or fd00:128::/32, in any order. */
function peersOf(family: Family, count: number, random: Random): bigint[] {
  const found = new Set<bigint>();
  while (found.size < count)
    found.add(family === 4 ? 0x0a80_0000n | random.bits(23) : (0xfd00_0128n << 96n) | random.bits(96));
  return [...found];
}

const namespaceOf = (name: string): Namespace => ({ name, labels: new Map([[NAMESPACE_NAME_LABEL, name]]) });

const podOf = (name: string, ips: Pod["ips"]): Pod => ({
  namespace: NAMESPACE,
  name,
  labels: new Map([["name", name]]),
  ips,
  hostNetwork: false,
  finished: false,
  ports: [],
});

const ownPod = (name: PodName, host: number): Pod =>
  podOf(name, [
    addressOf(4, 0x0a40_0000n + BigInt(host)),
    addressOf(6, (0xfd00_0064n << 96n) + BigInt(host)),
  ]);

const named = (name: string): Selector => ({
  requirements: [{ operator: "In", key: "name", values: [name] }],
});

const tcp = (port: number): PortMatch => ({ kind: "range", protocol: "TCP", first: port, last: port });
const udp = (port: number): PortMatch => ({ kind: "range", protocol: "UDP", first: port, last: port });

function rulesOf(cidrs: readonly Cidr[], count: number): Rule[] {
  const blocks = cidrs.map((cidr): Peer => ({ kind: "block", cidr, except: [] }));
  const allowed = [tcp(PORT_ALLOWED), udp(PORT_ALLOWED)];
  return [
    ...(blocks.length > 0 ? [{ peers: blocks, ports: allowed }] : []),
    ...Array.from({ length: count }, (_, index): Rule => {
      const pods: Peer = { kind: "pods", namespaces: undefined, pods: named(`peer-${index}`) };
      return { peers: [pods], ports: [...allowed, tcp(OWN_PORT_FIRST + (index % OWN_PORTS))] };
    }),
  ];
}

const policyOf = (name: PodName, rules: readonly Rule[], egress: boolean): Policy => ({
  namespace: NAMESPACE,
  name,
  subject: named(name),
  isolates: { ingress: true, egress },
  rules: { ingress: rules, egress: egress ? rules : [] },
});

/**
 * In the Admin tier, each for all pods: a Deny of one pod at a port of its own, in turn with an Accept and a Pass; in the Baseline
 * tier a Deny of everything. None decides what the rows measure.
 */
function clusterPoliciesOf(count: number): Map<string, ClusterPolicy> {
  const policies = Array.from({ length: count }, (_, index): ClusterPolicy => {
    const action = ["Deny", "Accept", "Pass"][index % 3] as ClusterRule["action"];
    const peers = [{ kind: "pods", namespaces: EVERYTHING, pods: named(`peer-${index}`) }] as const;
    const rule: ClusterRule = { action, peers, ports: [tcp(ADMIN_PORT_FIRST + index)] };
    return clusterPolicyOf(`admin-${index}`, "Admin", index, rule);
  });
  const everything = [{ kind: "pods", namespaces: EVERYTHING, pods: EVERYTHING }] as const;
  const rest = clusterPolicyOf("rest", "Baseline", 0, { action: "Deny", peers: everything, ports: "all" });
  return new Map([...policies, rest].map((policy) => [policy.name, policy]));
}

const ADMIN_PORT_FIRST = 30_000;

const clusterPolicyOf = (
  name: string,
  tier: ClusterPolicy["tier"],
  priority: number,
  rule: ClusterRule,
): ClusterPolicy => ({
  ...{ name, tier, priority },
  subject: { namespaces: EVERYTHING, pods: EVERYTHING },
  rules: { ingress: [rule], egress: [rule] },
});
