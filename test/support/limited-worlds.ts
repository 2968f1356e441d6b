// Small clusters for tests of limits: one pod and one policy a namespace, rules of ports, prefixes and pods, and Services.

import { addressOf, cidrOf } from "../../src/base/ip.ts";
import { type Cluster, EMPTY_CLUSTER, keyOf, type Pod } from "../../src/model/cluster.ts";
import type { Policy, Rule } from "../../src/model/network-policy.ts";
import type { Service } from "../../src/model/service.ts";
import type { LocalEndpoint } from "../../src/policy/compile.ts";

/** A pod of this node, and its namespace with a policy of many rules. */
export const pod = (namespace: string, number: number): Pod => ({
  namespace,
  name: "pod",
  labels: new Map(),
  ips: [addressOf(4, 0x0a000000n + BigInt(number))],
  hostNetwork: false,
  finished: false,
  ports: [],
});

export const policyOf = (
  namespace: string,
  rules: readonly Rule[],
  direction: "ingress" | "egress" = "ingress",
): Policy => ({
  namespace,
  name: "policy",
  subject: { requirements: [] },
  isolates: { ingress: direction === "ingress", egress: direction === "egress" },
  rules: { ingress: direction === "ingress" ? rules : [], egress: direction === "egress" ? rules : [] },
});

export const portRule = (number: number, port: number): Rule => ({
  peers: [{ kind: "block", cidr: cidrOf(4, 0x1e000000n + BigInt(number), 32), except: [] }],
  ports: [{ kind: "range", protocol: "TCP", first: port, last: port }],
});

export const world = (
  pods: readonly Pod[],
  policies: readonly Policy[],
  services: readonly Service[] = [],
): Cluster => ({
  ...EMPTY_CLUSTER,
  pods: new Map(pods.map((each) => [keyOf(each), each])),
  policies: new Map(policies.map((each) => [keyOf(each), each])),
  services: new Map(services.map((each) => [keyOf(each), each])),
});

export const localsFor = (pods: readonly Pod[]): LocalEndpoint[] =>
  pods.map((each, index) => ({ pod: each, ifindex: 10 + index }));

export const named = (namespace: string, name: string, number: number): Pod => ({
  ...pod(namespace, number),
  name,
});

export const service = (namespace: string, name: string, number: number, ports: number): Service => ({
  namespace,
  name,
  clusterIps: [addressOf(4, 0x0a600000n + BigInt(number))],
  externalIps: [],
  loadBalancerIps: [],
  ports: Array.from({ length: ports }, (_, index) => ({
    name: `p${index}`,
    protocol: "TCP",
    port: 80 + index,
    target: 80 + index,
  })),
  selector: new Map([["app", name]]),
  onlyLocal: false,
});
