// `weir status`: whether the desired state is enforced, in one word first, then in detail.

import type { KindHealth, SourceHealth } from "../model/cluster-snapshot.ts";
import { type Problem, problemText } from "../model/problem.ts";
import type {
  BypassView,
  CapacityView,
  CniView,
  FlowTableView,
  RepairsView,
  RetainedView,
  StatusView,
  UplinkView,
} from "./api-views.ts";
import { type EndpointRow, isolationText } from "./endpoints-table.ts";
import { countText, durationText, left, printable, right, someOf, tableText } from "./text-output.ts";

/**
 * ok: what the policies require is in the kernel, attached and pinned, and all of it drops. degraded: there are problems, the
 * kernel lags behind, or something is in audit mode. down: no agent answers.
 */
export type Health = "ok" | "degraded" | "down";

/** State of the kernel and the pins without an agent. */
export interface KernelView {
  /** The directory of the pins. */
  readonly pins: string;
  /** Of the pinned maps. Missing if they cannot be read. */
  readonly digest?: string;
  readonly generation?: number;
  readonly endpoints: readonly EndpointRow[];
  /** Why the maps cannot be read. */
  readonly unreadable?: string;
  /** Interfaces on which programs of Weir's are attached, whether the maps can be read or not. */
  readonly filtered: readonly FilteredInterface[];
  /** Interfaces with other programs. Without pins it cannot be determined whether they are Weir's. */
  readonly others: readonly FilteredInterface[];
  /** The process that has locked the pins: an agent that does not answer at this socket. */
  readonly lockedBy?: number;
}

export interface FilteredInterface {
  readonly ifindex: number;
  readonly interface?: string;
  /** Hooks by direction of the pod's traffic: "tcx", "clsact", "xdp". */
  readonly ingress?: string;
  readonly egress?: string;
}

/** The body of `weir status -o json`. */
export interface StatusReport {
  readonly health: Health;
  readonly agent: AgentReport;
  /** Without an agent the desired generation is missing; `applied` is 0 if nothing is enforced. */
  readonly generation: { readonly wanted?: number; readonly applied: number };
  /** ISO 8601. */
  readonly appliedAt?: string;
  readonly endpoints: number;
  /** Missing if no agent answers: the kernel does not have policies by name. */
  readonly policies?: number;
  /** Missing if the source is not the API server. */
  readonly following?: SourceHealth;
  /** Missing if no uplinks are configured. */
  readonly uplinks?: UplinkView;
  /** Missing if no agent answers. */
  readonly cni?: CniView;
  readonly unknownInterfaces?: readonly string[];
  /** Endpoints with policies in audit mode. */
  readonly audited?: number;
  /** Emergency bypasses in force; missing if there is none. */
  readonly bypasses?: readonly BypassView[];
  /** Missing if no agent answers. */
  readonly repairs?: RepairsView;
  /** Missing if there are none. */
  readonly retained?: readonly RetainedView[];
  /** Each with its one-line text. */
  readonly problems: readonly (Problem & { readonly text: string })[];
  readonly capacity: readonly CapacityView[];
  /** Missing if no agent answers, or it has not opened the datapath yet. */
  readonly flows?: readonly FlowTableView[];
  /** Only if no agent answers and something is enforced nevertheless. */
  readonly kernel?: KernelView;
}

export interface AgentReport {
  readonly running: boolean;
  readonly socket: string;
  /** Why it does not answer. */
  readonly reason?: string;
  readonly pid?: number;
  readonly version?: string;
  /** ISO 8601. */
  readonly startedAt?: string;
  readonly hook?: string;
  readonly fromPodHook?: string;
  readonly source?: string;
  readonly mode?: "audit";
}

export function reportOfAgent(status: StatusView, socket: string): StatusReport {
  const { pid, version, startedAt, hook, fromPodHook, source, generation, appliedAt } = status;
  const lags = generation.wanted !== generation.applied;
  const audits = status.mode === "audit" || status.audited > 0 || status.bypasses !== undefined;
  const isOk = !lags && appliedAt !== undefined && status.problems.length === 0 && !audits;
  return {
    health: isOk ? "ok" : "degraded",
    agent: {
      running: true,
      socket,
      pid,
      version,
      startedAt,
      hook,
      fromPodHook,
      source,
      ...(status.mode === undefined ? {} : { mode: status.mode }),
    },
    generation,
    ...(appliedAt === undefined ? {} : { appliedAt }),
    endpoints: status.endpoints,
    policies: status.policies,
    audited: status.audited,
    ...(status.bypasses === undefined ? {} : { bypasses: status.bypasses }),
    repairs: status.repairs,
    problems: status.problems.map((problem) => ({ ...problem, text: problemText(problem) })),
    capacity: status.capacity,
    ...(status.flows === undefined ? {} : { flows: status.flows }),
    ...(status.following === undefined ? {} : { following: status.following }),
    ...(status.uplinks === undefined ? {} : { uplinks: status.uplinks }),
    ...(status.cni === undefined ? {} : { cni: status.cni }),
    ...(status.unknownInterfaces === undefined ? {} : { unknownInterfaces: status.unknownInterfaces }),
    ...(status.retained === undefined ? {} : { retained: status.retained }),
  };
}

/** Without an agent: the state of the pins, if there are any. */
export function reportOfKernel(kernel: KernelView | undefined, socket: string, reason: string): StatusReport {
  return {
    health: "down",
    agent: { running: false, socket, reason },
    generation: { applied: kernel?.generation ?? 0 },
    endpoints: kernel?.endpoints.length ?? 0,
    problems: [],
    capacity: [],
    ...(kernel === undefined ? {} : { kernel }),
  };
}

/** How to display the word: the caller chooses colour. */
export type Emphasis = (health: Health, text: string) => string;

export function statusText(report: StatusReport, now: Date, emphasis: Emphasis = (_, text) => text): string {
  const { health } = report;
  const parts = [
    briefText(report, emphasis),
    ...(health === "down" ? downLines(report) : agentLines(report, now)),
    ...problemLines(report.problems, emphasis),
    ...(report.capacity.length === 0 ? [] : ["\n", capacityText(report.capacity)]),
  ];
  return parts.join("");
}

/** Only the first line. */
export const briefText = (report: StatusReport, emphasis: Emphasis = (_, text) => text): string =>
  `${emphasis(report.health, report.health)}: ${headline(report)}\n`;

function headline(report: StatusReport): string {
  const { health, agent, generation, appliedAt, problems, endpoints, policies, kernel } = report;
  if (health === "down") return downText(kernel);
  // An agent that has not read everything yet enforces nothing of its own, and has not removed what was
  // there.
  if (appliedAt === undefined)
    return `this agent has not applied any state yet (${countText(problems.length, "problem")}); the kernel keeps the last applied state`;
  const reach = `${countText(endpoints, "endpoint")}, ${countText(policies ?? 0, "policy", "policies")}`;
  if (generation.wanted !== generation.applied) {
    return `generation ${generation.wanted} is desired, ${generation.applied} is enforced (${reach}, ${countText(problems.length, "problem")})`;
  }
  const audit = auditText(report);
  const prefix = audit === undefined ? "" : `${audit}; `;
  if (problems.length > 0)
    return `${prefix}${countText(problems.length, "problem")}; the rest is enforced: ${reach}`;
  return audit === undefined
    ? `${reach}, all enforced (${hookText(agent)})`
    : `${prefix}${agent.mode === "audit" || isNodeBypassed(report) ? "" : "the rest is enforced: "}${reach}`;
}

const isNodeBypassed = ({ bypasses = [] }: StatusReport): boolean =>
  bypasses.some(({ target }) => target === "node");

/**
 * "audit mode on this node: no policy drops anything", or for some endpoints; undefined if all policies are
 * enforced.
 */
function auditText({ agent, audited = 0, endpoints, bypasses = [] }: StatusReport): string | undefined {
  const last = bypasses
    .map(({ until }) => until)
    .sort()
    .at(-1);
  if (bypasses.some(({ target }) => target === "node"))
    return `EMERGENCY BYPASS of this node until ${last}: no policy drops anything`;
  if (bypasses.length > 0)
    return `EMERGENCY BYPASS of ${countText(bypasses.length, "pod")} until ${last}: their policies drop nothing`;
  if (agent.mode === "audit") return "audit mode on this node: no policy drops anything";
  if (audited === 0) return undefined;
  return `audit mode on ${audited} of ${countText(endpoints, "endpoint")}: their policies drop nothing`;
}

function downText(kernel: KernelView | undefined): string {
  if (kernel === undefined) return "no agent answers, and nothing is enforced";
  const { lockedBy, unreadable, endpoints, filtered, others } = kernel;
  const who =
    lockedBy === undefined ? "no agent answers" : `no agent answers, but one (pid ${lockedBy}) has the pins`;
  if (unreadable !== undefined) {
    const foreign = `programs that may be Weir's are attached to ${countText(others.length, "interface")}`;
    if (filtered.length > 0)
      return `${who}; Weir's programs filter ${countText(filtered.length, "interface")}, by maps that cannot be read`;
    return others.length > 0 ? `${who}; ${foreign}, but no pin shows that` : `${who}; ${unreadable}`;
  }
  const open = endpoints.filter(({ state }) => state === "detached").length;
  if (open === 0) return `${who}; the kernel enforces the last applied state`;
  return `${who}; ${open} of ${countText(endpoints.length, "endpoint")} ${open === 1 ? "is" : "are"} not filtered`;
}

const hookText = ({ hook = "unknown", fromPodHook }: AgentReport): string =>
  fromPodHook === "xdp" ? `${hook}, from pods xdp` : hook;

const line = (name: string, text: string): string => `${`${name}:`.padEnd(12)}${printable(text)}\n`;

/** "eth0 (native), 3 prefixes denied; 120 frames dropped, 4000 passed". */
function uplinksText({ interfaces, prefixes, frames }: UplinkView): string {
  const { passed = 0, neighbour = 0, ...dropped } = frames;
  const drops = Object.values(dropped).reduce((total, each) => total + each, 0);
  const names = interfaces.map(({ name, mode }) => `${name} (${mode === "none" ? "not attached" : mode})`);
  const denied = `${countText(prefixes, "prefix", "prefixes")} denied`;
  return `${names.join(", ")}, ${denied}; ${countText(drops, "frame")} dropped, ${passed + neighbour} passed`;
}

/**
 * "IPv4 120 of 655360 places, IPv6 0 of 327680 places; evicted 0 of the same pod, 0 unconfirmed of others; refused 0": beyond its share of two of
 * ten places a pod evicts its own flows, and never a confirmed one of another pod.
 */
function flowsText(tables: readonly FlowTableView[]): string {
  const sum = (value: (table: FlowTableView) => number): number =>
    tables.reduce((total, table) => total + value(table), 0);
  const uses = tables.map(({ family, used, max }) => `${FAMILY_TEXTS[family]} ${used} of ${max} places`);
  const own = sum(({ evicted }) => evicted.sameOwner);
  const others = sum(({ evicted }) => evicted.unconfirmed);
  const refused = sum((table) => table.refused);
  return `${uses.join(", ")}; evicted ${own} of the same pod, ${others} unconfirmed of others; refused ${refused}`;
}

const FAMILY_TEXTS: Readonly<Record<FlowTableView["family"], string>> = { ipv4: "IPv4", ipv6: "IPv6" };

/** Pods claimed by the CNI plugin; empty if it is not in use. */
function cniLines(cni: CniView | undefined): string[] {
  if (cni === undefined || cni.claims === 0) return [];
  const waiting = cni.claims - cni.inForce;
  return [
    line("cni", `${countText(cni.claims, "pod")}${waiting === 0 ? "" : `, ${waiting} not in force yet`}`),
  ];
}

const UNKNOWN_SHOWN_MAX = 10;

/** "denied: veth12ab, veth34cd". */
const unknownText = (names: readonly string[]): string =>
  names.length === 0 ? "denied; there is none" : `denied: ${someOf(names, UNKNOWN_SHOWN_MAX, ", ")}`;

const RETAINED_SHOWN_MAX = 10;

/** "retained:   shop/job (veth12ab), for 12 s: its object was deleted". */
function retainedLines(retained: readonly RetainedView[], now: Date): string[] {
  const shown = retained.slice(0, RETAINED_SHOWN_MAX);
  const more = retained.length - shown.length;
  return [
    ...shown.map(({ pod, interface: link, since, why }) =>
      line("retained", `${pod} (${link}), for ${durationText(now.getTime() - Date.parse(since))}: ${why}`),
    ),
    ...(more > 0 ? [line("retained", `and ${more} more`)] : []),
  ];
}

/** "2 programs attached again, 45 pins made again; last 2026-01-01T00:00:00.000Z (3s ago)". */
function repairLines(repairs: RepairsView | undefined, ago: (time: string) => string): string[] {
  if (repairs?.lastAt === undefined) return [];
  const { attached, pinned, lastAt } = repairs;
  const parts = [
    ...(attached === 0 ? [] : [`${countText(attached, "program")} reattached`]),
    ...(pinned === 0 ? [] : [`${countText(pinned, "pin")} restored`]),
  ];
  return [line("repairs", `${parts.join(", ")}; last ${ago(lastAt)}`)];
}

function agentLines(report: StatusReport, now: Date): string[] {
  const { agent, generation, appliedAt, following, uplinks, cni, unknownInterfaces: unknown } = report;
  const ago = (time: string): string => `${time} (${durationText(now.getTime() - Date.parse(time))} ago)`;
  return [
    line("agent", `pid ${agent.pid}, version ${agent.version}, at ${agent.socket}`),
    ...(agent.startedAt === undefined ? [] : [line("started", ago(agent.startedAt))]),
    line("source", agent.source ?? "unknown"),
    ...(following === undefined ? [] : [line("following", followingText(following, now))]),
    ...(agent.mode === undefined
      ? []
      : [line("mode", "audit: packets that policies deny pass, and are reported")]),
    ...(report.bypasses ?? []).map(({ target, until, reason }) =>
      line("bypass", `${target}, until ${until}: ${reason}`),
    ),
    line("hook", hookText(agent)),
    ...(uplinks === undefined ? [] : [line("uplinks", uplinksText(uplinks))]),
    ...cniLines(cni),
    ...(report.flows === undefined ? [] : [line("flows", flowsText(report.flows))]),
    ...(unknown === undefined ? [] : [line("unknown", unknownText(unknown))]),
    ...retainedLines(report.retained ?? [], now),
    ...repairLines(report.repairs, ago),
    line(
      "generation",
      `${generation.applied}${appliedAt === undefined ? "" : `, applied ${ago(appliedAt)}`}`,
    ),
  ];
}

const INTERFACES_SHOWN_MAX = 10;

/** "veth1 (tcx), veth2 (none/tcx)": the hooks by direction, to the pod and from it. */
export const interfacesText = (interfaces: readonly FilteredInterface[]): string =>
  someOf(
    interfaces.map(({ ifindex, interface: name, ingress, egress }) => {
      const hooks = ingress === egress ? ingress : `${ingress ?? "none"}/${egress ?? "none"}`;
      return `${name ?? `#${ifindex}`} (${hooks})`;
    }),
    INTERFACES_SHOWN_MAX,
    ", ",
  );

function downLines({ agent, kernel }: StatusReport): string[] {
  const lines = [line("agent", agent.reason ?? "does not answer")];
  if (kernel === undefined) return lines;
  const { generation, endpoints, unreadable, filtered, others, lockedBy, pins } = kernel;
  if (lockedBy !== undefined) lines.push(line("lock", `held by pid ${lockedBy}`));
  const detached = endpoints.filter(({ state }) => state === "detached");
  if (unreadable === undefined)
    lines.push(line("kernel", `generation ${generation}: ${isolationText(endpoints)}`));
  else lines.push(line("maps", unreadable));
  if (detached.length > 0) {
    const names = detached.map(({ interface: name, ifindex }) => name ?? `#${ifindex}`);
    lines.push(line("detached", someOf(names, INTERFACES_SHOWN_MAX, ", ")));
  }
  if (unreadable !== undefined && filtered.length > 0) lines.push(line("filtered", interfacesText(filtered)));
  if (others.length > 0) lines.push(line("others", `${interfacesText(others)}: not known to be Weir's`));
  lines.push(line("pins", pins));
  return lines;
}

function problemLines(problems: StatusReport["problems"], emphasis: Emphasis): string[] {
  if (problems.length === 0) return [];
  return [
    "\n",
    "problems:\n",
    ...problems.map(
      ({ severity, text }) =>
        `  ${emphasis(severity === "error" ? "down" : "degraded", severity)}: ${printable(text)}\n`,
    ),
  ];
}

const capacityText = (capacity: readonly CapacityView[]): string =>
  tableText({
    columns: [left("TABLE"), right("USED"), right("MAX"), right("USE")],
    rows: capacity.map(({ name, used, max }) => [name, String(used), String(max), useText(used, max)]),
  });

/** In whole percent; never 0 % for more than zero nor 100 % for less than all. */
function useText(used: number, max: number): string {
  if (max === 0) return "";
  const percent = Math.floor((used / max) * 100);
  return used > 0 && percent === 0 ? "<1%" : `${percent}%`;
}

// How up to date the agent is with the API server, in one line for people.

/** "7 of 7 kinds, 12034 objects; last contact 2s ago, all listed 3m10s ago; not installed: ClusterNetworkPolicy". */
export function followingText({ kinds: all, synced }: SourceHealth, now: Date): string {
  const [absent, kinds] = [true, false].map((is) =>
    all.filter(({ state }) => (state === "absent") === is),
  ) as [KindHealth[], KindHealth[]];
  const followed = kinds.filter(({ state }) => state === "following").length;
  const objects = kinds.reduce((sum, kind) => sum + kind.objects, 0);
  const unlisted = kinds.filter(({ listedAt }) => listedAt === undefined).map(({ kind }) => kind);
  const listed = synced
    ? `all listed ${agoText(earliest(kinds, "listedAt"), now)}`
    : `not listed yet: ${unlisted.join(", ")}`;
  const contact = `last contact ${agoText(latest(kinds, "contactAt"), now)}`;
  const missing = absent.length === 0 ? "" : `; not installed: ${absent.map(({ kind }) => kind).join(", ")}`;
  return `${followed} of ${kinds.length} kinds, ${countText(objects, "object")}; ${contact}, ${listed}${missing}`;
}

type Times = "listedAt" | "contactAt";
const timesOf = (kinds: readonly KindHealth[], key: Times): number[] =>
  kinds.flatMap((kind) => (kind[key] === undefined ? [] : [Date.parse(kind[key])]));

const latest = (kinds: readonly KindHealth[], key: Times): number => Math.max(...timesOf(kinds, key));
const earliest = (kinds: readonly KindHealth[], key: Times): number => Math.min(...timesOf(kinds, key));

const agoText = (at: number, now: Date): string =>
  Number.isFinite(at) ? `${durationText(now.getTime() - at)} ago` : "never";
