// The growth of counters: over restarts, clearings and endpoints that come and go.
import { describe, expect, it } from "vitest";
import { type Cell, openGrowth } from "../../../src/agent/counter-growth.ts";

const cell = (endpoint: number, packets: number): Cell => ({
  endpoint,
  family: "ipv4",
  direction: "ingress",
  reason: "denied",
  packets: BigInt(packets),
  bytes: BigInt(packets * 100),
});

const packets = (cells: readonly Cell[]): number[] => cells.map((each) => Number(each.packets));

describe("the growth of counters", () => {
  it("is what came since the last look", () => {
    const growth = openGrowth();
    expect(packets(growth.take([cell(1, 3), cell(2, 1)]))).toEqual([3, 1]);
    expect(growth.take([cell(1, 5), cell(2, 1)])).toEqual([{ ...cell(1, 2), bytes: 200n }]);
  });

  it("goes on after a restart, from what was kept", () => {
    const growth = openGrowth();
    growth.take([cell(1, 2 ** 52), cell(2, 4)]);
    const kept = JSON.parse(JSON.stringify(growth.kept())) as ReturnType<typeof growth.kept>;
    expect(packets(openGrowth(kept).take([cell(1, 2 ** 52 + 1), cell(2, 4), cell(3, 9)]))).toEqual([1, 9]);
  });

  it("begins at zero for an endpoint whose counters were cleared, though it has counted more than before", () => {
    const growth = openGrowth();
    growth.take([cell(1, 10)]);
    growth.cleared(1);
    expect(packets(growth.take([cell(1, 12)]))).toEqual([12]);
    growth.take([]);
    expect(packets(growth.take([cell(1, 15)]))).toEqual([15]);
    expect(packets(growth.take([cell(1, 7)]))).toEqual([7]);
  });
});
