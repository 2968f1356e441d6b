// A token bucket: so many at once, then one every so often.

export interface TokenBucket {
  /** When one can be taken. All times are milliseconds of a clock that only goes forward. */
  readyAt(now: number): number;
  take(now: number): void;
}

/** `burst` of them at first, and another one every `tokenMs`. */
export function openTokenBucket({
  burst,
  tokenMs,
}: {
  readonly burst: number;
  readonly tokenMs: number;
}): TokenBucket {
  // The moment from which the bucket would be full.
  let fullAt = Number.NEGATIVE_INFINITY;
  return {
    readyAt: (now) => Math.max(now, fullAt - (burst - 1) * tokenMs),
    take(now) {
      fullAt = Math.max(fullAt, now) + tokenMs;
    },
  };
}
