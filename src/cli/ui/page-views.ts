// What `weir ui` answers its page with, as plain JSON. The page (src/ui) imports these types.

import type { EventView } from "../../events/packet-event.ts";
import type { PolicyView } from "../../observe/api-views.ts";
import type { HistoryRowView } from "../../observe/history-views.ts";
import type { StatusReport } from "../../observe/status-report.ts";
import type { TraceReport } from "../trace-report.ts";

/** A node without an answer, and why. */
export interface NodeFailure {
  readonly node: string;
  readonly error: string;
}

export interface Answered {
  /** ISO 8601: when the nodes answered. */
  readonly at: string;
  readonly failures: readonly NodeFailure[];
}

export interface NodeView {
  readonly node: string;
  /** Absent where the node does not answer. */
  readonly report?: StatusReport;
  readonly error?: string;
}

export interface OverviewView extends Answered {
  /** "this node" or "the cluster of context X". */
  readonly title: string;
  readonly nodes: readonly NodeView[];
}

/** A policy over all nodes. */
export interface PolicyRowView extends Omit<PolicyView, "selects"> {
  readonly pods: number;
  readonly nodes: readonly {
    readonly node: string;
    readonly pods: number;
    readonly enforced: number;
    /** The first ones. */
    readonly some: readonly string[];
  }[];
}

export interface PoliciesView extends Answered {
  readonly policies: readonly PolicyRowView[];
}

/**
 * open: no policy isolates either end. all, ports: between all pods. some: between some pods, or on some ports only between some. none:
 * nothing. unknown: no node has answered for an end, and the other one allows it.
 */
export type CellKind = "open" | "all" | "ports" | "some" | "none" | "unknown" | "self";

/** Distinct contents of cells. */
export interface CellView {
  readonly kind: CellKind;
  /** Ports between all pods, and between some, as `weir maps dump` writes them. */
  readonly every: string;
  readonly some: string;
  /** It would be less if policies in audit mode, or under a bypass, were enforced. */
  readonly audit?: true;
  /** Pairs of workloads in it, and how many of them have a connection; absent for one pair. */
  readonly pairs?: readonly [reached: number, all: number];
}

export interface LabelView {
  readonly namespace: string;
  /** Absent for a whole namespace. */
  readonly workload?: string;
  readonly pods: number;
  /** One of the pods, for a trace. */
  readonly example: string;
  /** Pods that policies isolate, in each direction. */
  readonly isolated: { readonly ingress: number; readonly egress: number };
}

/** Sources are rows, destinations columns; `cells` are indexes into `distinct`. */
export interface MatrixView extends Answered {
  readonly rows: readonly LabelView[];
  readonly columns: readonly LabelView[];
  readonly cells: readonly (readonly number[])[];
  readonly distinct: readonly CellView[];
  /** Rows and columns beyond the limit of an answer. */
  readonly left: { readonly rows: number; readonly columns: number };
  readonly totals: { readonly pods: number; readonly workloads: number; readonly namespaces: number };
}

/** Connections that a rule allows: at least one end is isolated. */
export interface GraphView extends Answered {
  /** `fromEverywhere`: ports on which all others may reach it, or some of its pods; these edges are not listed. */
  readonly nodes: readonly (LabelView & { readonly fromEverywhere?: string })[];
  readonly edges: readonly {
    readonly from: number;
    readonly to: number;
    readonly ports: string;
    readonly kind: CellKind;
    readonly audit?: true;
  }[];
  /** Edges beyond the limit. */
  readonly left: number;
}

export interface DropsView extends Answered {
  readonly since: string;
  readonly until: string;
  readonly total: { readonly packets: number; readonly bytes: number };
  /** The largest. */
  readonly rows: readonly (HistoryRowView & { readonly node: string })[];
  readonly left: number;
  /** Packets of each minute: seconds since the epoch at its end. */
  readonly minutes: {
    readonly time: readonly number[];
    readonly dropped: readonly number[];
    readonly audit: readonly number[];
  };
  /** What of the range the nodes do not have, each as a sentence. */
  readonly remarks: readonly string[];
}

export interface EventsView extends Answered {
  readonly events: readonly (EventView & { readonly node: string })[];
}

export interface TraceView extends Answered {
  readonly reports: readonly { readonly node: string; readonly report: TraceReport }[];
}
