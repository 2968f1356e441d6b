// What the agent answers about its history, as plain JSON.

import type { Direction } from "../base/direction.ts";

export const HISTORY_GROUPINGS = ["pod", "peer", "policy", "minute"] as const;

/** What rows are added up by; without one, by everything but the time. */
export type HistoryGrouping = (typeof HISTORY_GROUPINGS)[number];

export const TOP_BY = ["bytes", "packets", "connections"] as const;

export type TopBy = (typeof TOP_BY)[number];

/** The peer of packets that no event names. */
export const OTHER_PEERS = "(others)";

/** Absent fields are those that rows were added up over. */
export interface HistoryRowView {
  /** ISO 8601: the beginning of the minute, or of the part of it that was counted. */
  readonly time?: string;
  /** `namespace/name`; "(no pod)" for interfaces without an endpoint. */
  readonly pod?: string;
  readonly direction?: Direction;
  readonly reason?: string;
  /** A pod, an address, or OTHER_PEERS. */
  readonly peer?: string;
  /** As "TCP/80": the port that the flow's opener connects to. */
  readonly port?: string;
  readonly policies?: readonly string[];
  /** With `by=policy`: one of them; a packet counts at each. "(none)" where no policy decided. */
  readonly policy?: string;
  readonly packets: number;
  readonly bytes: number;
}

export interface TalkerView {
  readonly pod: string;
  /** What passed to the pod, and from it. */
  readonly ingress: TrafficView;
  readonly egress: TrafficView;
  /** Packets by which flows were opened that a policy allows: the first of each, and repeated ones. */
  readonly connections: number;
  readonly dropped: number;
}

/** What pods are ordered by. */
export const talkerSize = ({ ingress, egress, connections }: TalkerView, by: TopBy): number =>
  by === "connections" ? connections : ingress[by] + egress[by];

export interface TrafficView {
  readonly packets: number;
  readonly bytes: number;
}

interface SpanView {
  /** ISO 8601. */
  readonly from: string;
  readonly to: string;
}

export interface HistoryCoverage {
  /** ISO 8601: the range as asked for, and the minutes that overlap it. */
  readonly since: string;
  readonly until: string;
  readonly covered?: SpanView;
  /** Within what is covered: minutes that are missing. */
  readonly gaps: readonly SpanView[];
  /** Counted while no agent ran: exact, but without peers. */
  readonly away: readonly SpanView[];
  /** Bytes of the history that cannot be decoded, and minutes that could not be written. */
  readonly damaged: number;
  readonly lost: number;
}

export interface HistoryView extends HistoryCoverage {
  readonly rows: readonly HistoryRowView[];
  readonly total: TrafficView;
  /** Rows beyond the limit of an answer, and their sums. */
  readonly omitted?: TrafficView & { readonly rows: number };
}

export interface TopView extends HistoryCoverage {
  readonly pods: readonly TalkerView[];
  readonly omitted?: number;
}
