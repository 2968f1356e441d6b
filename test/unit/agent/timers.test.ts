// When the kernel is read back: every half a minute, behind a change that is just there, but behind one only.
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import { openTimers } from "../../../src/agent/timers.ts";
import { openBell } from "../../../src/base/wake.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

it("a resync is due every 30 seconds, once", () => {
  const timers = openTimers(openBell());
  vi.advanceTimersByTime(29_000);
  expect(timers.resyncIsDue(false)).toBe(false);
  vi.advanceTimersByTime(1_000);
  expect([timers.resyncWaits(), timers.resyncIsDue(false)]).toEqual([true, true]);
  expect([timers.resyncWaits(), timers.resyncIsDue(false)]).toEqual([false, false]);
  timers.close();
});

it("a change goes before it, and changes without end put it off by one turn", () => {
  const timers = openTimers(openBell());
  vi.advanceTimersByTime(30_000);
  expect([timers.resyncIsDue(true), timers.resyncWaits()]).toEqual([false, true]);
  vi.advanceTimersByTime(29_000);
  expect(timers.resyncIsDue(true)).toBe(false);
  vi.advanceTimersByTime(1_000);
  expect([timers.resyncIsDue(true), timers.resyncWaits()]).toEqual([true, false]);
  timers.close();
});
