// The denied prefixes of the uplinks in the kernel: reading the active list, and replacing it in one step.

import type { Cidr } from "../base/ip.ts";
import { mapInSlices } from "../base/slices.ts";
import { type Count, SCREENINGS } from "../gen/layout.ts";
import { isSameList, numberDenied } from "../state/denied-prefixes.ts";
import { cidrFrom } from "../state/state-lookup.ts";
import { cidrOfV4Key, cidrOfV6Key, cidrV4KeyOf, cidrV6KeyOf } from "./codec.ts";
import { waitForPackets } from "./policy-maps.ts";
import type { Tables } from "./typed-maps.ts";

type DeniedTables = Pick<Tables, "uplink" | "deniedV4" | "deniedV6" | "deniedCounts" | "policy">;

const NOTHING: Count = { packets: 0n, bytes: 0n };

const versionOf = (tables: Pick<DeniedTables, "uplink">): 0 | 1 =>
  (tables.uplink.get(0)?.version ?? 0) & 1 ? 1 : 0;

/**
 * The active list: prefix (canonical text) to the number of its counter. Undefined if it cannot be read, since its
 * maps are not pinned. Errors: OperationError.
 */
export async function readDenied({
  uplink,
  deniedV4,
  deniedV6,
}: Pick<DeniedTables, "uplink" | "deniedV4" | "deniedV6">): Promise<ReadonlyMap<string, number> | undefined> {
  const version = versionOf({ uplink });
  using v4 = deniedV4.open(version);
  using v6 = deniedV6.open(version);
  if ((v4 === undefined && deniedV4.has(version)) || (v6 === undefined && deniedV6.has(version)))
    return undefined;
  return new Map([
    ...(await mapInSlices(
      (await v4?.read()) ?? [],
      ([key, number]) => [cidrOfV4Key(key).text, number] as const,
    )),
    ...(await mapInSlices(
      (await v6?.read()) ?? [],
      ([key, number]) => [cidrOfV6Key(key).text, number] as const,
    )),
  ]);
}

/**
 * Activates a list, unless it is active. The whole new list is written to the inactive version; one store then switches both
 * families for every packet; the old list is removed when no packet uses it any more. If this fails before the store, the
 * whole old list is still active. Returns whether anything had to be written. Errors: OperationError.
 */
export async function writeDenied(tables: DeniedTables, prefixes: readonly string[]): Promise<boolean> {
  const before = await readDenied(tables);
  if (before !== undefined && isSameList(before, prefixes)) return false;
  const { numbers, fresh } = numberDenied(before ?? new Map(), prefixes);
  clearCounts(tables, fresh);
  const version = versionOf(tables);
  const entries = await mapInSlices([...numbers], ([text, number]) => ({ cidr: cidrFrom(text), number }));
  const of = (family: 4 | 6): { cidr: Cidr; number: number }[] =>
    entries.filter(({ cidr }) => cidr.family === family);
  const [v4, v6] = [of(4), of(6)];
  await tables.deniedV4.put(
    version ^ 1,
    Math.max(1, v4.length),
    v4.map(({ cidr, number }) => [cidrV4KeyOf(cidr), number]),
  );
  await tables.deniedV6.put(
    version ^ 1,
    Math.max(1, v6.length),
    v6.map(({ cidr, number }) => [cidrV6KeyOf(cidr), number]),
  );
  tables.uplink.set(0, { version: version ^ 1 });
  await waitForPackets(tables);
  await tables.deniedV4.deleteBatch([version]);
  await tables.deniedV6.deleteBatch([version]);
  return true;
}

function clearCounts({ deniedCounts }: DeniedTables, numbers: readonly number[]): void {
  const cpus = deniedCounts.get(0)?.length ?? 0;
  const zero = new Array<Count>(cpus).fill(NOTHING);
  for (const number of numbers) deniedCounts.set(number, zero);
}

const sum = (counts: readonly Count[]): Count =>
  counts.reduce(
    (total, { packets, bytes }) => ({ packets: total.packets + packets, bytes: total.bytes + bytes }),
    NOTHING,
  );

/** Sums over all uplinks, by `Screened`. */
export function readScreened({ uplinkCounters }: Pick<Tables, "uplinkCounters">): Count[] {
  const cpus = uplinkCounters.get(0) ?? [];
  return Array.from({ length: SCREENINGS }, (_, screened) =>
    sum(cpus.map(({ count }) => count[screened] ?? NOTHING)),
  );
}

/** Dropped packets by the number of the prefix; without zeros. Errors: OperationError. */
export async function readDeniedCounts({
  deniedCounts,
}: Pick<Tables, "deniedCounts">): Promise<ReadonlyMap<number, Count>> {
  const entries = await deniedCounts.read({ skipZero: true });
  return new Map(entries.map(([number, cpus]) => [number, sum(cpus)]));
}
