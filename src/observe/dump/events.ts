// The dump of the events' buckets: how many events of each endpoint and reason were written, and lost.

import type { Direction } from "../../base/direction.ts";
import type { NamesView } from "../api-views.ts";
import { left, right } from "../table.ts";
import { type Dump, dumpOf, known } from "./map-dump.ts";
import type { Place } from "./traffic-dumps.ts";

export interface EventRecord extends Partial<Place> {
  /** The endpoint's; 0 where there is none. */
  readonly id: number;
  readonly direction: Direction;
  readonly reason: string;
  readonly written: bigint;
  readonly lost: bigint;
}

export function eventsDump(records: readonly EventRecord[], names?: NamesView): Dump {
  const podOf = ({ ifindex }: EventRecord): string | undefined =>
    ifindex === undefined ? undefined : names?.endpoints[String(ifindex)];
  const owner = (record: EventRecord): string =>
    record.id === 0 ? "<no endpoint>" : (podOf(record) ?? record.interface ?? "");
  return dumpOf(records, {
    columns: [right("ID"), ...["POD", "DIRECTION", "REASON"].map(left), right("WRITTEN"), right("LOST")],
    rows: (record) => [
      [
        String(record.id),
        owner(record),
        record.direction,
        record.reason,
        String(record.written),
        String(record.lost),
      ],
    ],
    json: (record) => ({ ...record, ...known("pod", podOf(record)) }),
    pods: (record) => [podOf(record)],
  });
}
