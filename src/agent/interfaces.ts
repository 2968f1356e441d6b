// Which interface is whose, for the agent's rounds: the node's tables as they are followed, and who has been without for long.

import type { Pod } from "../model/cluster.ts";
import { type FollowedNode, followNode, type Node, readNode } from "../node/follow.ts";
import { type PodInterface, type Resolved, resolveInterfaces } from "../source/interfaces.ts";
import { type Absences, openAbsences } from "./absences.ts";

export interface InterfaceOptions {
  /** The name of this node in the cluster, where the source knows one. */
  readonly node?: string;
}

export interface Interfaces {
  /** By the tables as they are known now. */
  resolve(pods: Iterable<Pod>): Resolved;
  close(): void;
}

export interface FollowEnv {
  /** The answer may be another one from now on. */
  readonly onChange: () => void;
  readonly onError: (error: unknown) => void;
}

/** Reads the node's tables once. Errors: BpfError. */
export async function readInterfaces(options: InterfaceOptions): Promise<Interfaces> {
  return { ...resolver(options, await readNode()), close: () => undefined };
}

/** Follows the node's tables until it is closed. Errors: BpfError where they cannot be read at all. */
export async function openInterfaces(
  options: InterfaceOptions,
  { onChange, onError }: FollowEnv,
): Promise<Interfaces> {
  const node: FollowedNode = await followNode({ onChange, onError });
  const absences = openAbsences(onChange);
  return {
    ...resolver(options, node, absences),
    close() {
      absences.close();
      node.close();
    },
  };
}

function resolver(
  { node: nodeName }: InterfaceOptions,
  node: Node,
  absences?: Absences,
): Pick<Interfaces, "resolve"> {
  let before: readonly PodInterface[] = [];
  return {
    resolve(pods) {
      const options = { before, ...(nodeName === undefined ? {} : { node: nodeName }) };
      const resolved = resolveInterfaces(pods, node, options);
      before = resolved.found;
      const problems = absences === undefined ? [] : absences.problemsOf(resolved);
      return { ...resolved, problems: [...resolved.problems, ...problems] };
    },
  };
}
