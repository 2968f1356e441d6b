// Parses Kubernetes objects from untrusted values: one parser for every source, which returns the model or Problems.

import { assertNever } from "../../base/assert.ts";
import { type ClusterNode, keyOf, type Namespace, type Pod } from "../../model/cluster.ts";
import type { ClusterPolicy } from "../../model/cluster-network-policy.ts";
import type { Policy } from "../../model/network-policy.ts";
import type { Problem, WarningCode } from "../../model/problem.ts";
import type { EndpointSlice, Service } from "../../model/service.ts";
import { isApiVersion, isKind } from "./common-fields.ts";
import * as read from "./fields.ts";
import { type Field, type FieldPath, type Issue, type Place, quote } from "./fields.ts";
import { clusterPolicyEffect, parseClusterPolicy } from "./parse-cluster-network-policy.ts";
import { parseNamespace } from "./parse-namespace.ts";
import { type ParsedPolicy, parsePolicy, policyEffect } from "./parse-network-policy.ts";
import { parseNode } from "./parse-node.ts";
import { parsePod } from "./parse-pod.ts";
import { parseService, parseSlice } from "./parse-service.ts";

export type { FieldPath, Issue, Place } from "./fields.ts";

/** What the source of a value adds to the value. */
export interface Origin {
  /** The position of the field, or of the nearest thing around it that is there. */
  readonly where: (path: FieldPath) => Place;
  /** What the source itself found wrong; the fields at these paths have no value. */
  readonly flaws?: readonly Issue[];
}

/** An object whose kind, namespace and name are known. */
interface Identified {
  /** As in "NetworkPolicy alpha/alpha-deny". */
  readonly identity: string;
  readonly place: Place;
  /** To the object in its document: empty, or that of a list's element. */
  readonly path: FieldPath;
  /** The value was read in full: there are no problems but warnings. */
  readonly complete: boolean;
  readonly problems: readonly Problem[];
  /** Codes of warnings that its author has silenced; only set by linting. */
  readonly ignored?: ReadonlySet<WarningCode>;
}

export type ParsedObject =
  /** With Policy.unreadable where at best its pods are known, with Policy.omitted where single rules cannot be read. */
  | (Identified & { readonly kind: "NetworkPolicy"; readonly value: Policy })
  /** The same. */
  | (Identified & { readonly kind: "ClusterNetworkPolicy"; readonly value: ClusterPolicy })
  | (Identified & { readonly kind: "Pod"; readonly value: Pod })
  | (Identified & { readonly kind: "Namespace"; readonly value: Namespace })
  | (Identified & { readonly kind: "Service"; readonly value: Service })
  | (Identified & { readonly kind: "EndpointSlice"; readonly value: EndpointSlice })
  | (Identified & { readonly kind: "Node"; readonly value: ClusterNode });

export interface ParsedDocument {
  readonly objects: readonly ParsedObject[];
  /** Problems with what has no readable kind, namespace or name. */
  readonly problems: readonly Problem[];
}

/** The limit of listed problems of one object (or of a document without one); a last one has the number of the others. */
export const PROBLEMS_PER_OBJECT_MAX = 100;

const NOTHING: ParsedDocument = { objects: [], problems: [] };
const IGNORED = "the document is ignored";

/**
 * Reads one document: a NetworkPolicy, ClusterNetworkPolicy, Pod, Namespace, Service, EndpointSlice or Node, or a list of them;
 * other kinds are ignored, and so is null (an empty document). Never throws, whatever the value. Every problem is reported, at most
 * one for a field.
 */
export function parseDocument(value: unknown, origin: Origin): ParsedDocument {
  const root: Field = { value, path: [], issues: new read.Issues(origin.flaws), nullIsMissing: true };
  return value === undefined || value === null ? ignored(root, origin) : parseElement(root, origin, WHOLE);
}

interface Role {
  readonly inList: boolean;
  /** The kind of a typed list's elements, which need not state it. */
  readonly implied: ReadKind | undefined;
}

const WHOLE: Role = { inList: false, implied: undefined };

/** One element of a document: the whole of it, or an item of a list. */
function parseElement(element: Field, origin: Origin, role: Role): ParsedDocument {
  const field: Field = { ...element, issues: new read.Issues(origin.flaws) };
  const fields = read.fieldsOf(field);
  if (fields === undefined) return ignored(field, origin);
  const kindField = fields.get("kind");
  const versionField = fields.get("apiVersion");
  if (role.implied !== undefined && kindField === undefined && versionField === undefined) {
    return parseObject(field, role.implied, origin);
  }
  const kind = kindField && read.stringOf(kindField);
  const apiVersion = versionField && read.stringOf(versionField);
  const classification = classify(apiVersion, kind);
  switch (classification.is) {
    case "object":
      return parseObject(field, classification.kind, origin);
    case "list":
      if (!role.inList) return parseList(field, classification.of, origin);
      return ignoredFor(
        field,
        { field: "kind", reason: "a list inside a list is not read", severity: "error" },
        origin,
      );
    case "policy-like":
      return parsePolicyLike(field, classification.wrong, origin);
    case "cluster-policy-like": {
      const { field: key, ...issue } = classification.wrong;
      field.issues.add({ path: [...field.path, key], ...issue });
      return clusterPolicyObject(field, origin);
    }
    case "unknown":
      return ignoredFor(field, classification.wrong, origin);
    case "other":
      return NOTHING;
    default:
      return assertNever(classification, "classification");
  }
}

function parseList(element: Field, implied: ReadKind | undefined, origin: Origin): ParsedDocument {
  // Flaws below `items` are those of its elements.
  const itemsPath = [...element.path, "items"];
  const isBelow = ({ path }: Issue): boolean =>
    path.length > itemsPath.length && read.startsWith(path, itemsPath);
  const ownIssues = [...element.issues].filter((issue) => !isBelow(issue));
  const field: Field = { ...element, issues: new read.Issues(ownIssues) };
  const items = read.fieldsOf(field)?.get("items");
  // `items: null` is how Go writes an empty list.
  if (items === undefined && !Object.hasOwn(Object(field.value), "items"))
    read.note(read.child(field, "items"), "is missing");
  const flawsByIndex = Map.groupBy(origin.flaws?.filter(isBelow) ?? [], ({ path }) => path[itemsPath.length]);
  const parseItem = (item: Field, index: number): ParsedDocument =>
    parseElement(item, { ...origin, flaws: flawsByIndex.get(index) ?? [] }, { inList: true, implied });
  const elements = (items && read.itemsOf(items))?.map(parseItem) ?? [];
  return {
    objects: elements.flatMap((element) => element.objects),
    problems: [...problemsOf(field, origin, IGNORED), ...elements.flatMap((element) => element.problems)],
  };
}

function parseObject(field: Field, kind: ReadKind, origin: Origin): ParsedDocument {
  switch (kind) {
    case "NetworkPolicy":
      return policyObject(field, origin);
    case "ClusterNetworkPolicy":
      return clusterPolicyObject(field, origin);
    case "Pod": {
      const value = parsePod(field);
      if (value === undefined) return ignored(field, origin, "the pod is ignored");
      const identified = identify(field, origin, `Pod ${keyOf(value)}`, "the rest of the pod is used");
      return { objects: [{ ...identified, kind, value }], problems: [] };
    }
    case "Namespace": {
      const value = parseNamespace(field);
      if (value === undefined) return ignored(field, origin, "the namespace is ignored");
      const effect = "the rest of the namespace is used";
      const identified = identify(field, origin, `Namespace ${value.name}`, effect);
      return { objects: [{ ...identified, kind, value }], problems: [] };
    }
    case "Service": {
      const value = parseService(field);
      if (value === undefined) return ignored(field, origin, "the Service is ignored");
      const identified = identify(
        field,
        origin,
        `Service ${keyOf(value)}`,
        "the rest of the Service is used",
      );
      return { objects: [{ ...identified, kind, value }], problems: [] };
    }
    case "EndpointSlice": {
      const value = parseSlice(field);
      if (value === undefined) return ignored(field, origin, "the slice is ignored");
      const effect = "the rest of the slice is used";
      const identified = identify(field, origin, `EndpointSlice ${keyOf(value)}`, effect);
      return { objects: [{ ...identified, kind, value }], problems: [] };
    }
    case "Node": {
      const value = parseNode(field);
      if (value === undefined) return ignored(field, origin, "the node is ignored");
      const identified = identify(field, origin, `Node ${value.name}`, "the rest of the node is used");
      return { objects: [{ ...identified, kind, value }], problems: [] };
    }
    default:
      return assertNever(kind, "kind");
  }
}

function policyObject(field: Field, origin: Origin): ParsedDocument {
  return policyOutcome(parsePolicy(field, { unnamed: unnamedAt(field, origin) }), field, origin);
}

function clusterPolicyObject(field: Field, origin: Origin): ParsedDocument {
  const { name, policy } = parseClusterPolicy(field, unnamedAt(field, origin));
  const kind = "ClusterNetworkPolicy";
  const effectAt = (path: FieldPath) => clusterPolicyEffect(policy, path.slice(field.path.length));
  const identity = `${kind} ${policy.name}`;
  const problems = problemsOf(field, origin, effectAt, name === undefined ? undefined : identity);
  const complete = problems.every((problem) => problem.severity !== "error");
  const object = {
    identity,
    place: origin.where(field.path),
    path: field.path,
    kind,
    value: policy,
  } as const;
  // As of a NetworkPolicy.
  if (name === undefined) return { objects: [{ ...object, complete: false, problems: [] }], problems };
  return { objects: [{ ...object, complete, problems }], problems: [] };
}

/** No policy can be called so. */
function unnamedAt(field: Field, origin: Origin): string {
  const { line, column } = origin.where(field.path);
  return ["?unnamed", line, column].filter((part) => part !== undefined).join(":");
}

function policyOutcome(parsed: ParsedPolicy, field: Field, origin: Origin): ParsedDocument {
  const { namespace, name, policy } = parsed;
  const kind = "NetworkPolicy";
  const named = namespace && name && `${kind} ${keyOf({ namespace, name })}`;
  const effectAt = (path: FieldPath) => policyEffect(policy, path.slice(field.path.length));
  const problems = problemsOf(field, origin, effectAt, named);
  if (policy === undefined) return { objects: [], problems };
  const complete = problems.every((problem) => problem.severity !== "error");
  const place = origin.where(field.path);
  const identity = `${kind} ${keyOf(policy)}`;
  const object = { identity, place, path: field.path, kind, value: policy } as const;
  // An object without a name of its own: that is a problem of the document, as which object it is is not known.
  if (name === undefined) return { objects: [{ ...object, complete: false, problems: [] }], problems };
  return { objects: [{ ...object, complete, problems }], problems: [] };
}

/** Isolates the pods of what was meant as a NetworkPolicy, and reports only that it is not one. */
function parsePolicyLike(field: Field, wrong: WrongKind, origin: Origin): ParsedDocument {
  const path = [...field.path, wrong.field];
  const issue: Issue = { path, reason: wrong.reason, severity: wrong.severity };
  const reported = { ...field, issues: new read.Issues([...field.issues, issue]) };
  field.issues.add(issue);
  // Another kind of object may have no podSelector at all, and means no pods by that.
  const options = { unnamed: unnamedAt(field, origin), subjectRequired: true };
  return policyOutcome(parsePolicy(field, options), reported, origin);
}

function identify(field: Field, origin: Origin, identity: string, effect: string): Identified {
  const problems = problemsOf(field, origin, effect, identity);
  const complete = problems.every((problem) => problem.severity !== "error");
  return { identity, place: origin.where(field.path), path: field.path, complete, problems };
}

/** The document without a value of its own. What single fields would have done about their issues is void. */
function ignored(field: Field, origin: Origin, effect = IGNORED): ParsedDocument {
  return {
    objects: [],
    problems: problemsOf(field, origin, effect).map((problem) => ({ ...problem, effect })),
  };
}

function ignoredFor(field: Field, { field: key, ...wrong }: WrongKind, origin: Origin): ParsedDocument {
  field.issues.add({ path: [...field.path, key], ...wrong });
  return ignored(field, origin);
}

/** `effect` is what is done about an error that has no effect of its own. */
function problemsOf(
  field: Field,
  origin: Origin,
  effect: string | ((path: FieldPath) => string),
  object?: string,
): readonly Problem[] {
  const effectAt = typeof effect === "string" ? () => effect : effect;
  const named = object === undefined ? {} : { object };
  const problems = [...field.issues].slice(0, PROBLEMS_PER_OBJECT_MAX).map((issue): Problem => {
    const path = read.pathText(issue.path);
    const { severity, reason, code, fix } = issue;
    const end = issue.effect ?? (severity === "error" ? effectAt(issue.path) : undefined);
    const place = issue.place ?? origin.where(issue.path);
    const advice = { ...(code && { code }), ...(fix && { fix }) };
    return {
      severity,
      ...place,
      ...named,
      ...(path && { path }),
      reason,
      ...advice,
      ...(end && { effect: end }),
    };
  });
  const more = field.issues.size - problems.length;
  if (more === 0) return problems;
  const reason = `has ${more} more problems that are not listed`;
  return [
    ...problems,
    { severity: "error", ...origin.where(field.path), ...named, reason, effect: effectAt(field.path) },
  ];
}

// Which kinds of documents Weir reads, refuses, or ignores, by apiVersion and kind.

const CLUSTER_POLICY_GROUP = "policy.networking.k8s.io";
export const CLUSTER_POLICY_VERSION = `${CLUSTER_POLICY_GROUP}/v1alpha2`;

/** The kinds that become part of the model, with the one apiVersion that is read. */
const READ_KINDS = {
  NetworkPolicy: "networking.k8s.io/v1",
  ClusterNetworkPolicy: CLUSTER_POLICY_VERSION,
  Pod: "v1",
  Namespace: "v1",
  Service: "v1",
  EndpointSlice: "discovery.k8s.io/v1",
  Node: "v1",
} as const;

export type ReadKind = keyof typeof READ_KINDS;

const KINDS = Object.keys(READ_KINDS) as readonly ReadKind[];

/** Kinds of networking.k8s.io besides NetworkPolicy: whatever else claims to be of that group is a misspelling. */
const OTHER_NETWORKING_KINDS = ["Ingress", "IngressClass", "IPAddress", "ServiceCIDR"];

export type Classification =
  | { readonly is: "object"; readonly kind: ReadKind }
  /** Objects under `items`; `of` is their kind where they need not state it. */
  | { readonly is: "list"; readonly of: ReadKind | undefined }
  /** Nothing that Weir reads (Deployment, ConfigMap, ...). */
  | { readonly is: "other" }
  /** Meant as a NetworkPolicy, but not as the one that is read: its pods may still be known. */
  | { readonly is: "policy-like"; readonly wrong: WrongKind }
  /** Meant as a ClusterNetworkPolicy: as nothing of it is sure, it denies to its pods, before all others. */
  | { readonly is: "cluster-policy-like"; readonly wrong: WrongKind }
  | { readonly is: "unknown"; readonly wrong: WrongKind };

/** Which of the two fields is wrong, and how. */
export interface WrongKind {
  readonly field: "apiVersion" | "kind";
  readonly reason: string;
  readonly severity: "error" | "warning";
  /** Of a warning. */
  readonly code?: WarningCode;
  readonly fix?: string;
}

/** `kind` and `apiVersion` of a document, undefined where they are missing or not strings. */
export function classify(apiVersion: string | undefined, kind: string | undefined): Classification {
  if (kind === undefined)
    return { is: "unknown", wrong: wrong("kind", "is missing; expected a kind such as NetworkPolicy") };
  const exact = KINDS.find((name) => name === kind);
  if (exact !== undefined && apiVersion === READ_KINDS[exact]) return { is: "object", kind: exact };
  const misspelt = meant(kind);
  if (misspelt !== undefined) {
    const reason = `${quote(kind)} is not a kind that Weir reads; did you mean ${misspelt}?`;
    return { is: likeness(misspelt), wrong: wrong("kind", reason) };
  }
  if (!isKind(kind)) return { is: "unknown", wrong: wrong("kind", `${quote(kind)} is not a kind`) };
  const listed = KINDS.find((read) => kind === `${read}List`);
  const read = KINDS.find((name) => name === kind) ?? listed;
  if (apiVersion === undefined || !isApiVersion(apiVersion)) {
    const reason = apiVersion === undefined ? "is missing" : `${quote(apiVersion)} is not an apiVersion`;
    const expected = read === undefined ? "" : `; expected ${READ_KINDS[read]}`;
    return {
      is: likeness(kind),
      wrong: wrong("apiVersion", reason + expected),
    };
  }
  if (read !== undefined) return classifyRead(read, apiVersion, listed !== undefined);
  return classifyOther(apiVersion, kind);
}

function classifyRead(kind: ReadKind, apiVersion: string, isList: boolean): Classification {
  const expected = READ_KINDS[kind];
  if (apiVersion === expected) return isList ? { is: "list", of: kind } : { is: "object", kind };
  if (kind === "ClusterNetworkPolicy" && !apiVersion.startsWith(`${CLUSTER_POLICY_GROUP}/`))
    return notEnforced(apiVersion, kind);
  // `Pod` of a group of its own (metrics, custom resources) is not the pod of v1.
  if (kind !== "NetworkPolicy" && kind !== "ClusterNetworkPolicy" && apiVersion.includes("/"))
    return { is: "other" };
  const is = isList ? "unknown" : likeness(kind);
  return { is, wrong: wrong("apiVersion", `${apiVersion} is not read; expected ${expected}`) };
}

const likeness = (kind: string) =>
  kind === "NetworkPolicy"
    ? "policy-like"
    : kind === "ClusterNetworkPolicy"
      ? "cluster-policy-like"
      : "unknown";

function classifyOther(apiVersion: string, kind: string): Classification {
  if (kind === "List" && apiVersion === "v1") return { is: "list", of: undefined };
  const single = kind.replace(/List$/, "");
  if (apiVersion.startsWith("networking.k8s.io/") && !OTHER_NETWORKING_KINDS.includes(single)) {
    return {
      is: "policy-like",
      wrong: wrong("kind", `${kind} is not a kind of ${apiVersion}; expected NetworkPolicy`),
    };
  }
  if (!single.endsWith("NetworkPolicy")) return { is: "other" };
  return notEnforced(apiVersion, kind);
}

function notEnforced(apiVersion: string, kind: string): Classification {
  const reason = `${kind} of ${apiVersion} is not enforced by Weir`;
  const fix = `enforce it by other means, or write it as a NetworkPolicy or a ClusterNetworkPolicy of ${CLUSTER_POLICY_VERSION}`;
  return { is: "unknown", wrong: { field: "kind", reason, severity: "warning", code: "kind-unread", fix } };
}

const wrong = (field: WrongKind["field"], reason: string): WrongKind => ({
  field,
  reason,
  severity: "error",
});

/** The kind that is read and from which only case, hyphens or a plural separate this one. */
function meant(kind: string): string | undefined {
  return [...KINDS, "List"].find((read) => plain(read) === plain(kind) && read !== kind);
}

const plain = (kind: string): string =>
  kind.toLowerCase().replaceAll(/[-_ ]/g, "").replace(/ies$/, "y").replace(/s$/, "");
