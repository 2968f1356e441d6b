// Weir in the cluster of the tests: installed, changed and removed as docs/install.md says, and queried by `kubectl exec`.

import { type KubernetesObject, objectsOf, renderChart } from "../../tools/chart/render.ts";
import type { Cluster, Result } from "./cluster.ts";
import type { Node } from "./nodes.ts";
import { textOf } from "./pods.ts";

const KUBE_VERSION = "v1.20.2";
/** containerd before 1.7 forbids bpf() unless this is set: docs/install.md. */
const ALWAYS = ["securityContext.seccompProfile=Unconfined"];

const HOOK = "helm.sh/hook";
const WEIGHT = "helm.sh/hook-weight";

interface Release {
  readonly objects: readonly KubernetesObject[];
  /** By weight, as helm creates them. */
  readonly hooks: readonly KubernetesObject[];
}

function release(set: readonly string[]): Release {
  const all = objectsOf(renderChart({ kubeVersion: KUBE_VERSION, set: [...ALWAYS, ...set] }));
  const isHook = ({ metadata }: KubernetesObject): boolean => metadata.annotations?.[HOOK] !== undefined;
  const weight = ({ metadata }: KubernetesObject): number => Number(metadata.annotations?.[WEIGHT]);
  return {
    objects: all.filter((each) => !isHook(each)),
    hooks: all.filter((each) => isHook(each)).toSorted((a, b) => weight(a) - weight(b)),
  };
}

const NAMESPACED = ["-n", "kube-system"];

/** `helm install` or `helm upgrade` with these `--set`s, and waits until every agent is ready. */
export async function install(cluster: Cluster, set: readonly string[] = []): Promise<void> {
  await cluster.must(["apply", "-f", "-"], textOf(release(set).objects));
  await rolledOut(cluster);
}

export const rolledOut = (cluster: Cluster): Promise<string> =>
  cluster.must([...NAMESPACED, "rollout", "status", "daemonset/weir", "--timeout=180s"]);

/** `helm uninstall` with the `--set`s of the install: the release's objects go, then its hooks run. */
export async function uninstall(cluster: Cluster, set: readonly string[]): Promise<void> {
  const { objects, hooks } = release(set);
  await cluster.must(["delete", "-f", "-"], textOf(objects));
  for (const hook of hooks) await cluster.must(["apply", "-f", "-"], textOf([hook]));
  await cluster.must([
    ...NAMESPACED,
    "wait",
    "--for=condition=Complete",
    "--timeout=240s",
    "job/weir-cleanup",
  ]);
  await cluster.must(["delete", "-f", "-"], textOf(hooks));
}

/** The agent's pod on a node. */
export async function agentOf(cluster: Cluster, node: Node): Promise<string> {
  const out = await cluster.must([
    ...NAMESPACED,
    "get",
    "pods",
    "--selector=app.kubernetes.io/component=agent",
    `--field-selector=spec.nodeName=${node.name},status.phase=Running`,
    "--output=jsonpath={.items[*].metadata.name}",
  ]);
  const [name, ...more] = out.trim().split(" ");
  if (name === undefined || name === "" || more.length > 0) throw new Error(`agents on ${node.name}: ${out}`);
  return name;
}

/** One command in the agent's pod on a node. */
export async function weir(cluster: Cluster, node: Node, ...args: readonly string[]): Promise<Result> {
  return cluster.kubectl([...NAMESPACED, "exec", await agentOf(cluster, node), "--", "weir", ...args]);
}

/** As `weir`, for a command that must succeed. @throws Error */
export async function mustWeir(cluster: Cluster, node: Node, ...args: readonly string[]): Promise<string> {
  const { status, stdout, stderr } = await weir(cluster, node, ...args);
  if (status === 0) return stdout;
  throw new Error(`weir ${args.join(" ")} on ${node.name}: exit status ${status}: ${stdout}${stderr}`);
}
