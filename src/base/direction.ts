// The directions of traffic, seen from the pod, and the hooks where a pod's packets can be filtered.

// The two directions of traffic, seen from the pod.

/** Ingress is traffic to the pod, egress is traffic from it. */
export type Direction = "ingress" | "egress";

export const DIRECTIONS: readonly Direction[] = ["ingress", "egress"];

// Where a node's programs may hang that filter what its pods send.

export const FROM_POD_HOOKS = ["tc", "xdp"] as const;

/** "xdp": before the kernel has made a packet of the frame; where an interface refuses that, tc all the same. */
export type FromPodHook = (typeof FROM_POD_HOOKS)[number];
