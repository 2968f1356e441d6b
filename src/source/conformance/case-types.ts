// Conformance cases (format np-conformance/1) as plain data: a cluster, steps that change it, and the expected
// verdicts.

import type { Direction } from "../../base/direction.ts";
import type { Address, Family } from "../../base/ip.ts";
import type { Cluster, Pod, Protocol } from "../../model/cluster.ts";
import type { Frontend } from "../../model/frontends.ts";

/** One file. */
export interface Case {
  readonly id: string;
  readonly name: string;
  readonly tags: readonly string[];
  readonly features: readonly string[];
  readonly notes: readonly string[];
  /** The address families of the cluster. */
  readonly families: readonly Family[];
  /** Nodes and addresses outside the cluster, by the names that checks use: `node:NAME` and `ext:NAME`. */
  readonly places: ReadonlyMap<string, readonly Address[]>;
  /** The addresses that domain names lead to: every pod has resolved all of them. */
  readonly dns: readonly Resolvable[];
  readonly steps: readonly Step[];
}

/** A cell before the domain names that lead to its destination are known. */
export type UnnamedCell = Omit<Cell, "names">;

/** An address and the domain names, in canonical text, that lead to it. */
export interface Resolvable {
  readonly address: Address;
  readonly names: readonly string[];
}

/** A moment of the case: its actions have been applied, one after another, to the cluster of the step before. */
export interface Step {
  /** "step 2 (after the relabel)", counted from 1; for messages. */
  readonly title: string;
  readonly cluster: Cluster;
  /** The manifests of the policies in force, by `namespace/name` or name, as the file has them. */
  readonly manifests: ReadonlyMap<string, unknown>;
  readonly cells: readonly Cell[];
}

/** Both ends of a connection, or one of them alone: whether that end's policies let it pass. */
export type Side = Direction | "both";

/** One end of a probe. `pod` is undefined for nodes and addresses outside the cluster. */
export interface End {
  /** `namespace/name` of a pod, `node:NAME` or `ext:NAME`. */
  readonly name: string;
  readonly address: Address;
  readonly pod: Pod | undefined;
}

/** A backend of a frontend. */
export interface Behind {
  readonly frontend: Frontend;
  readonly end: End;
  readonly port: number;
}

/** One probe with what is expected of it. Both addresses are of one family. */
export interface Cell {
  readonly from: End;
  readonly to: End;
  readonly side: Side;
  /** "ICMP" is an echo request of the addresses' family. */
  readonly protocol: Protocol | "ICMP";
  /** 0 where the protocol is "ICMP". */
  readonly port: number;
  /** "open": the case leaves it to the implementation. */
  readonly expected: "allowed" | "blocked" | "open";
  /** From a pod to itself: expected to be allowed, whatever its policies. */
  readonly loopback: boolean;
  /** Implementation-defined: a difference is reported and fails nothing. */
  readonly optional: boolean;
  /** Not decided by policies (traffic between a node and its own pods): only live traffic shows it. */
  readonly beyondPolicy: boolean;
  /** The connection `id` is opened by this probe, or one opened before is used again. */
  readonly connection: { readonly id: string; readonly use: "open" | "reuse" } | undefined;
  /**
   * Where `to` is an address of a Service: the backend that the node's rewriting takes the connection to. Undefined for
   * all other cells.
   */
  readonly behind: Behind | undefined;
  /** The domain names that lead to the destination's address. */
  readonly names: readonly string[];
  /** The case's own words for why, or "". */
  readonly reason: string;
}
