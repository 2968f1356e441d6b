// The programs' ring buffer of events, decoded, and who wants new flows in it.

import { RingBuffer } from "bpf-ts";
import { assert } from "../base/assert.ts";
import { EVENT_SIZE, type Event, eventCodec, REASONS, Reason } from "../gen/layout.ts";
import type { Datapath } from "./program-loader.ts";
import { type Table, tableOf } from "./typed-maps.ts";

export interface EventStream {
  /** Whether the first packets of new flows are told of too. */
  wantFlows(wanted: boolean): void;
  close(): void;
}

/** The whole node's: new flows are asked for there. */
const NODE_BUCKET = 0;

/** Calls `onEvents` on the event loop with what the programs have written, in their order. Errors: BpfError. */
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
  // It must not keep an agent alive that is otherwise done.
  ring.unref();
  return {
    wantFlows: (wanted) => setFlows(buckets, wanted ? 1 : 0),
    close: () => ring.close(),
  };
}

type Buckets = Table<number, { flows: number; ends: bigint; used: number; written: bigint; lost: bigint }>;

/** What the programs write into this bucket at the same moment may be lost: a few more events in one second. */
function setFlows(buckets: Pick<Buckets, "get" | "set">, flows: number): void {
  const now = buckets.get(NODE_BUCKET) ?? { ends: 0n, used: 0, written: 0n, lost: 0n };
  buckets.set(NODE_BUCKET, { ...now, flows });
}

export interface EventTotals {
  readonly written: bigint;
  /** Of those, the events of dropped packets. */
  readonly dropsWritten: bigint;
  readonly lost: bigint;
}

/** What the programs have written since the map was made, and could not write because the buffer was full. */
export async function readEventTotals(datapath: Datapath): Promise<EventTotals> {
  const entries = await tableOf("event_buckets", datapath.map("event_buckets")).read({ skipZero: true });
  const sum = (field: "written" | "lost", of: typeof entries = entries): bigint =>
    of.reduce((all, [, each]) => all + each[field], 0n);
  const drops = entries.filter(([place]) => place % REASONS >= Reason.DROPS);
  return { written: sum("written"), dropsWritten: sum("written", drops), lost: sum("lost") };
}
