// Flows that were opened while one of a pod's two programs was detached.
//
// An answer to a packet that the missing program would have dropped is the first packet that the other program sees, and a UDP
// datagram does not show that it is an answer: it opens a flow, by which the denied peer would go on after the repair. So these
// flows are removed as part of it. A pod's next packet opens its own again. The opener of a TCP connection is known by its SYN.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { Direction } from "../base/direction.ts";
import { Direction as Opener } from "../gen/layout.ts";
import { ownerOf } from "./codec.ts";
import { readFlows } from "./flow-reader.ts";
import { type FlowKey, removeFlows } from "./flow-requests.ts";
import type { Datapath } from "./program-loader.ts";
import { openTables } from "./typed-maps.ts";

/** Flows that are read at once: after that others get a turn. */
const READ_AT_ONCE = 2_000;

/** Who opened the flows that are wrong, by the direction whose program was missing. */
const OPENER_WITHOUT = { ingress: Opener.EGRESS, egress: Opener.INGRESS } as const;

/** ICMP, TCP, ICMPv6: a SYN or an echo request opens, what answers it is none. By their IANA numbers. */
const WITH_KNOWN_OPENER: ReadonlySet<number> = new Set([1, 6, 58]);

/** Directions whose programs were missing, by interface. */
export type Gaps = ReadonlyMap<number, ReadonlySet<Direction>>;

/** Removes them, once the programs are attached again. Reads the tables once. Returns their number. Errors: BpfError, OperationError. */
export async function removeOneSidedFlows(datapath: Datapath, gaps: Gaps): Promise<number> {
  const tables = openTables(datapath);
  const node = tables.node.get(0);
  const openers = new Map<number, ReadonlySet<Opener>>();
  for (const [, { ifindex, incarnation }] of await tables.endpoints.read({ skipZero: true })) {
    const missing = gaps.get(ifindex);
    if (missing === undefined) continue;
    // A pod's interfaces share its flows.
    openers.set(
      incarnation,
      new Set([...(openers.get(incarnation) ?? []), ...missing.values().map((each) => OPENER_WITHOUT[each])]),
    );
  }
  if (node === undefined || openers.size === 0) return 0;
  const found: FlowKey[] = [];
  let read = 0;
  for (const { flow, ...key } of readFlows(datapath.map, node)) {
    const { incarnation, protocol } = ownerOf(key.key.owner);
    if (openers.get(incarnation)?.has(flow.opener) === true && !WITH_KNOWN_OPENER.has(protocol))
      found.push(key);
    if (++read % READ_AT_ONCE === 0) await nextTurn();
  }
  return await removeFlows(datapath.flowRequests, found);
}
