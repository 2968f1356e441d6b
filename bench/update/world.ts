// Clusters of a given size for the bench of updates, and the changes that it makes to them.

import { present } from "../../src/base/assert.ts";
import { addressOf, cidrOf } from "../../src/base/ip.ts";
import { patched, versionOf } from "../../src/base/versioned-map.ts";
import {
  type Cluster,
  keyOf,
  NAMESPACE_NAME_LABEL,
  type Namespace,
  type Pod,
} from "../../src/model/cluster.ts";
import type { ClusterPolicy } from "../../src/model/cluster-network-policy.ts";
import type { Policy } from "../../src/model/network-policy.ts";
import { EVERYTHING, type Selector } from "../../src/model/selector.ts";
import type { LocalEndpoint } from "../../src/policy/compile.ts";

export interface Size {
  readonly pods: number;
  readonly policies: number;
  /** Pods of this node. */
  readonly locals: number;
}

/** Namespaces have so many pods and workloads each, as far as there are pods. */
const PODS_PER_NAMESPACE = 200;
const WORKLOADS_PER_NAMESPACE = 20;
const FIRST_IFINDEX = 1_000;
const FIRST_ADDRESS = 0x0a80_0000n;

export interface World {
  readonly cluster: Cluster;
  readonly locals: readonly LocalEndpoint[];
}

/** Pods of 20 workloads in each namespace, and policies that let workloads reach workloads; every n-th pod is this node's. */
export function worldOf({ pods: count, policies: policyCount, locals: localCount }: Size): World {
  const pods = Array.from({ length: count }, (_, index) => podOf(index));
  const spaces = Math.ceil(count / PODS_PER_NAMESPACE);
  const namespaces = Array.from({ length: spaces }, (_, index) => namespaceOf(index));
  const policies = Array.from({ length: policyCount }, (_, index) => policyOf(index, spaces));
  const step = Math.floor(count / localCount);
  return {
    cluster: {
      // As the API server's stores have them: a change is the next version of a map.
      namespaces: versionOf(new Map(namespaces.map((each) => [each.name, each]))),
      pods: versionOf(new Map(pods.map((pod) => [keyOf(pod), pod]))),
      policies: versionOf(new Map(policies.map((policy) => [keyOf(policy), policy]))),
      services: new Map(),
      slices: new Map(),
    },
    locals: Array.from({ length: localCount }, (_, index) => ({
      pod: present(pods[index * step], "a pod for each endpoint"),
      ifindex: FIRST_IFINDEX + index,
    })),
  };
}

/** What happens to a cluster; `turn` makes each one different from the one before. */
export const CHANGES = {
  nothing: (world: World, _turn: number) => world,
  "pod-comes": (world: World, turn: number) =>
    withPod(world, { ...podOf(world.cluster.pods.size + turn), name: `new-${turn}` }),
  "pod-relabelled": (world: World, turn: number) => {
    const pod = present([...world.cluster.pods.values()][1], "a second pod");
    return withPod(world, { ...pod, labels: new Map([...pod.labels, ["version", `v${turn}`]]) });
  },
  "policy-changed": (world: World, turn: number) => {
    const policy = present([...world.cluster.policies.values()][0], "a policy");
    const ports = [{ kind: "range", protocol: "TCP", first: 9_000 + turn, last: 9_000 + turn }] as const;
    const ingress = policy.rules.ingress.map((rule) => ({ ...rule, ports }));
    const changed = { ...policy, rules: { ...policy.rules, ingress } };
    const policies = patched(world.cluster.policies, new Map([[keyOf(policy), changed]]));
    return { ...world, cluster: { ...world.cluster, policies } };
  },
  "namespace-relabelled": (world: World, turn: number) => {
    const namespace = present([...world.cluster.namespaces.values()][0], "a namespace");
    const labels = new Map([...namespace.labels, ["team", `team-${turn % 4}`]]);
    const namespaces = patched(
      world.cluster.namespaces,
      new Map([[namespace.name, { ...namespace, labels }]]),
    );
    return { ...world, cluster: { ...world.cluster, namespaces } };
  },
  "admin-policy-changed": (world: World, turn: number) => {
    const before = world.cluster.clusterPolicies ?? versionOf(clusterPolicies());
    const policy = present(before.get("quarantine"), "a policy of the Admin tier");
    const ports = [{ kind: "range", protocol: "TCP", first: 9_000 + turn, last: 9_000 + turn }] as const;
    const ingress = policy.rules.ingress.map((rule) => ({ ...rule, ports }));
    const changed = { ...policy, rules: { ...policy.rules, ingress } };
    const after = patched(before, new Map([[policy.name, changed]]));
    return { ...world, cluster: { ...world.cluster, clusterPolicies: after } };
  },
} as const satisfies Readonly<Record<string, (world: World, turn: number) => World>>;
export type ChangeName = keyof typeof CHANGES;

function withPod(world: World, pod: Pod): World {
  const pods = patched(world.cluster.pods, new Map([[keyOf(pod), pod]]));
  return { ...world, cluster: { ...world.cluster, pods } };
}

const spaceOf = (index: number): number => Math.floor(index / PODS_PER_NAMESPACE);

const podOf = (index: number): Pod => ({
  namespace: `ns-${spaceOf(index)}`,
  name: `pod-${index}`,
  labels: new Map([
    ["app", `app-${index % WORKLOADS_PER_NAMESPACE}`],
    ["tier", `tier-${index % 3}`],
    ["pod-template-hash", `${spaceOf(index)}-${index % WORKLOADS_PER_NAMESPACE}`],
  ]),
  ips: [addressOf(4, FIRST_ADDRESS + BigInt(index))],
  hostNetwork: false,
  finished: false,
  ports: [{ name: "web", port: 8_080 + (index % 3), protocol: "TCP" }],
});

const namespaceOf = (index: number): Namespace => ({
  name: `ns-${index}`,
  labels: new Map([
    [NAMESPACE_NAME_LABEL, `ns-${index}`],
    ["team", `team-${index % 4}`],
  ]),
});

const where = (key: string, value: string): Selector => ({
  requirements: [{ operator: "In", key, values: [value] }],
});

/** For all pods: DNS accepted, the metadata service and one kind of pods denied; in the Baseline tier, other teams. */
function clusterPolicies(): Map<string, ClusterPolicy> {
  const policies: readonly ClusterPolicy[] = [
    clusterPolicy("dns", 10, {
      egress: [
        { action: "Accept", peers: [PODS], ports: [{ kind: "range", protocol: "UDP", first: 53, last: 53 }] },
      ],
    }),
    clusterPolicy("metadata", 20, {
      egress: [{ action: "Deny", peers: [{ kind: "block", cidr: METADATA, except: [] }], ports: "all" }],
    }),
    clusterPolicy("quarantine", 30, {
      ingress: [{ action: "Deny", peers: [{ ...PODS, pods: where("tier", "tier-0") }], ports: "all" }],
    }),
    {
      ...clusterPolicy("teams", 10, {
        ingress: [
          { action: "Deny", peers: [{ ...PODS, namespaces: where("team", "team-1") }], ports: "all" },
        ],
      }),
      tier: "Baseline",
    },
  ];
  return new Map(policies.map((policy) => [policy.name, policy]));
}

const PODS = { kind: "pods", namespaces: EVERYTHING, pods: EVERYTHING } as const;
const METADATA = cidrOf(4, 0xa9fe_a9fen, 32);

const clusterPolicy = (
  name: string,
  priority: number,
  rules: Partial<ClusterPolicy["rules"]>,
): ClusterPolicy => ({
  name,
  priority,
  tier: "Admin",
  subject: { namespaces: EVERYTHING, pods: EVERYTHING },
  rules: { ingress: [], egress: [], ...rules },
});

const policyOf = (index: number, spaces: number): Policy => ({
  namespace: `ns-${index % spaces}`,
  name: `policy-${index}`,
  subject: where("app", `app-${Math.floor(index / spaces) % WORKLOADS_PER_NAMESPACE}`),
  isolates: { ingress: true, egress: true },
  rules: {
    ingress: [
      {
        peers: [
          {
            kind: "pods",
            namespaces: undefined,
            pods: where("app", `app-${index % WORKLOADS_PER_NAMESPACE}`),
          },
          { kind: "pods", namespaces: where("team", `team-${index % 4}`), pods: where("tier", "tier-1") },
          { kind: "block", cidr: cidrOf(4, 0xc000_0000n + (BigInt(index) << 8n), 24), except: [] },
        ],
        ports: [{ kind: "name", protocol: "TCP", name: "web" }],
      },
    ],
    egress: [
      { peers: "anyone", ports: [{ kind: "range", protocol: "UDP", first: 53, last: 53 }] },
      {
        peers: [
          { kind: "pods", namespaces: where("team", `team-${index % 4}`), pods: where("tier", "tier-2") },
        ],
        ports: [{ kind: "name", protocol: "TCP", name: "web" }],
      },
    ],
  },
});
