// A long walk through random worlds with cluster policies: a second evaluator over the manifests, the oracle, the plan and the loaded programs
// agree on every cell. Needs root and eBPF.
//
// One compiler and the live maps go through all worlds, so each is an incremental update of the one before, with its flip. WEIR_WALK_WORLDS sets
// how many, WEIR_CASE_SEED the walk; a failure's id has the seed, and the number of the file's first world.

import { afterAll, beforeAll, expect, it } from "vitest";
import { type Bench, kernelEngine, openBench } from "../../src/engines/kernel-engine.ts";
import { oracle } from "../../src/engines/oracle-engine.ts";
import { planEngine } from "../../src/engines/plan-engine.ts";
import { failureText, hasPassed, runCase } from "../../src/source/conformance/case-runner.ts";
import { caseOf } from "../support/cases.ts";
import { OBJECT } from "../support/object.ts";
import { randomWalk } from "../support/random-cases.ts";

const WORLDS = Number(process.env["WEIR_WALK_WORLDS"] ?? 400);
const SEED = Number(process.env["WEIR_CASE_SEED"] ?? Date.now() % 1_000_000);
const PATIENCE_MS = 120_000 + WORLDS * 1_500;
const LINES_MAX = 20;

let bench: Bench;

beforeAll(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf", xdp: true });
});

afterAll(() => bench.close());

it(
  `oracle, plan and kernel agree with ${WORLDS} random worlds, each an update of the one before, from seed ${SEED} on`,
  async () => {
    const engines = [oracle, planEngine(), kernelEngine(bench, "tc", "xdp")];
    const seen = { allowed: 0, blocked: 0, open: 0 };
    let worlds = 0;
    for (const file of randomWalk(SEED, WORLDS)) {
      const of = caseOf(file);
      for (const engine of engines) {
        const result = await runCase(of, engine);
        if (!hasPassed(result)) expect.fail(failureText(result, LINES_MAX));
      }
      worlds += of.steps.length;
      for (const { cells } of of.steps) for (const { expected } of cells) seen[expected] += 1;
    }
    expect(worlds).toBe(WORLDS);
    // Worlds that expect only one thing would find nothing.
    expect(Math.min(seen.allowed, seen.blocked)).toBeGreaterThan((seen.allowed + seen.blocked) / 20);
  },
  PATIENCE_MS,
);
