// Every conformance case on the real programs and maps (BPF_PROG_TEST_RUN). Needs root and eBPF.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FROM_POD_HOOKS } from "../../src/base/direction.ts";
import { type Bench, kernelEngine, openBench } from "../../src/engines/kernel-engine.ts";
import { failureText, hasPassed, runCase } from "../../src/source/conformance/case-runner.ts";
import { type CaseFile, caseOf, furtherCases, ownCases } from "../support/cases.ts";
import { OBJECT } from "../support/object.ts";
import { randomCase } from "../support/random-cases.ts";

const LINES_MAX = 20;
const PATIENCE_MS = 120_000;
/** Random cases; see test/unit/random-cases.test.ts. */
const RUNS = Math.ceil(Number(process.env["WEIR_PROPERTY_RUNS"] ?? 300) / 10);
const FIRST = Number(process.env["WEIR_CASE_SEED"] ?? Date.now() % 1_000_000);

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

  it(
    `agree with ${RUNS} random cases from seed ${FIRST} on`,
    async () => {
      for (let seed = FIRST; seed < FIRST + RUNS; seed += 1)
        await passes({ name: `random-${seed}.json`, text: randomCase(seed) });
    },
    PATIENCE_MS + RUNS * 2_000,
  );
});
