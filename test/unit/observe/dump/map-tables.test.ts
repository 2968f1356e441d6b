// The list of tables against the maps that the built object has.
import { expect, it } from "vitest";
import { MAPS } from "../../../../src/gen/layout.ts";
import { isTableName, TABLE_NAMES, TABLES } from "../../../../src/observe/dump/map-tables.ts";

/**
 * The ring buffer, rate limits, per-CPU scratch and caches, questions under way and the rings that limit names, and the flow table's secret,
 * which nobody may see.
 */
const WITHOUT_TABLE = [
  "events",
  "flow_secret",
  "neighbour_rates",
  "flow_cache_v4",
  "flow_cache_v6",
  "peer_cache_v4",
  "peer_cache_v6",
  "pod_sockets",
  "scratch",
  "dns_scratch",
  "questions",
  "name_rings",
  "name_counters",
];

it("every map of the object is in exactly one table, or is internal to the programs", () => {
  const shown = TABLES.flatMap(({ maps }) => maps);
  expect([...shown, ...WITHOUT_TABLE].sort()).toEqual(Object.keys(MAPS).sort());
});

it("only their own names are names of tables", () => {
  expect(TABLE_NAMES.every(isTableName)).toBe(true);
  expect(["", "cidrs_v4", "toString", "__proto__"].filter(isTableName)).toEqual([]);
});
