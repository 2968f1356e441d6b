// The oracle as an engine for conformance cases: read off the API, independent of all that the kernel is given.

import { evaluate, permits, sideVerdict } from "../policy/evaluate.ts";
import { cellEngine, type Engine, type Judgement } from "../source/conformance/run.ts";
import { endTexts, probeOf } from "./explain.ts";
import { BEYOND_POLICY } from "./sides.ts";

/** Judges whole connections and single sides; what no policy decides, it cannot judge. */
export const oracle: Engine = cellEngine("oracle", (cluster, cell): Judgement => {
  if (cell.beyondPolicy) return BEYOND_POLICY;
  const probe = probeOf(cell);
  const { side } = cell;
  const allowed =
    side === "both" ? evaluate(cluster, probe).allowed : permits(sideVerdict(cluster, probe, side));
  return { outcome: allowed ? "allowed" : "blocked", why: () => endTexts(cluster, cell).join("\n") };
});
