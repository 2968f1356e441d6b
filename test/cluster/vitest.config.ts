// The tests against a real API server, separate from the others since they need its program: run by `npm run test:cluster`.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "cluster",
    root: new URL("../..", import.meta.url).pathname,
    include: ["test/cluster/**/*.test.ts"],
    reporters: ["default", "./tools/closing-line-reporter.ts"],
    globalSetup: ["test/setup/kernel.ts"],
    // They share the machine's links, pins and CPUs.
    fileParallelism: false,
    testTimeout: 300_000,
    hookTimeout: 300_000,
  },
});
