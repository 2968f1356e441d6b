// When the agent looks again although nothing has changed.

import type { Bell } from "../base/wake.ts";

/** How often the kernel is read back and repaired. */
const RESYNC_MS = 30_000;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 30_000;

/** The two reasons to look again when nothing has changed: time for a resync, and a round that failed. */
export function openTimers(bell: Bell) {
  let due = false;
  let retryMs = RETRY_FIRST_MS;
  let retry: NodeJS.Timeout | undefined;
  const resync = setInterval(() => {
    due = true;
    bell.ring();
  }, RESYNC_MS);
  return {
    resyncIsDue() {
      const was = due;
      due = false;
      return was;
    },
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
