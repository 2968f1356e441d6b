// Runs conformance cases on an engine: whatever can say of a cluster's connections whether they are allowed, and why.

import { assert } from "../../base/assert.ts";
import type { Cluster } from "../../model/cluster.ts";
import type { Case, Cell, Step } from "./types.ts";

export type Judgement =
  | { readonly outcome: "allowed" | "blocked"; readonly why: () => string }
  /** The engine has no means to tell (no SCTP sockets, no side alone): the cell is counted and not compared. */
  | { readonly outcome: "unable"; readonly why: () => string };

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

export interface CaseResult {
  readonly case: Case;
  readonly engine: string;
  /** Cells that the engine judged as expected; no case has passed without one. */
  readonly agreed: number;
  readonly mismatches: readonly Mismatch[];
  /** Mismatches of cells that are implementation-defined. */
  readonly optionalMismatches: readonly Mismatch[];
  /** Cells that the case leaves open. */
  readonly open: number;
  /** Cells that the engine has no means to judge. */
  readonly unable: number;
}

/** An engine that needs no more than the cluster to judge a cell. */
export function cellEngine(name: string, judge: (cluster: Cluster, cell: Cell) => Judgement): Engine {
  return { name, judge: ({ cluster, cells }) => cells.map((cell) => judge(cluster, cell)) };
}

export async function runCase(of: Case, engine: Engine): Promise<CaseResult> {
  const compared: { readonly comparison: Comparison; readonly mismatch: Mismatch }[] = [];
  for (const step of of.steps) {
    const judgements = await engine.judge(step, of);
    assert(
      judgements.length === step.cells.length,
      `${engine.name} judged every cell of ${of.id}, ${step.title}`,
    );
    for (const [index, judgement] of judgements.entries()) {
      const cell = step.cells[index];
      assert(cell !== undefined, "every judgement has its cell");
      compared.push({ comparison: compare(cell, judgement), mismatch: { step, cell, judgement } });
    }
  }
  const count = (comparison: Comparison) => compared.filter((each) => each.comparison === comparison).length;
  const mismatches = compared.flatMap(({ comparison, mismatch }) =>
    comparison === "differs" ? [mismatch] : [],
  );
  return {
    case: of,
    engine: engine.name,
    agreed: count("agrees"),
    mismatches: mismatches.filter(({ cell }) => !cell.optional),
    optionalMismatches: mismatches.filter(({ cell }) => cell.optional),
    open: count("open"),
    unable: count("unable"),
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
  const said = `${result.engine} says ${judgement.outcome}: ${judgement.why()}`;
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
