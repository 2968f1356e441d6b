// The objects of a large cluster, as JSON text that an API server would send, of which only what tells them apart is kept.

/** One version of an object: what is kept of it is small, its text is made when it is sent. */
export interface Stored {
  readonly key: string;
  readonly version: number;
  /** JSON without kind and apiVersion, as in a list. */
  text(): string;
}

export type LabelMap = Readonly<Record<string, string>>;

/** A Deployment or StatefulSet: its pods differ in name, address, node and state. */
export interface Workload {
  readonly namespace: string;
  readonly app: string;
  readonly kind: "Deployment" | "StatefulSet";
  /** Of the pod template: another after every rollout. */
  readonly hash: string;
  readonly labels: LabelMap;
}

export interface PodState {
  readonly name: string;
  readonly workload: Workload;
  /** Where it has been scheduled. */
  readonly node?: string;
  readonly address?: string;
  readonly deleting?: true;
  readonly ready: boolean;
  readonly labels?: LabelMap;
  readonly uid: string;
}

const CREATED = "2026-01-01T00:00:00Z";

const uidOf = (number: number): string => {
  const hex = number.toString(16).padStart(12, "0");
  return `7f3e0a5c-91d4-4c62-b8a7-${hex}`;
};

let uids = 0;
export const nextUid = (): string => {
  uids += 1;
  return uidOf(uids);
};

/** Environment of a container, which makes a pod as large as real ones: nothing of it matters to a policy. */
const environment = (namespace: string, count: number): string =>
  JSON.stringify(
    Array.from({ length: count }, (_, index) => ({
      name: `SETTING_NUMBER_${index}`,
      value: `https://service-${index}.${namespace}.svc.cluster.local:8443/api/v1`,
    })),
  );

/** So many variables of about 100 bytes bring a pod to 3 kB. */
const VARIABLES = 6;

const specs = new WeakMap<Workload, string>();

/** All of a pod's spec but its node. */
function specOf(workload: Workload): string {
  const known = specs.get(workload);
  if (known !== undefined) return known;
  const { namespace, app } = workload;
  const container = {
    name: app,
    image: `registry.example.org/${namespace}/${app}:1.${workload.hash.length}.0`,
    ports: [
      { name: "http", containerPort: 8080, protocol: "TCP" },
      { name: "metrics", containerPort: 9090, protocol: "TCP" },
    ],
    resources: { limits: { memory: "512Mi" }, requests: { cpu: "100m", memory: "256Mi" } },
    volumeMounts: [
      { name: "kube-api-access", readOnly: true, mountPath: "/var/run/secrets/kubernetes.io/serviceaccount" },
    ],
    readinessProbe: { httpGet: { path: "/ready", port: "http", scheme: "HTTP" }, periodSeconds: 10 },
    terminationMessagePath: "/dev/termination-log",
    terminationMessagePolicy: "File",
    imagePullPolicy: "IfNotPresent",
  };
  const rest = JSON.stringify({
    restartPolicy: "Always",
    terminationGracePeriodSeconds: 30,
    dnsPolicy: "ClusterFirst",
    serviceAccountName: app,
    securityContext: {},
    schedulerName: "default-scheduler",
    tolerations: [
      {
        key: "node.kubernetes.io/not-ready",
        operator: "Exists",
        effect: "NoExecute",
        tolerationSeconds: 300,
      },
      {
        key: "node.kubernetes.io/unreachable",
        operator: "Exists",
        effect: "NoExecute",
        tolerationSeconds: 300,
      },
    ],
    priority: 0,
    enableServiceLinks: true,
    preemptionPolicy: "PreemptLowerPriority",
  });
  const whole = `{"containers":[${JSON.stringify(container).slice(0, -1)},"env":${environment(namespace, VARIABLES)}}],${rest.slice(1, -1)}`;
  specs.set(workload, whole);
  return whole;
}

const conditions = (ready: boolean): string =>
  JSON.stringify(
    ["PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"].map((type) => ({
      type,
      status: ready || type === "PodScheduled" || type === "Initialized" ? "True" : "False",
      lastProbeTime: null,
      lastTransitionTime: CREATED,
    })),
  );
const CONDITIONS = { ready: conditions(true), unready: conditions(false) } as const;

const quoted = (value: string): string => `"${value}"`;

function statusOf({ address, ready, workload: { app } }: PodState): string {
  const phase = address === undefined ? "Pending" : "Running";
  const ips = address === undefined ? "" : `,"podIP":"${address}","podIPs":[{"ip":"${address}"}]`;
  return (
    `{"phase":"${phase}","conditions":${ready ? CONDITIONS.ready : CONDITIONS.unready},"hostIP":"172.16.0.1"${ips},` +
    `"startTime":"${CREATED}","containerStatuses":[{"name":"${app}","ready":${ready},"restartCount":0,"started":${ready},` +
    `"image":"registry.example.org/${app}","imageID":"sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"}],` +
    `"qosClass":"Burstable"}`
  );
}

export function podOf(pod: PodState, version: number): Stored {
  const { workload } = pod;
  const { namespace } = workload;
  return {
    key: `${namespace}/${pod.name}`,
    version,
    text() {
      const own: LabelMap =
        workload.kind === "Deployment"
          ? { "pod-template-hash": workload.hash }
          : {
              "controller-revision-hash": workload.hash,
              "statefulset.kubernetes.io/pod-name": pod.name,
              "apps.kubernetes.io/pod-index": pod.name.slice(pod.name.lastIndexOf("-") + 1),
            };
      const labels = JSON.stringify({ ...workload.labels, ...own, ...pod.labels });
      const owner = workload.kind === "Deployment" ? "ReplicaSet" : "StatefulSet";
      const deleting =
        pod.deleting === undefined ? "" : `"deletionTimestamp":"${CREATED}","deletionGracePeriodSeconds":30,`;
      const node = pod.node === undefined ? "" : `,"nodeName":${quoted(pod.node)}`;
      return (
        `{"metadata":{"name":"${pod.name}","generateName":"${workload.app}-","namespace":"${namespace}","uid":"${pod.uid}",` +
        `"resourceVersion":"${version}","generation":1,"creationTimestamp":"${CREATED}",${deleting}"labels":${labels},` +
        `"annotations":{"checksum/config":"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},` +
        `"ownerReferences":[{"apiVersion":"apps/v1","kind":"${owner}","name":"${workload.app}","uid":"${pod.uid}","controller":true,"blockOwnerDeletion":true}]},` +
        `"spec":${specOf(workload)}${node}},"status":${statusOf(pod)}}`
      );
    },
  };
}

const plain = (key: string, version: number, object: object): Stored => ({
  key,
  version,
  text: () => JSON.stringify(object),
});

const metadataOf = (name: string, version: number, more: object = {}): object => ({
  name,
  uid: nextUid(),
  resourceVersion: String(version),
  creationTimestamp: CREATED,
  ...more,
});

export function namespaceOf(name: string, labels: LabelMap, version: number): Stored {
  const all = { "kubernetes.io/metadata.name": name, ...labels };
  return plain(name, version, {
    metadata: metadataOf(name, version, { labels: all }),
    spec: { finalizers: ["kubernetes"] },
    status: { phase: "Active" },
  });
}

export function policyOf(namespace: string, name: string, spec: object, version: number): Stored {
  return plain(`${namespace}/${name}`, version, {
    metadata: metadataOf(name, version, { namespace, generation: 1 }),
    spec,
  });
}

/** Kubelets list the images that a node has, which makes most of a node's object. */
const IMAGES = 25;
const images = JSON.stringify(
  Array.from({ length: IMAGES }, (_, index) => ({
    names: [
      `registry.example.org/library/image-${index}@sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08`,
      `registry.example.org/library/image-${index}:1.${index}.0`,
    ],
    sizeBytes: 50_000_000 + index,
  })),
);

export interface NodeState {
  readonly name: string;
  readonly address: string;
  readonly podCidr: string;
  readonly uid: string;
}

export function nodeOf({ name, address, podCidr, uid }: NodeState, version: number): Stored {
  const ready = ["MemoryPressure", "DiskPressure", "PIDPressure", "Ready"].map((type) => ({
    type,
    status: type === "Ready" ? "True" : "False",
    lastHeartbeatTime: CREATED,
    lastTransitionTime: CREATED,
  }));
  return {
    key: name,
    version,
    text: () =>
      `{"metadata":${JSON.stringify({ name, uid, resourceVersion: String(version), creationTimestamp: CREATED, labels: { "kubernetes.io/hostname": name } })},` +
      `"spec":{"podCIDR":"${podCidr}","podCIDRs":["${podCidr}"]},` +
      `"status":{"addresses":[{"type":"InternalIP","address":"${address}"},{"type":"Hostname","address":"${name}"}],` +
      `"conditions":${JSON.stringify(ready)},"images":${images}}}`,
  };
}

export interface ServiceState {
  readonly namespace: string;
  readonly name: string;
  readonly address: string;
  readonly uid: string;
}

export function serviceOf({ namespace, name, address, uid }: ServiceState, version: number): Stored {
  return plain(`${namespace}/${name}`, version, {
    metadata: { ...metadataOf(name, version, { namespace }), uid },
    spec: {
      clusterIP: address,
      clusterIPs: [address],
      ports: [{ name: "http", protocol: "TCP", port: 80, targetPort: "http" }],
      selector: { "app.kubernetes.io/name": name },
      type: "ClusterIP",
      ipFamilies: ["IPv4"],
    },
  });
}

/** The slice of a Service, with the pods that have an address. */
export function sliceOf(service: ServiceState, pods: readonly PodState[], version: number): Stored {
  const { namespace, name } = service;
  return {
    key: `${namespace}/${name}-slice`,
    version,
    text() {
      const endpoints = pods.flatMap((pod) =>
        pod.address === undefined
          ? []
          : [
              {
                addresses: [pod.address],
                conditions: {
                  ready: pod.ready && pod.deleting !== true,
                  serving: pod.ready,
                  terminating: pod.deleting === true,
                },
                targetRef: { kind: "Pod", namespace, name: pod.name, uid: pod.uid },
                nodeName: pod.node,
              },
            ],
      );
      return JSON.stringify({
        metadata: {
          name: `${name}-slice`,
          namespace,
          uid: service.uid,
          resourceVersion: String(version),
          creationTimestamp: CREATED,
          labels: { "kubernetes.io/service-name": name },
        },
        addressType: "IPv4",
        endpoints,
        ports: [{ name: "http", port: 8080, protocol: "TCP" }],
      });
    },
  };
}
