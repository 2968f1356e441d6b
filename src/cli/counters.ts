// Reading the counters: what all CPUs together saw of each endpoint.

import type { Direction } from "../base/direction.ts";
import { sumCounters } from "../datapath/codec.ts";
import { type Count, REASON_NAMES, Reason } from "../gen/layout.ts";
import type { CounterRecord } from "../observe/dump/traffic-dumps.ts";
import type { Counts, Traffic } from "../observe/endpoints-table.ts";
import type { Kernel } from "./pinned-maps.ts";

export type EndpointTraffic = { readonly [direction in Direction]: Traffic };

/** By endpoint id, direction and reason, without zeros. */
export async function readCounters({ table }: Kernel): Promise<Omit<CounterRecord, "ifindex">[]> {
  const entries = await table("counters").read({ skipZero: true });
  return entries.flatMap(([id, perCpu]) => {
    const [ingress, egress] = sumCounters(perCpu).count;
    return [...recordsOf(id, "ingress", ingress), ...recordsOf(id, "egress", egress)];
  });
}

function recordsOf(
  id: number,
  direction: Direction,
  counts: readonly Count[],
): Omit<CounterRecord, "ifindex">[] {
  return counts.flatMap(({ packets, bytes }, reason) => {
    if (packets === 0n) return [];
    const name = REASON_NAMES[reason] ?? `reason ${reason}`;
    return [{ id, direction, reason: name, dropped: reason >= Reason.DROPS, packets, bytes }];
  });
}

/** What passed and what was dropped, by endpoint id. */
export async function readTraffic(kernel: Kernel): Promise<ReadonlyMap<number, EndpointTraffic>> {
  const records = await readCounters(kernel);
  return new Map([...new Set(records.map(({ id }) => id))].map((id) => [id, trafficOf(records, id)]));
}

export const NO_TRAFFIC: EndpointTraffic = { ingress: trafficIn([]), egress: trafficIn([]) };

function trafficOf(records: readonly Omit<CounterRecord, "ifindex">[], id: number): EndpointTraffic {
  const own = records.filter((record) => record.id === id);
  const side = (direction: Direction): Traffic =>
    trafficIn(own.filter((record) => record.direction === direction));
  return { ingress: side("ingress"), egress: side("egress") };
}

function trafficIn(records: readonly Pick<CounterRecord, "dropped" | "packets" | "bytes">[]): Traffic {
  const sum = (dropped: boolean): Counts => {
    let packets = 0n;
    let bytes = 0n;
    for (const record of records) {
      if (record.dropped !== dropped) continue;
      packets += record.packets;
      bytes += record.bytes;
    }
    return { packets, bytes };
  };
  return { allowed: sum(false), dropped: sum(true) };
}
