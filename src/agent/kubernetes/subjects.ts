// Where the API server has what notices are about. Names are those of noticesOf(), which need no escaping.

import { valueAt } from "../../source/parse/fields.ts";
import type { Subject } from "./event-notices.ts";

const COLLECTIONS = {
  NetworkPolicy: { group: "/apis/networking.k8s.io/v1", plural: "networkpolicies" },
  Pod: { group: "/api/v1", plural: "pods" },
  Node: { group: "/api/v1", plural: "nodes" },
} as const;

function collectionOf({ kind, namespace }: Subject): string {
  const { group, plural } = COLLECTIONS[kind];
  return namespace === undefined ? `${group}/${plural}` : `${group}/namespaces/${namespace}/${plural}`;
}

export const pathOf = (subject: Subject): string => `${collectionOf(subject)}/${subject.name}`;

/** A list of just the one: the agent may list, as it must, and needs no right to get besides. */
export const queryOf = (subject: Subject): string =>
  `${collectionOf(subject)}?fieldSelector=metadata.name%3D${subject.name}`;

/** What such a list has; undefined where there is no such object. */
export const firstOf = (list: unknown): unknown => valueAt(list, ["items", 0]);
