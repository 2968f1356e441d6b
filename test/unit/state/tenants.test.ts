// The numbers of namespaces among those that share the flow table.
import { expect, it } from "vitest";
import { TENANTS, tenantOf } from "../../../src/state/desired-state.ts";

const NAMES = Array.from({ length: 5_000 }, (_, number) => `namespace-${number}`);

it("are below TENANTS, and all of them are used", () => {
  const numbers = new Set(NAMES.map(tenantOf));
  expect([...numbers].sort((a, b) => a - b)).toEqual(Array.from({ length: TENANTS }, (_, number) => number));
});

it("are spread evenly", () => {
  const counts = [...Map.groupBy(NAMES, tenantOf).values()].map(({ length }) => length);
  expect(Math.max(...counts)).toBeLessThan((2 * NAMES.length) / TENANTS);
});

it("never change", () => {
  expect(["", "default", "kube-system", "ä"].map(tenantOf)).toEqual([25, 37, 43, 63]);
});
