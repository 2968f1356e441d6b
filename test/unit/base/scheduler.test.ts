// When the next run starts: debounce, minimum and maximum interval, retry with backoff, and priority.
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import {
  backoffMs,
  openScheduler,
  openTrigger,
  type ScheduleOptions,
  type Scheduler,
} from "../../../src/base/scheduler.ts";

const OPTIONS: ScheduleOptions = {
  debounceMs: 5,
  intervalMsMin: 0,
  pauseMsMax: 250,
  retryMs: [500, 4_000],
  resyncMs: 30_000,
  quietMs: 2_000,
  postponeMsMax: 90_000,
};
const CHANGE = { changed: true, resyncRequested: false };
const NO_CHANGE = { changed: false, resyncRequested: false };

let stop: AbortController;
let scheduler: Scheduler;
/** Runs are busy all the time, unless a test says otherwise. */
const busy = (): number => performance.now();

beforeEach(() => {
  vi.useFakeTimers();
  stop = new AbortController();
  scheduler = openScheduler(OPTIONS, stop.signal, busy);
});
afterEach(() => {
  stop.abort();
  vi.useRealTimers();
});

/** Milliseconds until the next run starts; undefined if it does not within `maxMs`. */
async function untilNext(maxMs: number): Promise<number | undefined> {
  const from = performance.now();
  let at: number | undefined;
  void scheduler.next().then(() => {
    at = performance.now();
  });
  for (let ms = 0; ms <= maxMs && at === undefined; ms += 1)
    await vi.advanceTimersByTimeAsync(ms === 0 ? 0 : 1);
  return at === undefined ? undefined : Math.round(at - from);
}

/** A run that takes this long. */
async function run(ms: number, succeeded = true, because = CHANGE): Promise<boolean> {
  const resync = scheduler.begin(because);
  await vi.advanceTimersByTimeAsync(ms);
  scheduler.end(succeeded);
  return resync;
}

describe("debounce and minimum interval", () => {
  it("the first run starts as soon as simultaneous changes can have arrived", async () => {
    scheduler.request();
    expect(await untilNext(100)).toBe(5);
  });

  it("requests during the debounce are served by the same run", async () => {
    scheduler.request();
    setTimeout(() => scheduler.request(), 3);
    expect(await untilNext(100)).toBe(5);
    await run(0);
    expect(await untilNext(1_000)).toBeUndefined();
  });

  it("a request during a run is served by the next one", async () => {
    scheduler.request();
    await untilNext(100);
    scheduler.begin(CHANGE);
    scheduler.request();
    scheduler.end(true);
    expect(await untilNext(100)).toBe(5);
  });

  it("a run starts no sooner than the minimum interval after the start of another", async () => {
    const { signal } = stop;
    scheduler = openScheduler({ ...OPTIONS, debounceMs: 1, intervalMsMin: 20 }, signal, busy);
    await run(2);
    scheduler.request();
    expect(await untilNext(100)).toBe(18);
    await run(2);
    scheduler.request("now");
    expect(await untilNext(100)).toBe(0);
  });

  it("a run follows another after as long as that one was busy, but not after more than a quarter of a second", async () => {
    await run(80);
    scheduler.request();
    expect(await untilNext(1_000)).toBe(80);
    await run(60_000, true);
    scheduler.request();
    expect(await untilNext(1_000)).toBe(250);
  });

  it("what a run has waited for others makes the pause no longer", async () => {
    let used = 0;
    scheduler = openScheduler(OPTIONS, stop.signal, () => used);
    scheduler.begin(CHANGE);
    await vi.advanceTimersByTimeAsync(80);
    used = 12;
    scheduler.end(true);
    scheduler.request();
    expect(await untilNext(1_000)).toBe(12);
  });

  it("a request with priority starts a run at once, also during the debounce", async () => {
    await run(200);
    scheduler.request("now");
    expect(await untilNext(100)).toBe(0);
    await run(200);
    scheduler.request();
    setTimeout(() => scheduler.request("now"), 20);
    expect(await untilNext(1_000)).toBe(20);
  });

  it("one that comes during a run gives the next run priority", async () => {
    scheduler.begin(CHANGE);
    scheduler.request("now");
    await vi.advanceTimersByTimeAsync(200);
    scheduler.end(true);
    expect(await untilNext(100)).toBe(0);
  });
});

describe("retry with backoff", () => {
  it("waits twice as long after each failure in a row, up to the last delay", async () => {
    const waits: (number | undefined)[] = [];
    for (let failures = 1; failures <= 5; failures += 1) {
      await run(0, false);
      waits.push(await untilNext(10_000));
    }
    expect(waits).toEqual([505, 1_005, 2_005, 4_005, 4_005]);
    await run(0, true);
    expect(await untilNext(10_000)).toBeUndefined();
  });

  it("delays by the number of failures", () => {
    expect([0, 1, 2, 3, 50].map((failures) => backoffMs([1_000, 60_000], failures))).toEqual([
      0, 1_000, 2_000, 4_000, 60_000,
    ]);
  });
});

describe("maximum interval", () => {
  it("a resync is due every 30 seconds, once", async () => {
    expect(await untilNext(40_000)).toBe(30_005);
    expect(await run(0, true, NO_CHANGE)).toBe(true);
    expect(await run(0, true, NO_CHANGE)).toBe(false);
    expect(await untilNext(40_000)).toBe(30_005);
  });

  it("one that is requested counts as well", async () => {
    await vi.advanceTimersByTimeAsync(20_000);
    expect(await run(0, true, { changed: false, resyncRequested: true })).toBe(true);
    expect(await untilNext(40_000)).toBe(30_005);
  });

  it("it waits until there has been no change for 2 seconds", async () => {
    await vi.advanceTimersByTimeAsync(29_500);
    expect(await run(0)).toBe(false);
    expect(await untilNext(10_000)).toBe(2_005);
    expect(await run(0, true, NO_CHANGE)).toBe(true);
  });

  it("changes without end do not delay it for longer than 2 minutes", async () => {
    const dueAt: number[] = [];
    for (let second = 1; second <= 240; second += 1) {
      await vi.advanceTimersByTimeAsync(1_000);
      if (await run(0)) dueAt.push(second);
    }
    expect(dueAt).toEqual([120, 240]);
  });
});

it("an abort ends every wait", async () => {
  const next = scheduler.next();
  const wait = openTrigger(stop.signal).wait();
  stop.abort();
  await expect(Promise.all([next, wait])).resolves.toEqual([undefined, false]);
});
