// Where a node's programs may hang that filter what its pods send.

export const FROM_POD_HOOKS = ["tc", "xdp"] as const;

/** "xdp": before the kernel has made a packet of the frame; where an interface refuses that, tc all the same. */
export type FromPodHook = (typeof FROM_POD_HOOKS)[number];
