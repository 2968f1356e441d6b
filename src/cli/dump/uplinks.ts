// Reading the tables about uplinks.

import { compareCidrs } from "../../base/ip.ts";
import { readDenied, readDeniedCounts, readScreened } from "../../datapath/denied-prefix-maps.ts";
import { nestedTableOf } from "../../datapath/typed-maps.ts";
import { SCREENED_NAMES, Screened } from "../../gen/layout.ts";
import type { DeniedRecord, ScreenedRecord } from "../../observe/dump/uplinks.ts";
import { cidrFrom } from "../../state/state-lookup.ts";
import { type Kernel, unreadable } from "../pinned-maps.ts";

/** The prefixes in force, in the order of their addresses. */
export async function readDeniedRecords({ pins, table }: Kernel): Promise<DeniedRecord[]> {
  const numbers = await readDenied({
    uplink: table("uplink"),
    deniedV4: nestedTableOf("denied_v4", pins.map("denied_v4"), pins.inner("denied_v4")),
    deniedV6: nestedTableOf("denied_v6", pins.map("denied_v6"), pins.inner("denied_v6")),
  });
  if (numbers === undefined) throw unreadable("the list of denied prefixes");
  const counts = await readDeniedCounts({ deniedCounts: table("denied_counts") });
  return [...numbers]
    .map(([prefix, number]) => ({ cidr: cidrFrom(prefix), number }))
    .sort((a, b) => compareCidrs(a.cidr, b.cidr))
    .map(({ cidr, number }) => ({
      prefix: cidr.text,
      number,
      ...(counts.get(number) ?? { packets: 0n, bytes: 0n }),
    }));
}

export const readScreenedRecords = ({ table }: Kernel): ScreenedRecord[] =>
  readScreened({ uplinkCounters: table("uplink_counters") }).flatMap(({ packets, bytes }, screened) =>
    packets === 0n
      ? []
      : [
          {
            reason: SCREENED_NAMES[screened] ?? `reason ${screened}`,
            dropped: screened >= Screened.DROPS,
            packets,
            bytes,
          },
        ],
  );
