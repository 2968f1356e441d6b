// Pods that are isolated for egress and cannot resolve names.

import { NAMESPACE_NAME_LABEL, type Pod } from "../../model/cluster.ts";
import type { Peer, Policy, Rule } from "../../model/network-policy.ts";
import type { Protocol } from "../../model/protocol.ts";
import { type Labels, matches, type Requirement } from "../../model/selector.ts";
import { holdsDns, isDnsAccepted, namesDns } from "./dns-rules.ts";
import { type Finding, isWhole, type Path, podNames, selectedBy, type World } from "./lint-input.ts";
import { mayOverlap, selectorCovers } from "./rule-coverage.ts";

const LACKS = ["dns-missing", "dns-udp-only"] as const;

type Lack = (typeof LACKS)[number];

/** One policy's pods (or, if none is given, the pods that it would select) that lack DNS. */
interface Lacking {
  readonly policy: Policy;
  readonly lack: Lack;
  /** Empty if no pod that it selects is given. */
  readonly pods: readonly Pod[];
  /** Whether they may open some connection. */
  readonly reachesAny: boolean;
}

/** What one policy's egress rules allow. */
interface Egress {
  readonly policy: Policy;
  readonly reachesAny: boolean;
  /** By protocol. A policy that cannot be read may allow it. */
  readonly dns: { readonly UDP: boolean; readonly TCP: boolean };
}

/**
 * One finding for each group of pods: if several policies select them, it is reported for the one that selects the most.
 * All policies that isolate a pod's egress count together. Without pods, those count whose selector is certain to match too.
 */
export function dnsFindings(world: World): readonly Finding[] {
  const isolating = [...world.cluster.policies.values()].filter((policy) => policy.isolates.egress);
  const byNamespace = Map.groupBy(isolating, (policy) => policy.namespace);
  return [...byNamespace.values()].flatMap((policies) => {
    const egresses = policies.map((policy) => egressOf(world, policy));
    return toldOf(lacksIn(world, egresses)).map((each) => finding(world, each));
  });
}

function egressOf(world: World, policy: Policy): Egress {
  const has = (protocol: Protocol): boolean =>
    !isWhole(policy) || policy.rules.egress.some((rule) => allowsDns(world, policy, rule, protocol));
  return { policy, reachesAny: policy.rules.egress.length > 0, dns: { UDP: has("UDP"), TCP: has("TCP") } };
}

/** What the pods of each policy of one namespace lack. */
function lacksIn(world: World, egresses: readonly Egress[]): readonly Lacking[] {
  const byPod = new Map<Pod, Omit<Lacking, "policy" | "pods"> | undefined>();
  const ofPod = (pod: Pod) => {
    if (isDnsAccepted(world, pod)) return undefined;
    if (!byPod.has(pod))
      byPod.set(pod, lackOf(egresses.filter(({ policy }) => matches(policy.subject, pod.labels))));
    return byPod.get(pod);
  };
  return egresses.flatMap(({ policy, reachesAny }) => {
    if (!isWhole(policy)) return [];
    const selected = selectedBy(world, policy);
    if (selected.length === 0) {
      if (isDnsAccepted(world, policy)) return [];
      // A deny-all policy is the base for others; which of its pods they select is unknown.
      const applies = (each: Egress): boolean =>
        reachesAny
          ? selectorCovers(each.policy.subject, policy.subject)
          : mayOverlap(each.policy.subject, policy.subject);
      const lack = lackOf(egresses.filter(applies))?.lack;
      return lack === undefined ? [] : [{ policy, pods: [], lack, reachesAny }];
    }
    return LACKS.flatMap((lack) => {
      const pods = selected.filter((pod) => ofPod(pod)?.lack === lack);
      if (pods.length === 0) return [];
      return [{ policy, lack, pods, reachesAny: pods.some((pod) => ofPod(pod)?.reachesAny) }];
    });
  });
}

function lackOf(applying: readonly Egress[]): Omit<Lacking, "policy" | "pods"> | undefined {
  const reachesAny = applying.some((each) => each.reachesAny);
  if (!applying.some(({ dns }) => dns.UDP)) return { lack: "dns-missing", reachesAny };
  return applying.some(({ dns }) => dns.TCP) ? undefined : { lack: "dns-udp-only", reachesAny };
}

/** Findings that add something to the others, those about the most pods first. */
function toldOf(lacks: readonly Lacking[]): readonly Lacking[] {
  const told: Lacking[] = [];
  const done = new Set<Pod>();
  for (const each of lacks.toSorted(compareLacks)) {
    const left = each.pods.filter((pod) => !done.has(pod));
    const covers = ({ policy, lack }: Lacking): boolean =>
      lack === each.lack && selectorCovers(policy.subject, each.policy.subject);
    if (each.pods.length > 0 ? left.length === 0 : told.some(covers)) continue;
    for (const pod of left) done.add(pod);
    told.push({ ...each, pods: left });
  }
  return told;
}

/** Sorting is stable: of equal findings the first is reported. */
const compareLacks = (a: Lacking, b: Lacking): number =>
  b.pods.length - a.pods.length ||
  a.policy.subject.requirements.length - b.policy.subject.requirements.length;

/** A rule with a DNS port is meant for DNS, regardless of its peers; any other rule must allow a possible DNS server. */
function allowsDns(world: World, policy: Policy, rule: Rule, protocol: Protocol): boolean {
  const { peers, ports } = rule;
  if (ports !== "all") {
    const own = ports.filter((port) => port.kind !== "nothing" && port.protocol === protocol);
    if (own.some(namesDns)) return true;
    if (!own.some((port) => port.kind === "range" && holdsDns(port))) return false;
  }
  return peers === "anyone" || peers.some((peer) => mayAnswer(world, policy, peer));
}

function mayAnswer(world: World, policy: Policy, peer: Peer): boolean {
  if (peer.kind === "block") return true;
  if (peer.kind === "nothing") return false;
  return world.dns.some((pod) => {
    if (!matches(peer.pods, pod.labels)) return false;
    if (peer.namespaces === undefined) return pod.namespace === policy.namespace;
    const given = world.cluster.namespaces.get(pod.namespace);
    if (given !== undefined) return matches(peer.namespaces, given.labels);
    return peer.namespaces.requirements.every((each) => mayMean(each, pod.namespace));
  });
}

/** Whether a namespace may meet a requirement if only its name is known. Custom labels often repeat the name. */
function mayMean(requirement: Requirement, namespace: string): boolean {
  if (requirement.operator === "In") return requirement.values.includes(namespace);
  const labels: Labels = new Map([[NAMESPACE_NAME_LABEL, namespace]]);
  return matches({ requirements: [requirement] }, labels);
}

function finding(world: World, { policy, lack, pods, reachesAny: reaches }: Lacking): Finding {
  const who = pods.length > 0 ? podNames(pods) : "the pods that it selects";
  const path: Path = world.writes(policy, ["spec", "egress"])
    ? ["spec", "egress"]
    : world.writes(policy, ["spec", "policyTypes"])
      ? ["spec", "policyTypes"]
      : ["spec"];
  if (lack === "dns-udp-only") {
    const reason = `allows ${who} DNS over UDP only, but long answers come over TCP`;
    return { code: lack, policy, path, reason, fix: "add { protocol: TCP, port: 53 } to the ports" };
  }
  const what = reaches
    ? "may open connections but cannot look up names: no policy allows them UDP and TCP port 53"
    : "can open no connection, not even to DNS";
  return { code: lack, policy, path, reason: `isolates egress: ${who} ${what}`, fix: DNS_FIX };
}

const DNS_FIX =
  "if they need names, add to egress: - ports: [{ protocol: UDP, port: 53 }, { protocol: TCP, port: 53 }]";
