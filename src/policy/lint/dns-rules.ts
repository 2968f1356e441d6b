// Which rules are about the cluster's DNS.

import { cidrContains } from "../../base/ip.ts";
import { isSelectable, namespaceLabels, type Pod } from "../../model/cluster.ts";
import type { ClusterPeer, ClusterPolicy, ClusterRule } from "../../model/cluster-network-policy.ts";
import type { Policy, PortMatch } from "../../model/network-policy.ts";
import { matches } from "../../model/selector.ts";
import type { World } from "./lint-input.ts";
import { selectorCovers } from "./rule-coverage.ts";

/** The ports of DNS; OpenShift's pods use 5353, and policies see the pod's port. */
const DNS_PORTS = [53, 5353];

/** Ranges up to this size that contain a DNS port are considered written for DNS. */
const DELIBERATE_RANGE_MAX = 1_024;

/** Whether a port or range was written for DNS, not only contains a DNS port. */
export function namesDns(port: PortMatch): boolean {
  if (port.kind === "nothing") return false;
  if (port.kind === "name") return port.name.includes("dns");
  return holdsDns(port) && port.last - port.first < DELIBERATE_RANGE_MAX;
}

export const holdsDns = ({ first, last }: { readonly first: number; readonly last: number }): boolean =>
  DNS_PORTS.some((port) => first <= port && port <= last);

/** Whether a rule matches questions to the cluster's DNS. */
export function matchesDns(world: World, rule: ClusterRule): boolean {
  const { peers } = rule;
  if (!hasDnsPort(rule)) return false;
  return peers === "anyone" || peers.some((peer) => matchesServer(world, peer));
}

export const hasDnsPort = ({ ports }: ClusterRule): boolean => ports === "all" || ports.some(reachesDns);

const reachesDns = (port: PortMatch): boolean =>
  port.kind !== "nothing" &&
  port.protocol === "UDP" &&
  (namesDns(port) || (port.kind === "range" && holdsDns(port)));

function matchesServer(world: World, peer: ClusterPeer): boolean {
  if (peer.kind === "nodes" || peer.kind === "domain") return false;
  if (peer.kind === "block")
    return (
      peer.cidr.length === 0 ||
      world.dns.some((pod) => pod.ips.some((address) => cidrContains(peer.cidr, address)))
    );
  return world.dns.some(
    (pod) =>
      isSelectable(pod) &&
      matches(peer.pods, pod.labels) &&
      matches(peer.namespaces, namespaceLabels(world.cluster, pod.namespace)),
  );
}

/** Whether an Admin policy accepts questions to DNS of a pod, or of all pods that a policy can select. */
export const isDnsAccepted = (world: World, of: Pod | Policy): boolean =>
  [...(world.cluster.clusterPolicies?.values() ?? [])].some(
    (policy) =>
      policy.tier === "Admin" &&
      covers(world, policy, of) &&
      policy.rules.egress.some((rule) => accepts(world, rule)),
  );

const accepts = (world: World, rule: ClusterRule): boolean =>
  rule.action === "Accept" && matchesDns(world, rule);

const covers = (world: World, { subject }: ClusterPolicy, of: Pod | Policy): boolean =>
  matches(subject.namespaces, namespaceLabels(world.cluster, of.namespace)) &&
  ("subject" in of ? selectorCovers(subject.pods, of.subject) : matches(subject.pods, of.labels));
