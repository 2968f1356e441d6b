// Several nodes' events in one order: held back, bounded, and nothing is lost.
import { describe, expect, it } from "vitest";
import { openMergedStream } from "../../../../src/cli/plugin/merged-stream.ts";

const at = (ms: number, name = "") => ({ time: new Date(ms).toISOString(), name });

function world(max = 100) {
  const out: string[] = [];
  const clock = { now: 0 };
  const stream = openMergedStream<ReturnType<typeof at>>({
    emit: ({ time, name }) => void out.push(`${Date.parse(time)}${name}`),
    holdMs: 1_000,
    now: () => clock.now,
    max,
  });
  return { out, clock, stream };
}

describe("a merged stream", () => {
  it("emits what comes late before what is newer, within the time it holds", () => {
    const { out, clock, stream } = world();
    stream.add(at(500, "a"));
    clock.now = 900;
    stream.add(at(100, "b"));
    stream.flush();
    expect(out).toEqual([]);
    clock.now = 1_000;
    stream.flush();
    expect(out).toEqual(["100b", "500a"]);
  });

  it("keeps the order of arrival of equal times, and holds the newer ones", () => {
    const { out, clock, stream } = world();
    for (const name of ["a", "b", "c"]) stream.add(at(7, name));
    clock.now = 500;
    stream.add(at(8, "d"));
    clock.now = 1_400;
    stream.flush();
    expect(out).toEqual(["7a", "7b", "7c"]);
    stream.end();
    expect(out).toEqual(["7a", "7b", "7c", "8d"]);
  });

  it("holds no more than its maximum, and loses nothing", () => {
    const { out, stream } = world(10);
    for (let count = 0; count < 1_000; count += 1) stream.add(at(1_000 - count));
    expect(out.length).toBeGreaterThanOrEqual(990);
    stream.end();
    expect(new Set(out).size).toBe(1_000);
  });
});
