// Totals over endpoints that come and go: they never decrease, and each policy has its share.
import { describe, expect, it } from "vitest";
import type { Cell } from "../../../src/agent/counter-growth.ts";
import { openTraffic } from "../../../src/agent/counter-totals.ts";

const cell = (endpoint: number, reason: string, packets: number): Cell => ({
  endpoint,
  family: "ipv4",
  direction: "ingress",
  reason,
  packets: BigInt(packets),
  bytes: BigInt(packets * 100),
});

const nobody = (): readonly string[] => [];

describe("totals", () => {
  it("add up over endpoints, by reason", () => {
    const traffic = openTraffic();
    traffic.take([cell(1, "denied", 3), cell(2, "denied", 4), cell(2, "policy", 5)], nobody);
    traffic.take([cell(1, "denied", 5), cell(2, "denied", 4), cell(2, "policy", 6)], nobody);
    expect(traffic.totals()).toEqual([
      { family: "ipv4", direction: "ingress", reason: "denied", packets: 9n, bytes: 900n },
      { family: "ipv4", direction: "ingress", reason: "policy", packets: 6n, bytes: 600n },
    ]);
  });

  it("keep the counts of a removed endpoint, and restart with the next of its number", () => {
    const traffic = openTraffic();
    const total = (): bigint => traffic.totals()[0]?.packets ?? 0n;
    traffic.take([cell(1, "denied", 10)], nobody);
    traffic.take([], nobody);
    expect(total()).toBe(10n);
    traffic.take([cell(1, "denied", 4)], nobody);
    expect(total()).toBe(14n);
    // Cleared and counted again between two looks.
    traffic.take([cell(1, "denied", 2)], nobody);
    expect(total()).toBe(16n);
  });
});

describe("policies", () => {
  const of = (endpoint: number): readonly string[] => (endpoint === 1 ? ["a/p", "a/q"] : ["b/r"]);
  const shares = (traffic: ReturnType<typeof openTraffic>, known = (_: string): boolean => true) =>
    traffic.policies(known).map(({ policy, reason, packets }) => [policy, reason, packets]);

  it("each have the decisions at their endpoints, by the policies of that time", () => {
    const traffic = openTraffic();
    traffic.take([cell(1, "denied", 2), cell(2, "policy", 3), cell(2, "established", 50)], of);
    traffic.take([cell(1, "denied", 7), cell(2, "policy", 3)], () => ["c/s"]);
    expect(shares(traffic)).toEqual([
      ["a/p", "denied", 2n],
      ["a/q", "denied", 2n],
      ["b/r", "policy", 3n],
      ["c/s", "denied", 5n],
    ]);
  });

  it("are forgotten when they are gone", () => {
    const traffic = openTraffic();
    traffic.take([cell(1, "denied", 2), cell(2, "policy", 3)], of);
    expect(shares(traffic, (policy) => policy === "b/r")).toEqual([["b/r", "policy", 3n]]);
    expect(shares(traffic)).toEqual([["b/r", "policy", 3n]]);
  });

  it("share one series beyond the bound", () => {
    const traffic = openTraffic(undefined, 1);
    traffic.take([cell(1, "denied", 2), cell(2, "denied", 3)], of);
    expect(shares(traffic, (policy) => policy === "a/p")).toEqual([
      ["a/p", "denied", 2n],
      ["", "denied", 5n],
    ]);
  });
});

describe("totals over a restart", () => {
  it("go on from what was kept, and never decrease: also with another map, and with policies", () => {
    const before = openTraffic();
    before.take([cell(1, "denied", 10), cell(2, "denied", 5)], () => ["a/p"]);
    const kept = structuredClone({ kept: before.kept(), growth: before.growth() });
    const same = openTraffic(kept);
    // Endpoint 2 has gone meanwhile.
    same.take([cell(1, "denied", 11)], () => ["a/p"]);
    expect(same.totals().map(({ packets }) => packets)).toEqual([16n]);
    expect(same.policies(() => true)).toMatchObject([{ policy: "a/p", packets: 16n }]);
    const other = openTraffic({ kept: kept.kept });
    other.take([cell(1, "denied", 11)], nobody);
    expect(other.totals().map(({ packets }) => packets)).toEqual([26n]);
  });
});
