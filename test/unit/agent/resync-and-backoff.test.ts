// When the kernel is read back: every 30 seconds, preferably in a moment without changes.
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { openResyncAndRetry } from "../../../src/agent/debounce-and-backoff.ts";
import { openTrigger } from "../../../src/base/trigger.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("a resync is due every 30 seconds, once", () => {
  const timers = openResyncAndRetry(openTrigger());
  vi.advanceTimersByTime(29_000);
  expect(timers.resyncIsDue(false)).toBe(false);
  vi.advanceTimersByTime(1_000);
  expect([timers.resyncIsDue(false), timers.resyncIsDue(false)]).toEqual([true, false]);
  timers.close();
});

it("it waits until there has been no change for 2 seconds, and then requests its reconciliation", async () => {
  const bell = openTrigger();
  const timers = openResyncAndRetry(bell);
  vi.advanceTimersByTime(29_500);
  expect(timers.resyncIsDue(true)).toBe(false);
  vi.advanceTimersByTime(500);
  await bell.wait();
  expect(timers.resyncIsDue(false)).toBe(false);
  vi.advanceTimersByTime(1_500);
  await bell.wait();
  expect(timers.resyncIsDue(false)).toBe(true);
  timers.close();
});

it("changes without end do not delay it for longer than 2 minutes", () => {
  const timers = openResyncAndRetry(openTrigger());
  const dueAt: number[] = [];
  for (let second = 1; second <= 240; second += 1) {
    vi.advanceTimersByTime(1_000);
    if (timers.resyncIsDue(true)) dueAt.push(second);
  }
  expect(dueAt).toEqual([120, 240]);
  timers.close();
});
