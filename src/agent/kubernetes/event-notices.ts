// Which Events the present problems require, and the API paths of their objects.

import type { Cluster } from "../../model/cluster.ts";
import { type Problem, problemText } from "../../model/problem.ts";
import { valueAt } from "../../source/parse/fields.ts";

/** The reasons of Events, a closed list; docs/kubernetes-events.md explains each. */
export const REASONS = [
  "PolicyInvalid",
  "PodInvalid",
  "InterfaceUnknown",
  "CapacityExceeded",
  "ProgramsRemoved",
  "PolicyBypassed",
  "StateNotApplied",
] as const;
export type Reason = (typeof REASONS)[number];

/** The reason of the Event that reports that one of the others no longer holds. */
export const SOLVED = "ProblemSolved";

export interface Subject {
  readonly kind: "NetworkPolicy" | "ClusterNetworkPolicy" | "Pod" | "Node";
  /** Absent for what is in no namespace. */
  readonly namespace?: string;
  readonly name: string;
}

export interface Notice {
  /** Made of the subject and the reason: unique for each notice. */
  readonly key: string;
  readonly reason: Reason;
  readonly subject: Subject;
  /** The problem's sentence, in at most NOTE_BYTES_MAX bytes. */
  readonly note: string;
}

/** The API server's limit (NoteLengthLimit of its validation). */
export const NOTE_BYTES_MAX = 1_024;

/** The input for the notices of one reconciliation. */
export interface Situation {
  readonly problems: readonly Problem[];
  readonly pods: Cluster["pods"];
  /** Name of this node. */
  readonly node: string;
}

/**
 * The notices by key, in the order of the problems. Warnings about anything but interfaces and programs are
 * left to `weir status` and `weir lint`, and so are the problems of other nodes' pods.
 */
export function noticesOf(situation: Situation): ReadonlyMap<string, Notice> {
  const found = new Map<string, { readonly notice: Notice; count: number }>();
  for (const problem of situation.problems) {
    if (problem.severity !== "error" && !TOLD.has(problem.topic)) continue;
    const topic = topicOf(problem, situation);
    if (topic === undefined) continue;
    const { reason, subject } = topic;
    const key = `${reason} ${subject.kind} ${subject.namespace ?? ""}/${subject.name}`;
    const known = found.get(key);
    if (known === undefined) {
      found.set(key, { notice: { key, reason, subject, note: sentenceOf(problem, subject) }, count: 1 });
    } else known.count += 1;
  }
  return new Map([...found].map(([key, { notice, count }]) => [key, withCount(notice, count - 1)]));
}

const OBJECT = /^(NetworkPolicy|ClusterNetworkPolicy|Pod|Namespace|Service|EndpointSlice) (.*)$/s;
/**
 * RFC 1123 names, as on the API server: an object's name with any other character never becomes part of a
 * path.
 */
const NAME = /^[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?$/;

const BY_TOPIC = {
  interface: "InterfaceUnknown",
  capacity: "CapacityExceeded",
  integrity: "ProgramsRemoved",
  bypass: "PolicyBypassed",
} as const;

/** Topics whose warnings are reported too. */
const TOLD: ReadonlySet<Problem["topic"]> = new Set(["interface", "integrity", "bypass"]);

function topicOf(
  problem: Problem,
  { pods, node }: Situation,
): Pick<Notice, "reason" | "subject"> | undefined {
  const [, kind, key = ""] = OBJECT.exec(problem.object ?? "") ?? [];
  if (kind === undefined) {
    const reason = problem.topic === undefined ? "StateNotApplied" : BY_TOPIC[problem.topic];
    return NAME.test(node) ? { reason, subject: { kind: "Node", name: node } } : undefined;
  }
  if (kind === "ClusterNetworkPolicy")
    return NAME.test(key) ? { reason: policyReason(problem), subject: { kind, name: key } } : undefined;
  const [namespace = "", name = "", ...rest] = key.split("/");
  if (!NAME.test(namespace) || !NAME.test(name) || rest.length > 0) return undefined;
  if (kind === "NetworkPolicy") return { reason: policyReason(problem), subject: { kind, namespace, name } };
  // Every node reads the other objects of the cluster, and they have no effect on their own.
  if (kind !== "Pod" || pods.get(key)?.node !== node) return undefined;
  const reason = problem.topic === undefined ? "PodInvalid" : BY_TOPIC[problem.topic];
  return { reason, subject: { kind, namespace, name } };
}

const policyReason = ({ topic }: Problem): Reason =>
  topic === "capacity" ? "CapacityExceeded" : "PolicyInvalid";

/** Without the object, which the Event already names. */
function sentenceOf({ object, ...problem }: Problem, subject: Subject): string {
  return problemText(subject.kind === "Node" && object !== undefined ? { ...problem, object } : problem);
}

function withCount(notice: Notice, more: number): Notice {
  const end = more === 0 ? "" : ` (and ${more} more: see weir status on a node)`;
  return { ...notice, note: shortened(notice.note, end) };
}

/** The text and `end` in at most NOTE_BYTES_MAX bytes; cut between characters. */
export function shortened(text: string, end = ""): string {
  if (Buffer.byteLength(text) + Buffer.byteLength(end) <= NOTE_BYTES_MAX) return `${text}${end}`;
  const room = NOTE_BYTES_MAX - Buffer.byteLength(end) - CUT.length;
  const bytes = Buffer.from(text).subarray(0, room);
  // A character that was cut in two decodes as U+FFFD.
  return `${bytes.toString("utf8").replace(/\uFFFD+$/, "")}${CUT}${end}`;
}

const CUT = "...";

// API paths of the objects of notices. Names are those of noticesOf(), which need no escaping.

const COLLECTIONS = {
  NetworkPolicy: { group: "/apis/networking.k8s.io/v1", plural: "networkpolicies" },
  ClusterNetworkPolicy: {
    group: "/apis/policy.networking.k8s.io/v1alpha2",
    plural: "clusternetworkpolicies",
  },
  Pod: { group: "/api/v1", plural: "pods" },
  Node: { group: "/api/v1", plural: "nodes" },
} as const;

function collectionOf({ kind, namespace }: Subject): string {
  const { group, plural } = COLLECTIONS[kind];
  return namespace === undefined ? `${group}/${plural}` : `${group}/namespaces/${namespace}/${plural}`;
}

export const pathOf = (subject: Subject): string => `${collectionOf(subject)}/${subject.name}`;

/** A list of just this object: the agent needs the right to list anyway, and so needs no right to get. */
export const queryOf = (subject: Subject): string =>
  `${collectionOf(subject)}?fieldSelector=metadata.name%3D${subject.name}`;

/** The object in such a list; undefined if there is none. */
export const firstOf = (list: unknown): unknown => valueAt(list, ["items", 0]);
