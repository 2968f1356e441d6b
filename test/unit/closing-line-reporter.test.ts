// The summary of `npm test`: what is skipped or has failed is named with its reason, and nothing is skipped without one.
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it, vi } from "vitest";
import type { TestModule, Vitest } from "vitest/node";
import ClosingLineReporter from "../../tools/closing-line-reporter.ts";

let folder: string;
let exitCode: typeof process.exitCode;

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "weir-tally-"));
  exitCode = process.exitCode;
  vi.stubEnv("WEIR_TALLY", join(folder, "tally"));
});
afterEach(() => {
  vi.unstubAllEnvs();
  vi.restoreAllMocks();
  process.exitCode = exitCode;
  rmSync(folder, { recursive: true });
});

/** A module of test/a.test.ts with tests with these results. */
const moduleOf = (...results: readonly object[]): TestModule => {
  const tests = results.map((result, index) => ({ fullName: `test ${index}`, result: () => result }));
  const children = { allTests: () => tests, allSuites: () => [] };
  return { relativeModuleId: "test/a.test.ts", children, errors: () => [] } as unknown as TestModule;
};

function tally(results: readonly object[], testNamePattern?: RegExp): string[] {
  const reporter = new ClosingLineReporter();
  reporter.onInit({ config: { testNamePattern } } as Vitest);
  vi.spyOn(process.stdout, "write").mockReturnValue(true);
  reporter.onTestRunEnd([moduleOf(...results)], [], "passed");
  return readFileSync(join(folder, "tally"), "utf8").trimEnd().split("\n");
}

it("names what is skipped, with the reason", () => {
  const results = [{ state: "passed" }, { state: "skipped", note: "no such kernel" }];
  expect(tally(results)).toEqual(["1 0", "skipped: test/a.test.ts > test 1: no such kernel"]);
  expect(process.exitCode).toBe(exitCode);
});

it("counts what is skipped without a reason as failed", () => {
  const [counts, ...named] = tally([{ state: "passed" }, { state: "skipped" }]);
  expect(counts).toBe("1 1");
  expect(named).toEqual([expect.stringContaining("failed: test/a.test.ts > test 1: it was skipped")]);
  expect(process.exitCode).toBe(1);
});

it("names what has failed, with the first line of its error", () => {
  const failed = { state: "failed", errors: [{ message: "expected 1 to be 2\nand more" }] };
  expect(tally([{ state: "passed" }, failed])).toEqual([
    "1 1",
    "failed: test/a.test.ts > test 1: expected 1 to be 2",
  ]);
  expect(process.exitCode).toBe(1);
});

it("reports nothing about tests that a name pattern has left out", () => {
  expect(tally([{ state: "passed" }, { state: "skipped" }], /x/)).toEqual(["1 0"]);
});
