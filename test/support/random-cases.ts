// Random conformance cases (np-conformance/1) about cluster policies, in the form in which such cases come as files. What they expect is from
// case-reference.ts.

import { randomFrom } from "../../bench/common/random.ts";
import {
  characterOf,
  type LabelMap,
  type LabelSelector,
  type PodsSelector,
  type Protocol,
  type RawClusterPolicy,
  type RawClusterRule,
  type RawEnd,
  type RawNetworkPeer,
  type RawNetworkPolicy,
  type RawNetworkPort,
  type RawPeer,
  type RawPod,
  type RawProtocol,
  type RawWorld,
  type Requirement,
} from "./case-reference.ts";

const NAMESPACES = ["alpha", "beta", "gamma"];
const KEYS = ["app", "tier", "zone"];
const VALUES = ["a", "b", "c"];
const PROTOCOLS: readonly Protocol[] = ["TCP", "UDP", "SCTP"];
const PORTS = [80, 81, 443, 8080];
const PORT_NAMES = ["web", "dns"];
const DNS = [
  { name: "www.example.com", ips: ["198.51.100.1"] },
  { name: "a.b.example.net", ips: ["198.51.100.2", "10.244.0.11"] },
  { name: "example.net", ips: ["198.51.100.3"] },
];
const PATTERNS = ["www.example.com", "*.example.com", "*.example.net", "example.net", "*.b.example.net"];
const STEPS_MAX = 4;

interface Random {
  below(limit: number): number;
}

/** The text of a case: the same for the same seed. */
export function randomCase(seed: number): string {
  const random = randomFrom(seed);
  const dice = diceOf(random);
  const world = worldOf(dice);
  const steps: object[] = [];
  let current: RawWorld = world;
  for (let index = 0; index < 1 + random.below(STEPS_MAX); index += 1) {
    const { actions, after } = changed(current, dice, index === 0 ? 4 : 2);
    current = after;
    steps.push({ actions, probe: { mode: "pod-ip" }, expected: expectedOf(current, dice) });
  }
  const { policies: _, ...cluster } = world;
  return JSON.stringify({
    format: "np-conformance/1",
    id: `random/${seed}`,
    name: `random world ${seed}`,
    source: { project: "weir", licence: "Apache-2.0", truth: "test/support/case-reference.ts" },
    features: ["cnp"],
    cluster: { ipFamily: "IPv4", ...cluster, externals: EXTERNALS },
    steps,
  });
}

const EXTERNALS = [1, 2, 3, 4].map((number) => ({ name: `ext:${number}`, ips: [`198.51.100.${number}`] }));

type Dice = ReturnType<typeof diceOf>;

function diceOf(random: Random) {
  const one = <T>(values: readonly T[]): T => values[random.below(values.length)] as T;
  const some = <T>(make: () => T, least: number, most: number): T[] =>
    Array.from({ length: least + random.below(most - least + 1) }, make);
  const chance = (percent: number): boolean => random.below(100) < percent;
  return { below: (limit: number) => random.below(limit), one, some, chance };
}

const labelsOf = ({ one, some }: Dice): LabelMap =>
  Object.fromEntries(some(() => [one(KEYS), one(VALUES)] as const, 0, 2));

function worldOf(dice: Dice): RawWorld {
  const namespaces = NAMESPACES.map((name) => ({ name, labels: labelsOf(dice) }));
  const nodes = [1, 2].map((number) => ({
    name: `node-${number}`,
    labels: labelsOf(dice),
    ips: [`172.18.0.${number}`],
  }));
  const pods = Array.from({ length: 6 }, (_, at) => podOf(dice, at));
  return { namespaces, nodes, pods, dns: DNS, policies: [] };
}

function podOf(dice: Dice, at: number): RawPod {
  const isOnHost = at === 5;
  return {
    namespace: dice.one(NAMESPACES),
    name: `pod-${at}`,
    labels: labelsOf(dice),
    ips: [isOnHost ? "172.18.0.2" : `10.244.0.${10 + at}`],
    ports: PORT_NAMES.filter(() => dice.chance(60)).map((name) => ({
      ...{ name, port: dice.one(PORTS), protocol: dice.one(PROTOCOLS) },
    })),
    ...(isOnHost && { hostNetwork: true }),
  };
}

function selectorOf(dice: Dice): LabelSelector {
  if (dice.chance(25)) return {};
  if (dice.chance(50)) return { matchLabels: { [dice.one(KEYS)]: dice.one(VALUES) } };
  if (dice.chance(20)) return { matchLabels: { "kubernetes.io/metadata.name": dice.one(NAMESPACES) } };
  const requirement = (): Requirement => {
    const key = dice.one(KEYS);
    return dice.chance(50)
      ? {
          key,
          operator: dice.one(["In", "NotIn"] as const),
          values: [...new Set(dice.some(() => dice.one(VALUES), 1, 2))],
        }
      : { key, operator: dice.one(["Exists", "DoesNotExist"] as const) };
  };
  return { matchExpressions: dice.some(requirement, 1, 2) };
}

const podsOf = (dice: Dice): PodsSelector => ({
  podSelector: selectorOf(dice),
  ...(dice.chance(50) && { namespaceSelector: selectorOf(dice) }),
});

const cidrOf = (dice: Dice): string =>
  dice.one([
    ...["0.0.0.0/0", "10.244.0.0/16", "10.244.0.12/32", "10.244.0.8/30", "172.18.0.0/24", "172.18.0.2/32"],
    ...["198.51.100.0/24", "198.51.100.2/31", "198.51.100.4/32"],
  ]);

function peerOf(dice: Dice, direction: "ingress" | "egress", canName: boolean): RawPeer {
  const kind = dice.below(direction === "ingress" ? 2 : canName ? 5 : 4);
  if (kind === 0) return { namespaces: selectorOf(dice) };
  if (kind === 1) return { pods: podsOf(dice) };
  if (kind === 2) return { nodes: selectorOf(dice) };
  if (kind === 3) return { networks: [...new Set(dice.some(() => cidrOf(dice), 1, 2))] };
  return { domainNames: [...new Set(dice.some(() => dice.one(PATTERNS), 1, 2))] };
}

function protocolOf(dice: Dice, canName: boolean): RawProtocol {
  if (canName && dice.chance(25)) return { destinationNamedPort: dice.one(PORT_NAMES) };
  const key = dice.one(["tcp", "tcp", "udp", "sctp"] as const);
  const start = dice.one(PORTS);
  return dice.chance(60)
    ? { [key]: { destinationPort: { number: start } } }
    : { [key]: { destinationPort: { range: { start, end: start + 1 + dice.below(400) } } } };
}

function clusterRuleOf(dice: Dice, direction: "ingress" | "egress"): RawClusterRule {
  const action = dice.one(["Accept", "Deny", "Pass"] as const);
  const peers = dice.some(() => peerOf(dice, direction, action === "Accept"), 1, 2);
  // Ports have names on pods only.
  const canName = peers.every((peer) => "namespaces" in peer || "pods" in peer);
  return {
    action,
    [direction === "ingress" ? "from" : "to"]: peers,
    ...(dice.chance(60) && { protocols: dice.some(() => protocolOf(dice, canName), 1, 2) }),
  };
}

/** No two of one tier have one priority: the API leaves their order open. */
function clusterPolicyOf(dice: Dice, world: RawWorld, name: string): RawClusterPolicy {
  const tier = dice.one(["Admin", "Admin", "Baseline"] as const);
  const taken = world.policies.flatMap((each) =>
    each.kind === "ClusterNetworkPolicy" && each.spec.tier === tier && each.metadata.name !== name
      ? [each.spec.priority]
      : [],
  );
  let priority = dice.below(1_001);
  while (taken.includes(priority)) priority = (priority + 1) % 1_001;
  return {
    apiVersion: "policy.networking.k8s.io/v1alpha2",
    kind: "ClusterNetworkPolicy",
    metadata: { name },
    spec: {
      tier,
      priority,
      subject: dice.chance(60) ? { namespaces: selectorOf(dice) } : { pods: podsOf(dice) },
      ingress: dice.some(() => clusterRuleOf(dice, "ingress"), 0, 3),
      egress: dice.some(() => clusterRuleOf(dice, "egress"), 0, 3),
    },
  };
}

function networkPeerOf(dice: Dice): RawNetworkPeer {
  if (dice.chance(30)) {
    const isWide = dice.chance(50);
    return {
      ipBlock: isWide ? { cidr: "10.244.0.0/16", except: ["10.244.0.8/30"] } : { cidr: cidrOf(dice) },
    };
  }
  const namespaceSelector = selectorOf(dice);
  return dice.chance(50)
    ? { namespaceSelector, ...(dice.chance(50) && { podSelector: selectorOf(dice) }) }
    : { podSelector: selectorOf(dice) };
}

function networkPortOf(dice: Dice): RawNetworkPort {
  const protocol = dice.one(PROTOCOLS);
  if (dice.chance(15)) return { protocol };
  if (dice.chance(25)) return { protocol, port: dice.one(PORT_NAMES) };
  const port = dice.one(PORTS);
  return dice.chance(70) ? { protocol, port } : { protocol, port, endPort: port + dice.below(400) };
}

function networkPolicyOf(dice: Dice, name: string): RawNetworkPolicy {
  const rulesOf = (peers: "from" | "to") =>
    dice.some(
      () => ({
        ...(dice.chance(85) && { [peers]: dice.some(() => networkPeerOf(dice), 1, 2) }),
        ...(dice.chance(60) && { ports: dice.some(() => networkPortOf(dice), 1, 2) }),
      }),
      0,
      2,
    );
  const policyTypes = dice.one([["Ingress"], ["Egress"], ["Ingress", "Egress"]] as const);
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name, namespace: dice.one(NAMESPACES) },
    spec: {
      podSelector: selectorOf(dice),
      policyTypes,
      ...(policyTypes.some((type) => type === "Ingress") && { ingress: rulesOf("from") }),
      ...(policyTypes.some((type) => type === "Egress") && { egress: rulesOf("to") }),
    },
  };
}

const isOne = (
  one: RawClusterPolicy | RawNetworkPolicy,
  other: RawClusterPolicy | RawNetworkPolicy,
): boolean =>
  one.kind === other.kind &&
  one.metadata.name === other.metadata.name &&
  namespaceOf(one) === namespaceOf(other);

const namespaceOf = (policy: RawClusterPolicy | RawNetworkPolicy): string | undefined =>
  policy.kind === "NetworkPolicy" ? policy.metadata.namespace : undefined;

/** So many random changes, as actions and as the world after them. */
function changed(
  world: RawWorld,
  dice: Dice,
  count: number,
): { readonly actions: readonly object[]; readonly after: RawWorld } {
  const actions: object[] = [];
  let after = world;
  for (let index = 0; index < count; index += 1) {
    const roll = dice.below(10);
    if (roll < 7 || count === 4) {
      const name = `policy-${dice.below(4)}`;
      const object = roll < 5 ? clusterPolicyOf(dice, after, name) : networkPolicyOf(dice, name);
      const isThere = after.policies.some((each) => isOne(each, object));
      actions.push({ type: isThere ? "updatePolicy" : "createPolicy", object });
      after = { ...after, policies: [...after.policies.filter((each) => !isOne(each, object)), object] };
    } else if (roll === 7 && after.policies.length > 0) {
      const gone = dice.one(after.policies);
      const namespace = namespaceOf(gone);
      actions.push({
        ...{ type: "deletePolicy", kind: gone.kind, name: gone.metadata.name },
        ...(namespace !== undefined && { namespace }),
      });
      after = { ...after, policies: after.policies.filter((each) => each !== gone) };
    } else if (roll === 8) {
      const name = dice.one(NAMESPACES);
      const labels = labelsOf(dice);
      actions.push({ type: "setNamespaceLabels", name, labels });
      after = {
        ...after,
        namespaces: after.namespaces.map((each) => (each.name === name ? { name, labels } : each)),
      };
    } else {
      const pod = dice.one(after.pods);
      const labels = labelsOf(dice);
      actions.push({ type: "setPodLabels", namespace: pod.namespace, name: pod.name, labels });
      after = { ...after, pods: after.pods.map((each) => (each === pod ? { ...pod, labels } : each)) };
    }
  }
  return { actions, after };
}

/** A table for three of the ports. */
function expectedOf(world: RawWorld, dice: Dice): object {
  const ends: readonly (RawEnd & { readonly name: string })[] = [
    ...world.pods.map((pod) => ({ name: `${pod.namespace}/${pod.name}`, ip: pod.ips[0], pod })),
    ...EXTERNALS.map(({ name, ips: [ip = ""] }) => ({ name, ip })),
    { name: "node:node-1", ip: "172.18.0.1" },
  ];
  const keys = [...new Set(dice.some(() => `${dice.one(PROTOCOLS)}/${dice.one([...PORTS, 82])}`, 3, 3))];
  const tables = keys.map((key) => {
    const [protocol = "TCP", port = ""] = key.split("/");
    const rows = ends.map((from) =>
      ends
        .map((to) =>
          from.pod === undefined && to.pod === undefined
            ? "-"
            : characterOf(world, { from, to, protocol: protocol as Protocol, port: Number(port) }),
        )
        .join(""),
    );
    return [key, rows] as const;
  });
  return { endpoints: ends.map(({ name }) => name), tables: Object.fromEntries(tables) };
}
