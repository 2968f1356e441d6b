// A cell decided per side: the source's egress and the destination's ingress, for each end that is an endpoint.

import type { Direction } from "../base/direction.ts";
import { isSelectable, keyOf } from "../model/cluster.ts";
import type { Judgement } from "../source/conformance/case-runner.ts";
import type { Cell, End, Step } from "../source/conformance/case-types.ts";
import { arriving, directionsOf, endTexts } from "./explain.ts";

/** One program run or lookup: what the endpoint on `ifindex` says of the cell in a direction. */
export type AskSide = (question: {
  readonly cell: Cell;
  readonly direction: Direction;
  readonly ifindex: number;
}) => {
  readonly allowed: boolean;
  /** What was answered, in the engine's own words. */
  readonly answer: string;
};

/** A cell between a node and its own pods. */
export const BEYOND_POLICY: Judgement = {
  outcome: "unable",
  why: () => "what is between a node and its own pods is no matter of policies",
};

const LOOPBACK: Judgement = { outcome: "allowed", why: () => "it never leaves the pod" };

/** Judges a cell by both its sides (or the one that it is about); a pod's traffic to itself never crosses a veth. */
export function judgeSides(
  step: Step,
  cell: Cell,
  interfaces: ReadonlyMap<string, number>,
  ask: AskSide,
): Judgement {
  if (cell.beyondPolicy) return BEYOND_POLICY;
  if (cell.loopback) return LOOPBACK;
  const answers: string[] = [];
  let allowed = true;
  for (const direction of directionsOf(cell)) {
    const seen = direction === "egress" ? cell : arriving(cell);
    const ifindex = interfaceOf(step, direction === "egress" ? seen.from : seen.to, interfaces);
    if (ifindex === undefined) continue;
    const side = ask({ cell: seen, direction, ifindex });
    answers.push(`${direction}: ${side.answer}`);
    allowed &&= side.allowed;
  }
  return {
    outcome: allowed ? "allowed" : "blocked",
    why: () => [answers.join(", ") || "neither end is an endpoint", ...byTheApi(step, cell)].join("\n"),
  };
}

function interfaceOf(step: Step, end: End, interfaces: ReadonlyMap<string, number>): number | undefined {
  const pod = end.pod === undefined ? undefined : step.cluster.pods.get(keyOf(end.pod));
  return pod === undefined || !isSelectable(pod) ? undefined : interfaces.get(keyOf(pod));
}

/** The verdicts of the API for both ends, shown after an engine's result. */
export const byTheApi = ({ cluster }: Step, cell: Cell): string[] =>
  endTexts(cluster, cell).map((text) => `by the API, ${text}`);
