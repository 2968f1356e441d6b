// Which interface is whose, for the agent's reconciliations: the node's tables as they are followed, what was known before, who
// has been without an interface for long, and what is nobody's.

import type { Cluster, Pod } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";
import { unknownPod } from "../model/unclaimed-interface.ts";
import { followNode, type Node, readNode } from "../node/netlink-watch.ts";
import { surroundingsReader } from "../node/node-surroundings.ts";
import type { NodeTables } from "../node/node-tables.ts";
import { type Ignored, isUnclaimedVeth, unclaimedVethsIn } from "../node/unclaimed-veths.ts";
import type { EndpointSides } from "../policy/compile.ts";
import {
  type Adopted,
  type ClaimedInterface,
  type PodInterface,
  type Resolved,
  resolveInterfaces,
} from "../source/interface-discovery.ts";
import type { SourceOptions } from "../source/source.ts";
import { type Absences, openAbsences } from "./absences.ts";
import { openAppearances } from "./appearances.ts";
import { openIncumbents } from "./interface-history.ts";
import type { Gate } from "./unclaimed-default-deny.ts";

export interface InterfaceOptions {
  /** The name of this node in the cluster, where the source knows one. */
  readonly node?: string;
  /** Interfaces of no known pod are denied everything; but for these. Absent where they are let alone. */
  readonly denyUnknown?: { readonly ignored: Ignored };
  /** The file that keeps who had which interface; nothing is kept without. */
  readonly kept?: string;
}

interface Asked extends Pick<InterfaceOptions, "denyUnknown" | "kept"> {
  readonly source: SourceOptions;
  /** They are no pod's. */
  readonly uplinks?: { readonly interfaces: readonly string[] };
}

/** Only the API server says which pods are this node's. */
export const interfaceOptions = ({ source, denyUnknown, kept, uplinks }: Asked): InterfaceOptions => ({
  ...(source.kind === "apiserver" ? { node: source.node } : {}),
  ...(kept === undefined ? {} : { kept }),
  ...(denyUnknown === undefined
    ? {}
    : { denyUnknown: { ignored: [...denyUnknown.ignored, ...(uplinks?.interfaces ?? [])] } }),
});

export interface Interfaces {
  /**
   * By the tables as they are known now. Those that are to be denied everything are found with a pod that stands for theirs.
   * The cluster that comes back has the addresses that its pods are known to have.
   */
  resolve(cluster: Cluster, claims?: readonly ClaimedInterface[]): Resolved;
  /** What was resolved last is in force: from now on it is what was before. */
  settle(cluster: Cluster, sides: readonly EndpointSides[]): void;
  /** Where unknown interfaces are shut at once. */
  readonly gate?: Gate;
  close(): void;
}

/** What an earlier agent has left in the kernel. */
export interface Left {
  /** Its endpoints, by interface index. */
  readonly endpoints: ReadonlyMap<
    number,
    { readonly addresses: readonly string[]; readonly isolated: boolean; readonly hardware?: string }
  >;
  /** Whether its programs are attached to an interface: then the link is the one that it attached them to. */
  readonly isAttached: (ifindex: number) => boolean;
}

export interface ReadEnv {
  readonly left?: Left;
  readonly now?: () => Date;
}

export interface FollowEnv extends ReadEnv {
  /** The answer may be another one from now on. */
  readonly onChange: () => void;
  readonly onError: (error: unknown) => void;
  readonly gate?: Gate;
}

/** Reads the node's tables once. Errors: BpfError. */
export async function readInterfaces(options: InterfaceOptions, env: ReadEnv = {}): Promise<Interfaces> {
  const node = await readNode();
  return {
    ...resolver(options, node, { ...env, adopted: adoptedFrom(env.left, node.tables()) }),
    close: () => undefined,
  };
}

/** Follows the node's tables until it is closed. Errors: BpfError where they cannot be read at all. */
export async function openInterfaces(
  options: InterfaceOptions,
  { onChange, onError, gate, left, now }: FollowEnv,
): Promise<Interfaces> {
  const { denyUnknown } = options;
  // Before the gate attaches to anything.
  const adopted = left === undefined ? new Map() : adoptedFrom(left, (await readNode()).tables());
  const node = await followNode({
    onChange,
    onError,
    ...(gate === undefined || denyUnknown === undefined
      ? {}
      : {
          onPair: (link, tables) => {
            if (isUnclaimedVeth(tables, link, denyUnknown.ignored)) gate.shut(link.ifindex);
          },
        }),
  });
  const absences = openAbsences(onChange);
  const { resolve, settle } = resolver(options, node, {
    absences,
    adopted,
    ...(now === undefined ? {} : { now }),
  });
  return {
    resolve(cluster, claims) {
      gate?.release();
      return resolve(cluster, claims);
    },
    settle,
    ...(gate === undefined ? {} : { gate }),
    close() {
      absences.close();
      node.close();
    },
  };
}

type AdoptedByIndex = ReadonlyMap<number, Adopted>;

/** Interfaces that an earlier agent had. Where its tables cannot be read, any of them may have been isolated. */
function adoptedFrom(left: Left | undefined, { links }: NodeTables): AdoptedByIndex {
  const found = new Map<number, Adopted>();
  if (left === undefined) return found;
  for (const ifindex of links.keys()) {
    const endpoint = left.endpoints.get(ifindex);
    if (!left.isAttached(ifindex)) continue;
    found.set(ifindex, endpoint ?? { addresses: undefined, isolated: left.endpoints.size === 0 });
  }
  return found;
}

interface ResolverEnv {
  readonly absences?: Absences;
  readonly adopted: AdoptedByIndex;
  readonly now?: () => Date;
}

function resolver(
  { node: nodeName, denyUnknown, kept }: InterfaceOptions,
  node: Node,
  { absences, adopted, now = () => new Date() }: ResolverEnv,
): Pick<Interfaces, "resolve" | "settle"> {
  const incumbents = openIncumbents(kept);
  const appearances = openAppearances();
  const surroundings = surroundingsReader();
  let left = adopted;
  let last: { readonly found: readonly PodInterface[]; readonly tables: NodeTables } | undefined;
  return {
    resolve(cluster, claims = []) {
      const tables = node.tables();
      const resolved = resolveInterfaces(cluster, node, {
        claims,
        incumbents: incumbents.of(tables),
        bound: incumbents.hardwareOf(tables),
        adopted: left,
        appeared: appearances.see(cluster.pods),
        now: now().toISOString(),
        sealGone: denyUnknown !== undefined,
        ...(nodeName === undefined ? {} : { node: nodeName }),
      });
      const taken = new Set(resolved.found.map(({ ifindex }) => ifindex));
      const unknown = denyUnknown === undefined ? [] : unclaimedVethsIn(tables, taken, denyUnknown.ignored);
      const told = new Set(resolved.problems.map(({ object }) => object));
      const silent = resolved.missing.map(missingProblem).filter(({ object }) => !told.has(object));
      const lasting =
        absences?.lasting([...silent, ...unknown.map(({ name }) => unknownProblem(name))]) ?? [];
      const found = [
        ...resolved.found,
        ...unknown.map(({ ifindex, name }) => ({ pod: unknownPod(name), ifindex, name, addresses: NONE })),
      ];
      last = { found, tables };
      return {
        ...resolved,
        found,
        surroundings: surroundings(tables),
        problems: [...incumbents.problems(), ...resolved.problems, ...lasting],
      };
    },
    settle(cluster, sides) {
      if (last === undefined) return;
      incumbents.settle(last.found, { cluster, sides, tables: last.tables });
      // From now on what this agent has found counts.
      left = new Map();
    },
  };
}

const NONE: Pod["ips"] = [];

type NamedProblem = Problem & { readonly object: string };

const missingProblem = (key: string): NamedProblem => ({
  severity: "error",
  object: `Pod ${key}`,
  reason: "none of its addresses is behind an interface of this node",
  effect: "the pod is not enforced",
  topic: "interface",
});

const unknownProblem = (name: string): NamedProblem => ({
  severity: "warning",
  object: `interface ${name}`,
  reason: "it is that of no known pod",
  effect: "everything is denied to and from it",
  topic: "interface",
});
