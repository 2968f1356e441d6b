// Whether policies are enforced, or only report what they would deny (audit mode).

import { type Cluster, keyOf, namespaceLabels, type Pod } from "./cluster.ts";
import type { Policy } from "./network-policy.ts";

export const MODES = ["enforce", "audit"] as const;

export type Mode = (typeof MODES)[number];

/** Label of a namespace, and annotation of a policy. */
export const MODE_KEY = "weir.dev/mode";

export const isMode = (text: string): text is Mode => (MODES as readonly string[]).includes(text);

/** Whether nothing is dropped by policy at a pod: the whole node is in audit mode, or the pod is bypassed. */
export const isOpened = ({ mode, bypassed }: Cluster, pod: Pod): boolean =>
  mode === "audit" || bypassed?.has(keyOf(pod)) === true;

/** The mode of a policy on one of the pods that it selects. */
export const modeOn = (cluster: Cluster, policy: Policy, pod: Pod): Mode =>
  isOpened(cluster, pod) ? "audit" : modeOf(cluster, policy);

/**
 * The mode of a policy: audit where the whole node is in it, so that this node drops nothing by policy; else that of
 * the policy's own annotation, else that of its namespace's label.
 */
export function modeOf(cluster: Cluster, policy: Policy): Mode {
  if (cluster.mode === "audit") return "audit";
  if (policy.mode !== undefined) return policy.mode;
  return namespaceLabels(cluster, policy.namespace).get(MODE_KEY) === "audit" ? "audit" : "enforce";
}
