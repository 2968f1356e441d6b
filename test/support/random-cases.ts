// Random conformance cases (np-conformance/1) about cluster policies, in the form in which such cases come as files: small ones, or a walk of many
// worlds, each a change of the one before. What they expect is from case-reference.ts.

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
  type Traffic,
} from "./case-reference.ts";

const NAMESPACES = ["alpha", "beta", "gamma"];
const KEYS = ["app", "tier", "zone"];
const VALUES = ["a", "b", "c"];
const PROTOCOLS: readonly Protocol[] = ["TCP", "UDP", "SCTP"];
const PORTS = [80, 81, 443, 8080];
const PORT_NAMES = ["web", "dns"];
const DNS = [
  { name: "www.example.com", ips: ["198.51.100.1", "2001:db8::1"] },
  { name: "a.b.example.net", ips: ["198.51.100.2", "10.244.0.11", "2001:db8::2", "fd00:244::11"] },
  { name: "example.net", ips: ["198.51.100.3", "2001:db8::3"] },
];
const PATTERNS = ["www.example.com", "*.example.com", "*.example.net", "example.net", "*.b.example.net"];
const STEPS_MAX = 4;
const PODS = 6;
/** Changes between two worlds; more at once at the beginning. */
const CHANGES = 2;
const FIRST_CHANGES = 6;
const POLICY_NAMES = 6;
/** Worlds in a file of a walk. */
const WORLDS_OF_CASE = 25;
const FAMILIES = ["IPv4", "IPv6"] as const;
type FamilyName = (typeof FAMILIES)[number];

interface Random {
  below(limit: number): number;
}

export interface CaseText {
  readonly name: string;
  readonly text: string;
}

/** The text of a case: the same for the same seed. */
export function randomCase(seed: number): string {
  const dice = diceOf(randomFrom(seed));
  const { text } = caseFrom(worldOf(dice), dice, { id: `random/${seed}`, steps: 1 + dice.below(STEPS_MAX) });
  return text;
}

/** So many worlds, each a change of the one before, in cases that begin where the one before has ended: the same for the same seed. */
export function* randomWalk(seed: number, worlds: number): Generator<CaseText> {
  const dice = diceOf(randomFrom(seed));
  let world = worldOf(dice);
  for (let done = 0; done < worlds; done += WORLDS_OF_CASE) {
    const id = `walk-${seed}/${done + 1}`;
    const { text, after } = caseFrom(world, dice, { id, steps: Math.min(WORLDS_OF_CASE, worlds - done) });
    world = after;
    yield { name: `${id}.json`, text };
  }
}

function caseFrom(
  before: RawWorld,
  dice: Dice,
  { id, steps: count }: { readonly id: string; readonly steps: number },
): { readonly text: string; readonly after: RawWorld } {
  const { policies, ...cluster } = before;
  const steps: object[] = [];
  let world = before;
  for (let index = 0; index < count; index += 1) {
    const isFirst = world.policies.length === 0;
    const { actions, after } = changed(world, dice, isFirst ? FIRST_CHANGES : CHANGES);
    world = after;
    const ipFamily = dice.one(FAMILIES);
    steps.push({
      // The policies of the world before the case are there from its first step on.
      actions: [
        ...(index === 0 ? policies.map((object) => ({ type: "createPolicy", object })) : []),
        ...actions,
      ],
      probe: { mode: "pod-ip", ipFamily },
      expected: expectedOf(world, dice, ipFamily),
    });
  }
  const text = JSON.stringify({
    format: "np-conformance/1",
    id,
    name: `random world ${id}`,
    source: { project: "weir", licence: "Apache-2.0", truth: "test/support/case-reference.ts" },
    features: ["cnp"],
    cluster: { ipFamily: "dual", ...cluster, externals: EXTERNALS },
    steps,
  });
  return { text, after: world };
}

const EXTERNALS = [1, 2, 3, 4].map((number) => ({
  name: `ext:${number}`,
  ips: [`198.51.100.${number}`, `2001:db8::${number}`],
}));

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
    ips: nodeAddresses(number),
  }));
  const pods = Array.from({ length: PODS }, (_, at) => podOf(dice, { at, slot: at, namespaces: NAMESPACES }));
  return { namespaces, nodes, pods, dns: DNS, policies: [] };
}

const nodeAddresses = (number: number): readonly string[] => [`172.18.0.${number}`, `fd00:18::${number}`];

/** The last one is on a node's network, the others have the addresses of their slot. */
function podOf(
  dice: Dice,
  { at, slot, namespaces }: { at: number; slot: number; namespaces: readonly string[] },
): RawPod {
  const isOnHost = at === PODS - 1;
  return {
    namespace: dice.one(namespaces),
    name: `pod-${at}`,
    labels: labelsOf(dice),
    ips: isOnHost ? nodeAddresses(2) : podAddresses(slot),
    ports: PORT_NAMES.filter(() => dice.chance(60)).map((name) => ({
      ...{ name, port: dice.one(PORTS), protocol: dice.one(PROTOCOLS) },
    })),
    ...(isOnHost && { hostNetwork: true }),
  };
}

const SLOTS = 8;
const podAddresses = (slot: number): readonly string[] => [`10.244.0.${10 + slot}`, `fd00:244::${10 + slot}`];

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
    ...["::/0", "fd00:244::/64", "fd00:244::12/128", "fd00:244::10/126", "fd00:18::/64", "fd00:18::2/128"],
    ...["2001:db8::/64", "2001:db8::2/127", "2001:db8::4/128"],
  ]);

function peerOf(dice: Dice, direction: "ingress" | "egress", canName: boolean): RawPeer {
  const kind = dice.below(direction === "ingress" ? 2 : canName ? 5 : 4);
  if (kind === 0) return { namespaces: selectorOf(dice) };
  if (kind === 1) return { pods: podsOf(dice) };
  if (kind === 2) return { nodes: selectorOf(dice) };
  if (kind === 3) return { networks: [...new Set(dice.some(() => cidrOf(dice), 1, 2))] };
  return { domainNames: [...new Set(dice.some(() => dice.one(PATTERNS), 1, 2))] };
}

/** Few ends, so that many worlds have the same classes of ports: a long range that is new costs the kernel tens of thousands of writes. */
const endOf = (dice: Dice, start: number): number =>
  dice.one([81, 443, 8081, 9000].filter((end) => end > start));

function protocolOf(dice: Dice, canName: boolean): RawProtocol {
  if (canName && dice.chance(25)) return { destinationNamedPort: dice.one(PORT_NAMES) };
  const key = dice.one(["tcp", "tcp", "udp", "sctp"] as const);
  const start = dice.one(PORTS);
  return dice.chance(60)
    ? { [key]: { destinationPort: { number: start } } }
    : { [key]: { destinationPort: { range: { start, end: endOf(dice, start) } } } };
}

function clusterRuleOf(dice: Dice, direction: "ingress" | "egress"): RawClusterRule {
  const action = dice.one(["Accept", "Deny", "Deny", "Pass"] as const);
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
    const ipBlock = dice.chance(50)
      ? dice.one([
          { cidr: "10.244.0.0/16", except: ["10.244.0.8/30"] },
          { cidr: "fd00:244::/64", except: ["fd00:244::10/126"] },
        ])
      : { cidr: cidrOf(dice) };
    return { ipBlock };
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
  return dice.chance(70) ? { protocol, port } : { protocol, port, endPort: endOf(dice, port) };
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

interface Change {
  readonly actions: readonly object[];
  readonly after: RawWorld;
}

/** So many random changes, as actions and as the world after them. */
function changed(world: RawWorld, dice: Dice, count: number): Change {
  const actions: object[] = [];
  let after = world;
  for (let index = 0; index < count; index += 1) {
    const change = count === FIRST_CHANGES ? policyPut(after, dice) : oneChange(after, dice);
    actions.push(...change.actions);
    after = change.after;
  }
  return { actions, after };
}

function oneChange(world: RawWorld, dice: Dice): Change {
  const roll = dice.below(12);
  if (roll < 6) return policyPut(world, dice);
  if (roll < 8 && world.policies.length > FIRST_CHANGES / 2) return policyDeleted(world, dice);
  if (roll === 8) return namespaceRelabelled(world, dice);
  if (roll === 9) return podReplaced(world, dice);
  if (roll === 10) return namespaceReplaced(world, dice);
  const pod = dice.one(world.pods);
  const labels = labelsOf(dice);
  return {
    actions: [{ type: "setPodLabels", namespace: pod.namespace, name: pod.name, labels }],
    after: { ...world, pods: world.pods.map((each) => (each === pod ? { ...pod, labels } : each)) },
  };
}

function policyPut(world: RawWorld, dice: Dice): Change {
  const name = `policy-${dice.below(POLICY_NAMES)}`;
  const object = dice.chance(70) ? clusterPolicyOf(dice, world, name) : networkPolicyOf(dice, name);
  const isThere = world.policies.some((each) => isOne(each, object));
  return {
    actions: [{ type: isThere ? "updatePolicy" : "createPolicy", object }],
    after: { ...world, policies: [...world.policies.filter((each) => !isOne(each, object)), object] },
  };
}

function policyDeleted(world: RawWorld, dice: Dice): Change {
  const gone = dice.one(world.policies);
  const namespace = namespaceOf(gone);
  const action = { type: "deletePolicy", kind: gone.kind, name: gone.metadata.name };
  return {
    actions: [{ ...action, ...(namespace !== undefined && { namespace }) }],
    after: { ...world, policies: world.policies.filter((each) => each !== gone) },
  };
}

function namespaceRelabelled(world: RawWorld, dice: Dice): Change {
  const name = dice.one(NAMESPACES);
  const labels = labelsOf(dice);
  return {
    actions: [{ type: "setNamespaceLabels", name, labels }],
    after: {
      ...world,
      namespaces: world.namespaces.map((each) => (each.name === name ? { name, labels } : each)),
    },
  };
}

/** A pod is deleted, and one of its name comes with other labels and ports, maybe elsewhere and with other addresses. */
function podReplaced(world: RawWorld, dice: Dice): Change {
  const gone = dice.one(world.pods);
  const pod = podLike(world, gone, dice);
  return {
    actions: [
      { type: "deletePod", namespace: gone.namespace, name: gone.name },
      { type: "createPod", pod },
    ],
    after: { ...world, pods: world.pods.map((each) => (each === gone ? pod : each)) },
  };
}

function podLike(world: RawWorld, gone: RawPod, dice: Dice): RawPod {
  const taken = world.pods.filter((each) => each !== gone).map(({ ips: [ip] }) => ip);
  const free = Array.from({ length: SLOTS }, (_, slot) => slot).filter(
    (slot) => !taken.includes(podAddresses(slot)[0]),
  );
  return podOf(dice, { at: world.pods.indexOf(gone), slot: dice.one(free), namespaces: NAMESPACES });
}

/** A namespace is deleted with all that it has, and made again; its pods come again, wherever. */
function namespaceReplaced(world: RawWorld, dice: Dice): Change {
  const name = dice.one(NAMESPACES);
  const labels = labelsOf(dice);
  let after: RawWorld = {
    ...world,
    namespaces: world.namespaces.map((each) => (each.name === name ? { name, labels } : each)),
    policies: world.policies.filter((each) => namespaceOf(each) !== name),
  };
  const created: object[] = [];
  for (const gone of world.pods.filter(({ namespace }) => namespace === name)) {
    const pod = podLike(after, gone, dice);
    created.push({ type: "createPod", pod });
    after = { ...after, pods: after.pods.map((each) => (each === gone ? pod : each)) };
  }
  return {
    actions: [{ type: "deleteNamespace", name }, { type: "createNamespace", name, labels }, ...created],
    after,
  };
}

/** Tables for three of the ports, and an echo request from each end to a pod. */
function expectedOf(world: RawWorld, dice: Dice, family: FamilyName): object {
  const ipOf = (ips: readonly string[]): string => ips[FAMILIES.indexOf(family)] as string;
  const ends: readonly (RawEnd & { readonly name: string })[] = [
    ...world.pods.map((pod) => ({ name: `${pod.namespace}/${pod.name}`, ip: ipOf(pod.ips), pod })),
    ...EXTERNALS.map(({ name, ips }) => ({ name, ip: ipOf(ips) })),
    { name: "node:node-1", ip: ipOf(nodeAddresses(1)) },
  ];
  const characterFor = (from: RawEnd, to: RawEnd, protocol: Traffic, port: number): string =>
    from.pod === undefined && to.pod === undefined ? "-" : characterOf(world, { from, to, protocol, port });
  const keys = [...new Set(dice.some(() => `${dice.one(PROTOCOLS)}/${dice.one([...PORTS, 82])}`, 3, 3))];
  const tables = keys.map((key) => {
    const [protocol = "TCP", port = ""] = key.split("/");
    const rows = ends.map((from) =>
      ends.map((to) => characterFor(from, to, protocol as Protocol, Number(port))).join(""),
    );
    return [key, rows] as const;
  });
  const checks = ends.flatMap((from) => {
    const to = dice.one(ends);
    const verdict = { ".": "allowed", X: "blocked" }[characterFor(from, to, "ICMP", 0)];
    const protocol = family === "IPv4" ? "ICMP" : "ICMPv6";
    return verdict === undefined ? [] : [{ from: from.name, to: to.name, protocol, port: 0, verdict }];
  });
  return { endpoints: ends.map(({ name }) => name), tables: Object.fromEntries(tables), checks };
}
