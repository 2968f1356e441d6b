// Fills a cluster by writing into etcd what the API server would write: thousands of objects in seconds, with their status.

import { randomUUID } from "node:crypto";
import type { Manifest } from "./api.ts";
import { podOf, statusOf } from "./objects.ts";
import type { Servers } from "./servers.ts";
import { OTHER_NODE } from "./world.ts";

const AT_ONCE = 16;
const NAMESPACES = 20;

const inBase64 = (text: string): string => Buffer.from(text).toString("base64");

/** The key in etcd of an object of a core kind or a policy. */
const keyOf = ({ kind, metadata: { namespace, name } }: Manifest): string =>
  [
    "/registry",
    kind === "NetworkPolicy" ? "networkpolicies" : `${kind?.toLowerCase()}s`,
    ...(namespace === undefined ? [] : [namespace]),
    name,
  ].join("/");

/**
 * The API server sees them as if they had always been there. Each has a revision of its own, as what goes through the API server
 * has: a watch that is begun again in the midst of objects that share one would never send the rest.
 */
export async function preload({ etcdCall }: Servers, objects: readonly Manifest[]): Promise<void> {
  const queue = objects.values();
  const worker = async (): Promise<void> => {
    for (const object of queue)
      await etcdCall("kv/put", {
        key: inBase64(keyOf(object)),
        value: inBase64(JSON.stringify(born(object))),
      });
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

const born = ({ metadata, ...object }: Manifest): object => ({
  ...object,
  metadata: { ...metadata, uid: randomUUID(), creationTimestamp: "2026-01-01T00:00:00Z", generation: 1 },
});

export const crowdNamespaces = (): Manifest[] =>
  Array.from({ length: NAMESPACES }, (_, index) => ({
    apiVersion: "v1",
    kind: "Namespace",
    metadata: { name: `crowd-${index}`, labels: { team: `team-${index % 5}` } },
    spec: { finalizers: ["kubernetes"] },
    status: { phase: "Active" },
  }));

const namespaceOfPod = (index: number): string => `crowd-${index % NAMESPACES}`;

/** A pod of another node, of about 10 kB as in real clusters: most of it is irrelevant to a policy. */
export function crowdPod(index: number): Manifest {
  const [low, high] = [index % 250, Math.floor(index / 250)];
  const name = `${namespaceOfPod(index)}/app-${index % 100}-7d4b9c6f5-${index.toString(36).padStart(5, "x")}`;
  const pod = podOf({
    name,
    node: OTHER_NODE,
    addresses: [],
    labels: { app: `app-${index % 100}`, tier: `tier-${index % 7}`, "pod-template-hash": "7d4b9c6f5" },
    ports: [{ name: "http", containerPort: 8080, protocol: "TCP" }],
  });
  const spec = pod["spec"] as { containers: readonly object[] };
  const [container] = spec.containers;
  const env = Array.from({ length: 60 }, (_, number) => ({
    name: `SETTING_NUMBER_${number}`,
    value: `https://service-${number}.${namespaceOfPod(index)}.svc.cluster.local:8443/api/v1`,
  }));
  const applied = {
    "kubectl.kubernetes.io/last-applied-configuration": JSON.stringify({ ...pod, env }).slice(0, 3000),
  };
  return {
    ...pod,
    metadata: { ...pod.metadata, annotations: applied },
    spec: {
      ...spec,
      restartPolicy: "Always",
      dnsPolicy: "ClusterFirst",
      schedulerName: "default-scheduler",
      securityContext: {},
      containers: [
        {
          ...container,
          env,
          terminationMessagePath: "/dev/termination-log",
          terminationMessagePolicy: "File",
          imagePullPolicy: "IfNotPresent",
        },
      ],
    },
    status: {
      ...statusOf([`10.128.${high}.${low}`, `fd63:128::${high.toString(16)}:${low.toString(16)}`]),
      conditions: ["Initialized", "Ready", "ContainersReady", "PodScheduled"].map((type) => ({
        type,
        status: "True",
        lastTransitionTime: "2026-01-01T00:00:00Z",
      })),
      qosClass: "BestEffort",
    },
  };
}

/** Policies as applications have them, with pods of two other applications as peers. */
export function crowdPolicy(index: number): Manifest {
  const app = (number: number) => ({ podSelector: { matchLabels: { app: `app-${number % 100}` } } });
  return {
    apiVersion: "networking.k8s.io/v1",
    kind: "NetworkPolicy",
    metadata: { name: `policy-${index}`, namespace: namespaceOfPod(index) },
    spec: {
      ...app(index),
      policyTypes: ["Ingress", "Egress"],
      ingress: [{ from: [app(index + 1), app(index + 2)], ports: [{ protocol: "TCP", port: 8080 }] }],
      egress: [
        { to: [{ ...app(index + 3), namespaceSelector: { matchLabels: { team: `team-${index % 5}` } } }] },
      ],
    },
  };
}
