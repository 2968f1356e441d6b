// What this node's endpoints allow, by workload: plain data that nodes' answers are combined from.

import type { Direction } from "../base/direction.ts";

/** Pods of one namespace with equal labels and one name: the replicas of a workload. */
export interface ReachWorkload {
  /** "" for what is no pod: see OUTSIDE. */
  readonly namespace: string;
  readonly name: string;
  readonly pods: number;
  /** One of the pods, as `namespace/name`. */
  readonly example: string;
}

/** The first workload of a view: addresses outside the cluster. */
export const OUTSIDE = "outside the cluster";

/**
 * Indexes into `ports` of the ports that are allowed between every pair of pods, and between some pair. The two are equal where all
 * pods of both workloads are treated alike.
 */
export type ReachPorts = readonly [every: number, some: number];

/** What one compiled policy allows pods of a workload, in one direction. */
export interface ReachSide {
  /** Index of the workload. */
  readonly workload: number;
  readonly direction: Direction;
  /** How many of its pods are treated so. */
  readonly pods: number;
  /** No policy isolates the pods in this direction: `others` is every port. */
  readonly open?: true;
  /** What is not allowed passes, and is reported. */
  readonly audit?: true;
  /** For each workload that is not in `peers`. */
  readonly others: ReachPorts;
  readonly peers: readonly (readonly [workload: number, every: number, some: number])[];
}

/** The sides of this node's pods, against all workloads of the cluster. */
export interface Reachability {
  readonly workloads: readonly ReachWorkload[];
  /** Sets of ports as spans on the port line (state/desired-state.ts): first and last place of each. */
  readonly ports: readonly (readonly (readonly [first: number, last: number])[])[];
  readonly sides: readonly ReachSide[];
}

/** The agent's answer. */
export interface ReachabilityView extends Reachability {
  readonly generation: number;
}
