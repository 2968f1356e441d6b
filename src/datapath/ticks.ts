// The kernel's jiffies, in which flows expire.

/** To within a second: they started five minutes before 2^32 (INITIAL_JIFFIES of linux/jiffies.h) and, like CLOCK_MONOTONIC, stop while the machine is suspended. */
export function ticksNow(ticksPerSecond: number): bigint {
  const rate = BigInt(ticksPerSecond);
  return (process.hrtime.bigint() * rate) / 1_000_000_000n + 2n ** 32n - 300n * rate;
}
