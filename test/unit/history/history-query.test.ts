// Questions to the history: sums by everything, what is not covered, and answers that stay small.
import { describe, expect, it } from "vitest";
import type { BlockHead, HistoryBlock, HistoryRow } from "../../../src/history/history-block.ts";
import {
  answerHistory,
  answerTop,
  type HistorySource,
  ROWS_MAX,
} from "../../../src/history/history-query.ts";

const MINUTE = 60_000;

const row = (pod: string, packets: number, more: Partial<HistoryRow> = {}): HistoryRow => ({
  pod,
  direction: "ingress",
  reason: "denied",
  peer: "",
  port: "",
  policies: ["shop/p"],
  packets,
  bytes: packets * 10,
  ...more,
});

const block = (sequence: number, from: number, rows: readonly HistoryRow[], away = false): HistoryBlock => ({
  sequence,
  from: from * MINUTE,
  to: (from + 1) * MINUTE,
  away,
  rows,
});

const source = (
  blocks: readonly HistoryBlock[],
  current: HistoryBlock = block(99, 99, []),
): HistorySource => ({
  store: {
    heads: () => blocks.map(({ rows: _, ...head }) => ({ ...head, length: 1 })),
    rows: (head: BlockHead) =>
      Promise.resolve(blocks.find(({ sequence }) => sequence === head.sequence)?.rows),
    damaged: () => 0,
    lost: () => 0,
  },
  current,
});

const ALL = { since: 0, until: 1_000 * MINUTE };

describe("the history", () => {
  const blocks = [
    block(1, 0, [row("shop/a", 3, { peer: "x/1", port: "TCP/80" }), row("shop/a", 2)]),
    block(2, 1, [
      row("shop/a", 4, { peer: "x/1", port: "TCP/80" }),
      row("shop/b", 1, { policies: ["shop/p", "shop/q"] }),
      row("shop/b", 50, { reason: "established", policies: [] }),
      row("", 6, { reason: "unknown", policies: [] }),
    ]),
  ];

  it("adds up by pod, peer and policy; a packet counts at each of its policies", async () => {
    const dropped = { ...ALL, verdicts: new Set(["dropped"] as const) };
    const by = async (what: "pod" | "peer" | "policy") =>
      (await answerHistory(source(blocks), { ...dropped, by: what })).rows.map((each) => [
        each[what],
        each.packets,
      ]);
    expect(await by("pod")).toEqual([
      ["shop/a", 9],
      ["(no pod)", 6],
      ["shop/b", 1],
    ]);
    expect(await by("peer")).toEqual([
      ["(others)", 9],
      ["x/1", 7],
    ]);
    expect(await by("policy")).toEqual([
      ["shop/p", 10],
      ["(none)", 6],
      ["shop/q", 1],
    ]);
    const all = await answerHistory(source(blocks), dropped);
    expect(all.total).toEqual({ packets: 16, bytes: 160 });
    expect(all.rows[0]).toMatchObject({ pod: "shop/a", peer: "x/1", port: "TCP/80", packets: 7 });
  });

  it("has the minutes that overlap the range, and the present one", async () => {
    const range = { since: 1.5 * MINUTE, until: 1.6 * MINUTE };
    expect((await answerHistory(source(blocks), range)).total.packets).toBe(61);
    const now = block(3, 2, [row("shop/c", 8)]);
    const present = await answerHistory(source(blocks, now), { since: 2.5 * MINUTE, until: 3 * MINUTE });
    expect(present.rows).toMatchObject([{ pod: "shop/c", packets: 8 }]);
    expect(
      (await answerHistory(source(blocks), { since: 500 * MINUTE, until: 501 * MINUTE })).covered,
    ).toBeUndefined();
  });

  it("says what is missing, and when no agent ran, also when clocks were set", async () => {
    const view = await answerHistory(
      source([block(1, 0, []), block(2, 5, [], true), block(3, 6, []), block(4, 2, [])], block(5, 7, [])),
      ALL,
    );
    const minute = (at: number) => new Date(at * MINUTE).toISOString();
    expect(view.covered).toEqual({ from: minute(0), to: minute(8) });
    expect(view.gaps).toEqual([
      { from: minute(1), to: minute(2) },
      { from: minute(3), to: minute(5) },
    ]);
    expect(view.away).toEqual([{ from: minute(5), to: minute(6) }]);
  });

  it("answers with the largest rows, and the sum of the others", async () => {
    const many = Array.from({ length: ROWS_MAX + 10 }, (_, at) => row(`shop/${at}`, 1 + (at % 7)));
    const view = await answerHistory(source([block(1, 0, many)]), ALL);
    const shown = view.rows.reduce((sum, { packets }) => sum + packets, 0);
    expect([view.rows.length, view.omitted?.rows]).toEqual([ROWS_MAX, 10]);
    expect(shown + (view.omitted?.packets ?? 0)).toBe(view.total.packets);
  });

  it("has the pods with the most traffic: what passed, connections, and drops apart", async () => {
    const rows = [
      row("shop/a", 5, { reason: "established", bytes: 5_000 }),
      row("shop/a", 2, { reason: "policy", direction: "egress", bytes: 100 }),
      row("shop/a", 9, { bytes: 99_999 }),
      row("shop/b", 90, { reason: "not_isolated", bytes: 1_000 }),
    ];
    const top = (by: "bytes" | "packets" | "connections", limit = 10) =>
      answerTop(source([block(1, 0, rows)]), { ...ALL, by, limit });
    expect((await top("bytes")).pods).toEqual([
      {
        pod: "shop/a",
        ingress: { packets: 5, bytes: 5_000 },
        egress: { packets: 2, bytes: 100 },
        connections: 2,
        dropped: 9,
      },
      {
        pod: "shop/b",
        ingress: { packets: 90, bytes: 1_000 },
        egress: { packets: 0, bytes: 0 },
        connections: 0,
        dropped: 0,
      },
    ]);
    expect((await top("packets")).pods.map(({ pod }) => pod)).toEqual(["shop/b", "shop/a"]);
    expect(await top("connections", 1)).toMatchObject({ pods: [{ pod: "shop/a" }], omitted: 1 });
  });
});
