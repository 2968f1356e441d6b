// The history's files: bounded, whole after any end, and never a reason for anything else to fail.
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { randomFrom } from "../../../bench/common/random.ts";
import type { HistoryBlock } from "../../../src/history/history-block.ts";
import { HISTORY_MS, type HistoryStore, openHistoryStore } from "../../../src/history/history-store.ts";

const MINUTE = 60_000;
const START = Date.parse("2026-11-30T00:00:00Z");

let directory: string;

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "wt-history-"));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const block = (sequence: number, to = START + sequence * MINUTE, rows = 1): HistoryBlock => ({
  sequence,
  from: to - MINUTE,
  to,
  away: false,
  rows: Array.from({ length: rows }, (_, at) => ({
    pod: `shop/${at}`,
    direction: "ingress",
    reason: "denied",
    peer: "",
    port: "",
    policies: [],
    packets: sequence,
    bytes: 1,
  })),
});

const open = (bytesMax = 1024 * 1024, now = START): Promise<HistoryStore> =>
  openHistoryStore({ directory, bytesMax }, now);

async function filled(store: HistoryStore, first: number, last: number): Promise<void> {
  for (let sequence = first; sequence <= last; sequence += 1) {
    const each = block(sequence);
    await store.append(each, each.to);
  }
}

const sequences = (store: HistoryStore): number[] => store.heads().map(({ sequence }) => sequence);
const range = (first: number, last: number): number[] =>
  Array.from({ length: last - first + 1 }, (_, at) => first + at);
const bytesIn = (): number =>
  readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);

describe("the history's files", () => {
  it("are read again after a restart, and go on", async () => {
    await filled(await open(), 1, 70);
    const again = await open();
    expect(sequences(again)).toEqual(range(1, 70));
    await filled(again, 71, 75);
    const last = await open();
    expect(sequences(last)).toEqual(range(1, 75));
    for (const head of last.heads()) expect((await last.rows(head))?.[0]?.packets).toBe(head.sequence);
    expect(last.problems()).toEqual([]);
    expect(readdirSync(directory).length).toBe(2);
  });

  it("keep a day, whole files at a time", async () => {
    const store = await open();
    await filled(store, 1, 26 * 60);
    const [first = 0] = sequences(store);
    expect(26 * 60 - first).toBeGreaterThanOrEqual(HISTORY_MS / MINUTE - 1);
    expect(26 * 60 - first).toBeLessThanOrEqual(HISTORY_MS / MINUTE + 60);
    expect(sequences(await open())).toEqual(sequences(store));
  });

  it("keep within their limit, and the newest", async () => {
    const store = await open(20_000);
    for (const sequence of range(1, 300)) {
      const each = block(sequence, undefined, 20);
      await store.append(each, each.to);
      expect(bytesIn()).toBeLessThanOrEqual(20_000);
    }
    expect(sequences(store).at(-1)).toBe(300);
    expect(sequences(store).length).toBeGreaterThan(20);
  });

  it("are bounded though the clock is set back or ahead", async () => {
    const store = await open();
    const ahead = START + 400 * 24 * 60 * MINUTE;
    for (const sequence of range(1, 100))
      await store.append(block(sequence, ahead + sequence), ahead + sequence);
    await filled(store, 101, 110);
    expect(sequences(store)).toEqual(range(1, 110));
    // And a jump ahead makes everything old at once, except for what comes then.
    const store2 = await open();
    await store2.append(block(111, ahead * 2), ahead * 2);
    expect(sequences(store2)).toEqual([111]);
    for (const sequence of range(112, 3_100)) await store2.append(block(sequence, ahead * 2), START);
    expect(sequences(store2).length).toBeLessThanOrEqual(2 * 24 * 60);
  });

  it("that are cut off lose the last block alone, and say so until they are old", async () => {
    await filled(await open(), 1, 5);
    const [name = ""] = readdirSync(directory);
    const path = join(directory, name);
    truncateSync(path, statSync(path).size - 1);
    const store = await open();
    expect(sequences(store)).toEqual(range(1, 4));
    expect(store.problems().map(({ reason }) => reason)).toEqual([
      expect.stringMatching(/^[0-9]+ bytes of the history in .* are damaged$/),
    ]);
    // The next block must not overwrite it, though it has the number of the lost one.
    await filled(store, 5, 6);
    expect(sequences(await open())).toEqual(range(1, 6));
    expect((await open()).damaged()).toBeGreaterThan(0);
    const late = block(7, START + 3 * HISTORY_MS);
    await store.append(late, late.to);
    expect([sequences(store), store.damaged()]).toEqual([[7], 0]);
  });

  it("never make the agent fail, whatever is in them", async () => {
    const seed = Number(process.env["WEIR_FUZZ_SEED"] ?? Date.now() % 2 ** 31);
    const random = randomFrom(seed);
    await filled(await open(), 1, 30);
    const [name = ""] = readdirSync(directory);
    const path = join(directory, name);
    const good = readFileSync(path);
    for (let run = 0; run < 60; run += 1) {
      const bad = Buffer.from(good);
      for (let change = 0; change < 5; change += 1) bad[random.below(bad.length)] = random.below(256);
      writeFileSync(path, bad.subarray(0, random.below(bad.length)));
      const store = await open();
      const intact = store.heads().reduce((sum, { length }) => sum + length, 0);
      expect({ seed, run, sum: intact + store.damaged() }).toEqual({ seed, run, sum: statSync(path).size });
      for (const head of store.heads()) expect((await store.rows(head))?.length).toBe(1);
    }
  });

  it("that cannot be written are in memory, bounded, and are written when that is possible again", async () => {
    rmSync(directory, { recursive: true });
    writeFileSync(directory, "not a directory");
    const store = await open();
    await filled(store, 1, 150);
    expect(sequences(store)).toEqual(range(31, 150));
    expect(store.lost()).toBe(30);
    expect(store.problems().map(({ effect }) => effect)).toContain(
      "enforcement is not affected; 120 minutes are in memory alone, 30 are lost",
    );
    const [head] = store.heads();
    expect(head && (await store.rows(head))?.[0]?.packets).toBe(31);
    rmSync(directory);
    await filled(store, 151, 151);
    expect(sequences(await open())).toEqual(range(31, 151));
    expect(store.problems().some(({ reason }) => reason.includes("written"))).toBe(false);
  });

  it("that somebody removes are missed, not fatal", async () => {
    const store = await open();
    await filled(store, 1, 3);
    rmSync(join(directory, readdirSync(directory)[0] ?? ""));
    const [head] = store.heads();
    expect(head && (await store.rows(head))).toBeUndefined();
    await filled(store, 4, 5);
    expect(sequences(await open())).toEqual([4, 5]);
    expect(store.problems().length).toBeGreaterThan(0);
  });

  it("in one file that cannot be read hides no other, and goes in its turn", async () => {
    await filled(await open(), 1, 130);
    const [first = ""] = readdirSync(directory).sort();
    rmSync(join(directory, first));
    mkdirSync(join(directory, first));
    writeFileSync(join(directory, first, "inside"), "x");
    const store = await open();
    expect(store.heads().length).toBeGreaterThan(0);
    expect(store.heads().at(-1)?.sequence).toBe(130);
    expect(store.problems()).not.toEqual([]);
    const late = block(131, START + HISTORY_MS + 140 * MINUTE);
    await store.append(late, late.to);
    expect(readdirSync(directory)).not.toContain(first);
  });
});
