// Running a case: what is compared, what counts as passed, and the text of mismatches.
import { describe, expect, it } from "vitest";
import {
  cellEngine,
  type Engine,
  failureText,
  hasPassed,
  type Judgement,
  runCase,
} from "../../../../src/source/conformance/case-runner.ts";
import type { Case, Cell, Step } from "../../../../src/source/conformance/case-types.ts";
import * as m from "../../../support/model.ts";

const [a, b] = [m.pod("x/a", ["10.0.0.1"]), m.pod("x/b", ["10.0.0.2"])];

const cell = (facts: Partial<Cell> = {}): Cell => ({
  from: { name: "x/a", address: m.address("10.0.0.1"), pod: a },
  to: { name: "x/b", address: m.address("10.0.0.2"), pod: b },
  side: "both",
  protocol: "TCP",
  port: 80,
  expected: "blocked",
  loopback: false,
  optional: false,
  beyondPolicy: false,
  connection: undefined,
  behind: undefined,
  names: [],
  reason: "",
  ...facts,
});

const caseWith = (...steps: (readonly Cell[])[]): Case => ({
  id: "t/1",
  name: "a case",
  tags: [],
  features: [],
  notes: [],
  families: [4],
  places: new Map(),
  dns: [],
  steps: steps.map(
    (cells, index): Step => ({
      title: `step ${index + 1}`,
      cluster: m.cluster({ pods: [a, b] }),
      manifests: new Map(),
      cells,
    }),
  ),
});

const always = (outcome: Judgement["outcome"]): Engine =>
  cellEngine("kernel", () => ({ outcome, why: () => "because" }));

describe("a run", () => {
  it("compares every cell of every step, except open ones", async () => {
    const of = caseWith([cell(), cell({ expected: "allowed" })], [cell({ expected: "open" }), cell()]);
    const result = await runCase(of, always("blocked"));
    expect(result).toMatchObject({ agreed: 2, open: 1, unable: 0, optionalMismatches: [] });
    expect(hasPassed(result)).toBe(false);
    expect(failureText(result, 9)).toBe(
      "t/1: step 1: TCP/80 from x/a to x/b (10.0.0.1 to 10.0.0.2): expected allowed, kernel says blocked: because",
    );
  });

  it("passes if all agree, and reports what is optional", async () => {
    const of = caseWith([cell(), cell({ expected: "allowed", optional: true })]);
    const result = await runCase(of, always("blocked"));
    expect(hasPassed(result)).toBe(true);
    expect(result.optionalMismatches).toHaveLength(1);
  });

  it("has not passed if the engine could judge nothing", async () => {
    const result = await runCase(caseWith([cell()], [cell()]), always("unable"));
    expect(result).toMatchObject({ agreed: 0, unable: 2, mismatches: [] });
    expect(hasPassed(result)).toBe(false);
    expect(failureText(result, 9)).toBe("t/1: kernel could judge none of its cells");
  });

  it("reports the first mismatches, and how many more there are", async () => {
    const cells = [
      cell({ side: "ingress", reason: "the second policy", expected: "allowed" }),
      cell({ protocol: "ICMP", port: 0, expected: "allowed" }),
      cell({ expected: "allowed" }),
      cell({ expected: "allowed" }),
    ];
    const result = await runCase(caseWith(cells), always("blocked"));
    expect(failureText(result, 2).split("\n")).toEqual([
      "t/1: step 1: TCP/80 from x/a to x/b (10.0.0.1 to 10.0.0.2), ingress alone: " +
        "expected allowed (the second policy), kernel says blocked: because",
      "t/1: step 1: ICMP from x/a to x/b (10.0.0.1 to 10.0.0.2): expected allowed, kernel says blocked: because",
      "t/1: and 2 more",
    ]);
  });

  it("waits for engines that take their time, step after step", async () => {
    const seen: string[] = [];
    const slow: Engine = {
      name: "slow",
      judge: async (step) => {
        seen.push(`${step.title} begins`);
        await new Promise((resolve) => setTimeout(resolve, 5));
        seen.push(`${step.title} ends`);
        return step.cells.map(() => ({ outcome: "blocked", why: () => "" }));
      },
    };
    expect(hasPassed(await runCase(caseWith([cell()], [cell()]), slow))).toBe(true);
    expect(seen).toEqual(["step 1 begins", "step 1 ends", "step 2 begins", "step 2 ends"]);
  });

  it("refuses an engine that does not answer for every cell", async () => {
    const lazy: Engine = { name: "lazy", judge: () => [] };
    await expect(runCase(caseWith([cell()]), lazy)).rejects.toThrow("lazy judged every cell of t/1, step 1");
  });
});
