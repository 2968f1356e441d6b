// What `weir trace` found, as data and as text.

import type { Direction } from "../../base/direction.ts";
import { keyOf } from "../../model/cluster.ts";
import { printable } from "../../observe/text.ts";
import type { Allowance, Party, SideVerdict } from "../../policy/evaluate.ts";
import type { NearRule } from "../../policy/trace/near.ts";
import type { Path, TracedSide } from "../../policy/trace/trace.ts";
import type { Source } from "../situation/source.ts";
import type { KernelAnswer, KernelSide, KernelSides } from "./kernel.ts";

type Where = Source["where"];

export interface RuleReport {
  readonly policy: string;
  /** As in "ingress[0]", "from[2]" and "ports[1]"; without `peer` for everyone, without `port` for all ports. */
  readonly rule: string;
  readonly peer?: string;
  readonly port?: string;
  /** `FILE:LINE`, where the policy was read from a file. */
  readonly at?: string;
}

export interface SideReport {
  readonly verdict: SideVerdict["kind"];
  readonly isolatedBy: readonly { readonly policy: string; readonly unreadable?: string }[];
  readonly allowedBy: readonly RuleReport[];
  readonly nearest?: RuleReport & { readonly wants: readonly string[] };
  readonly kernel?: KernelSide;
}

export interface EndReport {
  readonly pod?: string;
  readonly address: string;
}

export interface PathReport {
  readonly from: EndReport;
  readonly to: EndReport;
  readonly protocol: string;
  /** "80" or "8000-8080"; missing for ICMP. */
  readonly ports?: string;
  readonly allowed: boolean;
  /** Whether it is allowed without the change that was given. */
  readonly before?: boolean;
  readonly egress: SideReport;
  readonly ingress: SideReport;
}

export interface TraceReport {
  readonly allowed: boolean;
  readonly paths: readonly PathReport[];
  /** Missing where the kernel could have no answer: of manifests, and of a change. */
  readonly kernel?:
    | { readonly asked: true; readonly agrees: boolean; readonly generation: number }
    | { readonly asked: false; readonly reason: string };
}

export interface Traced {
  readonly paths: readonly Path[];
  readonly kernel: KernelAnswer | undefined;
}

export function reportOf({ paths, kernel }: Traced, where: Where): TraceReport {
  const sides = kernel?.asked === true ? kernel.paths : [];
  const reports = paths.map((path, index): PathReport => {
    return {
      from: endReport(path.probe.from),
      to: endReport(path.probe.to),
      protocol: path.probe.protocol,
      ...(path.ports === undefined ? {} : { ports: rangeText(path.ports) }),
      allowed: path.allowed,
      ...(path.before === undefined ? {} : { before: path.before }),
      egress: sideReport(path, "egress", { where, kernel: sides[index] }),
      ingress: sideReport(path, "ingress", { where, kernel: sides[index] }),
    };
  });
  return {
    allowed: paths.every((path) => path.allowed),
    paths: reports,
    ...(kernel === undefined ? {} : { kernel: kernelReport(kernel) }),
  };
}

function kernelReport(kernel: KernelAnswer): NonNullable<TraceReport["kernel"]> {
  if (!kernel.asked) return kernel;
  const agrees = kernel.paths.every(
    ({ egress, ingress }) => egress?.agrees !== false && ingress?.agrees !== false,
  );
  return { asked: true, agrees, generation: kernel.generation };
}

const endReport = (party: Party): EndReport => ({
  ...(party.kind === "pod" ? { pod: keyOf(party.pod) } : {}),
  address: party.address.text,
});

const rangeText = ({ first, last }: { readonly first: number; readonly last: number }): string =>
  first === last ? String(first) : `${first}-${last}`;

interface Extra {
  readonly where: Where;
  readonly kernel: KernelSides | undefined;
}

function sideReport(path: Path, direction: Direction, { where, kernel }: Extra): SideReport {
  const { verdict, isolatedBy, nearest }: TracedSide = path.sides[direction];
  const own = kernel?.[direction];
  return {
    verdict: verdict.kind,
    isolatedBy: isolatedBy.map(({ policy, unreadable }) => ({
      policy,
      ...(unreadable === undefined ? {} : { unreadable }),
    })),
    allowedBy: verdict.kind === "allowed" ? verdict.by.map((by) => ruleReport(by, direction, where)) : [],
    ...(nearest === undefined
      ? {}
      : {
          nearest: { ...ruleReport({ ...nearest, port: undefined }, direction, where), wants: nearest.wants },
        }),
    ...(own === undefined ? {} : { kernel: own }),
  };
}

function ruleReport(
  { policy, rule, peer, port }: Allowance | (NearRule & { readonly port: undefined }),
  direction: Direction,
  where: Where,
): RuleReport {
  const peers = direction === "ingress" ? "from" : "to";
  const path = ["spec", direction, rule, ...(peer === undefined ? [] : [peers, peer])];
  const at = where(policy, path);
  return {
    policy,
    rule: `${direction}[${rule}]`,
    ...(peer === undefined ? {} : { peer: `${peers}[${peer}]` }),
    ...(port === undefined ? {} : { port: `ports[${port}]` }),
    ...(at === undefined ? {} : { at }),
  };
}

/** A paragraph for each outcome; paths that differ in their addresses alone share one. */
export function reportText({ paths, kernel }: TraceReport): string {
  const groups = Map.groupBy(paths, ({ from, to, ...rest }) => JSON.stringify([from.pod, to.pod, rest]));
  const lines = [...groups.values()].flatMap(pathLines);
  if (kernel?.asked === false) lines.push(`kernel: not asked: ${kernel.reason}`);
  return lines.map((line) => `${printable(line)}\n`).join("");
}

function pathLines(paths: readonly PathReport[]): string[] {
  const [path] = paths;
  if (path === undefined) return [];
  const { from, to, protocol, ports, allowed, before, egress, ingress } = path;
  const traffic = ports === undefined ? protocol : `${protocol}/${ports}`;
  const change =
    before === undefined ? "" : before === allowed ? " (as before)" : ` (${wordOf(before)} before)`;
  const end = (which: "from" | "to") => endText(paths.map((each) => each[which]));
  return [
    `${wordOf(allowed)}${change}: ${traffic} from ${end("from")} to ${end("to")}`,
    ...sideLines(egress, `egress of ${from.pod ?? from.address}`),
    ...sideLines(ingress, `ingress of ${to.pod ?? to.address}`),
    ...kernelLines(path),
  ];
}

const wordOf = (allowed: boolean): string => (allowed ? "allowed" : "denied");

/** "alpha/nginx (10.0.0.1, fd00::1)". */
function endText(ends: readonly EndReport[]): string {
  const addresses = [...new Set(ends.map(({ address }) => address))].join(", ");
  const pod = ends[0]?.pod;
  return pod === undefined ? addresses : `${pod} (${addresses})`;
}

function sideLines({ verdict, isolatedBy, allowedBy, nearest }: SideReport, end: string): string[] {
  const by = isolatedBy
    .map(({ policy, unreadable }) =>
      unreadable === undefined ? policy : `${policy} (unreadable: ${unreadable})`,
    )
    .join(", ");
  switch (verdict) {
    case "not-applicable":
      return [`  ${end}: no policy applies (it is no pod that policies select)`];
    case "loopback":
      return [`  ${end}: a pod always reaches itself`];
    case "not-isolated":
      return [`  ${end}: not isolated`];
    case "allowed":
      return [`  ${end}: isolated by ${by}`, ...allowedBy.map((rule) => `    allowed by ${ruleText(rule)}`)];
    case "denied":
      return [
        `  ${end}: isolated by ${by}; ${nearest === undefined ? "there is no rule" : "no rule matches"}`,
        ...(nearest === undefined
          ? []
          : [`    nearest: ${ruleText(nearest)} wants`, ...nearest.wants.map((want) => `      ${want}`)]),
      ];
  }
}

function ruleText({ policy, rule, peer, port, at }: RuleReport): string {
  const place = [rule, peer, port].filter((part) => part !== undefined).join(".");
  return `${policy} ${place}${at === undefined ? "" : ` (${at})`}`;
}

function kernelLines({ egress, ingress }: PathReport): string[] {
  return [egress.kernel, ingress.kernel].flatMap((side) => {
    if (side === undefined) return [];
    const { program, verdict, reason, agrees } = side;
    const outcome = `${program} on ${side.interface} ${verdict} it (${reason})`;
    return [`  kernel: ${outcome}${agrees ? "" : ": DISAGREES"}`];
  });
}
