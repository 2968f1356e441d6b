// What status reports about a reconciliation that does not end.
import { expect, it } from "vitest";
import { stuckProblem } from "../../../src/agent/agent-api.ts";

const NOW = new Date("2026-01-01T00:01:00.000Z");
const secondsAgo = (seconds: number): Date => new Date(NOW.getTime() - seconds * 1_000);

it.each([undefined, 0, 1, 10])("a reconciliation under way for %s s is no problem", (seconds) => {
  expect(stuckProblem(seconds === undefined ? undefined : secondsAgo(seconds), NOW)).toBeUndefined();
});

it.each([11, 600])("one for %s s is an error with its start time", (seconds) => {
  expect(stuckProblem(secondsAgo(seconds), NOW)).toEqual({
    severity: "error",
    reason: `the reconciliation that began ${seconds} s ago has not ended`,
    effect: "changes since then are not enforced",
  });
});
