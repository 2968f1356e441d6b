// The directions of traffic, seen from the pod, and the hooks where a pod's packets can be filtered.

/** Ingress is traffic to the pod, egress is traffic from it. */
export type Direction = "ingress" | "egress";

export const DIRECTIONS: readonly Direction[] = ["ingress", "egress"];

// The hooks to which the programs that filter what a node's pods send can be attached.

export const FROM_POD_HOOKS = ["tc", "xdp"] as const;

/** "xdp": before the kernel turns the frame into a packet; tc on an interface that rejects XDP. */
export type FromPodHook = (typeof FROM_POD_HOOKS)[number];
