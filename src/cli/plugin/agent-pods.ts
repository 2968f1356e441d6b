// The agents of a cluster: their pods by the API server, and commands run in them (exec), many at a time.

import type { KubeConfig } from "@kubernetes/client-node";
import { messageOf } from "../../base/errors.ts";
import { valueAt } from "../../source/parse/fields.ts";
import { CommandError, EXIT } from "../environment.ts";
import { type Done, execStream, execToEnd, type StreamOptions } from "./agent-exec.ts";
import { type ClusterOptions, get, openCluster } from "./cluster-access.ts";

export interface AgentPod {
  readonly node: string;
  readonly namespace: string;
  readonly name: string;
  /** Why no command can be run there: its phase. */
  readonly phase?: string;
}

/** What one agent's command did, or why it could not be run. */
export type Outcome =
  | (Done & { readonly pod: AgentPod; readonly error?: never })
  | { readonly pod: AgentPod; readonly error: string };

export interface RunOptions {
  /** All, unless given. */
  readonly pods?: readonly AgentPod[];
  /** Instead of the outcome as it is: takes what is needed of a large one when it comes. */
  readonly digest?: (outcome: Outcome) => Outcome;
}

export interface AgentPods {
  /** The kubeconfig's name of the cluster. */
  readonly cluster: string;
  /** By node. */
  readonly pods: readonly AgentPod[];
  /** Runs `weir ARGS` in each of the pods, or in some of them. Never rejects. */
  run(args: readonly string[], options?: RunOptions): Promise<readonly Outcome[]>;
  /** Runs `weir ARGS` until it ends: its exit code. @throws Error if it cannot be run, or the connection is lost */
  stream(
    args: readonly string[],
    pod: AgentPod,
    options: Omit<StreamOptions, "timeoutMs" | "hasStdin">,
  ): Promise<number>;
  /** The pods as they are now. @throws CommandError */
  list(): Promise<readonly AgentPod[]>;
  /** The node of a pod (`namespace/name`); undefined if there is no such pod, or it has none. */
  nodeOf(pod: string): Promise<string | undefined>;
}

/** Of agents: as in deploy/weir.yaml. */
export const SELECTOR = "app.kubernetes.io/name=weir,app.kubernetes.io/component=agent";
export const CONTAINER = "weir";
/** Commands at a time. */
const PARALLEL = 16;

/**
 * With `nodes`, only the agents of these. @throws CommandError without a kubeconfig, without the rights, or without agents
 * (exit code 4)
 */
export async function openAgentPods(
  options: ClusterOptions & { readonly node?: readonly string[] },
): Promise<AgentPods> {
  const config = openCluster(options);
  const { node: nodes, timeoutMs } = options;
  const list = async (): Promise<readonly AgentPod[]> => {
    const all = await podsOf(config, timeoutMs);
    return nodes === undefined ? all : all.filter(({ node }) => nodes.includes(node));
  };
  const pods = await list();
  if (pods.length === 0 && nodes === undefined)
    throw new CommandError(`no pod with the labels ${SELECTOR} is in the cluster`, EXIT.notFound);
  const missing = nodes?.filter((name) => !pods.some(({ node }) => node === name)) ?? [];
  if (missing.length > 0) throw new CommandError(`no agent is on node ${missing.join(", ")}`, EXIT.notFound);
  const placeOf = ({ namespace, name }: AgentPod) => ({ namespace, name, container: CONTAINER });
  const runOne = async (pod: AgentPod, args: readonly string[]): Promise<Outcome> => {
    if (pod.phase !== undefined) return { pod, error: `pod ${pod.namespace}/${pod.name} is ${pod.phase}` };
    try {
      return { pod, ...(await execToEnd(config, placeOf(pod), ["weir", ...args], timeoutMs)) };
    } catch (thrown) {
      return { pod, error: messageOf(thrown) };
    }
  };
  return {
    cluster: config.getCurrentCluster()?.name ?? "",
    pods,
    async run(args, { pods: chosen = pods, digest = (outcome: Outcome) => outcome } = {}) {
      const outcomes: Outcome[] = [];
      const entries = chosen.entries();
      const work = async (): Promise<void> => {
        for (const [at, pod] of entries) outcomes[at] = digest(await runOne(pod, args));
      };
      await Promise.all(Array.from({ length: Math.min(PARALLEL, chosen.length) }, work));
      return outcomes;
    },
    stream: (args, pod, more) =>
      execStream(config, placeOf(pod), ["weir", ...args], { ...more, timeoutMs: 0, hasStdin: true }),
    list,
    async nodeOf(pod) {
      const [namespace = "", name = ""] = pod.split("/");
      const where = `/api/v1/namespaces/${encodeURIComponent(namespace)}/pods/${encodeURIComponent(name)}`;
      const found = await get(config, where, timeoutMs).catch((thrown: unknown) => {
        if (thrown instanceof CommandError && thrown.exitCode === EXIT.notFound) return undefined;
        throw thrown;
      });
      const node = valueAt(found, ["spec", "nodeName"]);
      return typeof node === "string" ? node : undefined;
    },
  };
}

async function podsOf(config: KubeConfig, timeoutMs: number): Promise<readonly AgentPod[]> {
  const path = `/api/v1/pods?labelSelector=${encodeURIComponent(SELECTOR)}`;
  const items = valueAt(await get(config, path, timeoutMs), ["items"]);
  const pods = (Array.isArray(items) ? items : []).flatMap(podIn).sort((a, b) => (a.node < b.node ? -1 : 1));
  // While the DaemonSet is updated, a node has the earlier pod too.
  const running = new Set(pods.filter(({ phase }) => phase === undefined).map(({ node }) => node));
  return pods.filter(({ node, phase }) => phase === undefined || !running.has(node));
}

function podIn(item: unknown): AgentPod[] {
  const [namespace, name] = [valueAt(item, ["metadata", "namespace"]), valueAt(item, ["metadata", "name"])];
  const [node, phase] = [valueAt(item, ["spec", "nodeName"]), valueAt(item, ["status", "phase"])];
  if (typeof namespace !== "string" || typeof name !== "string" || typeof node !== "string") return [];
  const isDeleted = valueAt(item, ["metadata", "deletionTimestamp"]) !== undefined;
  const state = isDeleted ? "Terminating" : String(phase ?? "Unknown");
  return [{ namespace, name, node, ...(state === "Running" ? {} : { phase: state }) }];
}
