// Objects of the tests, as the API accepts them: pods with their status, namespaces that end, slices in the served version.

import { setTimeout as sleep } from "node:timers/promises";
import { messageOf } from "../../src/base/errors.ts";
import type { LabelMap } from "../../src/lab/lab-manifests.ts";
import type { Api, Manifest } from "./api.ts";

export interface PodObject {
  /** NAMESPACE/NAME. */
  readonly name: string;
  readonly labels: LabelMap;
  readonly addresses: readonly string[];
  readonly node: string;
  readonly hostNetwork?: boolean;
  readonly ports?: readonly {
    readonly name?: string;
    readonly containerPort: number;
    readonly protocol: string;
  }[];
}

export const namespaceOf = (name: string, labels: LabelMap = {}): Manifest => ({
  apiVersion: "v1",
  kind: "Namespace",
  metadata: { name, labels },
});

/** Its location is in the status alone: `statusOf`. */
export function podOf({ name: key, labels, node, ports = [], hostNetwork = false }: PodObject): Manifest {
  const [namespace = "", name = ""] = key.split("/");
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, labels },
    spec: {
      nodeName: node,
      hostNetwork,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: "main", image: "registry.example/main:1", ports }],
    },
  };
}

export const statusOf = (addresses: readonly string[]) => ({
  phase: "Running",
  podIP: addresses[0],
  podIPs: addresses.map((ip) => ({ ip })),
});

/** As scheduler and kubelet start a pod: first the object, then its addresses. */
export async function createPod(api: Api, pod: PodObject): Promise<void> {
  const object = podOf(pod);
  // For a moment the server still has the name as a namespace that is being deleted.
  for (let left = 50; ; left -= 1) {
    try {
      await api.create(object);
      break;
    } catch (error) {
      if (left === 0 || !/is being terminated/.test(messageOf(error))) throw error;
      await sleep(200);
    }
  }
  await api.patch(object, { status: statusOf(pod.addresses) }, "/status");
}

export const podNamed = (key: string): Manifest => podOf({ name: key, labels: {}, addresses: [], node: "" });

/** The complete new set of labels. */
export async function setLabels(api: Api, object: Manifest, labels: LabelMap): Promise<void> {
  const path = { ...object, metadata: { name: object.metadata.name, ...withNamespace(object) } };
  const [before] = await Promise.all([api.patch(path, {})]);
  const old = (before.metadata["labels"] ?? {}) as LabelMap;
  const gone = Object.fromEntries(Object.keys(old).map((key) => [key, null]));
  await api.patch(path, { metadata: { labels: { ...gone, ...labels } } });
}

const withNamespace = ({ metadata: { namespace } }: Manifest) =>
  namespace === undefined ? {} : { namespace };

/** Kinds of namespaced objects that the tests create. */
export const KINDS = [
  ["networking.k8s.io/v1", "NetworkPolicy"],
  ["v1", "Pod"],
  ["v1", "Service"],
] as const;

/** With everything in it, as the namespace controller does, which does not run here. */
export async function removeNamespace(api: Api, name: string): Promise<void> {
  const object = namespaceOf(name);
  await api.remove(object);
  const slices = await sliceVersion(api);
  for (const [apiVersion, kind] of [...KINDS, [slices, "EndpointSlice"] as const])
    for (const inside of await api.list(apiVersion, kind, name)) await api.remove(inside);
  await api.must("PUT", `/api/v1/namespaces/${name}/finalize`, { ...object, spec: { finalizers: [] } });
}

/** Of EndpointSlices: before 1.21 only the beta is served. */
export async function sliceVersion(api: Api): Promise<string> {
  const { versions } = await api.must<{ versions: readonly { groupVersion: string }[] }>(
    "GET",
    "/apis/discovery.k8s.io",
  );
  const served = versions.map(({ groupVersion }) => groupVersion);
  return served.includes("discovery.k8s.io/v1") ? "discovery.k8s.io/v1" : "discovery.k8s.io/v1beta1";
}

interface SliceEndpoint {
  readonly nodeName?: string;
  readonly [key: string]: unknown;
}

/** A slice of v1 in the served version; the beta has an endpoint's node in its topology. */
export async function servedSlice(api: Api, slice: Manifest): Promise<Manifest> {
  const apiVersion = await sliceVersion(api);
  if (apiVersion === slice.apiVersion || slice.kind !== "EndpointSlice") return slice;
  const endpoints = ((slice["endpoints"] ?? []) as readonly SliceEndpoint[]).map(
    ({ nodeName, ...endpoint }) => ({
      ...endpoint,
      ...(nodeName === undefined ? {} : { topology: { "kubernetes.io/hostname": nodeName } }),
    }),
  );
  return { ...slice, apiVersion, endpoints };
}
