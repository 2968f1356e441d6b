// Pods that a manifest does not list but describes: the templates of Deployments, Jobs and whatever else makes pods.

import type { Pod } from "../../model/cluster.ts";
import { Issues, isMap, valueAt } from "../parse/fields.ts";
import { parsePod } from "../parse/parse-pod.ts";

/**
 * One pod, without addresses, for each pod template in a document or in the elements of its list. Any kind counts that
 * keeps its template where the API's own workloads do. Mistakes in it are none of a policy's and are not told.
 */
export function templatePods(document: unknown): readonly Pod[] {
  const items = valueAt(document, ["items"]);
  return (Array.isArray(items) ? items : [document]).flatMap((object: unknown) => podOf(object) ?? []);
}

function podOf(object: unknown): Pod | undefined {
  const jobs = valueAt(object, ["spec", "jobTemplate"]);
  const template = valueAt(jobs ?? object, ["spec", "template"]);
  const podSpec = valueAt(template, ["spec"]);
  if (!isMap(podSpec) || !Array.isArray(podSpec["containers"])) return undefined;
  const value = {
    metadata: {
      name: valueAt(object, ["metadata", "name"]),
      namespace: valueAt(object, ["metadata", "namespace"]),
      labels: valueAt(template, ["metadata", "labels"]),
    },
    spec: podSpec,
  };
  return parsePod({ value, path: [], issues: new Issues(), nullIsMissing: true });
}
