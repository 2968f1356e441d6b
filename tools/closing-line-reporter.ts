// A vitest reporter that tells how many tests passed, failed and were skipped, for the closing line of `npm test`.
import { writeFileSync } from "node:fs";
import type { Reporter, SerializedError, TestModule } from "vitest/node";

interface Tally {
  passed: number;
  failed: number;
  skipped: number;
}

/** Errors outside a test (import, hook, unhandled rejection) count as failures: nothing that went wrong may read as 0. */
function tallyOf(modules: readonly TestModule[], unhandled: readonly SerializedError[]): Tally {
  const tally: Tally = { passed: 0, failed: unhandled.length, skipped: 0 };
  for (const module of modules) {
    for (const test of module.children.allTests()) {
      const { state } = test.result();
      if (state === "passed") tally.passed++;
      else if (state === "failed") tally.failed++;
      else tally.skipped++;
    }
    tally.failed += module.errors().length;
    for (const suite of module.children.allSuites()) tally.failed += suite.errors().length;
  }
  return tally;
}

/** tools/test.sh adds its own checks to the numbers in the file $WEIR_TALLY; without that, the line is printed here. */
export default class ClosingLineReporter implements Reporter {
  onTestRunEnd(
    modules: readonly TestModule[],
    unhandled: readonly SerializedError[],
    reason: "passed" | "failed" | "interrupted",
  ): void {
    const { passed, failed: counted, skipped } = tallyOf(modules, unhandled);
    const failed = reason === "passed" ? counted : Math.max(counted, 1);
    const file = process.env["WEIR_TALLY"];
    if (file !== undefined) writeFileSync(file, `${passed} ${failed} ${skipped}\n`);
    else
      process.stdout.write(
        `\n${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ""}\n`,
      );
  }
}
