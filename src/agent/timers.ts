// When the agent looks again although nothing has changed.

import type { Trigger } from "../base/trigger.ts";

/** How often the kernel is read back and repaired. */
const RESYNC_MS = 30_000;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 30_000;

/** So long after a change there may be another, which should not have to wait. */
const QUIET_MS = 2_000;
/** Where changes never end, every fourth resync is made nevertheless. */
const TURNS_MAX = 4;

/** The two reasons to look again when nothing has changed: time for a resync, and a round that failed. */
export function openResyncAndRetry(bell: Trigger) {
  let due = 0;
  let quietAt = Number.NEGATIVE_INFINITY;
  let quiet: NodeJS.Timeout | undefined;
  let retryMs = RETRY_FIRST_MS;
  let retry: NodeJS.Timeout | undefined;
  const resync = setInterval(() => {
    due += 1;
    bell.ring();
  }, RESYNC_MS);
  return {
    /**
     * Whether to read the kernel back in this round, which a change may have asked for. Reading takes its time, so it waits for
     * a moment without changes; where there is none, for so many turns.
     */
    resyncIsDue(isChange: boolean) {
      const now = performance.now();
      if (isChange) quietAt = now + QUIET_MS;
      if (due === 0) return false;
      if (now < quietAt && due < TURNS_MAX) {
        clearTimeout(quiet);
        quiet = setTimeout(() => bell.ring(), quietAt - now);
        return false;
      }
      due = 0;
      return true;
    },
    retryUnless(settled: boolean) {
      clearTimeout(retry);
      if (!settled) retry = setTimeout(() => bell.ring(), retryMs);
      retryMs = settled ? RETRY_FIRST_MS : Math.min(retryMs * 2, RETRY_LAST_MS);
    },
    close() {
      clearInterval(resync);
      clearTimeout(retry);
      clearTimeout(quiet);
    },
  };
}
