// The four test projects. Only `unit` runs without root; the others fail, and say why, where they cannot run.
import { defineConfig } from "vitest/config";
import { BalancedShards } from "./test/setup/balanced-shards.ts";

const kernelProject = (name: string, include: string, order: number) => ({
  test: {
    name,
    include: [include],
    globalSetup: ["test/setup/kernel.ts"],
    setupFiles: ["test/setup/settings.ts"],
    // They share the machine's links, pins and CPUs: one file at a time, one project after another.
    fileParallelism: false,
    sequence: { groupOrder: order },
    testTimeout: 180_000,
    hookTimeout: 180_000,
  },
});

export default defineConfig({
  test: {
    reporters: ["default", "./tools/closing-line-reporter.ts"],
    sequence: { sequencer: BalancedShards },
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts", "test/tidy.test.ts"],
          setupFiles: ["test/setup/counterexamples.ts"],
          maxWorkers: 2,
          sequence: { groupOrder: 0 },
          testTimeout: 60_000,
        },
      },
      kernelProject("native", "native/test/**/*.test.ts", 1),
      kernelProject("packet", "test/packet/**/*.test.ts", 2),
      kernelProject("netns", "test/netns/**/*.test.ts", 3),
    ],
  },
});
