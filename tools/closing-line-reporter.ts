// A vitest reporter that counts the tests that passed, failed and were skipped for the closing summary of `npm test`, and names those skipped.
import { writeFileSync } from "node:fs";
import type { Reporter, SerializedError, TestModule, Vitest } from "vitest/node";

interface Tally {
  passed: number;
  failed: number;
  /** "FILE > TEST: REASON", of each test that was skipped while it ran. */
  readonly skipped: string[];
}

/** A vitest reporter; tools/test.sh adds its own checks to the numbers in the file $WEIR_TALLY; without that, the summary is printed here. */
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
    const { passed, failed: counted, skipped } = this.#tallyOf(modules, unhandled);
    const failed = reason === "passed" ? counted : Math.max(counted, 1);
    const file = process.env["WEIR_TALLY"];
    if (file !== undefined) {
      writeFileSync(file, [`${passed} ${failed} ${skipped.length}`, ...skipped, ""].join("\n"));
      if (counted > 0) process.exitCode = 1;
      return;
    }
    const tail = skipped.length > 0 ? `, ${skipped.length} skipped` : "";
    const lines = [
      "",
      ...skipped.map((each) => `skipped: ${each}`),
      `${passed} passed, ${failed} failed${tail}`,
    ];
    process.stdout.write(`${lines.join("\n")}\n`);
    if (counted > 0) process.exitCode = 1;
  }

  /**
   * Errors outside a test (import, hook, unhandled rejection) count as failures: nothing that went wrong may read as 0. So does
   * a test that is skipped without a reason, unless a pattern of names (-t) has left it out.
   */
  #tallyOf(modules: readonly TestModule[], unhandled: readonly SerializedError[]): Tally {
    const tally: Tally = { passed: 0, failed: unhandled.length, skipped: [] };
    for (const module of modules) {
      for (const test of module.children.allTests()) {
        const result = test.result();
        const name = `${module.relativeModuleId} > ${test.fullName}`;
        if (result.state === "passed") tally.passed++;
        else if (result.state !== "skipped") tally.failed++;
        else if (result.note !== undefined) tally.skipped.push(`${name}: ${result.note}`);
        else if (!this.#isFiltered) {
          tally.failed++;
          process.stdout.write(
            `failed: ${name} was skipped without a reason: use context.skip(condition, reason)\n`,
          );
        }
      }
      tally.failed += module.errors().length;
      for (const suite of module.children.allSuites()) tally.failed += suite.errors().length;
    }
    return tally;
  }
}
