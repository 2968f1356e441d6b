// Blocks of the history on disk: what is written is read, and what is damaged is skipped and counted.
import { describe, expect, it } from "vitest";
import { randomFrom } from "../../../bench/common/random.ts";
import {
  frameOf,
  framesIn,
  type HistoryBlock,
  type HistoryRow,
  headAt,
  rowsOf,
} from "../../../src/history/history-block.ts";

const row = (pod: string, packets: number, more: Partial<HistoryRow> = {}): HistoryRow => ({
  pod,
  direction: "ingress",
  reason: "denied",
  peer: "",
  port: "",
  policies: [],
  packets,
  bytes: packets * 100,
  ...more,
});

const block = (sequence: number, rows: readonly HistoryRow[]): HistoryBlock => ({
  sequence,
  from: sequence * 60_000,
  to: (sequence + 1) * 60_000,
  away: sequence % 2 === 1,
  rows,
});

const ROWS = [
  row("shop/a", 3, { peer: "shop/b", port: "TCP/80", policies: ["shop/p", "shop/q"] }),
  row("shop/a", 1, { direction: "egress", reason: "policy", peer: "10.0.0.9", bytes: 2 ** 40 }),
  row("", 7, { reason: "unknown", peer: '\u0000"<script>' }),
];

describe("a block", () => {
  it("is read as it was written", () => {
    for (const [sequence, rows] of [ROWS, []].entries()) {
      const frame = frameOf(block(sequence, rows));
      const { rows: _, ...head } = block(sequence, rows);
      expect(headAt(frame, 0)).toEqual({ ...head, length: frame.length });
      expect(rowsOf(frame).sort((a, b) => b.packets - a.packets)).toEqual(
        [...rows].sort((a, b) => b.packets - a.packets),
      );
    }
  });

  it("that is cut off anywhere is damaged, and those before it are not", () => {
    const [first, second] = [frameOf(block(1, ROWS)), frameOf(block(2, ROWS))];
    const file = Buffer.concat([first, second]);
    for (let length = first.length; length < file.length; length += 1)
      expect(framesIn(file.subarray(0, length))).toEqual({
        frames: [{ ...headAt(first, 0), offset: 0 }],
        damaged: length - first.length,
      });
  });

  it("is damaged by any changed byte, and its neighbours are not; nothing throws", () => {
    const seed = Number(process.env["WEIR_FUZZ_SEED"] ?? Date.now() % 2 ** 31);
    const random = randomFrom(seed);
    const frames = [1, 2, 3].map((sequence) => frameOf(block(sequence, ROWS)));
    const file = Buffer.concat(frames);
    for (let run = 0; run < 500; run += 1) {
      const broken = Buffer.from(file);
      const at = random.below(broken.length);
      broken[at] = (broken[at] ?? 0) ^ (1 + random.below(255));
      const found = framesIn(broken);
      const intact = found.frames.reduce((sum, { length }) => sum + length, 0);
      expect({ seed, at, count: found.frames.length, sum: intact + found.damaged }).toEqual({
        seed,
        at,
        count: 2,
        sum: file.length,
      });
    }
  });

  it("with a sound checksum and other content is refused, not misread", () => {
    const good = frameOf(block(1, ROWS));
    expect(() => rowsOf(good.subarray(0, 20))).toThrow("damaged");
    expect(() => rowsOf(Buffer.alloc(0))).toThrow("damaged");
  });
});
