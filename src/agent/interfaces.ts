// Which interface is whose, for the agent's rounds: the node's tables as they are followed, who has been without for long, and what is nobody's.

import type { Pod } from "../model/cluster.ts";
import type { Problem } from "../model/problem.ts";
import { unknownPod } from "../model/unknown.ts";
import { followNode, type Node, readNode } from "../node/follow.ts";
import { type Ignored, isStranger, strangersIn } from "../node/strangers.ts";
import { type PodInterface, type Resolved, resolveInterfaces } from "../source/interfaces.ts";
import type { SourceOptions } from "../source/source.ts";
import { type Absences, openAbsences } from "./absences.ts";
import type { Gate } from "./gate.ts";

export interface InterfaceOptions {
  /** The name of this node in the cluster, where the source knows one. */
  readonly node?: string;
  /** Interfaces of no known pod are denied everything; but for these. Absent where they are let alone. */
  readonly denyUnknown?: { readonly ignored: Ignored };
}

interface Asked extends Pick<InterfaceOptions, "denyUnknown"> {
  readonly source: SourceOptions;
  /** They are no pod's. */
  readonly uplinks?: { readonly interfaces: readonly string[] };
}

/** Only the API server says which pods are this node's. */
export const interfaceOptions = ({ source, denyUnknown, uplinks }: Asked): InterfaceOptions => ({
  ...(source.kind === "apiserver" ? { node: source.node } : {}),
  ...(denyUnknown === undefined
    ? {}
    : { denyUnknown: { ignored: [...denyUnknown.ignored, ...(uplinks?.interfaces ?? [])] } }),
});

export interface Interfaces {
  /** By the tables as they are known now. Those that are to be denied everything are found with a pod that stands for theirs. */
  resolve(pods: Iterable<Pod>): Resolved;
  /** Where unknown interfaces are shut at once. */
  readonly gate?: Gate;
  close(): void;
}

export interface FollowEnv {
  /** The answer may be another one from now on. */
  readonly onChange: () => void;
  readonly onError: (error: unknown) => void;
  readonly gate?: Gate;
  /** What an earlier agent has left in force, by interface index. */
  readonly inKernel: ReadonlyMap<number, { readonly addresses: readonly string[] }>;
}

/** Reads the node's tables once. Errors: BpfError. */
export async function readInterfaces(options: InterfaceOptions): Promise<Interfaces> {
  return { resolve: resolver(options, await readNode()), close: () => undefined };
}

/** Follows the node's tables until it is closed. Errors: BpfError where they cannot be read at all. */
export async function openInterfaces(
  options: InterfaceOptions,
  { onChange, onError, gate, inKernel }: FollowEnv,
): Promise<Interfaces> {
  const { denyUnknown } = options;
  const node = await followNode({
    onChange,
    onError,
    ...(gate === undefined || denyUnknown === undefined
      ? {}
      : {
          onPair: (link, tables) => {
            if (isStranger(tables, link, denyUnknown.ignored)) gate.shut(link.ifindex);
          },
        }),
  });
  const absences = openAbsences(onChange);
  const resolve = resolver(options, node, { absences, inKernel });
  return {
    resolve(pods) {
      gate?.release();
      return resolve(pods);
    },
    ...(gate === undefined ? {} : { gate }),
    close() {
      absences.close();
      node.close();
    },
  };
}

function resolver(
  { node: nodeName, denyUnknown }: InterfaceOptions,
  node: Node,
  { absences, inKernel }: { readonly absences?: Absences; readonly inKernel?: FollowEnv["inKernel"] } = {},
): Interfaces["resolve"] {
  let before: readonly PodInterface[] | undefined;
  return (pods) => {
    const known = before === undefined ? { inKernel: inKernel ?? new Map() } : { before };
    const options = { ...known, ...(nodeName === undefined ? {} : { node: nodeName }) };
    const resolved = resolveInterfaces(pods, node, options);
    before = resolved.found;
    const taken = new Set(before.map(({ ifindex }) => ifindex));
    const unknown = denyUnknown === undefined ? [] : strangersIn(node.tables(), taken, denyUnknown.ignored);
    const told = new Set(resolved.problems.map(({ object }) => object));
    const silent = resolved.missing.map(missingProblem).filter(({ object }) => !told.has(object));
    const lasting = absences?.lasting([...silent, ...unknown.map(({ name }) => unknownProblem(name))]) ?? [];
    const found = [
      ...resolved.found,
      ...unknown.map(({ ifindex, name }) => ({ pod: unknownPod(name), ifindex, name })),
    ];
    return { ...resolved, found, problems: [...resolved.problems, ...lasting] };
  };
}

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
