// The settings of map `node`: the rate of the kernel's clock, timeouts of flows, and rate limits.

import { type Node, TIMEOUT_NAMES, Timeout } from "../gen/layout.ts";
import type { Settings } from "../state/state-compare.ts";
import type { Clock } from "./clock.ts";
import type { Tables } from "./typed-maps.ts";

type NodeSettings = Omit<Node, "generation" | "lastIncarnation" | "tunnelPorts" | "tunnelFilter">;

/**
 * Packets of ARP, neighbour discovery, MLD and IGMP that a pod may send per second. A host with a neighbour table of a thousand
 * entries, all probed at once, stays below it.
 */
const NEIGHBOUR_RATE = 1_000;

/**
 * Seconds without a packet until a flow expires: the defaults of Linux's own conntrack, where it has them. A reset may be
 * forged, and the connection's next segment may come much later: the timeout is longer than Linux's 10 seconds.
 */
const TIMEOUT_SECONDS: { readonly [name in keyof typeof Timeout]: number } = {
  TCP_NEW: 120,
  TCP_ESTABLISHED: 432_000,
  TCP_CLOSING: 120,
  TCP_RESET: 120,
  UDP_NEW: 30,
  UDP_STREAM: 120,
  SCTP: 210,
  ICMP: 30,
  OTHER: 600,
  FRAGMENT: 30,
};

/** As the map has them. */
export function nodeSettings({ ticksPerSecond, unitShift }: Clock): NodeSettings {
  const timeouts = new Array<number>(Object.keys(Timeout).length).fill(0);
  for (const [name, index] of Object.entries(Timeout))
    timeouts[index] = TIMEOUT_SECONDS[name as keyof typeof Timeout] * ticksPerSecond;
  return { ticksPerSecond, timeouts, neighbourRate: NEIGHBOUR_RATE, unitShift };
}

/** All of a node's settings by name, numbers in ticks of the kernel's clock, except the clock's own rate. */
export const settingsOf = ({
  ticksPerSecond,
  timeouts,
  neighbourRate,
  unitShift,
}: NodeSettings): Settings => ({
  "ticks per second": ticksPerSecond,
  "shift of flow time": unitShift,
  "neighbour rate": neighbourRate,
  ...Object.fromEntries(timeouts.map((ticks, at) => [`timeout ${TIMEOUT_NAMES[at] ?? at}`, ticks])),
});

export const heldSettings = (node: Pick<Tables["node"], "get">): Settings =>
  settingsOf(node.get(0) ?? { ticksPerSecond: 0, timeouts: [], neighbourRate: 0, unitShift: 0 });

// The kernel's jiffies, in which flows expire.

/** To within a second: they started five minutes before 2^32 (INITIAL_JIFFIES of linux/jiffies.h) and, like CLOCK_MONOTONIC, stop while the machine is suspended. */
export function ticksNow(ticksPerSecond: number): bigint {
  const rate = BigInt(ticksPerSecond);
  return (process.hrtime.bigint() * rate) / 1_000_000_000n + 2n ** 32n - 300n * rate;
}
