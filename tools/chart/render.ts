// Renders the Helm chart: by helm where it is there, else by tools/helm-template.

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { parseAllDocuments } from "yaml";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const CHART = join(ROOT, "deploy/helm/weir");
const STAND_IN = join(ROOT, "tools/helm-template/build/helm-template");

export interface Rendering {
  readonly namespace?: string;
  /** Files of values. */
  readonly files?: readonly string[];
  /** As in `--set a.b=c`. */
  readonly set?: readonly string[];
  readonly kubeVersion?: string;
}

/** What of an object this project's tools and tests ask for without looking. */
export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: {
    readonly name: string;
    readonly namespace?: string;
    readonly annotations?: Record<string, string>;
  };
  readonly [field: string]: unknown;
}

const hasHelm = (): boolean =>
  (process.env["PATH"] ?? "").split(delimiter).some((folder) => existsSync(join(folder, "helm")));

/**
 * The rendered text, comments and all.
 * @throws Error with what the renderer says
 */
export function renderChart({
  namespace = "kube-system",
  files = [],
  set = [],
  kubeVersion,
}: Rendering): string {
  const options = [
    `--namespace=${namespace}`,
    ...(kubeVersion === undefined ? [] : [`--kube-version=${kubeVersion}`]),
    ...files.flatMap((file) => ["-f", file]),
    ...set.flatMap((one) => ["--set", one]),
  ];
  const [command, args] = hasHelm()
    ? ["helm", ["template", "weir", ...options, CHART]]
    : [STAND_IN, [...options, CHART]];
  const { status, stdout, stderr, error } = spawnSync(command, args, { encoding: "utf8" });
  if (error !== undefined) throw new Error(`${command}: ${error.message}; run: npm run setup -- charts`);
  if (status !== 0) throw new Error(stderr.trim());
  return stdout;
}

/** @throws Error where the text is no YAML */
export const objectsOf = (text: string): readonly KubernetesObject[] =>
  parseAllDocuments(text).flatMap((document) => {
    const [error] = document.errors;
    if (error !== undefined) throw error;
    const value: unknown = document.toJS();
    return value === null ? [] : [value as KubernetesObject];
  });

interface Probe {
  readonly httpGet: { readonly host: string; readonly port: string };
}

export interface Container {
  readonly name: string;
  readonly args?: readonly string[];
  readonly env?: readonly { readonly name: string; readonly value?: string }[];
  readonly ports?: readonly { readonly name: string; readonly containerPort: number }[];
  readonly startupProbe?: Probe;
  readonly livenessProbe?: Probe;
  readonly readinessProbe?: Probe;
  readonly securityContext: {
    readonly capabilities?: { readonly add?: readonly string[]; readonly drop?: readonly string[] };
    readonly [field: string]: unknown;
  };
  readonly volumeMounts?: readonly { readonly name: string; readonly mountPath: string }[];
}

export interface PodSpec {
  readonly containers: readonly [Container];
  readonly initContainers?: readonly Container[];
  readonly volumes: readonly { readonly name: string }[];
  readonly [field: string]: unknown;
}

/** @throws Error where there is no such object */
export function findObject(
  objects: readonly KubernetesObject[],
  kind: string,
  name: string,
): KubernetesObject {
  const found = objects.find((each) => each.kind === kind && each.metadata.name === name);
  if (found === undefined) throw new Error(`no ${kind} ${name}`);
  return found;
}

/** What a DaemonSet or Job makes pods of. */
export const podOf = (object: KubernetesObject): PodSpec =>
  (object["spec"] as { template: { spec: PodSpec } }).template.spec;

/** The pod of the agent, rendered with these `--set`s. */
export const agentPod = (set: readonly string[]): PodSpec =>
  podOf(findObject(objectsOf(renderChart({ set })), "DaemonSet", "weir"));
