// A packet event as the agent's socket has it: its ends, verdict and reason; filters; and its text.

import type { Direction } from "../base/direction.ts";
import { cidrContains, parseAddress, parseCidr } from "../base/ip.ts";
import { REASON_NAMES, REASON_TEXTS, Reason } from "../gen/layout.ts";
import type { Tier } from "../model/cluster-network-policy.ts";
import type { EventVerdict } from "../observe/filter-choices.ts";

/** One end of a packet, as far as it is known. */
export interface EventEnd {
  readonly address?: string;
  readonly port?: number;
  /** `namespace/name` of the pod whose address it is. */
  readonly pod?: string;
}

export interface EventView {
  /** ISO 8601. */
  readonly time: string;
  readonly verdict: EventVerdict;
  /** As `weir maps dump counters` names it. */
  readonly reason: string;
  /** Of the packet, seen from the pod. */
  readonly direction: Direction;
  /** `namespace/name` of the pod whose interface it crossed; unknown if the interface is not an endpoint. */
  readonly endpoint?: string;
  readonly interface?: string;
  readonly ifindex: number;
  readonly from: EventEnd;
  readonly to: EventEnd;
  /** "TCP", "ICMPv6", or a number; absent if the packet cannot be read. */
  readonly protocol?: string;
  readonly icmp?: { readonly type: number; readonly code: number };
  /** It opens a connection (of TCP, SCTP): its sender is the opener. Others may belong to one that is older than the policies. */
  readonly opens?: true;
  readonly bytes: number;
  /** Policy generation that judged it. */
  readonly generation: number;
  readonly identity: number;
  /** The side whose policy judged the packet: the one that opened the flow, or tries to. */
  readonly opener: Direction;
  /** Policies that isolate the endpoint there, as `namespace/name`; none for reasons unrelated to policies. */
  readonly policies: readonly string[];
  /** Of a new flow: those of them that allow it, if the packet shows that. */
  readonly allowedBy?: readonly string[];
  /** The rule of a ClusterNetworkPolicy that decided. */
  readonly decidedBy?: {
    readonly policy: string;
    readonly tier: Tier;
    readonly priority: number;
    readonly action: string;
    /** As in "egress[0]". */
    readonly rule: string;
    readonly name?: string;
    /** All of this as one text. */
    readonly text: string;
  };
  /** Why, in a sentence. */
  readonly text: string;
}

/** Filter for events; an absent field matches every event. */
export interface EventFilter {
  readonly verdict?: EventVerdict;
  readonly reason?: string;
  readonly from?: EndMatch;
  readonly to?: EndMatch;
  /** The endpoint, or either end. */
  readonly pod?: string;
  /** One that isolates the endpoint, or that allows the flow. */
  readonly policy?: string;
  /** Of either end. */
  readonly port?: number;
}

export type EndMatch = (end: EventEnd) => boolean;

/** Whether a text is written as a prefix, valid or not: names of namespaces have neither dots nor colons. */
export const isPrefixText = (text: string): boolean => /^[^/]*[.:][^/]*\/\d+$/.test(text);

/** A match from `namespace/name`, `namespace/`, an address or a prefix; undefined if the text is none of these. */
export function endMatch(text: string): EndMatch | undefined {
  const block = parseCidr(text.includes("/") ? text : `${text}/${text.includes(":") ? 128 : 32}`);
  if (block.ok)
    return ({ address }) => {
      const parsed = address === undefined ? undefined : parseAddress(address);
      return parsed?.ok === true && cidrContains(block.value, parsed.value);
    };
  if (isPrefixText(text)) return undefined;
  if (/^[^/]+\/$/.test(text)) return ({ pod }) => pod?.startsWith(text) === true;
  if (/^[^/]+\/[^/]+$/.test(text)) return ({ pod }) => pod === text;
  return undefined;
}

export function eventMatches(event: EventView, filter: EventFilter): boolean {
  const { from, to } = event;
  return (
    (filter.verdict === undefined || filter.verdict === event.verdict) &&
    (filter.reason === undefined || filter.reason === event.reason) &&
    (filter.from === undefined || filter.from(from)) &&
    (filter.to === undefined || filter.to(to)) &&
    (filter.pod === undefined || [event.endpoint, from.pod, to.pod].includes(filter.pod)) &&
    (filter.policy === undefined || event.policies.includes(filter.policy)) &&
    (filter.port === undefined || [from.port, to.port].includes(filter.port))
  );
}

/** Reasons by which a policy decides: for an allowed flow its first packet, for a denied one each packet. */
export const POLICY_REASONS: ReadonlySet<string> = new Set([
  "policy",
  "audit",
  "denied",
  "revoked",
  "untracked",
]);

const DROPPING: ReadonlySet<string> = new Set(
  Object.entries(REASON_NAMES).flatMap(([reason, name]) => (Number(reason) >= Reason.DROPS ? [name] : [])),
);

/** The verdict of a reason, by its name. */
export function verdictOfReason(reason: string): EventVerdict {
  if (reason === "audit") return "audit";
  return DROPPING.has(reason) ? "dropped" : "passed";
}

/** Reasons that occur only where policies isolate the endpoint. */
export const ISOLATION_REASONS: ReadonlySet<string> = new Set([
  ...POLICY_REASONS,
  "malformed",
  "fragment",
  "unsupported",
]);

/** Why the packet was dropped, or passed: names the policies if policies decided. */
export function whyText(event: Omit<EventView, "text">): string {
  const { endpoint, interface: name, ifindex, from, decidedBy } = event;
  const owner = endpoint ?? (name === undefined ? `interface ${ifindex}` : `interface ${name}`);
  const isolated = `${event.opener} of ${owner} is isolated by ${event.policies.join(", ") || "a policy"}`;
  if (decidedBy !== undefined) {
    const action = decidedBy.action === "Accept" ? "accepted" : "denied";
    return `${event.opener} of ${owner}: ${askedText(event)} is ${action} by ${decidedBy.text}${DECIDED[event.reason] ?? ""}`;
  }
  switch (event.reason) {
    case "denied":
      return `${isolated}, nothing allows ${askedText(event)}`;
    case "revoked":
      return `${isolated}, nothing allows ${askedText(event)} any more`;
    case "untracked":
      return `${isolated}, nothing allows ${askedText(event)}, and the segment belongs to no known flow`;
    case "audit":
      return `${isolated} (audit), nothing allows ${askedText(event)}, which passes`;
    case "policy":
      if (event.policies.length === 0)
        return `${event.opener} of ${owner} is not isolated, and no cluster policy denies ${askedText(event)}`;
      return event.allowedBy === undefined
        ? `${isolated}, which allows ${askedText(event)}`
        : `${isolated}; ${event.allowedBy.join(", ")} allows ${askedText(event)}`;
    case "spoofed":
      return `${from.address ?? "its source"} is not an address of ${owner}`;
    default: {
      const text = TEXTS.get(event.reason) ?? event.reason;
      return event.policies.length > 0 && ISOLATION_REASONS.has(event.reason)
        ? `${isolated}, and ${text}`
        : `${owner}: ${text}`;
    }
  }
}

/** What a reason adds to the rule that decided. */
const DECIDED: Readonly<Record<string, string>> = {
  revoked: " now",
  untracked: ", and the segment belongs to no known flow",
  audit: " (audit), and passes",
};

/** The description of each reason in the layout. */
const TEXTS = new Map(
  Object.entries(REASON_NAMES).map(([number, name]) => [name, REASON_TEXTS[Number(number)] ?? name]),
);

/** "TCP/80 from shop/client": the connection that the opener of the flow requested. */
function askedText(event: Omit<EventView, "text">): string {
  const { peer, port } = peerOf(event);
  return `${port || "the packet"} ${preposition(event.opener)} ${peer || "there"}`;
}

const preposition = (opener: Direction): string => (opener === "ingress" ? "from" : "to");

/** The peer of the pod whose packet it is, and the port that the flow's opener connects to; empty if unknown. */
export function peerOf(event: Omit<EventView, "text">): { readonly peer: string; readonly port: string } {
  const { direction, opener, from, to } = event;
  const { pod, address } = direction === "ingress" ? from : to;
  return { peer: pod ?? address ?? "", port: serviceText(event, opener === direction ? to.port : from.port) };
}

const serviceText = ({ protocol }: Pick<EventView, "protocol">, port: number | undefined): string =>
  port === undefined ? (protocol ?? "") : `${protocol}/${port}`;
