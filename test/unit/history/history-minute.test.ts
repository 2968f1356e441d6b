// The minute being counted: sums are exact whatever is reported, and what a hostile pod can add is bounded.
import { describe, expect, it } from "vitest";
import { randomFrom } from "../../../bench/common/random.ts";
import type { HistoryRow } from "../../../src/history/history-block.ts";
import {
  type Counted,
  openMinute,
  PEERS_EACH,
  PEERS_NODE,
  POLICIES_EACH,
  peersEach,
  type Reported,
} from "../../../src/history/history-minute.ts";

const counted = (packets: number, more: Partial<Counted> = {}): Counted => ({
  pod: "shop/a",
  direction: "ingress",
  reason: "denied",
  policies: ["shop/p"],
  packets,
  bytes: packets * 60,
  ...more,
});

const reported = (peer: string, more: Partial<Reported> = {}): Reported => ({
  pod: "shop/a",
  direction: "ingress",
  reason: "denied",
  policies: ["shop/p"],
  peer,
  port: "TCP/80",
  bytes: 60,
  ...more,
});

const sum = (rows: readonly HistoryRow[], of: "packets" | "bytes" = "packets"): number =>
  rows.reduce((all, row) => all + row[of], 0);

const peersIn = (rows: readonly HistoryRow[]) =>
  rows.map(({ peer, packets }) => [peer, packets]).sort((a, b) => (String(a) < String(b) ? -1 : 1));

describe("a minute", () => {
  it("takes what is reported out of what is counted", () => {
    const minute = openMinute();
    minute.count(counted(10));
    for (const peer of ["x/1", "x/1", "x/2"]) minute.report(reported(peer));
    expect(peersIn(minute.rows())).toEqual([
      ["", 7],
      ["x/1", 2],
      ["x/2", 1],
    ]);
    expect(minute.seal()).toEqual(
      expect.arrayContaining([expect.objectContaining({ peer: "x/1", bytes: 120 })]),
    );
    expect(minute.rows()).toEqual([]);
  });

  it("keeps reports that are ahead of their counts for the next one, and no longer", () => {
    const minute = openMinute();
    for (let count = 0; count < 3; count += 1) minute.report(reported("x/1"));
    minute.count(counted(1));
    expect(peersIn(minute.seal())).toEqual([["x/1", 1]]);
    minute.count(counted(1));
    expect(peersIn(minute.seal())).toEqual([["x/1", 1]]);
    minute.count(counted(1));
    expect(peersIn(minute.seal())).toEqual([["", 1]]);
  });

  it("keeps policies apart, and gives a report to the count of its policies", () => {
    const minute = openMinute();
    minute.count(counted(2, { policies: ["shop/old"] }));
    minute.count(counted(2, { policies: ["shop/new"] }));
    minute.report(reported("x/1", { policies: ["shop/new"] }));
    expect(minute.seal()).toEqual(
      expect.arrayContaining([
        expect.objectContaining({ peer: "x/1", policies: ["shop/new"], packets: 1 }),
        expect.objectContaining({ peer: "", policies: ["shop/new"], packets: 1 }),
        expect.objectContaining({ peer: "", policies: ["shop/old"], packets: 2 }),
      ]),
    );
  });

  it("has cluster policies by their name alone", () => {
    const minute = openMinute();
    minute.count(counted(1, { policies: ["/guard", "shop/web"] }));
    expect(minute.seal()).toMatchObject([{ policies: ["guard", "shop/web"] }]);
  });

  it("bounds the peers of a flood, keeps the largest, and the sums stay exact", () => {
    const minute = openMinute();
    minute.count(counted(100_000));
    for (let at = 0; at < 200; at += 1) minute.report(reported(`2001:db8::${at.toString(16)}`));
    for (let count = 0; count < 50; count += 1) minute.report(reported("2001:db8::7"));
    for (let at = 0; at < 100_000; at += 1) minute.report(reported(`fd00::${at.toString(16)}`));
    const rows = minute.seal();
    expect(rows.length).toBe(PEERS_EACH + 1);
    expect([sum(rows), sum(rows, "bytes")]).toEqual([100_000, 6_000_000]);
    expect(Math.max(...rows.filter(({ peer }) => peer === "2001:db8::7").map(({ packets }) => packets))).toBe(
      51,
    );
  });

  it("is not crowded out by what others send: allowed flows keep their places", () => {
    const minute = openMinute();
    minute.count(counted(10_000));
    for (let at = 0; at < 10_000; at += 1) minute.report(reported(`10.0.${at >> 8}.${at & 255}`));
    minute.count(counted(1, { reason: "policy" }));
    minute.report(reported("shop/friend", { reason: "policy" }));
    expect(minute.seal().filter(({ reason }) => reason === "policy")).toMatchObject([
      { peer: "shop/friend" },
    ]);
  });

  it("bounds what changing policies add, and the policies of a row", () => {
    const minute = openMinute();
    const many = Array.from({ length: 500 }, (_, at) => `shop/p${at}`);
    for (let at = 0; at < 5_000; at += 1) minute.count(counted(1, { policies: [`shop/v${at}`, ...many] }));
    const rows = minute.seal();
    expect(rows.length).toBeLessThanOrEqual(65);
    expect(sum(rows)).toBe(5_000);
    expect(Math.max(...rows.map(({ policies }) => policies.length))).toBe(POLICIES_EACH + 1);
  });

  it("gives each pod of a full node fewer peers, and at least one", () => {
    expect([1, 125, 250, 10_000].map(peersEach)).toEqual([16, 16, 8, 1]);
    expect(peersEach(250) * 250 * 2).toBeLessThanOrEqual(PEERS_NODE);
  });

  it("is exact for random counts and reports", () => {
    const seed = Number(process.env["WEIR_FUZZ_SEED"] ?? Date.now() % 2 ** 31);
    const random = randomFrom(seed);
    const minute = openMinute();
    let [expected, bytes] = [0, 0];
    const got = { packets: 0, bytes: 0 };
    for (let step = 0; step < 3_000; step += 1) {
      const more = {
        pod: `shop/${random.below(3)}`,
        reason: ["denied", "policy", "audit", "spoofed"][random.below(4)] ?? "denied",
        policies: [`shop/p${random.below(3)}`],
      };
      if (random.below(3) === 0) {
        const packets = random.below(40);
        // Bytes need not fit what is reported: one counts whole frames.
        const size = random.below(5_000);
        minute.count(counted(packets, { ...more, bytes: packets === 0 ? 0 : size }));
        expected += packets;
        bytes += packets === 0 ? 0 : size;
      } else minute.report(reported(`x/${random.below(30)}`, more));
      if (random.below(200) > 0 && step < 2_999) continue;
      const rows = minute.seal();
      got.packets += sum(rows);
      got.bytes += sum(rows, "bytes");
      expect(rows.every((each) => each.packets >= 0 && each.bytes >= 0)).toBe(true);
    }
    expect({ seed, ...got }).toEqual({ seed, packets: expected, bytes });
  });
});
