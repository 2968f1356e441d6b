// Random small clusters and policies for property tests: few names and addresses, so that all combinations occur.

import fc from "fast-check";
import { type Address, addressOf, type Cidr, cidrOf, parseAddress, parseCidr } from "../../src/base/ip.ts";
import {
  type Cluster,
  type ClusterNode,
  keyOf,
  NAMESPACE_NAME_LABEL,
  type Namespace,
  type Pod,
  type Protocol,
} from "../../src/model/cluster.ts";
import {
  ACTIONS,
  type ClusterPeer,
  type ClusterPolicy,
  type ClusterRule,
  TIERS,
} from "../../src/model/cluster-network-policy.ts";
import type { Peer, Policy, PortMatch, Rule } from "../../src/model/network-policy.ts";
import { EVERYTHING, type Labels, type Requirement, type Selector } from "../../src/model/selector.ts";
import type { LocalEndpoint } from "../../src/policy/compile.ts";

export const NAMESPACES = ["x", "y", "z"];
const KEYS = ["app", "tier", "__proto__"];
const VALUES = ["a", "b", ""];
const PROTOCOLS: readonly Protocol[] = ["TCP", "UDP", "SCTP"];
const PORT_NAMES = ["web", "dns"];
const PORTS = [1, 79, 80, 81, 443, 8080, 65535];

export function must<T>(parsed: { ok: true; value: T } | { ok: false; reason: string }): T {
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
}

const labels: fc.Arbitrary<Labels> = fc
  .uniqueArray(fc.tuple(fc.constantFrom(...KEYS), fc.constantFrom(...VALUES)), {
    maxLength: 2,
    selector: ([key]) => key,
  })
  .map((pairs) => new Map(pairs));

const requirement: fc.Arbitrary<Requirement> = fc.oneof(
  fc.record({
    operator: fc.constantFrom("In" as const, "NotIn" as const),
    key: fc.constantFrom(...KEYS),
    // None is left if all of them are such that no label can have them.
    values: fc.uniqueArray(fc.constantFrom(...VALUES), { maxLength: 2 }),
  }),
  fc.record({
    operator: fc.constantFrom("Exists" as const, "DoesNotExist" as const),
    key: fc.constantFrom(...KEYS),
  }),
);

const selector: fc.Arbitrary<Selector> = fc
  .array(requirement, { maxLength: 2 })
  .map((requirements) => ({ requirements }));

/** Pods live in 10.0.0.0/28 and fd00::/124, so that random blocks cut right through them. */
const suffix = fc.integer({ min: 0, max: 15 });
export const v4 = (number: number): Address => addressOf(4, 0x0a000000n + BigInt(number));
export const v6 = (number: number): Address => addressOf(6, (0xfdn << 120n) + BigInt(number));

const cidr: fc.Arbitrary<Cidr> = fc
  .tuple(fc.boolean(), suffix, fc.constantFrom(0, 1, 2, 3, 4, 5, 24))
  .map(([six, number, bits]) =>
    six ? cidrOf(6, v6(number).value, 128 - bits) : cidrOf(4, v4(number).value, 32 - bits),
  );

/** Prefixes that have link-local addresses, or are among these. */
const wide = ["::/0", "8000::/1", "fe80::/10", "fe80::/64"].map((text) => must(parseCidr(text)));

const peerCidr: fc.Arbitrary<Cidr> = fc.oneof(
  { weight: 9, arbitrary: cidr },
  { weight: 1, arbitrary: fc.constantFrom(...wide) },
);

const block: fc.Arbitrary<Peer> = fc
  .tuple(peerCidr, fc.array(fc.tuple(suffix, fc.integer({ min: 1, max: 4 })), { maxLength: 2 }))
  .map(([outer, inner]) => {
    const bits = outer.family === 4 ? 32 : 128;
    const except = inner.flatMap(([number, more]) => {
      const length = Math.min(outer.length + more, bits);
      const base = outer.value + BigInt(number) * (outer.length > bits - 4 ? 1n : 1n);
      const candidate = cidrOf(outer.family, base, length);
      const inside = cidrOf(outer.family, candidate.value, outer.length).text === outer.text;
      return inside && length > outer.length ? [candidate] : [];
    });
    return { kind: "block" as const, cidr: outer, except };
  });

const podsPeer: fc.Arbitrary<Peer> = fc.record({
  kind: fc.constant("pods" as const),
  namespaces: fc.option(selector, { nil: undefined }),
  pods: selector,
});

const nothing = fc.constant({ kind: "nothing" as const });

const peer: fc.Arbitrary<Peer> = fc.oneof(
  { weight: 4, arbitrary: block },
  { weight: 4, arbitrary: podsPeer },
  { weight: 1, arbitrary: nothing },
);

/** Long ranges are rare: each costs the kernel tens of thousands of writes. */
const range = fc.oneof(
  {
    weight: 8,
    arbitrary: fc
      .tuple(fc.constantFrom(...PORTS), fc.nat({ max: 2 }))
      .map(([first, more]) => [first, Math.min(first + more, 65535)] as const),
  },
  {
    weight: 1,
    arbitrary: fc
      .tuple(fc.constantFrom(...PORTS), fc.constantFrom(...PORTS))
      .map(([a, b]) => [Math.min(a, b), Math.max(a, b)] as const),
  },
  { weight: 1, arbitrary: fc.constant([0, 65535] as const) },
);

const portMatch: fc.Arbitrary<PortMatch> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc
      .tuple(fc.constantFrom(...PROTOCOLS), range)
      .map(([protocol, [first, last]]) => ({ kind: "range" as const, protocol, first, last })),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("name" as const),
      protocol: fc.constantFrom(...PROTOCOLS),
      name: fc.constantFrom(...PORT_NAMES),
    }),
  },
  { weight: 1, arbitrary: nothing },
);

const rule: fc.Arbitrary<Rule> = fc.record({
  peers: fc.oneof(
    { weight: 1, arbitrary: fc.constant("anyone" as const) },
    { weight: 5, arbitrary: fc.array(peer, { minLength: 1, maxLength: 3 }) },
  ),
  ports: fc.oneof(
    { weight: 1, arbitrary: fc.constant("all" as const) },
    { weight: 3, arbitrary: fc.array(portMatch, { minLength: 1, maxLength: 3 }) },
  ),
});

const rules = fc.array(rule, { maxLength: 3 });

const policy: fc.Arbitrary<Policy> = fc
  .record({
    namespace: fc.constantFrom(...NAMESPACES),
    name: fc.constantFrom("p", "q", "r"),
    subject: selector,
    isolates: fc.record({ ingress: fc.boolean(), egress: fc.boolean() }),
    rules: fc.record({ ingress: rules, egress: rules }),
    mode: fc.constantFrom("enforce" as const, "enforce" as const, "audit" as const),
  })
  .map((each) => ({
    ...each,
    rules: {
      ingress: each.isolates.ingress ? each.rules.ingress : [],
      egress: each.isolates.egress ? each.rules.egress : [],
    },
  }));

const clusterPeer: fc.Arbitrary<ClusterPeer> = fc.oneof(
  { weight: 4, arbitrary: peerCidr.map((each) => ({ kind: "block" as const, cidr: each, except: [] })) },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("pods" as const),
      namespaces: selector,
      pods: fc.oneof(selector, fc.constant(EVERYTHING)),
    }),
  },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("nodes" as const), nodes: selector }) },
);

/** A port's name in a cluster policy is one for all protocols. */
const clusterPorts: fc.Arbitrary<readonly PortMatch[]> = fc
  .array(portMatch, { minLength: 1, maxLength: 3 })
  .map((ports) =>
    ports.flatMap((match): PortMatch[] =>
      match.kind === "name" ? PROTOCOLS.map((protocol) => ({ ...match, protocol })) : [match],
    ),
  );

const clusterRule: fc.Arbitrary<ClusterRule> = fc.record({
  action: fc.constantFrom(...ACTIONS),
  peers: fc.oneof(
    { weight: 12, arbitrary: fc.array(clusterPeer, { minLength: 1, maxLength: 3 }) },
    // Of rules that cannot be read.
    { weight: 1, arbitrary: fc.constant([]) },
  ),
  ports: fc.oneof(
    { weight: 2, arbitrary: fc.constant("all" as const) },
    { weight: 3, arbitrary: clusterPorts },
  ),
});

/** Names of rules that have one another, in part. */
const DOMAINS = ["www.example.com", "*.example.com", "*.b.example.com", "a.b.example.com", "*.com"] as const;

/** Names that an endpoint has resolved to an address: none, one or two; the same ones for the same addresses. */
export function namesBetween(local: Address, remote: Address): readonly string[] {
  const all = ["www.example.com", "x.example.com", "a.b.example.com", "z.b.example.com", "y.com", "z.net"];
  const number = Number((local.value + remote.value * 3n) % 13n);
  return [all[number], all[(number * 5) % 11]].flatMap((name) => name ?? []);
}

/** Egress rules may accept what names are. */
const egressRule: fc.Arbitrary<ClusterRule> = fc
  .tuple(clusterRule, fc.subarray([...DOMAINS], { maxLength: 2 }))
  .map(([rule, domains]): ClusterRule => {
    if (rule.action !== "Accept" || rule.peers === "anyone") return rule;
    return {
      ...rule,
      peers: [...rule.peers, ...domains.map((name): ClusterPeer => ({ kind: "domain", name }))],
    };
  });

const denyAll: ClusterRule = { action: "Deny", peers: "anyone", ports: "all" };

const rulesOf = (rule: fc.Arbitrary<ClusterRule>) =>
  fc.array(fc.oneof({ weight: 24, arbitrary: rule }, { weight: 1, arbitrary: fc.constant(denyAll) }), {
    maxLength: 3,
  });

/** Priorities tie often. */
const clusterPolicy: fc.Arbitrary<ClusterPolicy> = fc.record({
  name: fc.constantFrom("s", "t", "u", "v"),
  tier: fc.constantFrom(...TIERS),
  priority: fc.nat({ max: 2 }),
  subject: fc.record({
    namespaces: fc.oneof(selector, fc.constant(EVERYTHING)),
    pods: fc.oneof(selector, fc.constant(EVERYTHING)),
  }),
  rules: fc.record({ ingress: rulesOf(clusterRule), egress: rulesOf(egressRule) }),
});

/** Nodes have addresses among those of pods, too: host-network pods have theirs. */
const node: fc.Arbitrary<ClusterNode> = fc.record({
  name: fc.constantFrom("m", "n"),
  labels,
  addresses: fc.array(
    fc.tuple(fc.boolean(), suffix).map(([six, number]) => (six ? v6 : v4)(number)),
    {
      maxLength: 2,
    },
  ),
  podCidrs: fc.constant([]),
});

const pod: fc.Arbitrary<Pod> = fc
  .record({
    namespace: fc.constantFrom(...NAMESPACES),
    name: fc.constantFrom("a", "b", "c"),
    labels,
    number: suffix,
    families: fc.constantFrom("4", "6", "46"),
    hostNetwork: fc.integer({ min: 0, max: 5 }).map((value) => value === 0),
    finished: fc.integer({ min: 0, max: 9 }).map((value) => value === 0),
    ports: fc.uniqueArray(
      fc.record({
        name: fc.constantFrom(...PORT_NAMES),
        port: fc.constantFrom(...PORTS),
        protocol: fc.constantFrom(...PROTOCOLS),
      }),
      { maxLength: 2, selector: ({ name }) => name },
    ),
    sources: fc.array(cidr, { maxLength: 3 }),
  })
  .map(({ number, families, ...rest }) => ({
    ...rest,
    ips: [...(families.includes("4") ? [v4(number)] : []), ...(families.includes("6") ? [v6(number)] : [])],
  }));

const namespace: fc.Arbitrary<Namespace> = fc
  .tuple(fc.constantFrom(...NAMESPACES), labels)
  .map(([name, own]) => ({ name, labels: new Map([...own, [NAMESPACE_NAME_LABEL, name]]) }));

/** Pods have addresses of their own: if two would share one, the first in key order stays. */
export const cluster: fc.Arbitrary<Cluster> = fc
  .record({
    namespaces: fc.uniqueArray(namespace, { maxLength: 3, selector: ({ name }) => name }),
    pods: fc.uniqueArray(pod, { minLength: 1, maxLength: 6, selector: keyOf }),
    policies: fc.uniqueArray(policy, { maxLength: 5, selector: keyOf }),
    clusterPolicies: fc.oneof(
      fc.constant<ClusterPolicy[]>([]),
      fc.uniqueArray(clusterPolicy, { maxLength: 4, selector: ({ name }) => name }),
    ),
    nodes: fc.uniqueArray(node, { maxLength: 2, selector: ({ name }) => name }),
  })
  .map(({ namespaces, pods, policies, clusterPolicies, nodes }) => {
    const taken = new Set<string>();
    const distinct = [...pods]
      .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1))
      .filter((each) => {
        if (each.ips.some(({ text }) => taken.has(text))) return false;
        for (const { text } of each.ips) taken.add(text);
        return true;
      });
    return {
      namespaces: new Map(namespaces.map((each) => [each.name, each])),
      pods: new Map(distinct.map((each) => [keyOf(each), each])),
      policies: new Map(policies.map((each) => [keyOf(each), each])),
      clusterPolicies: new Map(clusterPolicies.map((each) => [each.name, each])),
      services: new Map(),
      slices: new Map(),
      nodes: new Map(nodes.map((each) => [each.name, each])),
    };
  });

/** Every pod is an endpoint of this node; interface indexes follow from the keys. */
export function localsOf(world: Cluster): LocalEndpoint[] {
  return [...world.pods.values()]
    .filter((each) => !each.finished && !each.hostNetwork)
    .map((each) => ({
      pod: each,
      ifindex: 100 + NAMESPACES.indexOf(each.namespace) * 3 + ["a", "b", "c"].indexOf(each.name),
    }));
}

/** Addresses to check: every pod's, some that belong to no pod, and the edges of the blocks. */
export function addressesOf(world: Cluster): Address[] {
  const own = [...world.pods.values()].flatMap(({ ips }) => ips);
  const outside = [
    must(parseAddress("10.0.0.200")),
    must(parseAddress("8.8.8.8")),
    must(parseAddress("2001:db8::1")),
    must(parseAddress("fe80::7")),
    must(parseAddress("0.0.0.0")),
  ];
  const all = [
    ...own,
    ...outside,
    ...Array.from({ length: 16 }, (_, number) => v4(number)),
    ...Array.from({ length: 16 }, (_, number) => v6(number)),
  ];
  return [...new Map(all.map((address) => [address.text, address])).values()];
}

export const PROBE_PORTS: readonly { protocol: Protocol | "ICMP"; port: number }[] = [
  ...PROTOCOLS.flatMap((protocol) =>
    [0, 1, 78, 79, 80, 81, 82, 443, 8080, 65535].map((port) => ({ protocol, port })),
  ),
  { protocol: "ICMP", port: 0 },
];
