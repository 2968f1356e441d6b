// When the next reconciliation starts: debounce of changes, its bypass for CNI ADD, periodic resync, and retry with
// backoff.

import type { Trigger } from "../base/trigger.ts";

// How soon a round follows what asked for it: at once where the agent is at rest, and with pauses where changes never end.

export interface Debounce {
  /** How long to wait, in milliseconds, before the round that has just been asked for. */
  wait(now: number): number;
  /** A round has ended; both in milliseconds of a clock that only goes forward. */
  ended(begun: number, now: number): void;
}

/** What comes as one (a file and its directory, the objects of one command) is to be applied as one. */
const TOGETHER_MS = 5;

/** Pauses grow with the rounds, so that these take half of a CPU at most; but a change never waits longer for its round. */
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

// Rounds rest between each other, but not while a pod that has just been added waits for its first one.

export interface DebounceBypass {
  /** A pod has been added. */
  asked(): void;
  /** A round begins, which sees all that have been added until now. */
  seen(): void;
  /** Waits so long, or until a pod is added that no round has seen. */
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

// When the agent looks again although nothing has changed.

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
