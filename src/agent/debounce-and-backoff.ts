// When the next reconciliation starts: debounce of changes, its bypass for CNI ADD, periodic resync, and retry with
// backoff.

import type { Trigger } from "../base/trigger.ts";

// How soon a reconciliation follows its trigger: at once if the agent is idle, after a pause if changes keep
// coming.

export interface Debounce {
  /** How long to wait before the reconciliation just requested, in milliseconds. */
  wait(now: number): number;
  /** A reconciliation has ended; both times in milliseconds of a monotonic clock. */
  ended(begun: number, now: number): void;
}

/**
 * Changes that arrive together (a file and its directory, the objects of one command) are applied together.
 */
const TOGETHER_MS = 5;

/**
 * A pause is as long as the last reconciliation, so that these take at most half of a CPU; but a change never
 * waits longer than this.
 */
const PAUSE_MAX_MS = 250;

export function openDebounce(): Debounce {
  let restedAt = Number.NEGATIVE_INFINITY;
  return {
    wait: (now) => Math.max(TOGETHER_MS, restedAt - now),
    ended(begun, now) {
      restedAt = now + Math.min(now - begun, PAUSE_MAX_MS);
    },
  };
}

// Reconciliations pause between each other, unless a pod that has just been added waits for its first one.

export interface DebounceBypass {
  /** A pod has been added. */
  asked(): void;
  /** A reconciliation begins, which covers all pods added until now. */
  seen(): void;
  /** Waits for `ms`, or until a pod is added that no reconciliation has covered. */
  rest(ms: number): Promise<void>;
}

export function openDebounceBypass(): DebounceBypass {
  let fresh = false;
  let wake: () => void = () => undefined;
  return {
    asked() {
      fresh = true;
      wake();
    },
    seen() {
      fresh = false;
    },
    rest(ms) {
      if (fresh) return Promise.resolve();
      return new Promise((resolve) => {
        const timer = setTimeout(resolve, ms);
        wake = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    },
  };
}

// Reconciliations without a change.

/** How often the kernel is read back and repaired. */
const RESYNC_MS = 30_000;
const RETRY_FIRST_MS = 500;
const RETRY_LAST_MS = 30_000;

/** For this long after a change there may be another one, which should not have to wait. */
const QUIET_MS = 2_000;
/** If changes never end, every fourth resync runs nevertheless. */
const TURNS_MAX = 4;

/** The two reasons to reconcile without a change: a resync is due, or a reconciliation failed. */
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
     * Whether this reconciliation, which a change may have triggered, also reads the kernel back. Reading
     * takes time, so it waits for a moment without changes, but skips only a limited number of resyncs.
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
