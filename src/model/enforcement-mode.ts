// Whether policies are enforced, or only report what they would deny (audit mode).

import { type Cluster, namespaceLabels } from "./cluster.ts";
import type { Policy } from "./network-policy.ts";

export const MODES = ["enforce", "audit"] as const;

export type Mode = (typeof MODES)[number];

/** Label of a namespace, and annotation of a policy. */
export const MODE_KEY = "weir.dev/mode";

export const isMode = (text: string): text is Mode => (MODES as readonly string[]).includes(text);

/**
 * The mode of a policy: audit where the whole node is in it, so that this node drops nothing by policy; else that of
 * the policy's own annotation, else that of its namespace's label.
 */
export function modeOf(cluster: Cluster, policy: Policy): Mode {
  if (cluster.mode === "audit") return "audit";
  if (policy.mode !== undefined) return policy.mode;
  return namespaceLabels(cluster, policy.namespace).get(MODE_KEY) === "audit" ? "audit" : "enforce";
}
