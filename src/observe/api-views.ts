// The agent's answers to the command line, as plain JSON values: the bodies of its socket's responses.

import type { Direction, FromPodHook } from "../base/direction.ts";
import type { SourceHealth } from "../model/cluster-snapshot.ts";
import type { Problem } from "../model/problem.ts";

/** Version of these shapes; part of every path (`/v1/status`). */
export const API_VERSION = "v1";

export interface StatusView {
  readonly version: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Policy generation: the newest desired one, and the one that the kernel enforces. */
  readonly generation: { readonly wanted: number; readonly applied: number };
  /** ISO 8601; absent before the first apply. */
  readonly appliedAt?: string;
  readonly endpoints: number;
  readonly policies: number;
  readonly problems: readonly Problem[];
  /** Use of every limited table, in entries. */
  readonly capacity: readonly CapacityView[];
  /** Absent before the datapath is open. */
  readonly flows?: readonly FlowTableView[];
  /** Hook type of the attached programs. */
  readonly hook: "tcx" | "clsact";
  /** Configured hook for what pods send; an endpoint's own hooks show where that is not possible. */
  readonly fromPodHook: FromPodHook;
  readonly source: string;
  /** Set if the source is the API server. */
  readonly following?: SourceHealth;
  /** The whole node is in audit mode: it drops nothing. */
  readonly mode?: "audit";
  /** Endpoints with policies in audit mode, in either direction. */
  readonly audited: number;
  /** Emergency bypasses in force; absent if there is none. */
  readonly bypasses?: readonly BypassView[];
  /** Since the agent started. */
  readonly repairs: RepairsView;
  /** Absent if no uplinks are configured. */
  readonly uplinks?: UplinkView;
  /** State of the claims from the CNI plugin. */
  readonly cni?: CniView;
  /** Unclaimed interfaces, to and from which everything is denied; absent if these are ignored. */
  readonly unknownInterfaces?: readonly string[];
  /** Pods that have only their interfaces left. */
  readonly retained?: readonly RetainedView[];
}

/** An interface that belongs to a pod by history only: neither the source nor a claim says so any more. */
export interface RetainedView {
  /** `namespace/name`. */
  readonly pod: string;
  readonly interface: string;
  /** ISO 8601. */
  readonly since: string;
  readonly why: string;
}

/** For a time, policies drop nothing at a pod or on the node. */
export interface BypassView {
  /** `namespace/name` of a pod, or "node". */
  readonly target: string;
  /** ISO 8601. */
  readonly since: string;
  readonly until: string;
  readonly reason: string;
}

/** What was removed externally, and repaired by the agent. */
export interface RepairsView {
  /** Programs that were attached again. */
  readonly attached: number;
  /** Pins that were created again. */
  readonly pinned: number;
  /** ISO 8601; absent if there was none. */
  readonly lastAt?: string;
}

/** Pods that the CNI plugin has claimed before the source had their address. */
export interface CniView {
  /** Path of the plugin's socket. */
  readonly socket: string;
  readonly claims: number;
  /** Claims in force: the kernel enforces their pods' policies. */
  readonly inForce: number;
}

/** Frames dropped before the node's own stack receives them. */
export interface UplinkView {
  /** The file of denied prefixes. */
  readonly file: string;
  /** Prefixes in force. */
  readonly prefixes: number;
  /** "none": see the problems. */
  readonly interfaces: readonly { readonly name: string; readonly mode: "native" | "generic" | "none" }[];
  /** Frames on all uplinks since the maps were created, by outcome. */
  readonly frames: Readonly<Record<string, number>>;
}

/** The flow table of a family. The counts are since it was made. */
export interface FlowTableView {
  readonly family: "ipv4" | "ipv6";
  /** Name of the map. */
  readonly table: string;
  /** Flows that have not expired, and places for flows. */
  readonly used: number;
  readonly max: number;
  readonly inserted: number;
  /**
   * Live flows that lost their place to another one: to a flow of the same pod, which has its share of the two buckets; or to one of
   * another pod, which takes only unconfirmed flows.
   */
  readonly evicted: { readonly sameOwner: number; readonly unconfirmed: number };
  /** Flows that policy allows and that found no place: dropped, as `table-full`. */
  readonly refused: number;
}

export interface CapacityView {
  readonly name: string;
  readonly used: number;
  readonly max: number;
}

export interface SideView {
  /** Policies that isolate the pod in this direction, as `namespace/name`; empty if it is not isolated. */
  readonly isolatedBy: readonly string[];
  /** Cluster policies with rules for the pod in this direction, the first one first; absent if there are none. */
  readonly clusterPolicies?: readonly string[];
  /** Number of the compiled policy in map `policy`; 0 if nothing can be denied. */
  readonly policy: number;
  /** Everything is denied, by no policy. */
  readonly closed?: true;
  /** These policies are audited: what they deny passes. */
  readonly audit?: true;
}

export interface HooksView {
  readonly ingress: "tcx" | "clsact";
  readonly egress: "tcx" | "clsact" | "xdp";
}

/**
 * The kernel's actual state comes first. "detached": no program of Weir's filters a direction now.
 * "bypassed": another program runs before Weir's. All others but "no interface" are enforced. "retained":
 * only the interface still shows that it is the pod's. "ambiguous": it may belong to another pod too.
 * "unknown pod": an unclaimed interface, to and from which everything is denied. "no room": the same, because
 * the node has more endpoints than the tables hold. "audit": in at least one direction nothing is dropped,
 * only reported. "off": the same for all its policies, by an emergency bypass.
 */
export const ENDPOINT_STATES = [
  "enforced",
  "audit",
  "off",
  "retained",
  "ambiguous",
  "no interface",
  "unknown pod",
  "no room",
  "detached",
  "bypassed",
] as const;
export type EndpointState = (typeof ENDPOINT_STATES)[number];

export interface EndpointView {
  readonly namespace: string;
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly addresses: readonly string[];
  readonly state: EndpointState;
  /** For "off": when the emergency bypass ends. */
  readonly until?: string;
  /** For "retained": since when, and why. */
  readonly retained?: { readonly since: string; readonly why: string };
  /** Why nothing is allowed to or from the pod, whatever policies say. */
  readonly sealed?: string;
  /** For "ambiguous": the other pods that may own the interface, as `namespace/name`. */
  readonly rivals?: readonly string[];
  /** Set unless state is "no interface". */
  readonly id?: number;
  readonly interface?: string;
  readonly ifindex?: number;
  /** Hooks to which the programs for each direction of the pod's traffic are attached. */
  readonly hooks?: HooksView;
  readonly ingress: SideView;
  readonly egress: SideView;
}

export interface PolicyView {
  /** "" for a cluster policy, which has a tier and a priority. */
  readonly namespace: string;
  readonly name: string;
  readonly tier?: "Admin" | "Baseline";
  readonly priority?: number;
  /** spec.podSelector, or spec.subject, in kubectl's notation; "" selects every pod. */
  readonly selector: string;
  readonly types: readonly ("Ingress" | "Egress")[];
  readonly rules: { readonly ingress: number; readonly egress: number };
  /** Pods of this node that it selects, as `namespace/name`, and how many of them are enforced. */
  readonly selects: readonly string[];
  readonly enforced: number;
  /** It only reports what it would deny. */
  readonly audit?: true;
  /** Why it isolates its pods and allows nothing: the reason it could not be read. */
  readonly unreadable?: string;
  /** The part of its rules that could not be read, and so allows nothing. */
  readonly omitted?: string;
}

/** Addresses that this node's pods have resolved. */
export interface KnownNamesView {
  readonly names: readonly {
    /** Of the pod. */
    readonly ifindex: number;
    readonly address: string;
    /** The most specific name of a rule that it is known by. */
    readonly name: string;
    /** Negative if it opens no flows any more. */
    readonly expiresMs: number;
  }[];
}

/** The agent's input: the cluster of the generation in force. */
export interface ClusterView {
  readonly generation: number;
  /** Pods, namespaces and policies, as model/cluster.ts writes them. */
  readonly cluster: unknown;
}

export interface PolicyNames {
  /** The sides that have this policy, as "ingress of alpha/nginx". */
  readonly of: readonly string[];
  /**
   * The policies that it comes from, as `namespace/name`; for all sides, whose policies may differ but
   * compile to the same.
   */
  readonly from: readonly string[];
}

/** The meaning of the numbers in the maps. Keys are the numbers or texts as the maps hold them. */
export interface NamesView {
  /** Interface index to `namespace/pod`. */
  readonly endpoints: Readonly<Record<string, string>>;
  /** Pod address to `namespace/pod`. */
  readonly addresses: Readonly<Record<string, string>>;
  /** Frontend (address and place, as the map's key) to `namespace/service`. */
  readonly services: Readonly<Record<string, string>>;
  /** Identity to the peers that it matches, as "alpha/access-nginx ingress[0].from". */
  readonly identities: Readonly<Record<string, readonly string[]>>;
  /** Prefix to the blocks that name it, as "alpha/p ingress[0].from[0]: in the block" or "...: excepted". */
  readonly cidrs: Readonly<Record<string, readonly string[]>>;
  /** Policy number to its sides and its NetworkPolicies. */
  readonly policies: Readonly<Record<string, PolicyNames>>;
  /** Row and class to the ports that they contain, as "TCP/80,TCP/8000-8080". */
  readonly rows: Readonly<Record<string, string>>;
  readonly classes: Readonly<Record<string, string>>;
}

/** The result of `POST /v1/resync`. */
export interface ResyncView {
  /** Policy generation in force afterwards. */
  readonly generation: number;
  /** Entries that differed from the desired state, and were repaired. */
  readonly repaired: readonly RepairView[];
}

export interface RepairView {
  readonly table: string;
  readonly key: string;
  readonly wanted?: string;
  readonly held?: string;
}

/** The desired content of the maps: `state` as JSON can hold it, maps as lists of pairs. */
export interface StateView {
  readonly generation: number;
  /**
   * Whether the kernel should match this now: no reconciliation is in progress, and the last one succeeded.
   */
  readonly settled: boolean;
  /** Of map `node`, by name. */
  readonly settings: Readonly<Record<string, number>>;
  readonly state: unknown;
}

/** Packets to be judged as if they crossed endpoints' interfaces: nothing is sent, counted or remembered. */
export interface JudgeRequest {
  readonly packets: readonly {
    readonly ifindex: number;
    /** The endpoint's number, if it has one. */
    readonly id?: number;
    readonly direction: Direction;
    /** The interface that it came in at. */
    readonly ingressIfindex: number;
    /** Base64. */
    readonly frame: string;
  }[];
}

export interface JudgedView {
  /** The generation in force. */
  readonly generation: number;
  /** In the order of the request. Without an attached program, packets pass for the reason "not-attached". */
  readonly verdicts: readonly {
    readonly program: string;
    readonly passes: boolean;
    readonly reason: string;
  }[];
}

/** Dropped packets of which there is no event, because of the rate limit, since the maps were created. */
export interface LeftOutView {
  readonly packets: number;
}

export interface LogLevelView {
  readonly level: string;
}

/** The latest lines of the agent's log, oldest first. */
export interface LogView {
  readonly lines: readonly string[];
}
