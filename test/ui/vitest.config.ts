// The tests of the page in a browser, separate from the others since they need one: run by `npm run test:ui`.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "ui",
    root: new URL("../..", import.meta.url).pathname,
    include: ["test/ui/**/*.test.ts"],
    reporters: ["default", "./tools/closing-line-reporter.ts"],
    globalSetup: ["test/setup/kernel.ts"],
    // They share the machine's links, pins and CPUs.
    fileParallelism: false,
    testTimeout: 120_000,
    hookTimeout: 120_000,
  },
});
