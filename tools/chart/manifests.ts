// The plain manifests of deploy/, which are the chart with its default values and without Helm.

import { type Document, parseAllDocuments } from "yaml";
import { renderChart } from "./render.ts";

const OF_HELM = ["helm.sh/chart", "app.kubernetes.io/managed-by"];

const HEAD = `# Written by \`node tools/manifests.ts\` from the chart deploy/helm/weir with its default values; how to use it: docs/install.md.
# Only the image must be changed (see there); for other changes use the chart.
`;

const CLEANUP_HEAD = `# Takes Weir off every node, after deploy/weir.yaml has been deleted: docs/install.md. Written by \`node tools/manifests.ts\`.
`;

/** deploy/weir.yaml */
export const agentManifest = (): string =>
  HEAD + textOf(documentsOf(["cleanup.enabled=false"]).toSorted((a, b) => rank(a) - rank(b)));

/** deploy/weir-cleanup.yaml: of the chart's hook only what works on the nodes; kubectl waits for it. */
export function cleanupManifest(): string {
  const found = documentsOf([]).filter(
    (each) => each.get("kind") === "DaemonSet" && each.getIn(["metadata", "annotations", "helm.sh/hook"]),
  );
  for (const document of found) document.deleteIn(["metadata", "annotations"]);
  return CLEANUP_HEAD + textOf(found);
}

function documentsOf(set: readonly string[]): readonly Document[] {
  const documents = parseAllDocuments(renderChart({ set }).replaceAll(/^# Source: .*\n/gm, ""));
  if (!Array.isArray(documents)) throw new Error("the chart renders to nothing");
  for (const document of documents) {
    for (const labels of [
      ["metadata", "labels"],
      ["spec", "template", "metadata", "labels"],
    ])
      for (const label of OF_HELM)
        if (document.hasIn([...labels, label])) document.deleteIn([...labels, label]);
  }
  return documents;
}

/** Who may do what comes before who does it. */
const ORDER = ["ServiceAccount", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "DaemonSet"];
const rank = (document: Document): number => ORDER.indexOf(String(document.get("kind")));

const textOf = (documents: readonly Document[]): string =>
  documents
    .map((each) => `---\n${each.toString({ lineWidth: 0, directives: false, flowCollectionPadding: false })}`)
    .join("");
