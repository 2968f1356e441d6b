// The scheduler: when the next run of a loop starts. A trigger coalesces requests; the scheduler of reconciliations
// adds debounce, minimum and maximum interval, retry with backoff, and priority.

/** The longest that a timer of Node can run, in milliseconds. */
const TIMER_MS_MAX = 0x7fff_ffff;

/** A timeout for a time that may be far away or past; what happens earlier than meant has to wait again. */
export const timerMs = (ms: number): number => Math.min(Math.max(0, Math.ceil(ms)), TIMER_MS_MAX);

/** Waits, or until the signal aborts. */
export async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await openTrigger(signal).wait(ms);
}

/** The delay after the first failure, doubled by each further one up to the last; in milliseconds. */
export type Backoff = readonly [first: number, last: number];

/** The delay after so many failures in a row; none without one. */
export const backoffMs = ([first, last]: Backoff, failures: number): number =>
  failures <= 0 ? 0 : Math.min(first * 2 ** (failures - 1), last);

/** Many may fire it, one waits; what fires while nothing waits is coalesced into one. */
export interface Trigger {
  fire(): void;
  /**
   * Resolves at once if it was fired since the last wait, else when it is, after `ms`, or on abort. True if it
   * was fired.
   */
  wait(ms?: number): Promise<boolean>;
  /** Waits as above, and then, if it was fired, until a burst is over. */
  waitForBurst(ms: number): Promise<void>;
  /** Forgets that it was fired. */
  clear(): void;
}

/** One change of a file emits a burst of events: a single write already emits several. */
const BURST_QUIET_MS = 50;
/** A burst that does not end is handled after this time. */
const BURST_MAX_MS = 250;

export function openTrigger(signal?: AbortSignal): Trigger {
  let fired = false;
  let wake: (() => void) | undefined;
  const take = (): boolean => {
    const before = fired;
    fired = false;
    return before;
  };
  const wait = async (ms = Number.POSITIVE_INFINITY): Promise<boolean> => {
    if (fired || signal?.aborted === true) return take();
    await new Promise<void>((resolve) => {
      const timer = ms === Number.POSITIVE_INFINITY ? undefined : setTimeout(() => wake?.(), timerMs(ms));
      wake = () => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        wake = undefined;
        resolve();
      };
      const onAbort = (): void => wake?.();
      signal?.addEventListener("abort", onAbort, { once: true });
    });
    return take();
  };
  return {
    fire() {
      fired = true;
      wake?.();
    },
    wait,
    async waitForBurst(ms) {
      if (!(await wait(ms))) return;
      const until = performance.now() + BURST_MAX_MS;
      let bursting = true;
      while (bursting && signal?.aborted !== true && performance.now() < until)
        bursting = await wait(BURST_QUIET_MS);
    },
    clear() {
      fired = false;
    },
  };
}

export interface ScheduleOptions {
  /** Changes that arrive together (a file and its directory, the objects of one command) are served by one run. */
  readonly debounceMs: number;
  /** From the start of a run to the next, unless a caller waits for the result. */
  readonly intervalMsMin: number;
  /**
   * The pause from one run to the next is as long as the last one kept the event loop busy, so that runs use at most half of a CPU,
   * but not longer than this. Waiting for the kernel's grace periods uses none.
   */
  readonly pauseMsMax: number;
  readonly retryMs: Backoff;
  /** The maximum interval: after it a resync is due. */
  readonly resyncMs: number;
  /** For this long after a change there may be another one, which should not have to wait for a resync. */
  readonly quietMs: number;
  /** How long changes without end may postpone a resync that is due. */
  readonly postponeMsMax: number;
}

export interface Scheduler {
  /** A run is to start: after the debounce, or at once if a caller waits for the result. */
  request(priority?: "now"): void;
  /** Resolves when the next run is to start; at once on abort. It serves every request until then. */
  next(): Promise<void>;
  /**
   * A run starts, because of a change or not. Returns whether it is to be a resync, which reads the kernel back: if
   * one is due or requested.
   */
  begin(because: { readonly changed: boolean; readonly resyncRequested: boolean }): boolean;
  end(succeeded: boolean): void;
}

/** Milliseconds for which this thread's event loop was not idle. */
const loopBusyMs = (): number => performance.eventLoopUtilization().active;

export function openScheduler(
  options: ScheduleOptions,
  signal: AbortSignal,
  busyMs: () => number = loopBusyMs,
): Scheduler {
  const requested = openTrigger(signal);
  const urgent = openTrigger(signal);
  let failures = 0;
  let retryAt = Number.POSITIVE_INFINITY;
  let resyncAt = performance.now() + options.resyncMs;
  let quietAt = Number.NEGATIVE_INFINITY;
  let pausedUntil = Number.NEGATIVE_INFINITY;
  let begunAt = Number.NEGATIVE_INFINITY;
  let busyAtBegin = 0;
  let resync = false;
  /** Reading the kernel takes time, so a resync that is due waits for a moment without changes. */
  const resyncTime = (): number => Math.max(resyncAt, Math.min(quietAt, resyncAt + options.postponeMsMax));
  const due = async (): Promise<void> => {
    for (;;) {
      const at = Math.min(retryAt, resyncTime());
      if (await requested.wait(at - performance.now())) return;
      if (signal.aborted || performance.now() >= at) return;
    }
  };
  return {
    request(priority) {
      if (priority === "now") urgent.fire();
      requested.fire();
    },
    async next() {
      await due();
      await urgent.wait(Math.max(options.debounceMs, pausedUntil - performance.now()));
      requested.clear();
    },
    begin({ changed, resyncRequested }) {
      begunAt = performance.now();
      busyAtBegin = busyMs();
      if (changed) quietAt = begunAt + options.quietMs;
      resync = resyncRequested || begunAt >= resyncTime();
      if (resync) resyncAt = begunAt + options.resyncMs;
      return resync;
    },
    end(succeeded) {
      const now = performance.now();
      failures = succeeded ? 0 : failures + 1;
      retryAt = succeeded ? Number.POSITIVE_INFINITY : now + backoffMs(options.retryMs, failures);
      // A resync does not count as a frequent change.
      if (!resync)
        pausedUntil = Math.max(
          begunAt + options.intervalMsMin,
          now + Math.min(busyMs() - busyAtBegin, options.pauseMsMax),
        );
    },
  };
}
