// An Event of events.k8s.io/v1 as the API server wants it, under a name by which all nodes know that it has been told.

import { createHash } from "node:crypto";
import { isShared, type Telling } from "./event-ledger.ts";
import { type Reason, SOLVED, type Subject, shortened } from "./event-notices.ts";
import type { NoticeTiming } from "./event-rate-limit.ts";

/** What the API server knows of a subject. */
export interface Identity {
  readonly uid: string;
  readonly resourceVersion: string;
}

export interface Moment {
  /** Milliseconds of the epoch. */
  readonly now: number;
  /** Name of this node. */
  readonly node: string;
  readonly timing: NoticeTiming;
}

export const CONTROLLER = "weir.dev/agent";

const API_VERSIONS = { NetworkPolicy: "networking.k8s.io/v1", Pod: "v1", Node: "v1" } as const;

/** What was tried when the problem came up. */
const ACTIONS: Readonly<Record<Reason, string>> = {
  PolicyInvalid: "ReadPolicy",
  PodInvalid: "ReadPod",
  InterfaceUnknown: "FindInterface",
  CapacityExceeded: "ApplyState",
  ProgramsRemoved: "AttachPrograms",
  StateNotApplied: "ApplyState",
};

/** Lengths that the API server's validation allows. */
const INSTANCE_MAX = 128;
const NAME_MAX = 253;
const HASH_DIGITS = 16;

/** Events of what lies in no namespace: the one that servers before 1.22 and later ones take with events.k8s.io. */
const NODE_EVENTS = "kube-system";

export const namespaceOf = ({ namespace }: Subject): string => namespace ?? NODE_EVENTS;

/** The body of a POST. */
export function eventOf(
  telling: Telling,
  identity: Identity,
  moment: Moment,
): Readonly<Record<string, unknown>> {
  const { notice, solved } = telling;
  const { reason, subject } = notice;
  const { namespace, kind, name } = subject;
  return {
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    metadata: { name: nameOf(telling, identity, moment), namespace: namespaceOf(subject) },
    // A MicroTime, which has six digits.
    eventTime: new Date(moment.now).toISOString().replace("Z", "000Z"),
    type: solved ? "Normal" : "Warning",
    reason: solved ? SOLVED : reason,
    action: ACTIONS[reason],
    note: solved ? solvedNote(telling) : notice.note,
    regarding: {
      apiVersion: API_VERSIONS[kind],
      kind,
      name,
      ...(namespace === undefined ? {} : { namespace }),
      uid: identity.uid,
      resourceVersion: identity.resourceVersion,
    },
    reportingController: CONTROLLER,
    reportingInstance: moment.node.slice(0, INSTANCE_MAX),
  };
}

const solvedNote = ({ notice, told }: Telling): string =>
  shortened(`${notice.reason} no longer holds: ${told?.note ?? notice.note}`);

/**
 * The same for whoever would tell the same: of a policy every node, of the node and its pods an agent that was started anew.
 * It changes with the period, so that what lasts is told anew; and of a policy with every change of it.
 */
function nameOf(telling: Telling, { uid, resourceVersion }: Identity, { now, node, timing }: Moment): string {
  const { notice, solved, returns } = telling;
  const period = periodOf(notice.key, now, timing);
  const own = isShared(notice) ? [resourceVersion, notice.note] : [node, String(returns)];
  const hash = createHash("sha256")
    .update(JSON.stringify([uid, notice.reason, solved, period, ...own]))
    .digest("hex")
    .slice(0, HASH_DIGITS);
  const room = NAME_MAX - HASH_DIGITS - 1;
  return `${notice.subject.name.slice(0, room).replace(/[^a-z0-9]+$/, "")}.${hash}`;
}

/** Which period a moment lies in. They begin at another moment for each notice, so that not all are told anew at once. */
function periodOf(key: string, now: number, { periodMs }: NoticeTiming): number {
  const offset = createHash("sha256").update(key).digest().readUInt32BE() % periodMs;
  return Math.floor((now + offset) / periodMs);
}
