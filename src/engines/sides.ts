// A cell asked side by side: the source's egress and the destination's ingress, each where that end is an endpoint.

import type { Direction } from "../base/direction.ts";
import { keyOf } from "../model/cluster.ts";
import { evaluate, type Party, permits } from "../policy/evaluate.ts";
import { reasonsText } from "../policy/explain.ts";
import type { Judgement } from "../source/conformance/run.ts";
import type { Cell, End, Step } from "../source/conformance/types.ts";

/** One program run or lookup: what the endpoint on `ifindex` says of the cell in a direction. */
export type AskSide = (question: { readonly cell: Cell; readonly direction: Direction; readonly ifindex: number }) => {
  readonly allowed: boolean;
  /** What was answered, in the engine's own words. */
  readonly answer: string;
};

/** Judges a cell by both its sides (or the one that it is about); a pod's traffic to itself never crosses a veth. */
export function judgeSides(step: Step, cell: Cell, interfaces: ReadonlyMap<string, number>, ask: AskSide): Judgement {
  if (cell.beyondPolicy) return { outcome: "unable", why: () => "no matter of policies" };
  if (cell.loopback) return { outcome: "allowed", why: () => "it never leaves the pod" };
  const answers: string[] = [];
  let allowed = true;
  for (const direction of ["egress", "ingress"] as const) {
    if (cell.side !== "both" && cell.side !== direction) continue;
    const ifindex = interfaceOf(step, direction === "egress" ? cell.from : cell.to, interfaces);
    if (ifindex === undefined) continue;
    const side = ask({ cell, direction, ifindex });
    answers.push(`${direction}: ${side.answer}`);
    allowed &&= side.allowed;
  }
  return { outcome: allowed ? "allowed" : "blocked", why: () => `${answers.join(", ")}; by the API: ${expectedText(step, cell)}` };
}

function interfaceOf(step: Step, end: End, interfaces: ReadonlyMap<string, number>): number | undefined {
  const pod = end.pod === undefined ? undefined : step.cluster.pods.get(keyOf(end.pod));
  if (pod === undefined || pod.hostNetwork || pod.finished) return undefined;
  return interfaces.get(keyOf(pod));
}

function expectedText(step: Step, cell: Cell): string {
  const verdict = evaluate(step.cluster, { from: partyOf(cell.from), to: partyOf(cell.to), protocol: cell.protocol, port: cell.port });
  return `${permits(verdict.egress) && permits(verdict.ingress) ? "allowed" : "blocked"}, ${reasonsText(verdict)}`;
}

export const partyOf = ({ pod, address }: End): Party =>
  pod === undefined ? { kind: "address", address } : { kind: "pod", pod, address };
