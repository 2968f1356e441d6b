// Triggers: many callers request one action, bursts are coalesced.

// A trigger: many may fire it, one waits; calls while nothing waits are coalesced into one.

/** The longest that a timer of Node can run, in milliseconds. */
export const TIMER_MS_MAX = 0x7fff_ffff;

export interface Trigger {
  ring(): void;
  /** Resolves at once if it was triggered since the last wait, else at the next call of ring(). */
  wait(): Promise<void>;
}

export function openTrigger(): Trigger {
  let rung = false;
  let waiting: (() => void) | undefined;
  return {
    ring() {
      rung = true;
      waiting?.();
    },
    async wait() {
      if (!rung) {
        await new Promise<void>((resolve) => {
          waiting = resolve;
        });
        waiting = undefined;
      }
      rung = false;
    },
  };
}

// An alarm is a timer that can be triggered: it wakes at its time, or soon after ring(); a burst of calls
// wakes it once.

/** One change emits a burst of events: a single write already emits several. */
const QUIET_MS = 50;

/** A burst that does not end is handled after this time. */
const BURST_MAX_MS = 250;

export interface Alarm {
  readonly ring: () => void;
  /**
   * Resolves after `ms`, or soon after a ring() since the last wait (when the burst is over), or at once on
   * abort.
   */
  readonly wait: (ms: number) => Promise<void>;
}

export function createAlarm(signal: AbortSignal): Alarm {
  let rung = false;
  let wake: (() => void) | undefined;
  const ring = (): void => {
    rung = true;
    wake?.();
  };
  /** True if ring() ended it. */
  const sleep = (ms: number): Promise<boolean> =>
    new Promise((resolve) => {
      const finish = (): void => {
        clearTimeout(timer);
        signal.removeEventListener("abort", finish);
        wake = undefined;
        const byRing = rung;
        rung = false;
        resolve(byRing);
      };
      const timer = setTimeout(finish, ms);
      wake = finish;
      signal.addEventListener("abort", finish, { once: true });
      if (rung || signal.aborted) finish();
    });
  const wait = async (ms: number): Promise<void> => {
    if (!(await sleep(ms))) return;
    const until = performance.now() + BURST_MAX_MS;
    let ringing = true;
    while (ringing && !signal.aborted && performance.now() < until) ringing = await sleep(QUIET_MS);
  };
  return { ring, wait };
}
