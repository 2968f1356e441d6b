// The measured rate of the kernel's clock, by clocks that the test moves.

import { expect, it } from "vitest";
import { measureTicks } from "../../../src/datapath/clock.ts";

/** A kernel with this rate; `delays` are what the readings of the kernel's clock take until it answers, in nanoseconds. */
function kernel(rate: number, delays: readonly bigint[] = []) {
  const left = [...delays];
  let delayed = 0n;
  const nanoseconds = (): bigint => process.hrtime.bigint() + delayed;
  const ticks = (): number => {
    const now = Number((nanoseconds() * BigInt(rate)) / 1_000_000_000n) >>> 0;
    delayed += left.shift() ?? 0n;
    return now;
  };
  return [ticks, nanoseconds] as const;
}

it.each([100, 250, 300, 1000])("is one of the usual ones: %i", async (rate) => {
  expect(await measureTicks(...kernel(rate))).toBe(rate);
});

it("is not changed by time that the process is off the CPU between the two clocks", async () => {
  expect(await measureTicks(...kernel(250, [300_000_000n, 2_000_000n]))).toBe(250);
});

it("is an error if the process never gets both clocks at once", async () => {
  const delays = Array.from({ length: 2_000 }, () => 2_000_000n);
  await expect(measureTicks(...kernel(250, delays))).rejects.toThrow("could not be read");
});
