// The actions of a conformance case, those on Services included.

import { type Address, type Family, parseAddress } from "../../base/ip.ts";
import { type Cluster, isSelectable, keyOf } from "../../model/cluster.ts";
import { backendsOf, type Frontend, frontendsOf } from "../../model/frontends.ts";
import type { Policy } from "../../model/network-policy.ts";
import { namespaceName, objectName } from "../parse/common-fields.ts";
import {
  checkedStringOf,
  child,
  type Field,
  type Fields,
  fieldsOf,
  Issues,
  note,
  quote,
  stringOf,
} from "../parse/fields.ts";
import { parseClusterPolicy } from "../parse/parse-cluster-network-policy.ts";
import { CLUSTER_POLICY_VERSION } from "../parse/parse-document.ts";
import { parsePolicy } from "../parse/parse-network-policy.ts";
import { parseService, parseSlice } from "../parse/parse-service.ts";
import { parseLabels, parseNamespaceEntry, parsePodEntry, podConflict, required } from "./case-cluster.ts";
import type { Behind, End, UnnamedCell } from "./case-types.ts";

/** What the actions so far have led to. */
export interface Situation {
  readonly cluster: Cluster;
  /** The manifests of the policies in force, by `namespace/name`, those of cluster policies by name. */
  readonly manifests: ReadonlyMap<string, unknown>;
}

/** The situation after the action, or why the action is not possible. */
type Outcome = Situation | string;

interface Action {
  readonly field: Field;
  readonly fields: Fields;
  /** Those that the addresses of new pods may have. */
  readonly families: readonly Family[];
}

const ACTIONS: Readonly<
  Record<string, { fields: readonly string[]; apply: (before: Situation, action: Action) => Outcome }>
> = {
  createPolicy: { fields: ["object"], apply: (before, action) => putPolicy(before, action, "create") },
  updatePolicy: { fields: ["object"], apply: (before, action) => putPolicy(before, action, "update") },
  deletePolicy: { fields: ["kind", "namespace", "name"], apply: deletePolicy },
  createNamespace: {
    fields: ["name", "labels"],
    apply: (before, action) => putNamespace(before, action, "create"),
  },
  setNamespaceLabels: {
    fields: ["name", "labels"],
    apply: (before, action) => putNamespace(before, action, "update"),
  },
  deleteNamespace: { fields: ["name"], apply: deleteNamespace },
  createPod: { fields: ["pod"], apply: createPod },
  setPodLabels: { fields: ["namespace", "name", "labels"], apply: setPodLabels },
  deletePod: { fields: ["namespace", "name"], apply: deletePod },
  createService: putAction("Service", "create"),
  updateService: putAction("Service", "update"),
  deleteService: deleteAction("Service"),
  createEndpointSlice: putAction("EndpointSlice", "create"),
  updateEndpointSlice: putAction("EndpointSlice", "update"),
  deleteEndpointSlice: deleteAction("EndpointSlice"),
};

/** The situation after one action. One that cannot be read or is not possible leaves it as it was, with an issue. */
export function applyAction(before: Situation, field: Field, families: readonly Family[]): Situation {
  const typeField = required(field, fieldsOf(field), "type");
  const type = typeField && stringOf(typeField);
  if (typeField === undefined || type === undefined) return before;
  const known = Object.hasOwn(ACTIONS, type) ? ACTIONS[type] : undefined;
  if (known === undefined) {
    note(typeField, `${quote(type)} is not an action; expected one of ${Object.keys(ACTIONS).join(", ")}`);
    return before;
  }
  const fields = fieldsOf(field, ["type", ...known.fields]);
  const outcome = known.apply(before, { field, fields: fields ?? new Map(), families });
  // A consequence of a field that cannot be read: the field has its issue already.
  if (field.issues.hasErrorIn(field.path)) return before;
  if (typeof outcome !== "string") return outcome;
  note(field, outcome);
  return before;
}

const UNREADABLE = "the action cannot be read";

function putPolicy(before: Situation, { field, fields }: Action, verb: "create" | "update"): Outcome {
  const object = required(field, fields, "object");
  if (object !== undefined && fieldsOf(object)?.get("kind")?.value === "ClusterNetworkPolicy")
    return putClusterPolicy(before, object, verb);
  const policy = object && policyOf(object);
  if (object === undefined || policy === undefined) return UNREADABLE;
  const key = keyOf(policy);
  if (before.cluster.policies.has(key) !== (verb === "update")) {
    return `policy ${key} is ${verb === "update" ? "not there" : "there already"}`;
  }
  if (!before.cluster.namespaces.has(policy.namespace)) return `namespace ${policy.namespace} is not there`;
  return {
    cluster: { ...before.cluster, policies: having(before.cluster.policies, key, policy) },
    manifests: having(before.manifests, key, object.value),
  };
}

function putClusterPolicy(before: Situation, object: Field, verb: "create" | "update"): Outcome {
  const version = fieldsOf(object)?.get("apiVersion")?.value;
  if (version !== CLUSTER_POLICY_VERSION)
    note(child(object, "apiVersion"), `expected ${CLUSTER_POLICY_VERSION}`);
  const issues = new Issues();
  const { policy } = parseClusterPolicy({ ...object, issues });
  for (const issue of issues) object.issues.add(issue);
  if (issues.errors > 0) return UNREADABLE;
  const { clusterPolicies = new Map() } = before.cluster;
  if (clusterPolicies.has(policy.name) !== (verb === "update")) {
    return `cluster policy ${policy.name} is ${verb === "update" ? "not there" : "there already"}`;
  }
  return {
    cluster: { ...before.cluster, clusterPolicies: having(clusterPolicies, policy.name, policy) },
    manifests: having(before.manifests, policy.name, object.value),
  };
}

/** The policy where it is free of errors: a case must not have manifests that the API server refuses. */
function policyOf(object: Field): Policy | undefined {
  const fields = fieldsOf(object);
  const [apiVersion, kind] = [fields?.get("apiVersion")?.value, fields?.get("kind")?.value];
  if (kind !== "NetworkPolicy") note(child(object, "kind"), "expected NetworkPolicy or ClusterNetworkPolicy");
  if (apiVersion !== "networking.k8s.io/v1")
    note(child(object, "apiVersion"), "expected networking.k8s.io/v1");
  // The parser takes into account all issues that it sees, so it gets a collection of its own.
  const issues = new Issues();
  const { policy } = parsePolicy({ ...object, issues });
  for (const issue of issues) object.issues.add(issue);
  return issues.errors === 0 ? policy : undefined;
}

function deletePolicy(before: Situation, { field, fields }: Action): Outcome {
  const kind = required(field, fields, "kind");
  if (kind?.value === "ClusterNetworkPolicy") return deleteClusterPolicy(before, { field, fields });
  if (kind !== undefined && kind.value !== "NetworkPolicy")
    note(kind, "expected NetworkPolicy or ClusterNetworkPolicy");
  const key = keyIn(field, fields);
  if (key === undefined) return UNREADABLE;
  if (!before.cluster.policies.has(key)) return `policy ${key} is not there`;
  return {
    cluster: { ...before.cluster, policies: without(before.cluster.policies, (each) => each === key) },
    manifests: without(before.manifests, (each) => each === key),
  };
}

function deleteClusterPolicy(
  { cluster, manifests }: Situation,
  { field, fields }: Pick<Action, "field" | "fields">,
): Outcome {
  const nameField = required(field, fields, "name");
  const name = nameField && checkedStringOf(nameField, objectName);
  if (name === undefined) return UNREADABLE;
  const { clusterPolicies = new Map() } = cluster;
  if (!clusterPolicies.has(name)) return `cluster policy ${name} is not there`;
  return {
    cluster: { ...cluster, clusterPolicies: without(clusterPolicies, (each) => each === name) },
    manifests: without(manifests, (each) => each === name),
  };
}

function putNamespace(before: Situation, { field, fields }: Action, verb: "create" | "update"): Outcome {
  const namespace = parseNamespaceEntry(field, fields);
  if (namespace === undefined) return UNREADABLE;
  const { namespaces } = before.cluster;
  if (namespaces.has(namespace.name) !== (verb === "update")) {
    return `namespace ${namespace.name} is ${verb === "update" ? "not there" : "there already"}`;
  }
  return {
    ...before,
    cluster: { ...before.cluster, namespaces: having(namespaces, namespace.name, namespace) },
  };
}

/** As in the API server, everything in the namespace is deleted with it. */
function deleteNamespace({ cluster, manifests }: Situation, { field, fields }: Action): Outcome {
  const nameField = required(field, fields, "name");
  const name = nameField && checkedStringOf(nameField, namespaceName);
  if (name === undefined) return UNREADABLE;
  if (!cluster.namespaces.has(name)) return `namespace ${name} is not there`;
  const inside = (key: string): boolean => key.startsWith(`${name}/`);
  return {
    cluster: {
      ...cluster,
      namespaces: without(cluster.namespaces, (each) => each === name),
      pods: without(cluster.pods, inside),
      policies: without(cluster.policies, inside),
      services: without(cluster.services, inside),
      slices: without(cluster.slices, inside),
    },
    manifests: without(manifests, inside),
  };
}

function createPod(before: Situation, { field, fields, families }: Action): Outcome {
  const podField = required(field, fields, "pod");
  const pod = podField && parsePodEntry(podField, families);
  if (pod === undefined) return UNREADABLE;
  const { namespaces, pods } = before.cluster;
  return (
    podConflict(namespaces, pods, pod) ?? {
      ...before,
      cluster: { ...before.cluster, pods: having(pods, keyOf(pod), pod) },
    }
  );
}

function setPodLabels(before: Situation, { field, fields }: Action): Outcome {
  const key = keyIn(field, fields);
  const labels = parseLabels(required(field, fields, "labels"));
  if (key === undefined) return UNREADABLE;
  const pod = before.cluster.pods.get(key);
  if (pod === undefined) return `pod ${key} is not there`;
  return {
    ...before,
    cluster: { ...before.cluster, pods: having(before.cluster.pods, key, { ...pod, labels }) },
  };
}

function deletePod(before: Situation, { field, fields }: Action): Outcome {
  const key = keyIn(field, fields);
  if (key === undefined) return UNREADABLE;
  if (!before.cluster.pods.has(key)) return `pod ${key} is not there`;
  return {
    ...before,
    cluster: { ...before.cluster, pods: without(before.cluster.pods, (each) => each === key) },
  };
}

function putAction(kind: ServiceKind, verb: "create" | "update") {
  return {
    fields: ["object"],
    apply: ({ cluster, ...rest }: Situation, { field, fields }: Action): Outcome => {
      const objectField = required(field, fields, "object");
      const object = objectField && serviceObject(objectField, kind);
      if (object === undefined) return UNREADABLE;
      const key = keyOf(object);
      if (cluster[SERVICE_KINDS[kind].table].has(key) !== (verb === "update"))
        return `${kind} ${key} is ${verb === "update" ? "not there" : "there already"}`;
      if (!cluster.namespaces.has(object.namespace)) return `namespace ${object.namespace} is not there`;
      return { ...rest, cluster: withObject(cluster, kind, key, object) };
    },
  };
}

function deleteAction(kind: ServiceKind) {
  return {
    fields: ["namespace", "name"],
    apply: ({ cluster, ...rest }: Situation, { field, fields }: Action): Outcome => {
      const key = keyIn(field, fields);
      if (key === undefined) return UNREADABLE;
      if (!cluster[SERVICE_KINDS[kind].table].has(key)) return `${kind} ${key} is not there`;
      return { ...rest, cluster: withObject(cluster, kind, key, undefined) };
    },
  };
}

/** `namespace/name` from the fields of an action. */
function keyIn(field: Field, fields: Fields): string | undefined {
  const namespaceField = required(field, fields, "namespace");
  const nameField = required(field, fields, "name");
  const namespace = namespaceField && checkedStringOf(namespaceField, namespaceName);
  const name = nameField && checkedStringOf(nameField, objectName);
  return namespace === undefined || name === undefined ? undefined : keyOf({ namespace, name });
}

const having = <T>(map: ReadonlyMap<string, T>, key: string, value: T): ReadonlyMap<string, T> =>
  new Map(map).set(key, value);

const without = <T>(map: ReadonlyMap<string, T>, gone: (key: string) => boolean): ReadonlyMap<string, T> =>
  new Map([...map].filter(([key]) => !gone(key)));

// Services in conformance cases: the actions that change them, and checks of them.

const PREFIX = "svc:";

/** Kinds of objects that actions create, update and delete, with how they are read and where they are kept. */
export const SERVICE_KINDS = {
  Service: { apiVersion: "v1", parse: parseService, table: "services" },
  EndpointSlice: { apiVersion: "discovery.k8s.io/v1", parse: parseSlice, table: "slices" },
} as const;

export type ServiceKind = keyof typeof SERVICE_KINDS;

/** The object of an action where it is free of errors: a case must not have what the API server refuses. */
export function serviceObject(field: Field, kind: ServiceKind) {
  const { apiVersion, parse } = SERVICE_KINDS[kind];
  const fields = fieldsOf(field);
  for (const [key, expected] of [
    ["kind", kind],
    ["apiVersion", apiVersion],
  ] as const) {
    const given = fields?.get(key);
    if (given?.value !== expected)
      note(given ?? { ...field, path: [...field.path, key] }, `expected ${expected}`);
  }
  const issues = new Issues();
  const object = parse({ ...field, issues, nullIsMissing: true });
  for (const issue of issues) field.issues.add(issue);
  return issues.errors === 0 ? object : undefined;
}

/** The cluster with or without an object of a kind. */
export function withObject(cluster: Cluster, kind: ServiceKind, key: string, object: unknown): Cluster {
  const { table } = SERVICE_KINDS[kind];
  const objects = new Map<string, unknown>([...cluster[table]]);
  if (object === undefined) objects.delete(key);
  else objects.set(key, object);
  return { ...cluster, [table]: objects };
}

/** What the check probes, except for its ends. */
interface Asked {
  readonly cluster: Cluster;
  readonly places: ReadonlyMap<string, readonly Address[]>;
  readonly from: readonly End[];
  readonly question: Omit<UnnamedCell, "from" | "to" | "loopback" | "behind">;
}

export const isService = (name: string): boolean => name.startsWith(PREFIX);

/**
 * The cells of a check whose `to` is a Service: one for every address of a client, every frontend of its family, and
 * every backend. `address` and `backend` of the check narrow them down. Without `address` only ClusterIPs are probed.
 */
export function serviceCells(field: Field, fields: Fields, asked: Asked): UnnamedCell[] {
  const to = fields.get("to") as Field;
  const name = String(to.value);
  const address = addressOf(fields.get("address"));
  const { protocol, port } = asked.question;
  const frontends = frontendsOf(asked.cluster, new Set()).filter(
    (frontend) =>
      PREFIX + frontend.service === name &&
      frontend.protocol === protocol &&
      frontend.port === port &&
      (address === undefined ? frontend.keepsSource : frontend.address.text === address),
  );
  const backendField = fields.get("backend");
  const backend = backendField && stringOf(backendField);
  const cells = asked.from.flatMap((from) =>
    frontends
      .filter((frontend) => frontend.address.family === from.address.family)
      .flatMap((frontend) => behindOf(frontend, asked))
      .filter(({ end }) =>
        backend === undefined ? end.pod !== from.pod || from.pod === undefined : end.name === backend,
      )
      .map(
        (behind): UnnamedCell => ({
          ...asked.question,
          from,
          to: endOf(name, behind),
          loopback: false,
          behind,
        }),
      ),
  );
  if (cells.length === 0) note(field, `${quote(name)} leads nowhere on ${protocol}/${port}`);
  return cells;
}

function addressOf(field: Field | undefined): string | undefined {
  const text = field && stringOf(field);
  if (field === undefined || text === undefined) return undefined;
  const parsed = parseAddress(text);
  if (parsed.ok) return parsed.value.text;
  note(field, `${quote(text)} is not a valid address: ${parsed.reason}`);
  return undefined;
}

const endOf = (name: string, { frontend }: Behind): End => ({
  name,
  address: frontend.address,
  pod: undefined,
});

const behindOf = (frontend: Frontend, asked: Asked): Behind[] =>
  backendsOf(frontend).map(({ address, port }) => ({ frontend, port, end: endAt(address, asked) }));

/** The owner of an address: a pod that policies can select, another pod or a place, or none. */
function endAt(address: Address, { cluster, places }: Asked): End {
  const has = (addresses: readonly Address[]): boolean => addresses.some(({ text }) => text === address.text);
  const pods = [...cluster.pods.values()].filter(({ ips }) => has(ips));
  const pod = pods.find(isSelectable) ?? pods[0];
  const place = [...places].find(([, addresses]) => has(addresses))?.[0];
  return { name: pod === undefined ? (place ?? address.text) : keyOf(pod), address, pod };
}
