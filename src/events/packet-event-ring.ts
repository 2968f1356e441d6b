// The programs' ring buffer of events, decoded, and subscriptions to new flows.

import { RingBuffer } from "bpf-ts";
import { assert } from "../base/assert.ts";
import { sumCounters } from "../datapath/codec.ts";
import type { Datapath } from "../datapath/program-loader.ts";
import { type Table, tableOf } from "../datapath/typed-maps.ts";
import { EVENT_SIZE, type Event, eventCodec, REASONS, Reason } from "../gen/layout.ts";

export interface EventStream {
  /** Whether the first packets of new flows are reported too. */
  wantFlows(wanted: boolean): void;
  close(): void;
}

/** The whole node's bucket of new flows, which are enabled there. */
const FLOWS_BUCKET = 1;

/** Calls `onEvents` on the event loop with the events of the programs, in order. Errors: BpfError. */
export function openEvents(datapath: Datapath, onEvents: (events: readonly Event[]) => void): EventStream {
  const buckets = tableOf("event_buckets", datapath.map("event_buckets"));
  setFlows(buckets, 0);
  const ring = RingBuffer.open(datapath.map("events"), ({ data, offsets, count }) => {
    const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
    const events: Event[] = [];
    for (let at = 0; at < count; at++) {
      const offset = offsets[at] as number;
      assert((offsets[at + 1] as number) - offset === EVENT_SIZE, "a record of the ring buffer is an event");
      events.push(eventCodec.decode(view, offset));
    }
    onEvents(events);
  });
  // It must not keep the process alive when an agent is otherwise finished.
  ring.unref();
  return {
    wantFlows: (wanted) => setFlows(buckets, wanted ? 1 : 0),
    close: () => ring.close(),
  };
}

type Buckets = Table<number, { flows: number; ends: bigint; used: number; written: bigint; lost: bigint }>;

/** Concurrent writes of the programs to this bucket may be lost: a few more events in one second. */
function setFlows(buckets: Pick<Buckets, "get" | "set">, flows: number): void {
  const now = buckets.get(FLOWS_BUCKET) ?? { ends: 0n, used: 0, written: 0n, lost: 0n };
  buckets.set(FLOWS_BUCKET, { ...now, flows });
}

export interface EventTotals {
  /** Id of the map that holds them; 0 if there is none yet. */
  readonly map: number;
  readonly written: bigint;
  /** The number of these that are events of dropped packets. */
  readonly dropsWritten: bigint;
  readonly lost: bigint;
}

/** Dropped packets without an event since the maps were created: the rate limit left them out, or the buffer was full. */
export async function readLeftOut(datapath: Datapath): Promise<number> {
  const [{ dropsWritten }, counters] = await Promise.all([
    readEventTotals(datapath),
    tableOf("counters", datapath.map("counters")).read({ skipZero: true }),
  ]);
  let dropped = 0n;
  for (const [, perCpu] of counters)
    for (const reasons of sumCounters(perCpu).count)
      for (const { packets } of reasons.slice(Reason.DROPS)) dropped += packets;
  return Math.max(0, Number(dropped - dropsWritten));
}

/**
 * Events that the programs have written since the map was created, and those of dropped packets that were lost because
 * the buffer was full.
 */
export async function readEventTotals(datapath: Datapath): Promise<EventTotals> {
  const map = datapath.map("event_buckets");
  const entries = await tableOf("event_buckets", map).read({ skipZero: true });
  const sum = (field: "written" | "lost", of: typeof entries = entries): bigint =>
    of.reduce((all, [, each]) => all + each[field], 0n);
  const drops = entries.filter(([place]) => place % REASONS >= Reason.DROPS);
  return {
    map: map.info.id,
    written: sum("written"),
    dropsWritten: sum("written", drops),
    lost: sum("lost", drops),
  };
}
