// Which decisions a change of policies flips: from whom to whom, on which ports, by classes instead of one by one.

import type { Family } from "../../base/ip.ts";
import type { Cluster } from "../../model/cluster.ts";
import { ALL_PORTS, type PortSet, portSetKey } from "../port-classes.ts";
import { type Reach, reachOf } from "./reach.ts";
import { difference, intersection } from "./spans.ts";
import { addressUnits, FAMILIES, podUnits, type Twice, type Unit } from "./traffic-classes.ts";

/** Ports on which every member of `from` reaches every member of `to` after the change and not before, or the reverse. */
export interface Flip {
  readonly from: Unit;
  readonly to: Unit;
  /** Undefined where it is so for every family that both ends have. */
  readonly family: Family | undefined;
  readonly allowed: boolean;
  readonly ports: PortSet;
}

export interface Comparison {
  readonly flips: readonly Flip[];
  readonly units: readonly Unit[];
}

/**
 * Compares what two clusters decide between their pods, and between these and addresses outside. Pods that only one of
 * them has are left out, and so are the second and further addresses of one family. Time: the square of the number of
 * classes of pods.
 */
export function compare(before: Cluster, after: Cluster): Comparison {
  const reaches = [reachOf(before), reachOf(after)] as const;
  const pods = podUnits([before, after], reaches);
  const units = [...pods, ...addressUnits(reaches)];
  const cells = cellsOf(reaches);
  const flips = pods.flatMap((unit) =>
    units.flatMap((other) =>
      // Among pods each pair comes up twice, once from either side.
      other.kind === "pods"
        ? flipsOf(unit, other, cells)
        : [...flipsOf(unit, other, cells), ...flipsOf(other, unit, cells)],
    ),
  );
  return { flips, units };
}

/** The ports that two policies (before and after) allow to two term sets, each pair looked up once. */
type Cells = (policies: Twice<string>, terms: Twice<string>) => Cell;

interface Cell {
  readonly ports: Twice<PortSet>;
  readonly same: boolean;
}

const OPEN_CELL: Cell = { ports: [ALL_PORTS, ALL_PORTS], same: true };

function cellsOf(reaches: Twice<Reach>): Cells {
  const known = new Map<string, Cell>();
  return (policies, terms) => {
    const key = JSON.stringify([policies, terms]);
    const found = known.get(key);
    if (found !== undefined) return found;
    const ports = [reaches[0].ports(policies[0], terms[0]), reaches[1].ports(policies[1], terms[1])] as const;
    const cell = { ports, same: portSetKey(ports[0]) === portSetKey(ports[1]) };
    known.set(key, cell);
    return cell;
  };
}

function flipsOf(from: Unit, to: Unit, cells: Cells): Flip[] {
  // A pod always reaches itself.
  if (from === to && from.kind === "pods" && from.pods.length === 1) return [];
  const common = FAMILIES.filter(
    (family) => from.terms[family] !== undefined && to.terms[family] !== undefined,
  );
  const flips = common.flatMap((family) => flipsOver(family, { from, to, cells }));
  const alike = Map.groupBy(flips, ({ allowed, ports }) => `${allowed} ${portSetKey(ports)}`);
  return [...alike.values()].flatMap((same) => {
    const [first] = same;
    return first !== undefined && same.length === common.length ? [{ ...first, family: undefined }] : same;
  });
}

function flipsOver(
  family: Family,
  { from, to, cells }: { readonly from: Unit; readonly to: Unit; readonly cells: Cells },
): Flip[] {
  const [source, destination] = [from.terms[family], to.terms[family]];
  if (source === undefined || destination === undefined) return [];
  const egress = from.kind === "pods" ? cells(from.policy.egress, destination) : OPEN_CELL;
  const ingress = to.kind === "pods" ? cells(to.policy.ingress, source) : OPEN_CELL;
  if (egress.same && ingress.same) return [];
  const was = intersection(egress.ports[0], ingress.ports[0]);
  const is = intersection(egress.ports[1], ingress.ports[1]);
  const flips = [
    { from, to, family, allowed: true, ports: difference(is, was) },
    { from, to, family, allowed: false, ports: difference(was, is) },
  ];
  return flips.filter(({ ports }) => ports.length > 0);
}
