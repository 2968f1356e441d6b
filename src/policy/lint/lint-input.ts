// The input of lint rules: the policies, the pods and namespaces that are given, and those that every cluster has.

import type { Direction } from "../../base/direction.ts";
import {
  type Cluster,
  isSelectable,
  keyOf,
  NAMESPACE_NAME_LABEL,
  type Namespace,
  type Pod,
} from "../../model/cluster.ts";
import type { ClusterPolicy } from "../../model/cluster-network-policy.ts";
import type { Peer, Policy } from "../../model/network-policy.ts";
import type { WarningCode } from "../../model/problem.ts";
import { matches } from "../../model/selector.ts";

/** From a policy's root; a string is a map's key, a number an index in a list. */
export type Path = readonly (string | number)[];

/** One warning about one policy. */
export interface Finding {
  readonly code: WarningCode;
  readonly policy: Policy | ClusterPolicy;
  /** The element that it is about. */
  readonly path: Path;
  /** What is wrong, as a clause. */
  readonly reason: string;
  /** What to write instead, as a clause. */
  readonly fix: string;
}

export interface LintInput {
  readonly cluster: Cluster;
  /** Pods that the manifests' workloads would create. */
  readonly templates: readonly Pod[];
  /** Whether the policy's manifest has something at the path: the model does not distinguish missing from empty. */
  readonly writes: (policy: Policy, path: Path) => boolean;
  /** Whether the policy's author has silenced the warning. */
  readonly ignores: (policy: Policy | ClusterPolicy, code: WarningCode) => boolean;
}

export interface World extends LintInput {
  /** Those that are valid: the parser has reported the others. */
  readonly policies: readonly Policy[];
  /** All pods that are given, templates included, by namespace. */
  readonly podsIn: ReadonlyMap<string, readonly Pod[]>;
  /** Those of them that policies can select. */
  readonly selectableIn: ReadonlyMap<string, readonly Pod[]>;
  /** Namespaces that are given, named by a pod or policy, or present in every cluster. */
  readonly namespaces: ReadonlyMap<string, Namespace>;
  /** The usual DNS pod, if the manifests do not contain its namespace. */
  readonly assumed: readonly Pod[];
  /** The pods that answer DNS: those that are given and the assumed one. */
  readonly dns: readonly Pod[];
  /** Whether a missing namespace can be reported: some are declared. */
  readonly givesNamespaces: boolean;
}

/** Namespaces of every cluster, which have no manifests. */
const USUAL_NAMESPACES = ["default", "kube-system", "kube-public", "kube-node-lease"];

const DNS_NAMESPACE = "kube-system";

/** The cluster's DNS as kubeadm and most other installers set it up. */
const DNS_POD: Pod = {
  namespace: DNS_NAMESPACE,
  name: "kube-dns",
  labels: new Map([["k8s-app", "kube-dns"]]),
  ips: [],
  hostNetwork: false,
  finished: false,
  ports: [
    { name: "dns", port: 53, protocol: "UDP" },
    { name: "dns-tcp", port: 53, protocol: "TCP" },
    { name: "metrics", port: 9153, protocol: "TCP" },
  ],
};

/** Whether a policy could be read in full. */
export const isWhole = ({ unreadable, omitted }: Policy | ClusterPolicy): boolean =>
  unreadable === undefined && omitted === undefined;

export function worldOf(input: LintInput): World {
  const { cluster, templates } = input;
  const pods = [...cluster.pods.values(), ...templates];
  const selectable = pods.filter(isSelectable);
  const assumed = pods.some(({ namespace }) => namespace === DNS_NAMESPACE) ? [] : [DNS_POD];
  const policies = [...cluster.policies.values()];
  const implied = [
    ...USUAL_NAMESPACES,
    ...pods.map((pod) => pod.namespace),
    ...policies.map((each) => each.namespace),
  ];
  const namespaces = new Map(implied.map((name) => [name, namespaceCalled(name)] as const));
  for (const [name, namespace] of cluster.namespaces) namespaces.set(name, namespace);
  return {
    ...input,
    policies: policies.filter(isWhole),
    podsIn: Map.groupBy(pods, (pod) => pod.namespace),
    selectableIn: Map.groupBy(selectable, (pod) => pod.namespace),
    assumed,
    dns: [...selectable.filter(answersDns), ...assumed],
    namespaces,
    givesNamespaces: cluster.namespaces.size > 0,
  };
}

const answersDns = (pod: Pod): boolean =>
  pod.ports.some(({ port, protocol }) => port === 53 && protocol === "UDP");

const namespaceCalled = (name: string): Namespace => ({
  name,
  labels: new Map([[NAMESPACE_NAME_LABEL, name]]),
});

/** Whether the set has objects of the namespace. */
export const isGiven = (world: World, namespace: string): boolean =>
  world.cluster.namespaces.has(namespace) || world.podsIn.has(namespace);

/** The given pods that policies of a namespace may select. */
export const selectableIn = (world: World, namespace: string): readonly Pod[] =>
  world.selectableIn.get(namespace) ?? [];

export const selectedBy = (world: World, policy: Policy): readonly Pod[] =>
  selectableIn(world, policy.namespace).filter((pod) => matches(policy.subject, pod.labels));

export type PodsPeer = Peer & { readonly kind: "pods" };

/** The names of the namespaces that a peer refers to. */
export function namespacesOf(world: World, policy: Policy, { namespaces }: PodsPeer): readonly string[] {
  if (namespaces === undefined) return [policy.namespace];
  return [...world.namespaces.values()]
    .filter(({ labels }) => matches(namespaces, labels))
    .map(({ name }) => name);
}

export const peersField = (direction: Direction): string => (direction === "ingress" ? "from" : "to");

export const rulePath = (direction: Direction, rule: number): Path => ["spec", direction, rule];

export const peerPath = (direction: Direction, rule: number, peer: number): Path => [
  ...rulePath(direction, rule),
  peersField(direction),
  peer,
];

/** "ingress[0].from[1]": how findings name a path below spec. */
export const pathName = (path: Path): string =>
  path
    .slice(1)
    .map((segment) => (typeof segment === "number" ? `[${segment}]` : `.${segment}`))
    .join("")
    .replace(/^\./, "");

/** "shop/web-1, shop/web-2 and 3 more". */
export function podNames(pods: readonly Pod[]): string {
  const names = [...new Set(pods.map(keyOf))];
  const more = names.length - NAMES_SHOWN;
  return more > 0 ? `${names.slice(0, NAMES_SHOWN).join(", ")} and ${more} more` : names.join(", ");
}

const NAMES_SHOWN = 2;
