// Random cases about cluster policies, through the reader of case files: a second evaluator against the oracle and the compiled plan.
//
// WEIR_PROPERTY_RUNS sets how many, WEIR_CASE_SEED the first one's seed; a failure's id has the seed of its case.

import { expect, it } from "vitest";
import { oracle } from "../../src/engines/oracle-engine.ts";
import { planEngine } from "../../src/engines/plan-engine.ts";
import { failureText, hasPassed, runCase } from "../../src/source/conformance/case-runner.ts";
import { caseOf } from "../support/cases.ts";
import { randomCase } from "../support/random-cases.ts";

const RUNS = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 300);
const FIRST = Number(process.env["WEIR_CASE_SEED"] ?? Date.now() % 1_000_000);
const LINES_MAX = 20;

it(
  `oracle and plan agree with ${RUNS} random cases from seed ${FIRST} on`,
  async () => {
    const seen = { allowed: 0, blocked: 0, open: 0 };
    for (let seed = FIRST; seed < FIRST + RUNS; seed += 1) {
      const of = caseOf({ name: `random-${seed}.json`, text: randomCase(seed) });
      for (const engine of [oracle, planEngine()]) {
        const result = await runCase(of, engine);
        if (!hasPassed(result)) expect.fail(failureText(result, LINES_MAX));
      }
      for (const { cells } of of.steps) for (const { expected } of cells) seen[expected] += 1;
    }
    // Cases that expect only one thing would find nothing.
    expect(Math.min(seen.allowed, seen.blocked)).toBeGreaterThan((seen.allowed + seen.blocked) / 10);
  },
  60_000 + RUNS * 500,
);
