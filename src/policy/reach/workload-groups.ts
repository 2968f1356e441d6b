// Pods grouped for people: the replicas of a workload are one line of a list, whatever controller has made them.

import { memo } from "../../base/memo.ts";
import { type Cluster, isSelectable, keyOf, type Pod } from "../../model/cluster.ts";
import type { Labels } from "../../model/selector.ts";

export interface WorkloadGroup {
  readonly namespace: string;
  readonly name: string;
  readonly pods: readonly Pod[];
}

export interface WorkloadGroups {
  /** Sorted by namespace and name. */
  readonly groups: readonly WorkloadGroup[];
  /** Index of a pod's group, by `namespace/name` of the pod. */
  readonly indexOf: ReadonlyMap<string, number>;
}

/** Labels that controllers give each replica or each revision a value of its own for. */
const OF_REPLICAS = new Set([
  "pod-template-hash",
  "pod-template-generation",
  "controller-revision-hash",
  "statefulset.kubernetes.io/pod-name",
  "apps.kubernetes.io/pod-index",
  "controller-uid",
  "batch.kubernetes.io/controller-uid",
  "batch.kubernetes.io/job-completion-index",
  "job-name",
  "batch.kubernetes.io/job-name",
]);

/**
 * The groups of a cluster's pods. In none are host-network pods and finished ones, which no policy selects, and pods without an
 * address, which no node enforces anything for yet.
 */
export const workloadGroups = memo((pods: Cluster["pods"]): WorkloadGroups => {
  const byKey = Map.groupBy(
    [...pods.values()].filter((pod) => isSelectable(pod) && pod.ips.length > 0),
    groupKey,
  );
  const groups = named([...byKey.values()]);
  const indexOf = new Map(
    groups.flatMap(({ pods: members }, index) => members.map((pod) => [keyOf(pod), index] as const)),
  );
  return { groups, indexOf };
});

const groupKey = memo((pod: Pod): string =>
  JSON.stringify([pod.namespace, stemOf(pod), labelsText(pod.labels)]),
);

/** The name of what has made the pod, as far as names and labels show it. */
function stemOf({ name, labels }: Pod): string {
  const job = labels.get("batch.kubernetes.io/job-name") ?? labels.get("job-name");
  // A CronJob's Jobs end with the minute of their time.
  if (job !== undefined) return job.replace(/-\d{7,}$/, "");
  const hash = labels.get("pod-template-hash");
  const at = hash === undefined ? -1 : name.lastIndexOf(`-${hash}-`);
  if (at > 0) return name.slice(0, at);
  if (labels.has("controller-revision-hash")) return name.replace(/-(?:\d+|[a-z0-9]{5})$/, "");
  return name.replace(/-\d+$/, "");
}

const labelsText = memo((labels: Labels): string =>
  [...labels]
    .filter(([key]) => !OF_REPLICAS.has(key))
    .map(([key, value]) => `${key}=${value}`)
    .sort()
    .join(","),
);

/** Groups with the same name are distinguished by their labels. */
function named(groups: readonly (readonly Pod[])[]): WorkloadGroup[] {
  const all = groups.map((pods) => {
    const [first] = pods as readonly [Pod, ...Pod[]];
    return { namespace: first.namespace, stem: stemOf(first), labels: labelsText(first.labels), pods };
  });
  const counts = new Map<string, number>();
  for (const { namespace, stem } of all) {
    const key = `${namespace}/${stem}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  }
  return all
    .map(({ namespace, stem, labels, pods }) => ({
      namespace,
      name: (counts.get(`${namespace}/${stem}`) ?? 0) > 1 ? `${stem} (${labels || "no labels"})` : stem,
      pods,
    }))
    .sort((a, b) => (keyOf(a) < keyOf(b) ? -1 : 1));
}
