// What `weir diff` found, as data and as text.

import { type Cluster, isSelectable, keyOf } from "../model/cluster.ts";
import { countText, left, someOf, type Table } from "../observe/text-output.ts";
import { compare, type FlipGroup, groupsOf } from "../policy/diff/policy-diff.ts";
import { namesIn, podsIn, type Unit, unitsText } from "../policy/diff/traffic-classes.ts";
import { portSetText } from "../policy/port-classes.ts";

export interface FlipEnd {
  /** In few words, for people. */
  readonly text: string;
  readonly pods: readonly string[];
  /** Prefixes without the narrower ones that rules name; 0.0.0.0/0 and ::/0 are all the rest. */
  readonly addresses: readonly string[];
  /** Domain names of rules: what a pod has resolved from them. */
  readonly names?: readonly string[];
}

export interface FlipReport {
  /** What it would be after the change. */
  readonly change: "allowed" | "denied";
  readonly from: FlipEnd;
  readonly to: FlipEnd;
  readonly ports: string;
  /** Where it is so for one family, and both ends have both. */
  readonly family?: "IPv4" | "IPv6";
}

export interface DiffReport {
  readonly flips: readonly FlipReport[];
  readonly considered: {
    readonly pods: number;
    readonly classes: number;
    readonly prefixes: number;
    /** Domain names of rules. */
    readonly names: number;
    /** Pods that are there only before or only after the change. */
    readonly leftOut: readonly string[];
  };
}

export function reportOf(before: Cluster, after: Cluster): DiffReport {
  const { flips, units } = compare(before, after);
  const classes = units.filter(({ kind }) => kind === "pods");
  return {
    flips: groupsOf(flips, units).map((group) => flipReport(group, units, after)),
    considered: {
      pods: podsIn(units).length,
      classes: classes.length,
      prefixes: units.length - classes.length - namesIn(units).length,
      names: namesIn(units).length,
      leftOut: leftOut(before, after),
    },
  };
}

function leftOut(before: Cluster, after: Cluster): string[] {
  const keys = ({ pods }: Cluster) => new Set([...pods.values()].filter(isSelectable).map(keyOf));
  return [...keys(before).symmetricDifference(keys(after))].sort();
}

function flipReport(
  { from, to, allowed, ports, family }: FlipGroup,
  units: readonly Unit[],
  cluster: Cluster,
): FlipReport {
  const end = (own: readonly Unit[]): FlipEnd => ({
    text: unitsText(own, units, cluster),
    pods: podsIn(own).map(keyOf).sort(),
    addresses: own.flatMap((unit) => (unit.kind === "addresses" ? unit.cidr.text : [])),
    ...(namesIn(own).length > 0 && { names: namesIn(own) }),
  });
  return {
    change: allowed ? "allowed" : "denied",
    from: end(from),
    to: end(to),
    ports: portSetText(ports),
    ...(family === undefined ? {} : { family: `IPv${family}` as const }),
  };
}

const COLUMNS = ["CHANGE", "FROM", "TO", "PORTS"].map(left);

export const flipsTable = ({ flips }: DiffReport): Table => ({
  columns: COLUMNS,
  rows: flips.map(({ change, from, to, ports, family }) => [
    change,
    from.text,
    to.text,
    family === undefined ? ports : `${ports} (${family})`,
  ]),
});

const NAMES_MAX = 5;

/** What was considered, and what was not. */
export function remarksOn({ flips, considered }: DiffReport): string[] {
  const { pods, classes, prefixes, names: domains, leftOut: others } = considered;
  const scope = `compared: ${countText(pods, "pod")} in ${countText(classes, "class", "classes")}, ${countText(prefixes, "range")} of addresses${domains === 0 ? "" : `, ${countText(domains, "domain name")}`}`;
  const names = someOf(others, NAMES_MAX, ", ");
  return [
    flips.length === 0 ? `nothing would change (${scope})` : scope,
    ...(others.length === 0 ? [] : [`not compared, because they exist only before or after: ${names}`]),
  ];
}
