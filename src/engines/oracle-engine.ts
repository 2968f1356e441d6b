// The oracle as an engine for conformance cases: read off the API, independent of all that the kernel is given.

import { isSelectable } from "../model/cluster.ts";
import { evaluate, permits, sideVerdict } from "../policy/oracle.ts";
import { reaches } from "../policy/service-oracle.ts";
import { cellEngine, type Engine, type Judgement } from "../source/conformance/case-runner.ts";
import { BEYOND_POLICY, endTexts, partyOf, probeOf } from "./cell-verdict.ts";

/** Judges whole connections and single sides; what no policy decides, it cannot judge. */
export const oracle: Engine = cellEngine("oracle", (cluster, cell): Judgement => {
  if (cell.beyondPolicy) return BEYOND_POLICY;
  const why = () => endTexts(cluster, cell).join("\n");
  if (cell.behind !== undefined) {
    const { frontend, end, port } = cell.behind;
    const from = partyOf(cell.from);
    // Every pod that has an interface is one of this node, as for the other engines.
    const asked = { from, frontend, names: cell.names };
    const reached = reaches(cluster, asked, { address: end.address, port }, isSelectable);
    return { outcome: reached ? "allowed" : "blocked", why };
  }
  const probe = probeOf(cell);
  const { side } = cell;
  const allowed =
    side === "both" ? evaluate(cluster, probe).allowed : permits(sideVerdict(cluster, probe, side));
  return { outcome: allowed ? "allowed" : "blocked", why };
});
