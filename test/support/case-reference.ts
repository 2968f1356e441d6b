// A second evaluator, over the manifests of conformance cases as they are written: it shares nothing with src/, so that parser and oracle are
// checked by it, too. Policies of one tier have different priorities; CIDRs are compared bit by bit, in text.

export type LabelMap = Readonly<Record<string, string>>;

export interface Requirement {
  readonly key: string;
  readonly operator: "In" | "NotIn" | "Exists" | "DoesNotExist";
  readonly values?: readonly string[];
}

export interface LabelSelector {
  readonly matchLabels?: LabelMap;
  readonly matchExpressions?: readonly Requirement[];
}

export interface PodsSelector {
  readonly namespaceSelector?: LabelSelector;
  readonly podSelector: LabelSelector;
}

export type RawPeer =
  | { readonly namespaces: LabelSelector }
  | { readonly pods: PodsSelector }
  | { readonly nodes: LabelSelector }
  | { readonly networks: readonly string[] }
  | { readonly domainNames: readonly string[] };

type Ports =
  | { readonly number: number }
  | { readonly range: { readonly start: number; readonly end: number } };
export type RawProtocol =
  | { readonly destinationNamedPort: string }
  | { readonly [protocol in "tcp" | "udp" | "sctp"]?: { readonly destinationPort: Ports } };

export interface RawClusterRule {
  readonly action: "Accept" | "Deny" | "Pass";
  readonly from?: readonly RawPeer[];
  readonly to?: readonly RawPeer[];
  readonly protocols?: readonly RawProtocol[];
}

export interface RawClusterPolicy {
  readonly apiVersion: "policy.networking.k8s.io/v1alpha2";
  readonly kind: "ClusterNetworkPolicy";
  readonly metadata: { readonly name: string };
  readonly spec: {
    readonly tier: "Admin" | "Baseline";
    readonly priority: number;
    readonly subject: { readonly namespaces: LabelSelector } | { readonly pods: PodsSelector };
    readonly ingress?: readonly RawClusterRule[];
    readonly egress?: readonly RawClusterRule[];
  };
}

export interface RawNetworkPeer {
  readonly podSelector?: LabelSelector;
  readonly namespaceSelector?: LabelSelector;
  readonly ipBlock?: { readonly cidr: string; readonly except?: readonly string[] };
}

export interface RawNetworkPort {
  readonly protocol: Protocol;
  readonly port?: number | string;
  readonly endPort?: number;
}

export interface RawNetworkRule {
  readonly from?: readonly RawNetworkPeer[];
  readonly to?: readonly RawNetworkPeer[];
  readonly ports?: readonly RawNetworkPort[];
}

export interface RawNetworkPolicy {
  readonly apiVersion: "networking.k8s.io/v1";
  readonly kind: "NetworkPolicy";
  readonly metadata: { readonly name: string; readonly namespace: string };
  readonly spec: {
    readonly podSelector: LabelSelector;
    readonly policyTypes: readonly ("Ingress" | "Egress")[];
    readonly ingress?: readonly RawNetworkRule[];
    readonly egress?: readonly RawNetworkRule[];
  };
}

export type Protocol = "TCP" | "UDP" | "SCTP";
/** What is probed: an echo request has no port. */
export type Traffic = Protocol | "ICMP";

export interface RawPod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: LabelMap;
  /** One for each family of the case. */
  readonly ips: readonly string[];
  readonly ports: readonly { readonly name?: string; readonly port: number; readonly protocol: Protocol }[];
  readonly hostNetwork?: boolean;
}

export interface RawWorld {
  readonly namespaces: readonly { readonly name: string; readonly labels: LabelMap }[];
  readonly nodes: readonly {
    readonly name: string;
    readonly labels: LabelMap;
    readonly ips: readonly string[];
  }[];
  readonly pods: readonly RawPod[];
  readonly dns: readonly { readonly name: string; readonly ips: readonly string[] }[];
  readonly policies: readonly (RawClusterPolicy | RawNetworkPolicy)[];
}

export interface RawEnd {
  readonly ip: string;
  readonly pod?: RawPod;
}

export interface RawProbe {
  readonly from: RawEnd;
  readonly to: RawEnd;
  readonly protocol: Traffic;
  readonly port: number;
}

type Direction = "ingress" | "egress";

/** A character of a table: "." or "X"; "?" where the API leaves it open. */
export function characterOf(world: RawWorld, probe: RawProbe): "." | "X" | "?" | "L" {
  const { from, to } = probe;
  if (from.pod !== undefined && from.pod === to.pod) return "L";
  const sides = [side(world, probe, "egress"), side(world, probe, "ingress")];
  if (sides.includes("X")) return "X";
  return sides.includes("?") ? "?" : ".";
}

function side(world: RawWorld, probe: RawProbe, direction: Direction): "." | "X" | "?" {
  const { pod } = direction === "egress" ? probe.from : probe.to;
  if (pod === undefined || pod.hostNetwork === true) return ".";
  const admin = tierAction(world, pod, probe, { direction, tier: "Admin" });
  if (admin === "Accept") return ".";
  if (admin === "Deny") return "X";
  const selecting = world.policies.filter(
    (each): each is RawNetworkPolicy =>
      each.kind === "NetworkPolicy" &&
      each.metadata.namespace === pod.namespace &&
      selects(each.spec.podSelector, pod.labels),
  );
  const type = direction === "egress" ? "Egress" : "Ingress";
  const isolating = selecting.filter(({ spec }) => spec.policyTypes.includes(type));
  if (isolating.length > 0)
    return isolating.some((each) => allows(world, each, probe, direction)) ? "." : "X";
  const verdict = tierAction(world, pod, probe, { direction, tier: "Baseline" }) === "Deny" ? "X" : ".";
  // Whether the Baseline tier applies to a pod with a NetworkPolicy for the other direction is left open.
  return verdict === "X" && selecting.length > 0 ? "?" : verdict;
}

function tierAction(
  world: RawWorld,
  pod: RawPod,
  probe: RawProbe,
  { direction, tier }: { readonly direction: Direction; readonly tier: "Admin" | "Baseline" },
): RawClusterRule["action"] | undefined {
  const policies = world.policies
    .filter(
      (each): each is RawClusterPolicy => each.kind === "ClusterNetworkPolicy" && each.spec.tier === tier,
    )
    .sort((a, b) => a.spec.priority - b.spec.priority);
  for (const { spec } of policies) {
    const { subject } = spec;
    const isSubject =
      "namespaces" in subject
        ? selects(subject.namespaces, labelsOfNamespace(world, pod.namespace))
        : podMatches(world, subject.pods, pod);
    if (!isSubject) continue;
    for (const rule of spec[direction] ?? [])
      if (ruleMatches(world, rule, probe, direction)) return rule.action;
  }
  return undefined;
}

function ruleMatches(world: RawWorld, rule: RawClusterRule, probe: RawProbe, direction: Direction): boolean {
  const peers = (direction === "egress" ? rule.to : rule.from) ?? [];
  const end = direction === "egress" ? probe.to : probe.from;
  if (!peers.some((peer) => peerMatches(world, peer, end))) return false;
  return rule.protocols === undefined || rule.protocols.some((each) => protocolMatches(each, probe));
}

function peerMatches(world: RawWorld, peer: RawPeer, { ip, pod }: RawEnd): boolean {
  const selectable = pod !== undefined && pod.hostNetwork !== true ? pod : undefined;
  if ("namespaces" in peer)
    return (
      selectable !== undefined && selects(peer.namespaces, labelsOfNamespace(world, selectable.namespace))
    );
  if ("pods" in peer) return selectable !== undefined && podMatches(world, peer.pods, selectable);
  if ("nodes" in peer)
    return world.nodes.some(({ labels, ips }) => selects(peer.nodes, labels) && ips.includes(ip));
  if ("networks" in peer) return peer.networks.some((cidr) => isWithin(cidr, ip));
  const names = world.dns.filter(({ ips }) => ips.includes(ip)).map(({ name }) => name);
  return peer.domainNames.some((pattern) =>
    names.some((name) => (pattern.startsWith("*.") ? name.endsWith(pattern.slice(1)) : name === pattern)),
  );
}

const podMatches = (
  world: RawWorld,
  { namespaceSelector, podSelector }: PodsSelector,
  pod: RawPod,
): boolean =>
  (namespaceSelector === undefined || selects(namespaceSelector, labelsOfNamespace(world, pod.namespace))) &&
  selects(podSelector, pod.labels);

function protocolMatches(each: RawProtocol, { protocol, port, to }: RawProbe): boolean {
  if (protocol === "ICMP") return false;
  if ("destinationNamedPort" in each) return isNamed(to, each.destinationNamedPort, { protocol, port });
  const ports = each[protocol.toLowerCase() as "tcp" | "udp" | "sctp"]?.destinationPort;
  if (ports === undefined) return false;
  return "number" in ports ? ports.number === port : ports.range.start <= port && port <= ports.range.end;
}

const isNamed = (
  { pod }: RawEnd,
  name: string,
  { protocol, port }: { readonly protocol: Traffic; readonly port: number },
): boolean =>
  pod !== undefined &&
  pod.hostNetwork !== true &&
  pod.ports.some((each) => each.name === name && each.protocol === protocol && each.port === port);

function allows(
  world: RawWorld,
  { metadata, spec }: RawNetworkPolicy,
  probe: RawProbe,
  direction: Direction,
): boolean {
  const end = direction === "egress" ? probe.to : probe.from;
  return (spec[direction] ?? []).some((rule) => {
    const peers = (direction === "egress" ? rule.to : rule.from) ?? [];
    const ports = rule.ports ?? [];
    return (
      (peers.length === 0 ||
        peers.some((peer) => networkPeerMatches(world, peer, end, metadata.namespace))) &&
      (ports.length === 0 || ports.some((port) => portMatches(port, probe)))
    );
  });
}

function networkPeerMatches(
  world: RawWorld,
  { podSelector, namespaceSelector, ipBlock }: RawNetworkPeer,
  { ip, pod }: RawEnd,
  namespace: string,
): boolean {
  if (ipBlock !== undefined)
    return isWithin(ipBlock.cidr, ip) && !(ipBlock.except ?? []).some((cidr) => isWithin(cidr, ip));
  if (pod === undefined || pod.hostNetwork === true) return false;
  const isThere =
    namespaceSelector === undefined
      ? pod.namespace === namespace
      : selects(namespaceSelector, labelsOfNamespace(world, pod.namespace));
  return isThere && selects(podSelector ?? {}, pod.labels);
}

function portMatches({ protocol, port, endPort }: RawNetworkPort, probe: RawProbe): boolean {
  if (protocol !== probe.protocol) return false;
  if (port === undefined) return true;
  if (typeof port === "string") return isNamed(probe.to, port, probe);
  return port <= probe.port && probe.port <= (endPort ?? port);
}

const labelsOfNamespace = ({ namespaces }: RawWorld, name: string): LabelMap => ({
  ...namespaces.find((each) => each.name === name)?.labels,
  "kubernetes.io/metadata.name": name,
});

export const selects = (
  { matchLabels = {}, matchExpressions = [] }: LabelSelector,
  labels: LabelMap,
): boolean =>
  Object.entries(matchLabels).every(([key, value]) => Object.hasOwn(labels, key) && labels[key] === value) &&
  matchExpressions.every(({ key, operator, values = [] }) => {
    const value = Object.hasOwn(labels, key) ? labels[key] : undefined;
    switch (operator) {
      case "In":
        return value !== undefined && values.includes(value);
      case "NotIn":
        return value === undefined || !values.includes(value);
      case "Exists":
        return value !== undefined;
      default:
        return value === undefined;
    }
  });

function isWithin(cidr: string, ip: string): boolean {
  const [base = "", length] = cidr.split("/");
  const [prefix, whole] = [bitsOf(base), bitsOf(ip)];
  const count = length === undefined ? prefix.length : Number(length);
  return prefix.length === whole.length && whole.slice(0, count) === prefix.slice(0, count);
}

/** An address as 32 or 128 characters. */
function bitsOf(ip: string): string {
  const digits = (text: string, radix: number, width: number): string =>
    Number.parseInt(text, radix).toString(2).padStart(width, "0");
  if (!ip.includes(":"))
    return ip
      .split(".")
      .map((each) => digits(each, 10, 8))
      .join("");
  const [head = [], tail = []] = ip.split("::").map((part) => part.split(":").filter((each) => each !== ""));
  const zeros = Array.from({ length: 8 - head.length - tail.length }, () => "0");
  return [...head, ...zeros, ...tail].map((each) => digits(each, 16, 16)).join("");
}
