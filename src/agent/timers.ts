// When the agent looks again although nothing has changed.

import type { Bell } from "../base/wake.ts";

/** How often the kernel is read back and repaired. */
const RESYNC_MS = 30_000;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 30_000;

/** The two reasons to look again when nothing has changed: time for a resync, and a round that failed. */
export function openTimers(bell: Bell) {
  let due = 0;
  let retryMs = RETRY_FIRST_MS;
  let retry: NodeJS.Timeout | undefined;
  const resync = setInterval(() => {
    due += 1;
    bell.ring();
  }, RESYNC_MS);
  return {
    /** Reading the kernel takes its time: a change goes first, but puts off a resync once only. */
    resyncIsDue(isChange: boolean) {
      if (due <= (isChange ? 1 : 0)) return false;
      due = 0;
      return true;
    },
    resyncWaits: () => due > 0,
    retryUnless(settled: boolean) {
      clearTimeout(retry);
      if (!settled) retry = setTimeout(() => bell.ring(), retryMs);
      retryMs = settled ? RETRY_FIRST_MS : Math.min(retryMs * 2, RETRY_LAST_MS);
    },
    close() {
      clearInterval(resync);
      clearTimeout(retry);
    },
  };
}
