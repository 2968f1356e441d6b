// How full the flow table is, and what insertions did to it: for status and metrics.

import { setImmediate as nextTurn } from "node:timers/promises";
import { sumStatistics } from "../datapath/codec.ts";
import { tableUse } from "../datapath/flow-reader.ts";
import { FLOW_TABLES } from "../datapath/flow-table.ts";
import { ticksNow } from "../datapath/node-settings.ts";
import type { FlowTableView } from "../observe/api-views.ts";
import type { Kernel } from "./datapath-handle.ts";

/** Counting reads the whole table: some tens of milliseconds, in short pieces. */
const AGE_MS_MAX = 10_000;

const FAMILIES = { conntrack_v4: "ipv4", conntrack_v6: "ipv6" } as const;

/** One for each family, at most so old; nothing before the datapath is open. Errors: OperationError, BpfError. */
export type FlowUsage = (ageMsMax?: number) => Promise<readonly FlowTableView[]>;

export function openFlowUsage(kernel: () => Kernel | undefined): FlowUsage {
  let last: Promise<readonly FlowTableView[]> = Promise.resolve([]);
  let countedAt = Number.NEGATIVE_INFINITY;
  return (ageMsMax = AGE_MS_MAX) => {
    const open = kernel();
    if (open === undefined || performance.now() < countedAt + ageMsMax) return last;
    countedAt = performance.now();
    last = readUsage(open);
    // The next call tries again.
    last.catch(() => {
      countedAt = Number.NEGATIVE_INFINITY;
    });
    return last;
  };
}

async function readUsage({ datapath, maps }: Kernel): Promise<FlowTableView[]> {
  const { unitShift = 0 } = maps.tables.node.get(0) ?? {};
  const clock = { unitShift, now: ticksNow(datapath.ticksPerSecond) };
  const views: FlowTableView[] = [];
  for (const [index, name] of FLOW_TABLES.entries()) {
    const { live, places } = await tableUse(name, datapath.map, clock, nextTurn);
    const counts = sumStatistics(maps.tables.flowStatistics.get(index) ?? []);
    views.push({
      family: FAMILIES[name],
      table: name,
      used: live,
      max: places,
      inserted: Number(counts.inserted),
      evicted: { sameOwner: Number(counts.evictedOwn), unconfirmed: Number(counts.evictedOthers) },
      refused: Number(counts.refused),
    });
  }
  return views;
}
