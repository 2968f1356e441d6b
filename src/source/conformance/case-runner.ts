// Runs conformance cases on an engine: anything that can judge whether a cluster's connections are allowed, and why.

import { assert } from "../../base/assert.ts";
import type { Cluster } from "../../model/cluster.ts";
import type { Case, Cell, Step } from "./case-types.ts";

/**
 * "failed" is neither: the probe was answered, but not with the expected reply (connection refused, no route), so that
 * whatever was expected is not what happened. "unable": the engine has no means to judge (no SCTP sockets, no side
 * alone); the cell is counted and not compared.
 */
export interface Judgement {
  readonly outcome: "allowed" | "blocked" | "failed" | "unable";
  /** One reason a line. */
  readonly why: () => string;
}

export interface Engine {
  /** As in "oracle says blocked". */
  readonly name: string;
  /**
   * Judges all cells of a step, in their order: one judgement for each. Steps come in the order of the case, so an
   * engine that keeps a world (network namespaces, a loaded program) brings it to `step.cluster` first.
   */
  readonly judge: (step: Step, of: Case) => readonly Judgement[] | Promise<readonly Judgement[]>;
}

/** A cell on which the engine and the case differ. */
export interface Mismatch {
  readonly step: Step;
  readonly cell: Cell;
  readonly judgement: Judgement;
}

/** The results of the cells of a step, or of all steps together. */
export interface Outcomes {
  /** Cells that the engine judged as expected. */
  readonly agreed: number;
  readonly mismatches: readonly Mismatch[];
  /** Mismatches of cells that are implementation-defined. */
  readonly optionalMismatches: readonly Mismatch[];
  /** Cells that the case leaves open. */
  readonly open: number;
  /** Cells that the engine has no means to judge. */
  readonly unable: number;
  /** Why it has none: each reason once. */
  readonly unableBecause: readonly string[];
}

export interface StepResult extends Outcomes {
  readonly step: Step;
}

/** A case without a cell that agreed has not passed. */
export interface CaseResult extends Outcomes {
  readonly case: Case;
  readonly engine: string;
  readonly steps: readonly StepResult[];
}

/** An engine that needs no more than the cluster to judge a cell. */
export function cellEngine(name: string, judge: (cluster: Cluster, cell: Cell) => Judgement): Engine {
  return { name, judge: ({ cluster, cells }) => cells.map((cell) => judge(cluster, cell)) };
}

export async function runCase(of: Case, engine: Engine): Promise<CaseResult> {
  const steps: StepResult[] = [];
  for (const step of of.steps) {
    const judgements = await engine.judge(step, of);
    assert(
      judgements.length === step.cells.length,
      `${engine.name} judged every cell of ${of.id}, ${step.title}`,
    );
    steps.push({ step, ...outcomesOf(step, judgements) });
  }
  const sum = (count: (step: StepResult) => number) => steps.reduce((total, step) => total + count(step), 0);
  return {
    case: of,
    engine: engine.name,
    steps,
    agreed: sum(({ agreed }) => agreed),
    mismatches: steps.flatMap(({ mismatches }) => mismatches),
    optionalMismatches: steps.flatMap(({ optionalMismatches }) => optionalMismatches),
    open: sum(({ open }) => open),
    unable: sum(({ unable }) => unable),
    unableBecause: [...new Set(steps.flatMap(({ unableBecause }) => unableBecause))],
  };
}

function outcomesOf(step: Step, judgements: readonly Judgement[]): Outcomes {
  const count = { agrees: 0, differs: 0, open: 0, unable: 0 };
  const differing: Mismatch[] = [];
  const unableBecause = new Set<string>();
  for (const [index, judgement] of judgements.entries()) {
    const cell = step.cells[index];
    assert(cell !== undefined, "every judgement has its cell");
    const comparison = compare(cell, judgement);
    count[comparison] += 1;
    if (comparison === "differs") differing.push({ step, cell, judgement });
    if (comparison === "unable") unableBecause.add(judgement.why());
  }
  return {
    agreed: count.agrees,
    mismatches: differing.filter(({ cell }) => !cell.optional),
    optionalMismatches: differing.filter(({ cell }) => cell.optional),
    open: count.open,
    unable: count.unable,
    unableBecause: [...unableBecause],
  };
}

export const hasPassed = (result: CaseResult): boolean => result.mismatches.length === 0 && result.agreed > 0;

type Comparison = "agrees" | "differs" | "open" | "unable";

function compare(cell: Cell, judgement: Judgement): Comparison {
  if (cell.expected === "open") return "open";
  if (judgement.outcome === "unable") return "unable";
  return judgement.outcome === cell.expected ? "agrees" : "differs";
}

/** One line: "weir/role-db: step 1: TCP/80 from a/x to b/y: expected blocked, oracle says allowed: ...". */
export function mismatchText(result: CaseResult, { step, cell, judgement }: Mismatch): string {
  const expected = cell.reason === "" ? cell.expected : `${cell.expected} (${cell.reason})`;
  const said = `${result.engine} says ${judgement.outcome}: ${judgement.why().replaceAll("\n", "; ")}`;
  return `${result.case.id}: ${step.title}: ${cellText(cell)}: expected ${expected}, ${said}`;
}

/** The question of a cell, as in "TCP/80 from a/x to b/y (10.0.0.1 to 10.0.0.2), ingress alone". */
export function cellText({ from, to, side, protocol, port }: Cell): string {
  const traffic = protocol === "ICMP" ? protocol : `${protocol}/${port}`;
  const addresses = `${from.address.text} to ${to.address.text}`;
  return `${traffic} from ${from.name} to ${to.name} (${addresses})${side === "both" ? "" : `, ${side} alone`}`;
}

/** Why a case has not passed: its mismatches, at most `linesMax` of them, or that nothing was compared. */
export function failureText(result: CaseResult, linesMax: number): string {
  const { mismatches, agreed } = result;
  if (mismatches.length === 0 && agreed === 0)
    return `${result.case.id}: ${result.engine} could judge none of its cells`;
  const lines = mismatches.slice(0, linesMax).map((mismatch) => mismatchText(result, mismatch));
  const more = mismatches.length - lines.length;
  return [...lines, ...(more > 0 ? [`${result.case.id}: and ${more} more`] : [])].join("\n");
}
