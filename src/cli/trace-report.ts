// What `weir trace` found, as data and as text.

import type { Direction } from "../base/direction.ts";
import { isSelectable, keyOf } from "../model/cluster.ts";
import { printable, someOf } from "../observe/text-output.ts";
import type { Allowance, Party, SideVerdict } from "../policy/oracle.ts";
import type { NearRule } from "../policy/trace/nearest-rule.ts";
import type { Path, TracedSide, Via } from "../policy/trace/traced-paths.ts";
import { decisionText } from "../policy/verdict-text.ts";
import type { Source } from "./query-manifests.ts";
import type { KernelAnswer, KernelSide, KernelSides } from "./trace-in-kernel.ts";

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
  /** The rule of a ClusterNetworkPolicy that accepts or denies. */
  readonly decidedBy?: DecisionReport;
  readonly nearest?: RuleReport & { readonly wants: readonly string[] };
  /** Domain names of rules that would accept it if the pod had resolved one of them to this address. */
  readonly namesMissing?: readonly string[];
  readonly kernel?: KernelSide;
}

export interface DecisionReport {
  readonly policy: string;
  readonly tier: string;
  readonly priority: number;
  readonly action: string;
  /** As in "egress[0]". */
  readonly rule: string;
  readonly name?: string;
  readonly unreadable?: string;
  /** All of this as one text. */
  readonly text: string;
  /** `FILE:LINE`, where the policy was read from a file. */
  readonly at?: string;
}

export interface EndReport {
  readonly pod?: string;
  readonly address: string;
  /** Why no policy selects the pod. */
  readonly exempt?: "host network" | "finished";
}

export interface PathReport {
  readonly from: EndReport;
  readonly to: EndReport;
  /** The Service's port that the connection is made to, where `to` is one of its backends. */
  readonly via?: ViaReport;
  readonly protocol: string;
  /** "80" or "8000-8080"; missing for ICMP. */
  readonly ports?: string;
  readonly allowed: boolean;
  /** Whether it is allowed without the change that was given. */
  readonly before?: boolean;
  readonly egress: SideReport;
  readonly ingress: SideReport;
}

export interface ViaReport {
  readonly service: string;
  readonly address: string;
  readonly port: number;
  /** Whether packets to it may leave the client. */
  readonly leaves: boolean;
  /** What the client's policies say of the address itself, where it is one of spec.externalIPs. */
  readonly itself?: SideReport;
  /** Whether there is anyone behind it. */
  readonly backends: number;
  /** Whether its backends are not known, as it is beyond its namespace's share. */
  readonly refused?: true;
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
      ...(path.via === undefined ? {} : { via: viaReport(path.via, where) }),
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

function endReport(party: Party): EndReport {
  const { text: address } = party.address;
  if (party.kind === "address") return { address };
  const { pod } = party;
  if (isSelectable(pod)) return { pod: keyOf(pod), address };
  return { pod: keyOf(pod), address, exempt: pod.hostNetwork ? "host network" : "finished" };
}

const viaReport = ({ frontend, leaves, itself }: Via, where: Where): ViaReport => ({
  service: frontend.service,
  address: frontend.address.text,
  port: frontend.port,
  leaves,
  ...(itself && { itself: tracedReport(itself, "egress", where) }),
  backends: frontend.backends.reduce((sum, { addresses }) => sum + addresses.length, 0),
  ...(frontend.refused === true && { refused: true }),
});

const rangeText = ({ first, last }: { readonly first: number; readonly last: number }): string =>
  first === last ? String(first) : `${first}-${last}`;

interface Extra {
  readonly where: Where;
  readonly kernel: KernelSides | undefined;
}

function sideReport(path: Path, direction: Direction, { where, kernel }: Extra): SideReport {
  const own = kernel?.[direction];
  const report = tracedReport(path.sides[direction], direction, where);
  return own === undefined ? report : { ...report, kernel: own };
}

function tracedReport(
  { verdict, isolatedBy, nearest, namesMissing }: TracedSide,
  direction: Direction,
  where: Where,
): SideReport {
  return {
    verdict: verdict.kind,
    isolatedBy: isolatedBy.map(({ policy, unreadable }) => ({
      policy,
      ...(unreadable === undefined ? {} : { unreadable }),
    })),
    ...decisionReport(verdict, direction, where),
    ...(namesMissing.length > 0 && { namesMissing }),
    allowedBy: verdict.kind === "allowed" ? verdict.by.map((by) => ruleReport(by, direction, where)) : [],
    ...(nearest === undefined
      ? {}
      : {
          nearest: { ...ruleReport({ ...nearest, port: undefined }, direction, where), wants: nearest.wants },
        }),
  };
}

function decisionReport(
  verdict: SideVerdict,
  direction: Direction,
  where: Where,
): { readonly decidedBy: DecisionReport } | undefined {
  if (verdict.kind !== "accepted" && verdict.kind !== "denied" && verdict.kind !== "audit") return undefined;
  const { by } = verdict;
  if (by === undefined) return undefined;
  const { policy, tier, priority, action, rule, ruleName, unreadable } = by;
  const at = where(policy, ["spec", direction, rule]);
  return {
    decidedBy: {
      ...{ policy, tier, priority, action, rule: `${direction}[${rule}]` },
      ...(ruleName !== undefined && { name: ruleName }),
      ...(unreadable !== undefined && { unreadable }),
      text: decisionText(by, direction),
      ...(at !== undefined && { at }),
    },
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

/** A paragraph for each outcome: paths that differ in their addresses alone share one, and so do backends of a Service. */
export function reportText({ paths, kernel }: TraceReport): string {
  const groups = Map.groupBy(paths, ({ from, to, via, ingress, egress, ...rest }) => {
    const sides = [egress, ingress].map(({ kernel: asked, ...side }) => ({ ...side, agrees: asked?.agrees }));
    const end = via === undefined ? to.pod : { ...via, address: "" };
    return JSON.stringify([from.pod, end, sides, rest]);
  });
  const lines = [...groups.values()].flatMap(pathLines);
  if (kernel?.asked === false) lines.push(`kernel: not queried: ${kernel.reason}`);
  return lines.map((line) => `${printable(line)}\n`).join("");
}

function pathLines(paths: readonly PathReport[]): string[] {
  const [path] = paths;
  if (path === undefined) return [];
  const { from, to, allowed, before, egress, ingress } = path;
  const change =
    before === undefined ? "" : before === allowed ? " (as before)" : ` (${wordOf(before)} before)`;
  const ends = [...new Set(paths.map(({ to }) => to.pod ?? to.address))];
  return [
    `${wordOf(allowed)}${change}: ${routeText(paths, path)}`,
    ...viaLines(path),
    ...(path.via?.refused === true && !path.via.leaves
      ? isolationLines(egress, from)
      : sideLines(egress, `egress of ${from.pod ?? from.address}`, from)),
    ...(path.via?.backends === 0 ? [] : sideLines(ingress, `ingress of ${someOf(ends, ENDS_MAX, ", ")}`, to)),
    ...new Set(paths.flatMap(kernelLines)),
  ];
}

/** Backends that are named in one line. */
const ENDS_MAX = 5;

/** "TCP/80 from a/b (...) to c/d (...)", with the Service on the way. */
function routeText(paths: readonly PathReport[], { protocol, ports, via }: PathReport): string {
  const end = (which: "from" | "to") => endText(paths.map((each) => each[which]));
  const traffic = ports === undefined ? protocol : `${protocol}/${ports}`;
  if (via === undefined) return `${traffic} from ${end("from")} to ${end("to")}`;
  const addresses = paths.flatMap((each) => each.via?.address ?? []);
  const port = via.backends === 0 ? (ports ?? via.port) : via.port;
  const service = `${protocol}/${port} from ${end("from")} to Service ${via.service} (${listed(addresses)})`;
  return via.backends === 0 ? service : `${service}, and on to ${end("to")} at ${traffic}`;
}

/** What keeps a packet from a backend that it might go to, or to another one. */
function viaLines({ from, via, egress }: PathReport): string[] {
  if (via === undefined) return [];
  if (via.refused === true)
    return [
      `  Service ${via.service}: beyond its namespace's share, so its backends are not known: ${via.leaves ? "nothing can be denied to this client" : "denied to each client to which something can be denied"}`,
    ];
  if (via.backends === 0) return [`  Service ${via.service}: it has no backend`];
  if (via.itself?.verdict === "denied")
    return [
      `  Service ${via.service}: nothing leaves the client, as the external address itself is denied`,
      ...sideLines(via.itself, `egress of ${from.pod ?? from.address} to ${via.address} itself`, from),
    ];
  const isPermitted = egress.verdict !== "denied";
  if (isPermitted === via.leaves) return [];
  return via.leaves
    ? [
        `  Service ${via.service}: other backends are allowed; this one's end drops what comes from this client`,
      ]
    : [`  Service ${via.service}: nothing leaves the client, as a backend that is denied could not drop it`];
}

const wordOf = (allowed: boolean): string => (allowed ? "allowed" : "denied");

const listed = (addresses: readonly string[]): string => [...new Set(addresses)].join(", ");

/** "alpha/nginx (10.0.0.1, fd00::1)", of backends several. */
function endText(ends: readonly EndReport[]): string {
  const byPod = Map.groupBy(ends, ({ pod }) => pod);
  const texts = [...byPod].map(([pod, own]) => {
    const addresses = listed(own.map(({ address }) => address));
    return pod === undefined ? addresses : `${pod} (${addresses})`;
  });
  return someOf(texts, ENDS_MAX, ", ");
}

function sideLines(
  { verdict, isolatedBy, allowedBy, decidedBy, nearest, namesMissing = [] }: SideReport,
  end: string,
  { exempt }: EndReport,
): string[] {
  const by = isolatedBy
    .map(({ policy, unreadable }) =>
      unreadable === undefined ? policy : `${policy} (unreadable: ${unreadable})`,
    )
    .join(", ");
  switch (verdict) {
    case "not-applicable":
      return [`  ${end}: no policy applies (${EXEMPTIONS[exempt ?? "address"]})`];
    case "loopback":
      return [`  ${end}: a pod always reaches itself`];
    case "not-isolated":
      return [`  ${end}: not isolated`];
    case "allowed":
      return [`  ${end}: isolated by ${by}`, ...allowedBy.map((rule) => `    allowed by ${ruleText(rule)}`)];
    case "accepted":
      return [`  ${end}: accepted by ${decidedBy?.text}${atText(decidedBy?.at)}`];
    case "audit":
    case "denied":
      if (decidedBy !== undefined)
        return [
          `  ${end}: denied by ${decidedBy.text}${atText(decidedBy.at)}${verdict === "audit" ? " (audit: it passes)" : ""}`,
          ...namesLines(namesMissing),
        ];
      return [
        `  ${end}: isolated by ${by}${verdict === "audit" ? " (audit: it passes)" : ""}; ${nearest === undefined ? "there is no rule" : "no rule matches"}`,
        ...(nearest === undefined
          ? []
          : [`    nearest: ${ruleText(nearest)} requires`, ...nearest.wants.map((want) => `      ${want}`)]),
        ...namesLines(namesMissing),
      ];
  }
}

const isolationLines = ({ isolatedBy }: SideReport, { pod, address }: EndReport): readonly string[] =>
  isolatedBy.length === 0
    ? []
    : [`  egress of ${pod ?? address}: isolated by ${isolatedBy.map(({ policy }) => policy).join(", ")}`];

/** Names that are shown in one line. */
const NAMES_MAX = 5;

const namesLines = (names: readonly string[]): readonly string[] =>
  names.length === 0
    ? []
    : [
        `    accepted as an address of ${someOf(names, NAMES_MAX, ", ")}, once the pod has resolved it (try --name)`,
      ];

const atText = (at: string | undefined): string => (at === undefined ? "" : ` (${at})`);

const EXEMPTIONS = {
  "host network":
    "a host-network pod, here as if it ran on another node: its own node always reaches its pods",
  finished: "a finished pod, which has given its address back",
  address: "it is not a pod's address",
} as const;

function ruleText({ policy, rule, peer, port, at }: RuleReport): string {
  const place = [rule, peer, port].filter((part) => part !== undefined).join(".");
  return `${policy} ${place}${atText(at)}`;
}

function kernelLines({ egress, ingress }: PathReport): string[] {
  return [egress.kernel, ingress.kernel].flatMap((side) => {
    if (side === undefined) return [];
    const { program, verdict, reason, agrees } = side;
    const outcome = `${program} on ${side.interface} ${verdict} it (${reason})`;
    return [`  kernel: ${outcome}${agrees ? "" : ": DISAGREES"}`];
  });
}
