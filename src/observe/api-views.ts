// What the agent tells the command line, as plain JSON values: the bodies of its socket's answers.

import type { FromPodHook } from "../base/direction.ts";
import type { Problem } from "../model/problem.ts";
import type { SourceHealth } from "../model/source-health.ts";

/** Version of these shapes; part of every path (`/v1/status`). */
export const API_VERSION = "v1";

export interface StatusView {
  readonly version: string;
  readonly pid: number;
  /** ISO 8601. */
  readonly startedAt: string;
  /** Policy generation: the newest that was asked for, and the one that the kernel enforces. */
  readonly generation: { readonly wanted: number; readonly applied: number };
  /** ISO 8601; absent before the first apply. */
  readonly appliedAt?: string;
  readonly endpoints: number;
  readonly policies: number;
  readonly problems: readonly Problem[];
  /** Use of every limited table, in entries. */
  readonly capacity: readonly CapacityView[];
  /** What hook the programs are attached with. */
  readonly hook: "tcx" | "clsact";
  /** Where what pods send is to be filtered; an endpoint's own hooks tell where that is not possible. */
  readonly fromPodHook: FromPodHook;
  readonly source: string;
  /** Where the source is the API server. */
  readonly following?: SourceHealth;
  /** The whole node is in audit mode: it drops nothing. */
  readonly mode?: "audit";
  /** Endpoints with policies in audit mode, in either direction. */
  readonly audited: number;
  /** Since the agent started. */
  readonly repairs: RepairsView;
  /** Absent where the agent was given none. */
  readonly uplinks?: UplinkView;
  /** What the CNI plugin has told. */
  readonly cni?: CniView;
  /** Interfaces of no known pod, to and from which everything is denied; absent where such ones are let alone. */
  readonly unknownInterfaces?: readonly string[];
  /** Pods that only their interfaces are left of. */
  readonly retained?: readonly RetainedView[];
}

/** An interface that is a pod's because it was before: nothing else says so any more. */
export interface RetainedView {
  /** `namespace/name`. */
  readonly pod: string;
  readonly interface: string;
  /** ISO 8601. */
  readonly since: string;
  readonly why: string;
}

/** What was removed by others, and repaired by the agent. */
export interface RepairsView {
  /** Programs that were attached again. */
  readonly attached: number;
  /** Pins that were made again. */
  readonly pinned: number;
  /** ISO 8601; absent where there was none. */
  readonly lastAt?: string;
}

/** Pods that the CNI plugin has told of before the source had their address. */
export interface CniView {
  /** The socket that the plugin asks. */
  readonly socket: string;
  readonly claims: number;
  /** Those whose pods' policy the kernel enforces by them. */
  readonly inForce: number;
}

/** What is dropped before the node's own stack sees it. */
export interface UplinkView {
  /** The file of denied prefixes. */
  readonly file: string;
  /** Prefixes in force. */
  readonly prefixes: number;
  /** "none": see the problems. */
  readonly interfaces: readonly { readonly name: string; readonly mode: "native" | "generic" | "none" }[];
  /** Frames on all uplinks since the maps were made, by what was made of them. */
  readonly frames: Readonly<Record<string, number>>;
}

export interface CapacityView {
  readonly name: string;
  readonly used: number;
  readonly max: number;
}

export interface SideView {
  /** Policies that isolate the pod in this direction, as `namespace/name`; empty where it is not isolated. */
  readonly isolatedBy: readonly string[];
  /** Number of the compiled policy in map `policy`; 0 where not isolated. */
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
 * What the kernel says comes first. "detached": no program of Weir's filters a direction now. "bypassed": another program runs
 * before Weir's. All others but "no interface" are enforced. "retained": only the interface still says that it is the pod's.
 * "ambiguous": it may be another's too. "unknown pod": everything is denied to and from an interface that no known pod owns.
 * "no room": the same, because the node has more endpoints than the tables hold. "audit": in a direction nothing is dropped, only
 * reported.
 */
export const ENDPOINT_STATES = [
  "enforced",
  "audit",
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
  readonly addresses: readonly string[];
  readonly state: EndpointState;
  /** Of "retained": since when, and why. */
  readonly retained?: { readonly since: string; readonly why: string };
  /** Of "ambiguous": the other pods that may have the interface, as `namespace/name`. */
  readonly rivals?: readonly string[];
  /** Set where state is not "no interface". */
  readonly id?: number;
  readonly interface?: string;
  readonly ifindex?: number;
  /** Where the programs for each direction of the pod's traffic hang. */
  readonly hooks?: HooksView;
  readonly ingress: SideView;
  readonly egress: SideView;
}

export interface PolicyView {
  readonly namespace: string;
  readonly name: string;
  /** spec.podSelector in kubectl's notation; "" selects every pod. */
  readonly selector: string;
  readonly types: readonly ("Ingress" | "Egress")[];
  readonly rules: { readonly ingress: number; readonly egress: number };
  /** Pods of this node that it selects, as `namespace/name`, and how many of them are enforced. */
  readonly selects: readonly string[];
  readonly enforced: number;
  /** It only tells what it would deny. */
  readonly audit?: true;
  /** Why it isolates its pods and allows nothing: it could not be read. */
  readonly unreadable?: string;
  /** What of its rules could not be read, and so allows nothing. */
  readonly omitted?: string;
}

/** What the agent goes by: the cluster of the generation in force. */
export interface ClusterView {
  readonly generation: number;
  /** Pods, namespaces and policies, as model/cluster-json.ts writes them. */
  readonly cluster: unknown;
}

export interface PolicyNames {
  /** The sides that have this policy, as "ingress of alpha/nginx". */
  readonly of: readonly string[];
  /** The policies that it comes from, as `namespace/name`; those of all sides, which may differ and come to the same. */
  readonly from: readonly string[];
}

/** What the numbers in the maps mean. Keys are the numbers or texts as the maps hold them. */
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
  /** Policy number to whose it is and what it comes from. */
  readonly policies: Readonly<Record<string, PolicyNames>>;
  /** Row and class to the ports that they hold, as "TCP/80,TCP/8000-8080". */
  readonly rows: Readonly<Record<string, string>>;
  readonly classes: Readonly<Record<string, string>>;
}

/** What `POST /v1/resync` did. */
export interface ResyncView {
  /** Policy generation in force afterwards. */
  readonly generation: number;
  /** Entries that were other than they should be, and have been put right. */
  readonly repaired: readonly RepairView[];
}

export interface RepairView {
  readonly table: string;
  readonly key: string;
  readonly wanted?: string;
  readonly held?: string;
}

/** What the maps should hold: `state` as JSON can hold it, maps as lists of pairs. */
export interface StateView {
  readonly generation: number;
  /** Whether the kernel should hold just this now: no round is under way, and the last one succeeded. */
  readonly settled: boolean;
  /** Of map `node`, by name. */
  readonly settings: Readonly<Record<string, number>>;
  readonly state: unknown;
}

export interface LogLevelView {
  readonly level: string;
}

/** The latest lines of the agent's log, oldest first. */
export interface LogView {
  readonly lines: readonly string[];
}
