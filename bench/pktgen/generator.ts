// What both generators of packets have in common: the kernel's pktgen, and test runs with live frames.

import type { Sweep } from "./packets.ts";

/** How packets get to the link: by the pod's end of the veth, as if its host side had received them, or likewise as XDP frames. */
export const MODES = ["start_xmit", "netif_receive", "live_frames"] as const;
export type Mode = (typeof MODES)[number];

export interface Place {
  readonly mode: Mode;
  readonly device: string;
  readonly ifindex: number;
  /** Where the device is; undefined for this process's own. */
  readonly netns: string | undefined;
  /** The node's end of the link. */
  readonly mac: string;
}

export interface Task {
  readonly sweep: Sweep;
  readonly packets: number;
  readonly threads: number;
  /** Of a frame, with its check sequence: 64 to 1518. */
  readonly size: number;
}

export interface Generated {
  readonly sent: number;
  readonly seconds: number;
}
