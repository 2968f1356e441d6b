// A vitest reporter that counts the tests that passed, failed and were skipped for the closing summary of `npm test`, and names those skipped.
import { writeFileSync } from "node:fs";
import type { Reporter, SerializedError, TestModule, Vitest } from "vitest/node";

interface Tally {
  passed: number;
  failed: number;
  /** "FILE > TEST: REASON", of each test that was skipped while it ran. */
  readonly skipped: string[];
  /** "FILE > TEST: first line of its error", of each test that failed. */
  readonly failures: string[];
}

const firstLine = (errors: readonly { message: string }[] | undefined): string =>
  (errors?.[0]?.message ?? "no error was reported").split("\n", 1)[0] ?? "";

/**
 * A vitest reporter. With $WEIR_TALLY it writes that file for tools/test.sh: "PASSED FAILED", then a line for each test that
 * was skipped or failed, "skipped: …" or "failed: …"; without it, it prints the summary.
 */
export default class ClosingLineReporter implements Reporter {
  #isFiltered = false;

  onInit(vitest: Vitest): void {
    this.#isFiltered = vitest.config.testNamePattern !== undefined;
  }

  onTestRunEnd(
    modules: readonly TestModule[],
    unhandled: readonly SerializedError[],
    reason: "passed" | "failed" | "interrupted",
  ): void {
    const { passed, failed: counted, skipped, failures } = this.#tallyOf(modules, unhandled);
    const failed = reason === "passed" ? counted : Math.max(counted, 1);
    if (counted > 0) process.exitCode = 1;
    const named = [
      ...skipped.map((each) => `skipped: ${each}`),
      ...failures.map((each) => `failed: ${each}`),
    ];
    const file = process.env["WEIR_TALLY"];
    if (file !== undefined) {
      writeFileSync(file, [`${passed} ${failed}`, ...named, ""].join("\n"));
      return;
    }
    const tail = skipped.length > 0 ? `, ${skipped.length} skipped` : "";
    process.stdout.write(`${["", ...named, `${passed} passed, ${failed} failed${tail}`].join("\n")}\n`);
  }

  /**
   * Errors outside a test (import, hook, unhandled rejection) count as failures: nothing that went wrong may read as 0. So does
   * a test that is skipped without a reason, unless a pattern of names (-t) has left it out.
   */
  #tallyOf(modules: readonly TestModule[], unhandled: readonly SerializedError[]): Tally {
    const tally: Tally = { passed: 0, failed: 0, skipped: [], failures: [] };
    const fail = (name: string, errors: readonly { message: string }[] | undefined) => {
      tally.failed++;
      tally.failures.push(`${name}: ${firstLine(errors)}`);
    };
    for (const error of unhandled) fail("outside the tests", [error]);
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const result = test.result();
        const name = `${module.relativeModuleId} > ${test.fullName}`;
        if (result.state === "passed") tally.passed++;
        else if (result.state !== "skipped") fail(name, result.errors);
        else if (result.note !== undefined) tally.skipped.push(`${name}: ${result.note}`);
        else if (!this.#isFiltered) {
          fail(name, [{ message: "it was skipped without a reason: use context.skip(condition, reason)" }]);
        }
      }
      for (const error of module.errors()) fail(module.relativeModuleId, [error]);
      for (const suite of module.children.allSuites()) {
        for (const error of suite.errors()) {
          fail(`${module.relativeModuleId} > ${suite.fullName}`, [error]);
        }
      }
    }
    return tally;
  }
}
