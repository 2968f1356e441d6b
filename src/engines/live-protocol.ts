// The messages between `weir test` and the process that holds its live world, as structured clones.

import type { Judgement } from "../source/conformance/case-runner.ts";
import type { Case } from "../source/conformance/case-types.ts";

export type Request =
  /** The steps that follow are of this case. */
  | { readonly kind: "case"; readonly case: Case }
  /** Bring the world to the step with this index, and judge its cells. */
  | { readonly kind: "step"; readonly index: number };

export type Reply =
  | { readonly kind: "ready" }
  | { readonly kind: "verdicts"; readonly verdicts: readonly Verdict[] }
  /** What went wrong; the world is in an unknown state. */
  | { readonly kind: "error"; readonly reason: string };

/** A judgement without its function. */
export interface Verdict {
  readonly outcome: Judgement["outcome"];
  /** The result of the sockets, or why there is none. */
  readonly what: string;
}
