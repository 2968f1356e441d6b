// Which source the configuration of `weir run` names: manifests, a kubeconfig, or the cluster that the agent runs in.

import { existsSync } from "node:fs";
import { hostname } from "node:os";
import type { SourceOptions } from "../source/source.ts";
import type { Resolved } from "./config/config-resolve.ts";
import type { Config, Key } from "./config/config-schema.ts";
import { CommandError, type Env, EXIT } from "./environment.ts";

/** The kubelet's files for pods that use the API server. */
const TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token";

const SOURCES: readonly (Key & ("manifests" | "kubeconfig" | "inCluster"))[] = [
  "manifests",
  "kubeconfig",
  "inCluster",
];

/** @throws CommandError where there is no source or more than one, and where a file of it is not there */
export function sourceOf({ config, nameOf }: Resolved, { variables }: Env): SourceOptions {
  const given = SOURCES.filter((key) => config[key] !== undefined && config[key] !== false);
  const wrong = (reason: string) => new CommandError(`${reason}; see: weir run --help`, EXIT.usage);
  if (given.length > 1) throw wrong(`${given.map(nameOf).join(" and ")} exclude each other`);
  if (config.context !== undefined && config.kubeconfig === undefined)
    throw wrong(`${nameOf("context")} needs ${nameOf("kubeconfig")}`);
  const { manifests, kubeconfig } = config;
  // Later they may come and go; at the start it is a slip of the pen.
  for (const path of [manifests, kubeconfig])
    if (path !== undefined && !existsSync(path))
      throw new CommandError(`${path} does not exist`, EXIT.notFound);
  if (manifests !== undefined && config.nodeCondition)
    throw wrong(`${nameOf("nodeCondition")} needs an API server, and excludes ${nameOf("manifests")}`);
  if (manifests !== undefined) return { kind: "manifests", path: manifests };
  const node = nodeOf(config, variables);
  if (kubeconfig !== undefined) {
    const { context } = config;
    const credentials = { from: "kubeconfig", path: kubeconfig, ...(context && { context }) } as const;
    return { kind: "apiserver", credentials, node };
  }
  const isPod = Boolean(variables["KUBERNETES_SERVICE_HOST"]) && existsSync(TOKEN);
  if (isPod) return { kind: "apiserver", credentials: { from: "cluster" }, node };
  if (config.inCluster)
    throw new CommandError(
      `${nameOf("inCluster")}: this is not a pod with a service account: there is no ${TOKEN}, or no KUBERNETES_SERVICE_HOST`,
    );
  throw wrong("name a source: --manifests DIR, --kubeconfig FILE or --in-cluster");
}

/** As sourceOf; undefined where no source is named. */
export function sourceIfAny(resolved: Resolved, env: Env): SourceOptions | undefined {
  const isNamed = SOURCES.some((key) => resolved.config[key] !== undefined && resolved.config[key] !== false);
  return isNamed ? sourceOf(resolved, env) : undefined;
}

/** As the kubelet makes a node's name of the host's: in lower case. */
const nodeOf = ({ nodeName }: Config, variables: Env["variables"]): string =>
  nodeName ?? (variables["NODE_NAME"] || hostname().toLowerCase());
