// What the NetworkPolicy API says of a cell and why, for engines to explain a mismatch with.

import type { Direction } from "../base/direction.ts";
import { isSelectable } from "../model/cluster.ts";
import { type Party, type Probe, permits, sideVerdict } from "../policy/oracle.ts";
import { serviceVerdict } from "../policy/service-oracle.ts";
import { sideVerdictText } from "../policy/verdict-text.ts";
import type { Cell, End, Step } from "../source/conformance/case-types.ts";

export const probeOf = ({ from, to, protocol, port }: Cell): Probe => ({
  from: partyOf(from),
  to: partyOf(to),
  protocol,
  port,
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
function serviceTexts(cluster: Step["cluster"], { behind, from }: Cell): string[] {
  if (behind === undefined) return [];
  const { frontend } = behind;
  const { leaves, backends } = serviceVerdict(cluster, { from: partyOf(from), frontend }, isSelectable);
  const texts = backends.map(
    ({ backend, verdict, guarded }) =>
      `${backend.address.text} port ${backend.port} is ${permits(verdict) ? "allowed" : "denied"}${guarded ? " and on this node" : ""}`,
  );
  return [`of Service ${frontend.service}, ${texts.join(", ")}: packets may ${leaves ? "" : "not "}leave`];
}
