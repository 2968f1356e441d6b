// The tests on real nodes, separate from the others since they need Kubernetes' programs: run by `npm run test:node`.
import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    name: "node",
    root: new URL("../..", import.meta.url).pathname,
    include: ["test/node/**/*.test.ts"],
    reporters: ["default", "./tools/closing-line-reporter.ts"],
    globalSetup: ["test/setup/kernel.ts"],
    fileParallelism: false,
    testTimeout: 600_000,
    hookTimeout: 600_000,
    bail: 0,
  },
});
