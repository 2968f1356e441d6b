// Every conformance case on the real programs and maps (BPF_PROG_TEST_RUN). Needs root and eBPF. Random ones: random-worlds.test.ts.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FROM_POD_HOOKS } from "../../src/base/direction.ts";
import { type Bench, kernelEngine, openBench } from "../../src/engines/kernel-engine.ts";
import { failureText, hasPassed, runCase } from "../../src/source/conformance/case-runner.ts";
import { type CaseFile, caseOf, furtherCases, ownCases } from "../support/cases.ts";
import { OBJECT } from "../support/object.ts";

const LINES_MAX = 20;
const PATIENCE_MS = 120_000;
let bench: Bench;

beforeAll(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf", xdp: true });
});

afterAll(() => bench.close());

async function passes(file: CaseFile): Promise<void> {
  for (const hook of FROM_POD_HOOKS) {
    const result = await runCase(caseOf(file), kernelEngine(bench, hook));
    if (!hasPassed(result)) expect.fail(`${hook}: ${failureText(result, LINES_MAX)}`);
  }
}

describe("the loaded programs", () => {
  it.each(ownCases().map((file) => [file.name, file] as const))("agree with %s", (_name, file) =>
    passes(file),
  );

  it.each(furtherCases().map((folder) => [folder.title, folder] as const))(
    "agree with all of %s",
    async (_title, { files }) => {
      for (const file of files) await passes(file);
    },
    PATIENCE_MS,
  );
});
