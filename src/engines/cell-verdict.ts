// Verdicts on cells of a conformance case, for all engines: per side, with the reason that the API's text gives.

import type { Direction } from "../base/direction.ts";
import { isSelectable, keyOf } from "../model/cluster.ts";
import type { LocalEndpoint } from "../policy/compile.ts";
import { type Party, type Probe, permits, sideVerdict } from "../policy/oracle.ts";
import { serviceVerdict } from "../policy/service-oracle.ts";
import { sideVerdictText } from "../policy/verdict-text.ts";
import type { Judgement } from "../source/conformance/case-runner.ts";
import type { Cell, End, Step } from "../source/conformance/case-types.ts";

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
  why: () => "policies do not apply between a node and its own pods",
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

// What the NetworkPolicy API says of a cell and why, for engines to explain a mismatch with.

export const probeOf = ({ from, to, protocol, port, names }: Cell): Probe => ({
  from: partyOf(from),
  to: partyOf(to),
  protocol,
  port,
  names,
});

export const partyOf = ({ pod, address }: End): Party =>
  pod === undefined ? { kind: "address", address } : { kind: "pod", pod, address };

/** The directions of a cell, the source's end first, as the packet meets them. */
export const directionsOf = ({ side }: Cell): readonly Direction[] =>
  side === "both" ? ["egress", "ingress"] : [side];

/** The cell as the destination's end sees it: behind the node, a Service's address has become a backend's. */
export const arriving = (cell: Cell): Cell =>
  cell.behind === undefined ? cell : { ...cell, to: cell.behind.end, port: cell.behind.port };

/** What each end says by its policies and rules, as in "egress of x/a is not isolated". */
export function endTexts(cluster: Step["cluster"], asked: Cell): string[] {
  const cell = arriving(asked);
  const probe = probeOf(cell);
  const texts = directionsOf(cell).map((direction) =>
    sideVerdictText(sideVerdict(cluster, probe, direction), direction, probe),
  );
  // Of a pod to itself both ends say the same.
  return [...new Set([...serviceTexts(cluster, asked), ...texts])];
}

/** What a pod's policies say of every backend of a Service, as in "of Service x/s, 10.0.0.1:80 is denied". */
function serviceTexts(cluster: Step["cluster"], { behind, from, names }: Cell): string[] {
  if (behind === undefined) return [];
  const { frontend } = behind;
  const { leaves, backends } = serviceVerdict(
    cluster,
    { from: partyOf(from), frontend, names },
    isSelectable,
  );
  const texts = backends.map(
    ({ backend, verdict, guarded }) =>
      `${backend.address.text} port ${backend.port} is ${permits(verdict) ? "allowed" : "denied"}${guarded ? " and on this node" : ""}`,
  );
  return [`of Service ${frontend.service}, ${texts.join(", ")}: packets may ${leaves ? "" : "not "}leave`];
}

// The endpoints of a conformance step: every selectable pod is one of this node, on an interface of its own.

/** Gives every pod key an interface index and keeps it as long as the engine lives. */
export function localsOf(step: Step, interfaces: Map<string, number>, next: () => number): LocalEndpoint[] {
  return [...step.cluster.pods.values()].filter(isSelectable).map((pod) => {
    const key = keyOf(pod);
    const ifindex = interfaces.get(key) ?? next();
    interfaces.set(key, ifindex);
    return { pod, ifindex };
  });
}
