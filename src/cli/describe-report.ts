// What `weir describe` shows of endpoints and policies, as data and as text.

import { assertNever } from "../base/assert.ts";
import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { EXCEEDS_TEXT, isSelectable, isSubject, keyOf, type Pod } from "../model/cluster.ts";
import {
  type Action,
  type ClusterPeer,
  type ClusterPolicy,
  type ClusterRule,
  clusterPolicyText,
  subjectText as clusterSubjectText,
  type Tier,
} from "../model/cluster-network-policy.ts";
import type { Peer, Policy, PortMatch, Rule } from "../model/network-policy.ts";
import { matches, type Selector, selectorText } from "../model/selector.ts";
import type { EndpointState, HooksView, SideView } from "../observe/api-views.ts";
import { left, printable, tableText } from "../observe/text-output.ts";
import { policiesOn } from "../policy/subjects.ts";
import { clusterPoliciesOn, selectsPod } from "../policy/tiers.ts";
import type { Situation } from "./query-cluster.ts";

// An endpoint described: the pod, where its packets cross the node, and what its policies allow.

export interface SideReport {
  /** Everything is denied, by no policy. */
  readonly closed?: true;
  /** The policies that isolate the pod, each with its rules; none where it is not isolated. */
  readonly policies: readonly {
    readonly policy: string;
    readonly at?: string;
    readonly unreadable?: string;
    readonly rules: readonly RuleReport[];
  }[];
  /** The cluster policies with rules for the pod, in the order in which they are evaluated; absent if there are none. */
  readonly clusterPolicies?: readonly {
    readonly policy: string;
    readonly tier: Tier;
    readonly priority: number;
    readonly at?: string;
    readonly unreadable?: string;
    readonly rules: readonly ClusterRuleReport[];
  }[];
}

export interface ClusterRuleReport extends RuleReport {
  readonly action: Action;
  readonly name?: string;
}

export interface EndpointReport {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  /** As in "http: 8080/TCP". */
  readonly ports: readonly string[];
  /** Why policies cannot select it. */
  readonly exempt?: "host network" | "finished";
  /** The agent's view; missing with manifests. */
  readonly state?: PodState;
  /** Since when, and why, only the interface is left of the pod. */
  readonly retained?: { readonly since: string; readonly why: string };
  /** Why nothing is allowed to or from the pod, whatever policies say. */
  readonly sealed?: string;
  readonly interface?: string;
  readonly ifindex?: number;
  readonly id?: number;
  readonly hooks?: HooksView;
  readonly ingress: SideReport;
  readonly egress: SideReport;
}

export function endpointReport(pod: Pod, situation: Situation): EndpointReport {
  const endpoint = situation.live?.endpoints.find((each) => keyOf(each) === keyOf(pod));
  const { interface: link, ifindex, id, hooks, retained } = endpoint ?? {};
  return {
    namespace: pod.namespace,
    name: pod.name,
    labels: Object.fromEntries(pod.labels),
    addresses: pod.ips.map(({ text }) => text),
    ports: pod.ports.map(
      ({ name, port, protocol }) => `${name === undefined ? "" : `${name}: `}${port}/${protocol}`,
    ),
    ...(isSubject(pod)
      ? {}
      : { exempt: pod.hostNetwork ? ("host network" as const) : ("finished" as const) }),
    ...(situation.live === undefined ? {} : { state: stateOf(pod, situation.live.endpoints) }),
    ...(retained === undefined ? {} : { retained }),
    ...(pod.exceeds === undefined ? {} : { sealed: EXCEEDS_TEXT }),
    ...(link === undefined ? {} : { interface: link }),
    ...(ifindex === undefined ? {} : { ifindex }),
    ...(id === undefined ? {} : { id }),
    ...(hooks === undefined ? {} : { hooks }),
    ingress: { ...closedOf(endpoint?.ingress), ...sideReport(pod, "ingress", situation) },
    egress: { ...closedOf(endpoint?.egress), ...sideReport(pod, "egress", situation) },
  };
}

const closedOf = (side: SideView | undefined): Pick<SideReport, "closed"> =>
  side?.closed === true ? { closed: true } : {};

function sideReport(pod: Pod, direction: Direction, { after: cluster, where }: Situation): SideReport {
  const policies = policiesOn(cluster, pod, direction).map((policy) => {
    const at = where(keyOf(policy), []);
    return {
      policy: keyOf(policy),
      ...(at === undefined ? {} : { at }),
      ...(policy.unreadable === undefined ? {} : { unreadable: policy.unreadable }),
      rules: policy.rules[direction].map(ruleReport),
    };
  });
  const ofCluster = clusterPoliciesOn(cluster, pod, direction).map((policy) => {
    const { name, tier, priority, unreadable, rules } = policy;
    const at = where(name, []);
    return {
      ...{ policy: name, tier, priority },
      ...(at === undefined ? {} : { at }),
      ...(unreadable === undefined ? {} : { unreadable }),
      rules: rules[direction].map(clusterRuleReport),
    };
  });
  return { policies, ...(ofCluster.length === 0 ? {} : { clusterPolicies: ofCluster }) };
}

export function endpointText(report: EndpointReport): string {
  const labels = Object.entries(report.labels).map(([key, value]) => `${key}=${value}`);
  const { interface: link, ifindex, id, hooks, state, retained, sealed, exempt } = report;
  const lines = [
    factLine("Name", report.name),
    factLine("Namespace", report.namespace),
    factLine("Labels", labels.sort().join(",")),
    factLine("Addresses", report.addresses.join(", ")),
    factLine("Ports", report.ports.join(", ")),
    ...(exempt === undefined ? [] : [factLine("Exempt", `${exempt}: policies do not select it`)]),
    ...(state === undefined ? [] : [factLine("State", stateText(state, retained))]),
    ...(sealed === undefined ? [] : [factLine("Closed", `nothing is allowed: ${sealed}`)]),
    ...(link === undefined ? [] : [factLine("Interface", `${link} (index ${ifindex ?? "unknown"})`)]),
    ...(hooks === undefined ? [] : [factLine("Hooks", `ingress ${hooks.ingress}, egress ${hooks.egress}`)]),
    ...(id === undefined ? [] : [factLine("Endpoint", String(id))]),
    ...DIRECTIONS.flatMap((direction) => sideLines(report[direction], direction)),
  ];
  return lines.map((line) => `${printable(line)}\n`).join("");
}

const stateText = (state: PodState, retained: EndpointReport["retained"]): string =>
  retained === undefined ? state : `${state} since ${retained.since}: ${retained.why}`;

/** In the order in which they are evaluated: the Admin tier, NetworkPolicies, the Baseline tier. */
function sideLines(side: SideReport, direction: Direction): string[] {
  const { closed, policies, clusterPolicies = [] } = side;
  if (closed === true || clusterPolicies.length === 0) return networkPolicyLines(side, direction);
  const of = (tier: Tier): string[] =>
    clusterPolicies
      .filter((each) => each.tier === tier)
      .flatMap(({ policy, priority, at, unreadable, rules }) => [
        `  ${clusterPolicyText({ name: policy, tier, priority })}${at === undefined ? "" : ` (${at})`}:`,
        ...(unreadable === undefined ? [] : [`    (unreadable, so it denies more: ${unreadable})`]),
        ...clusterRulesLines(rules, direction, "    "),
      ]);
  const own = networkPolicyLines(side, direction);
  const isOverridden = policies.length > 0 && of("Baseline").length > 0;
  return [
    own[0] as string,
    ...of("Admin"),
    ...own.slice(1),
    ...of("Baseline"),
    ...(isOverridden ? ["  (the Baseline tier does not apply: NetworkPolicies isolate the pod)"] : []),
  ];
}

function networkPolicyLines({ closed, policies }: SideReport, direction: Direction): string[] {
  const title = direction === "ingress" ? "Ingress" : "Egress";
  if (closed === true) return [factLine(title, "isolated: everything is denied")];
  if (policies.length === 0) return [factLine(title, "not isolated")];
  return [
    factLine(title, `isolated by ${policies.map(({ policy }) => policy).join(", ")}`),
    ...policies.flatMap(({ policy, at, unreadable, rules }) => [
      `  ${policy}${at === undefined ? "" : ` (${at})`}:`,
      ...(unreadable === undefined
        ? rulesLines(rules, direction, "    ")
        : [`    <none> (unreadable: ${unreadable})`]),
    ]),
  ];
}

// A policy described: what it says, and what it selects.

export interface SelectedPod {
  readonly name: string;
  readonly addresses: readonly string[];
  /** The agent's view; missing with manifests. */
  readonly state?: PodState;
}

export type PodState = EndpointState | "not on this node";

export interface PolicyReport {
  readonly namespace: string;
  readonly name: string;
  /** `FILE:LINE`, where it was read from a file. */
  readonly at?: string;
  /** In kubectl's notation; "" selects every pod. */
  readonly selector: string;
  readonly types: readonly Direction[];
  readonly ingress: readonly RuleReport[];
  readonly egress: readonly RuleReport[];
  /** Why it isolates its pods and allows nothing. */
  readonly unreadable?: string;
  /** What of its rules cannot be read, and so allows nothing. */
  readonly omitted?: string;
  readonly pods: readonly SelectedPod[];
}

export function policyReport(policy: Policy, { after: cluster, live, where }: Situation): PolicyReport {
  const { namespace, name, subject, isolates, rules, unreadable, omitted } = policy;
  const at = where(keyOf(policy), []);
  const pods = [...cluster.pods.values()]
    .filter((pod) => pod.namespace === namespace && isSelectable(pod) && matches(subject, pod.labels))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
  return {
    namespace,
    name,
    ...(at === undefined ? {} : { at }),
    selector: selectorText(subject),
    types: DIRECTIONS.filter((direction) => isolates[direction]),
    ingress: rules.ingress.map(ruleReport),
    egress: rules.egress.map(ruleReport),
    ...(unreadable === undefined ? {} : { unreadable }),
    ...(omitted === undefined ? {} : { omitted }),
    pods: pods.map((pod) => selectedPod(pod, live)),
  };
}

const selectedPod = (pod: Pod, live: Situation["live"]): SelectedPod => ({
  name: keyOf(pod),
  addresses: pod.ips.map(({ text }) => text),
  ...(live === undefined ? {} : { state: stateOf(pod, live.endpoints) }),
});

// A cluster policy described.

export interface ClusterPolicyReport extends Omit<PolicyReport, "namespace" | "ingress" | "egress"> {
  readonly tier: Tier;
  readonly priority: number;
  readonly ingress: readonly ClusterRuleReport[];
  readonly egress: readonly ClusterRuleReport[];
}

export function clusterPolicyReport(
  policy: ClusterPolicy,
  { after: cluster, live, where }: Situation,
): ClusterPolicyReport {
  const { name, tier, priority, subject, rules, unreadable, omitted } = policy;
  const at = where(name, []);
  const pods = [...cluster.pods.values()]
    .filter((pod) => isSelectable(pod) && selectsPod(cluster, policy, pod))
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
  return {
    ...{ name, tier, priority },
    ...(at === undefined ? {} : { at }),
    selector: clusterSubjectText(subject),
    types: DIRECTIONS.filter((direction) => rules[direction].length > 0),
    ingress: rules.ingress.map(clusterRuleReport),
    egress: rules.egress.map(clusterRuleReport),
    ...(unreadable === undefined ? {} : { unreadable }),
    ...(omitted === undefined ? {} : { omitted }),
    pods: pods.map((pod) => selectedPod(pod, live)),
  };
}

export function clusterPolicyLines(report: ClusterPolicyReport): string {
  const { name, tier, priority, at, selector, types, unreadable, omitted, pods } = report;
  const lines = [
    factLine("Name", name),
    factLine("Tier", tier),
    factLine("Priority", String(priority)),
    ...(at === undefined ? [] : [factLine("Read from", at)]),
    ...(unreadable === undefined
      ? []
      : [factLine("Unreadable", `${unreadable}; it denies more than it says`)]),
    ...(omitted === undefined ? [] : [factLine("Left out", `${omitted}; it accepts nothing`)]),
    factLine("Subject", selector || "every pod"),
    ...DIRECTIONS.flatMap((direction) =>
      types.includes(direction)
        ? [`${titleOf(direction)}:`, ...clusterRulesLines(report[direction], direction, "  ")]
        : [`Not affecting ${direction} traffic`],
    ),
    ...(pods.length === 0 ? ["Pods:         <none>"] : ["Pods:"]),
  ];
  return `${lines.map((line) => `${printable(line)}\n`).join("")}${podsText(pods)}`;
}

export const stateOf = (pod: Pod, endpoints: NonNullable<Situation["live"]>["endpoints"]): PodState =>
  endpoints.find((each) => keyOf(each) === keyOf(pod))?.state ?? "not on this node";

export function policyText(report: PolicyReport, policy: Policy): string {
  const lines = [
    factLine("Name", report.name),
    factLine("Namespace", report.namespace),
    ...(report.at === undefined ? [] : [factLine("Read from", report.at)]),
    ...(report.unreadable === undefined
      ? []
      : [factLine("Unreadable", `${report.unreadable}; it isolates its pods and allows nothing`)]),
    ...(report.omitted === undefined
      ? []
      : [factLine("Left out", `${report.omitted}; it allows nothing, the rest of the policy is used`)]),
    "Spec:",
    `  PodSelector:     ${subjectText(policy.subject)}`,
    ...DIRECTIONS.flatMap((direction) => directionLines(report, direction)),
    `  Policy Types: ${report.types.map(titleOf).join(", ")}`,
    ...(report.pods.length === 0 ? ["Pods:         <none>"] : ["Pods:"]),
  ];
  return `${lines.map((line) => `${printable(line)}\n`).join("")}${podsText(report.pods)}`;
}

const titleOf = (direction: Direction): string => (direction === "ingress" ? "Ingress" : "Egress");

function directionLines(report: PolicyReport, direction: Direction): string[] {
  if (!report.types.includes(direction)) return [`  Not affecting ${direction} traffic`];
  // What could be read of the rules does not count.
  const rules =
    report.unreadable === undefined
      ? rulesLines(report[direction], direction, "    ")
      : ["    <none> (the policy cannot be read)"];
  return [`  Allowing ${direction} traffic:`, ...rules];
}

function podsText(pods: readonly SelectedPod[]): string {
  if (pods.length === 0) return "";
  const isLive = pods.some(({ state }) => state !== undefined);
  const table = {
    columns: ["  NAME", "ADDRESSES", ...(isLive ? ["STATE"] : [])].map(left),
    rows: pods.map(({ name, addresses, state }) => [
      `  ${name}`,
      addresses.join(","),
      ...(state === undefined ? [] : [state]),
    ]),
  };
  return tableText(table);
}

// Rules of policies as data, and as `kubectl describe networkpolicy` writes them.

/** Selectors are texts, in kubectl's notation; "" matches everything. */
export type PeerReport =
  | { readonly podSelector?: string; readonly namespaceSelector?: string }
  | { readonly cidr: string; readonly except: readonly string[] }
  | { readonly nodeSelector: string }
  | { readonly domainName: string }
  /** It cannot be read, or matches nothing whatever there is. */
  | { readonly nothing: true };

export interface RuleReport {
  readonly peers: "anyone" | readonly PeerReport[];
  /** As in "80/TCP", "8000-8080/TCP", "http/TCP", "<any>/UDP", "<nothing>". */
  readonly ports: "all" | readonly string[];
}

export const clusterRuleReport = ({ action, name, ...rule }: ClusterRule): ClusterRuleReport => ({
  action,
  ...(name === undefined ? {} : { name }),
  ...ruleReport(rule),
});

export const ruleReport = ({
  peers,
  ports,
}: Pick<Rule, "ports"> & { readonly peers: "anyone" | readonly (Peer | ClusterPeer)[] }): RuleReport => ({
  peers: peers === "anyone" ? peers : peers.map(peerReport),
  ports: ports === "all" ? ports : ports.map(portText),
});

function peerReport(peer: Peer | ClusterPeer): PeerReport {
  switch (peer.kind) {
    case "nodes":
      return { nodeSelector: selectorText(peer.nodes) };
    case "block":
      return { cidr: peer.cidr.text, except: peer.except.map(({ text }) => text) };
    case "domain":
      return { domainName: peer.name };
    case "pods": {
      const podSelector = selectorText(peer.pods);
      if (peer.namespaces === undefined) return { podSelector };
      const namespaceSelector = selectorText(peer.namespaces);
      // Every pod is what a missing podSelector means too.
      return podSelector === "" ? { namespaceSelector } : { namespaceSelector, podSelector };
    }
    case "nothing":
      return { nothing: true };
    default:
      return assertNever(peer, "kind of peer");
  }
}

const NOTHING = "<nothing>";

function portText(match: PortMatch): string {
  if (match.kind === "nothing") return NOTHING;
  if (match.kind === "name") return `${match.name}/${match.protocol}`;
  const { first, last, protocol } = match;
  if (first === 0 && last === 65_535) return `<any>/${protocol}`;
  return first === last ? `${first}/${protocol}` : `${first}-${last}/${protocol}`;
}

const WORDS = {
  ingress: { peer: "From", end: "source" },
  egress: { peer: "To", end: "destination" },
} as const;

/** The lines of a policy's rules of one direction, each behind `indent`. */
export function rulesLines(rules: readonly RuleReport[], direction: Direction, indent: string): string[] {
  if (rules.length === 0)
    return [`${indent}<none> (Selected pods are isolated for ${direction} connectivity)`];
  return rules.flatMap((rule, index) => [
    ...(index === 0 ? [] : [`${indent}----------`]),
    ...ruleLines(rule, direction).map((line) => indent + line),
  ]);
}

function ruleLines({ peers, ports }: RuleReport, direction: Direction): string[] {
  const { peer: word, end } = WORDS[direction];
  return [
    ...(ports === "all"
      ? ["To Port: <any> (traffic allowed to all ports)"]
      : ports.map((port) => `To Port: ${port}`)),
    ...(peers === "anyone"
      ? [`${word}: <any> (traffic not restricted by ${end})`]
      : peers.flatMap((peer) => [`${word}:`, ...peerLines(peer).map((line) => `  ${line}`)])),
  ];
}

/** The lines of a cluster policy's rules of one direction, each behind `indent`. */
function clusterRulesLines(
  rules: readonly ClusterRuleReport[],
  direction: Direction,
  indent: string,
): string[] {
  return rules.flatMap((rule, index) => {
    const name = rule.name === undefined ? "" : ` ${JSON.stringify(rule.name)}`;
    const { peer: word } = WORDS[direction];
    const lines = [
      ...(rule.ports === "all" ? ["To Port: <any>"] : rule.ports.map((port) => `To Port: ${port}`)),
      ...(rule.peers === "anyone"
        ? [`${word}: <any>`]
        : rule.peers.flatMap((peer) => [`${word}:`, ...peerLines(peer).map((line) => `  ${line}`)])),
    ];
    const nothing = rule.peers.length === 0 ? [`${word}: ${NOTHING}`] : [];
    return [
      `${indent}${direction}[${index}] ${rule.action}${name}:`,
      ...[...lines, ...nothing].map((line) => `${indent}  ${line}`),
    ];
  });
}

function peerLines(peer: PeerReport): string[] {
  if ("nothing" in peer) return [NOTHING];
  if ("domainName" in peer) return [`DomainName: ${peer.domainName}`];
  if ("nodeSelector" in peer) return [`NodeSelector: ${peer.nodeSelector || "<none>"}`];
  if ("cidr" in peer)
    return ["IPBlock:", `  CIDR: ${peer.cidr}`, `  Except: ${peer.except.join(", ")}`.trimEnd()];
  const line = (name: string, selector: string | undefined): string[] =>
    selector === undefined ? [] : [`${name}: ${selector || "<none>"}`];
  return [...line("NamespaceSelector", peer.namespaceSelector), ...line("PodSelector", peer.podSelector)];
}

/** `spec.podSelector` as a line of its own says it. */
export const subjectText = (subject: Selector): string =>
  selectorText(subject) || "<none> (Allowing the specific traffic to all pods in this namespace)";

/** "Name:         value", with the value where kubectl has it. */
export const factLine = (name: string, value: string): string =>
  `${`${name}:`.padEnd(14)}${value || "<none>"}`;
