// What the NetworkPolicy API says of a cell and why, for engines to explain a mismatch with.

import type { Direction } from "../base/direction.ts";
import { type Party, type Probe, sideVerdict } from "../policy/evaluate.ts";
import { sideVerdictText } from "../policy/explain.ts";
import type { Cell, End, Step } from "../source/conformance/types.ts";

export const probeOf = ({ from, to, protocol, port }: Cell): Probe => ({
  from: partyOf(from),
  to: partyOf(to),
  protocol,
  port,
});

const partyOf = ({ pod, address }: End): Party =>
  pod === undefined ? { kind: "address", address } : { kind: "pod", pod, address };

/** The directions that a cell asks about, the source's end first, as the packet meets them. */
export const directionsOf = ({ side }: Cell): readonly Direction[] =>
  side === "both" ? ["egress", "ingress"] : [side];

/** What each end says by its policies and rules, as in "egress of x/a is not isolated". */
export function endTexts(cluster: Step["cluster"], cell: Cell): string[] {
  const probe = probeOf(cell);
  const texts = directionsOf(cell).map((direction) =>
    sideVerdictText(sideVerdict(cluster, probe, direction), direction, probe),
  );
  // Of a pod to itself both ends say the same.
  return [...new Set(texts)];
}
