// The two directions of traffic, seen from the pod.

/** Ingress is traffic to the pod, egress is traffic from it. */
export type Direction = "ingress" | "egress";

export const DIRECTIONS: readonly Direction[] = ["ingress", "egress"];
