// The agent's views of itself: endpoints, policies, names and status, computed from the state in force.

import { DIRECTIONS, type Direction } from "../base/direction.ts";
import type { Fault } from "../datapath/attachments.ts";
import type { Attached } from "../datapath/hooks.ts";
import { type Cluster, EXCEEDS_TEXT, isSealed, isSelectable, keyOf, type Pod } from "../model/cluster.ts";
import { subjectText, TIERS } from "../model/cluster-network-policy.ts";
import { modeOf } from "../model/enforcement-mode.ts";
import { matches, selectorText } from "../model/selector.ts";
import { isUnknown } from "../model/unclaimed-interface.ts";
import type {
  CapacityView,
  EndpointView,
  NamesView,
  PolicyView,
  RetainedView,
  SideView,
} from "../observe/api-views.ts";
import type { Compiled, EndpointSides } from "../policy/compile.ts";
import { type LocalEndpoint, podsOf } from "../policy/local-endpoints.ts";
import { namesOf } from "../policy/map-value-names.ts";
import { isAuditedFor, policiesOn, type Side, sideOf, tierPoliciesOf } from "../policy/subjects.ts";
import { selectsPod } from "../policy/tiers.ts";
import type { PodInterface } from "../source/interface-discovery.ts";
import { prefixTexts } from "../state/anti-spoofing.ts";
import { domainsOf, identityIn, LIMITS, policyNumber, type State } from "../state/desired-state.ts";

/** The last state that was applied completely, with its input. */
export interface InForce {
  /** As the source gave it. */
  readonly source: Cluster;
  /** The same with the addresses known for the pods. */
  readonly cluster: Cluster;
  readonly compiled: Compiled;
  /** By interface index. */
  readonly interfaces: ReadonlyMap<number, PodInterface>;
  /** Keys of pods that should have an interface and have none. */
  readonly missing: readonly string[];
  /** Where the programs are attached, by interface. */
  readonly attached: ReadonlyMap<number, Attached>;
}

/** `faults` are the kernel's present state of the interfaces. */
export function endpointViews(force: InForce, faults: readonly Fault[]): EndpointView[] {
  const faultAt = faultsByInterface(faults);
  const enforced = force.compiled.meaning.sides.map((entry) =>
    enforcedView(force, entry, faultAt.get(entry.local.ifindex)),
  );
  const missing = force.missing.flatMap((key) => {
    const pod = force.cluster.pods.get(key);
    return pod === undefined ? [] : [missingView(force.cluster, pod)];
  });
  const shut = force.compiled.shut.map((local) => shutView(force, local));
  return [...enforced, ...missing, ...shut].sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}

/** The worst fault of each interface. */
function faultsByInterface(faults: readonly Fault[]): ReadonlyMap<number, Fault["kind"]> {
  const worst = new Map<number, Fault["kind"]>();
  for (const { ifindex, kind } of faults)
    if (kind === "detached" || !worst.has(ifindex)) worst.set(ifindex, kind);
  return worst;
}

function enforcedView(
  force: InForce,
  { local, sides }: EndpointSides,
  fault: Fault["kind"] | undefined,
): EndpointView {
  const endpoint = force.compiled.state.endpoints.get(local.ifindex);
  const side = (direction: Direction): SideView => ({
    isolatedBy: (sides[direction]?.policies ?? []).map(keyOf),
    ...clusterPoliciesIn(sides[direction]),
    policy: policyNumber(endpoint?.policy[direction] ?? 0),
    ...(sides[direction]?.isolated === true && sides[direction]?.policies.length === 0
      ? { closed: true }
      : {}),
    ...(sides[direction]?.audit === true ? { audit: true } : {}),
  });
  const found = force.interfaces.get(local.ifindex);
  const attached = force.attached.get(local.ifindex);
  const rivals = (local.rivals ?? []).map(keyOf);
  const until = bypassEnd(force.cluster, local);
  const state = until === undefined ? stateOf(local, sides, found?.lost) : "off";
  return {
    ...identityOf(local.pod),
    state: fault === undefined ? state : FAULT_STATES[fault],
    ...(until === undefined ? {} : { until }),
    ...(found?.lost === undefined ? {} : { retained: found.lost }),
    ...(podsOf(local).some(({ exceeds }) => exceeds === true) ? { sealed: EXCEEDS_TEXT } : {}),
    ...(rivals.length === 0 ? {} : { rivals }),
    ...(endpoint === undefined ? {} : { id: endpoint.id }),
    ...(found === undefined ? {} : { interface: found.name }),
    ifindex: local.ifindex,
    ...(attached === undefined ? {} : { hooks: { ingress: attached.ingress, egress: attached.egress } }),
    ingress: side("ingress"),
    egress: side("egress"),
  };
}

/** When the emergency bypass of an interface's pods ends; of the node's, "". */
function bypassEnd({ bypassed }: Cluster, { pod, rivals = [] }: LocalEndpoint): string | undefined {
  const ends = [pod, ...rivals].flatMap((each) => bypassed?.get(keyOf(each)) ?? []);
  return ends.sort().at(-1);
}

function clusterPoliciesIn(side: Side | undefined): Pick<SideView, "clusterPolicies"> {
  const names = side === undefined ? [] : tierPoliciesOf(side).map(({ policy }) => policy.name);
  return names.length === 0 ? {} : { clusterPolicies: names };
}

const FAULT_STATES = { detached: "detached", preceded: "bypassed" } as const;

function stateOf(
  { pod, rivals }: LocalEndpoint,
  sides: EndpointSides["sides"],
  lost: PodInterface["lost"],
): EndpointView["state"] {
  if (rivals !== undefined) return "ambiguous";
  if (lost !== undefined) return "retained";
  if (isUnknown(pod)) return "unknown pod";
  return isAuditedIn(sides) ? "audit" : "enforced";
}

const isAuditedIn = (sides: EndpointSides["sides"]): boolean =>
  DIRECTIONS.some((direction) => sides[direction]?.audit === true);

function missingView(cluster: Cluster, pod: Pod): EndpointView {
  const side = (direction: Direction): SideView => ({
    isolatedBy: policiesOn(cluster, pod, direction).map(keyOf),
    ...clusterPoliciesIn(sideOf(cluster, pod, direction)),
    policy: 0,
    ...(isAuditedFor(cluster, pod, direction) ? { audit: true } : {}),
  });
  return { ...identityOf(pod), state: "no interface", ingress: side("ingress"), egress: side("egress") };
}

/** Everything is dropped there, whatever policies say. */
function shutView({ cluster, interfaces }: InForce, { pod, ifindex }: LocalEndpoint): EndpointView {
  const found = interfaces.get(ifindex);
  const { ingress, egress, ...view } = missingView(cluster, pod);
  return {
    ...view,
    state: "no room",
    ...(found === undefined ? {} : { interface: found.name }),
    ifindex,
    ingress: { ...ingress, closed: true },
    egress: { ...egress, closed: true },
  };
}

const identityOf = (pod: Pod) => ({
  namespace: pod.namespace,
  name: pod.name,
  labels: Object.fromEntries(pod.labels),
  addresses: pod.ips.map((address) => address.text),
});

/** How many endpoints have policies in audit mode, in either direction. */
export const auditedEndpoints = ({ compiled: { meaning } }: InForce): number =>
  meaning.sides.filter(({ sides }) => isAuditedIn(sides)).length;

export function policyViews(force: InForce): PolicyView[] {
  const enforced = new Set(force.compiled.meaning.sides.flatMap(({ local }) => podsOf(local).map(keyOf)));
  const keys = new Set([...enforced, ...force.missing]);
  const local = [...keys]
    .flatMap((key) => force.cluster.pods.get(key) ?? [])
    .filter((pod) => isSelectable(pod) && !isSealed(pod));
  const views = [...force.cluster.policies.values()].map((policy): PolicyView => {
    const selects = local
      .filter((pod) => pod.namespace === policy.namespace && matches(policy.subject, pod.labels))
      .map(keyOf)
      .sort();
    return {
      namespace: policy.namespace,
      name: policy.name,
      selector: selectorText(policy.subject),
      types: DIRECTIONS.filter((direction) => policy.isolates[direction]).map((direction) =>
        direction === "ingress" ? "Ingress" : "Egress",
      ),
      rules: { ingress: policy.rules.ingress.length, egress: policy.rules.egress.length },
      selects,
      enforced: selects.filter((key) => enforced.has(key)).length,
      ...(modeOf(force.cluster, policy) === "audit" ? { audit: true } : {}),
      ...(policy.unreadable === undefined ? {} : { unreadable: policy.unreadable }),
      ...(policy.omitted === undefined ? {} : { omitted: policy.omitted }),
    };
  });
  const clusterViews = [...(force.cluster.clusterPolicies?.values() ?? [])].map((policy): PolicyView => {
    const selects = local
      .filter((pod) => selectsPod(force.cluster, policy, pod))
      .map(keyOf)
      .sort();
    const { name, tier, priority, subject, rules, unreadable, omitted } = policy;
    return {
      namespace: "",
      name,
      tier,
      priority,
      selector: subjectText(subject),
      types: DIRECTIONS.filter((direction) => rules[direction].length > 0).map((direction) =>
        direction === "ingress" ? "Ingress" : "Egress",
      ),
      rules: { ingress: rules.ingress.length, egress: rules.egress.length },
      selects,
      enforced: selects.filter((key) => enforced.has(key)).length,
      ...(force.cluster.mode === "audit" ? { audit: true } : {}),
      ...(unreadable === undefined ? {} : { unreadable }),
      ...(omitted === undefined ? {} : { omitted }),
    };
  });
  // Cluster policies first, in the order in which they are evaluated.
  const place = ({ tier }: PolicyView): number => (tier === undefined ? TIERS.length : TIERS.indexOf(tier));
  return [...views, ...clusterViews].sort(
    (a, b) => place(a) - place(b) || (a.priority ?? 0) - (b.priority ?? 0) || (keyOf(a) < keyOf(b) ? -1 : 1),
  );
}

export function namesView(force: InForce): NamesView {
  const { state, meaning } = force.compiled;
  return namesOf(meaning, ({ local }) => {
    const { ingress = 0, egress = 0 } = state.endpoints.get(local.ifindex)?.policy ?? {};
    return { ingress: policyNumber(ingress), egress: policyNumber(egress) };
  });
}

export function capacityViews(state: State): CapacityView[] {
  const addresses = [...state.addresses.values()].map(identityIn);
  const identities = new Set([...addresses, ...state.cidrs.values()]).size;
  const classes = new Set(state.ports.map((span) => span.class)).size;
  const used: Record<keyof typeof LIMITS, number> = {
    endpoints: state.endpoints.size,
    sources: ofFullerFamily(prefixTexts(state)),
    addresses: ofFullerFamily(state.addresses.keys()),
    services: ofFullerFamily(state.services.keys()),
    cidrs: ofFullerFamily(state.cidrs.keys()),
    identities,
    serviceGroups: new Set(state.services.values()).size,
    policies: state.policies.size,
    domains: domainsOf(state.names).size,
    names: state.names.size,
    rows: state.rows.size,
    classes,
  };
  return (Object.keys(LIMITS) as (keyof typeof LIMITS)[]).map((name) => ({
    name,
    used: used[name],
    max: LIMITS[name],
  }));
}

/** Interfaces that belong to a pod only by history, in the order of the pods. */
export const retainedViews = ({ compiled: { meaning }, interfaces }: InForce): RetainedView[] =>
  meaning.sides
    .flatMap(({ local: { pod, ifindex } }) => {
      const { name = "", lost } = interfaces.get(ifindex) ?? {};
      return lost === undefined ? [] : [{ pod: keyOf(pod), interface: name, ...lost }];
    })
    .sort((a, b) => (a.pod < b.pod ? -1 : 1));

/** The number of texts of the larger family: each family has a table of its own. */
function ofFullerFamily(texts: Iterable<string>): number {
  const counts = { v4: 0, v6: 0 };
  for (const text of texts) counts[text.includes(":") ? "v6" : "v4"] += 1;
  return Math.max(counts.v4, counts.v6);
}

/** Interfaces of unknown pods, all of whose traffic is denied, by name. */
export const unknownInterfaces = ({ compiled: { meaning } }: InForce): string[] =>
  meaning.sides
    .flatMap(({ local: { pod } }) => (isUnknown(pod) && pod.retained === undefined ? [pod.name] : []))
    .sort();
