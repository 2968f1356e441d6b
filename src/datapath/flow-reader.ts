// The flows of a node, read through the memory of the flow tables: no system call for each.

import type { BpfMap } from "bpf-ts";
import { DIRECTION_NAMES, Direction, decodeFlowV4Key, decodeFlowV6Key, type Node } from "../gen/layout.ts";
import type { FlowKey } from "./flow-requests.ts";
import {
  FLOW_TABLES,
  type FlowUse,
  flowsIn,
  flowTimeOf,
  generationOf,
  ticksOf,
  useOf,
} from "./flow-table.ts";
import { openTable } from "./flow-table-pins.ts";

export interface Flow {
  /** In ticks. */
  readonly expires: bigint;
  /** Under which policy last allowed it. */
  readonly generation: number;
  readonly opener: Direction;
  /** Bits of enum flow_state. */
  readonly state: number;
}

export type TableFlow = FlowKey & { readonly flow: Flow };

type OpenMap = (name: "conntrack_v4" | "conntrack_v6" | "flow_secret") => BpfMap;
type Clock = Pick<Node, "generation" | "unitShift">;

/** All flows, also expired ones that wait to be overwritten. Flows that are made or removed meanwhile may be missing. */
export function* readFlows(map: OpenMap, { generation, unitShift }: Clock): Generator<TableFlow> {
  for (const name of FLOW_TABLES) {
    const source = openTable(name, map);
    using _ = source.memory;
    for (const { key, expires, stamp, opener, state } of flowsIn(source)) {
      const flow = {
        expires: ticksOf(expires, unitShift),
        generation: generationOf(stamp, generation),
        opener: DIRECTION_NAMES[opener] === "egress" ? Direction.EGRESS : Direction.INGRESS,
        state,
      };
      yield name === "conntrack_v4"
        ? { map: name, key: decodeFlowV4Key(key, 0), flow }
        : { map: name, key: decodeFlowV6Key(key, 0), flow };
    }
  }
}

/** How full a table is. `now` is in ticks. */
export async function tableUse(
  name: (typeof FLOW_TABLES)[number],
  map: OpenMap,
  { unitShift, now }: { readonly unitShift: number; readonly now: bigint },
  pause: () => Promise<unknown>,
): Promise<FlowUse> {
  const source = openTable(name, map);
  using _ = source.memory;
  return await useOf(source, flowTimeOf(now, unitShift), pause);
}
