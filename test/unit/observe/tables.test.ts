// The list of tables against the maps that the built object has.
import { expect, it } from "vitest";
import { MAPS } from "../../../src/gen/layout.ts";
import { isTableName, TABLE_NAMES, TABLES } from "../../../src/observe/dump/tables.ts";

it("every map of the object but the ring buffer is in exactly one table, and no other", () => {
  const { events: _, ...maps } = MAPS;
  expect(TABLES.flatMap(({ maps }) => maps).sort()).toEqual(Object.keys(maps).sort());
});

it("only their own names are names of tables", () => {
  expect(TABLE_NAMES.every(isTableName)).toBe(true);
  expect(["", "cidrs_v4", "toString", "__proto__"].filter(isTableName)).toEqual([]);
});
