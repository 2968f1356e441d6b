// The oracle as an engine for conformance cases.
import { evaluate, type Party, type Probe, permits, sideVerdict } from "../../src/policy/evaluate.ts";
import { reasonsText, sideVerdictText } from "../../src/policy/explain.ts";
import { cellEngine, type Engine, type Judgement } from "../../src/source/conformance/run.ts";
import type { Cell, End } from "../../src/source/conformance/types.ts";

/** Judges whole connections and single sides; what no policy decides, it cannot judge. */
export const oracle: Engine = cellEngine("oracle", (cluster, cell): Judgement => {
  if (cell.beyondPolicy) return { outcome: "unable", why: () => "no matter of policies" };
  const probe = probeOf(cell);
  const { side } = cell;
  if (side === "both") {
    const verdict = evaluate(cluster, probe);
    return { outcome: verdict.allowed ? "allowed" : "blocked", why: () => reasonsText(verdict) };
  }
  const verdict = sideVerdict(cluster, probe, side);
  return {
    outcome: permits(verdict) ? "allowed" : "blocked",
    why: () => sideVerdictText(verdict, side, probe),
  };
});

export const probeOf = ({ from, to, protocol, port }: Cell): Probe => ({
  from: partyOf(from),
  to: partyOf(to),
  protocol,
  port,
});

const partyOf = ({ pod, address }: End): Party =>
  pod === undefined ? { kind: "address", address } : { kind: "pod", pod, address };
