// The event recorder: reports problems as Kubernetes Events (events.k8s.io/v1), rate limited and concurrent
// with reconciliations.

import { createHash } from "node:crypto";
import type { Log } from "../../base/log.ts";
import { openTrigger, type Trigger } from "../../base/scheduler.ts";
import type { Client } from "../../source/apiserver/http-client.ts";
import { type Failure, failureOf } from "../../source/apiserver/request-failure.ts";
import { valueAt } from "../../source/parse/fields.ts";
import { type EventReport, isShared, type Ledger, type Outcome, openLedger } from "./event-ledger.ts";
import {
  firstOf,
  noticesOf,
  queryOf,
  type Reason,
  type Situation,
  SOLVED,
  type Subject,
  shortened,
} from "./event-notices.ts";
import { type NoticeTiming, openTokenBucket, openTurns } from "./event-rate-limit.ts";

/** Number of Events by result and reason. `left-out`: there were too many, or it ended before its turn. */
export interface EventCount {
  readonly result: Outcome | "left-out";
  readonly reason: Reason | typeof SOLVED;
  readonly count: number;
}

export interface EventRecorder {
  /** Takes the problems after a reconciliation. Returns at once, and never throws. */
  update(situation: Pick<Situation, "problems" | "pods">): void;
  counts(): readonly EventCount[];
  /** Discards everything that has not been reported. */
  close(): Promise<void>;
}

export interface EventRecorderOptions {
  readonly client: Client;
  /** Name of this node. */
  readonly node: string;
  readonly timing: NoticeTiming;
}

export interface EventRecorderEnv {
  readonly log: Log;
  readonly now: () => Date;
}

export function openEventRecorder(options: EventRecorderOptions, env: EventRecorderEnv): EventRecorder {
  const { node, timing } = options;
  const counts = new Map<string, EventCount>();
  const count = (result: EventCount["result"], reason: EventCount["reason"]): void => {
    const key = `${result} ${reason}`;
    counts.set(key, { result, reason, count: (counts.get(key)?.count ?? 0) + 1 });
  };
  const ledger = openLedger(timing, (reason) => count("left-out", reason));
  const ended = new AbortController();
  const trigger = openTrigger(ended.signal);
  const trouble = openTrouble(env.log);
  const post = async (report: EventReport): Promise<Posted> => {
    const posted = await postEvent(report, options, { now: env.now(), signal: ended.signal });
    if (ended.signal.aborted) return posted;
    trouble.record(posted);
    count(posted.outcome, report.solved ? SOLVED : report.notice.reason);
    return posted;
  };
  const running = run({ ledger, timing, trigger, signal: ended.signal, post });
  return {
    update({ problems, pods }) {
      if (ended.signal.aborted) return;
      ledger.take(noticesOf({ problems, pods, node }), performance.now(), openTurns(pods, node));
      trigger.fire();
    },
    counts: () => [...counts.values()],
    async close() {
      ended.abort();
      await running;
    },
  };
}

interface Running {
  readonly ledger: Ledger;
  readonly timing: NoticeTiming;
  readonly trigger: Trigger;
  readonly signal: AbortSignal;
  /** Never rejects. */
  readonly post: (report: EventReport) => Promise<Posted>;
}

/** Posts one report after the other, each when it is due and a token is available. */
async function run({ ledger, timing, trigger, signal, post }: Running): Promise<void> {
  const tokens = openTokenBucket(timing);
  while (!signal.aborted) {
    const now = performance.now();
    const at = ledger.nextAt();
    const readyAt = at === undefined ? undefined : Math.max(at, tokens.readyAt(now));
    const report = readyAt === undefined || readyAt > now ? undefined : ledger.begin(now);
    if (report === undefined) {
      await trigger.wait(readyAt === undefined ? undefined : readyAt - now);
      continue;
    }
    tokens.take(now);
    const { outcome, uid } = await post(report);
    ledger.settle(outcome, uid, performance.now());
  }
}

interface Posted {
  readonly outcome: Outcome;
  /** Uid of the object, empty if it is not known. */
  readonly uid: string;
  readonly failure?: Failure;
}

/** Reads the object first: `kubectl describe` shows only Events that contain its uid. Never rejects. */
async function postEvent(
  report: EventReport,
  { client, node, timing }: EventRecorderOptions,
  { now, signal }: { readonly now: Date; readonly signal: AbortSignal },
): Promise<Posted> {
  const { subject } = report.notice;
  const path = queryOf(subject);
  const within = () => AbortSignal.any([signal, AbortSignal.timeout(timing.answerMs)]);
  let identity: Identity | undefined;
  try {
    identity = identityOf(firstOf(await client.send({ method: "GET", path }, within())));
  } catch (error) {
    const failure = failureOf(error, path);
    return { outcome: outcomeOf(failure), uid: "", failure };
  }
  // The object was deleted, and its problems with it.
  if (identity === undefined) return { outcome: "gone", uid: "" };
  const { uid } = identity;
  // Another object of the same name is unrelated to the reports on the earlier one.
  if (report.solved && report.earlier?.uid !== uid) return { outcome: "gone", uid };
  const events = `/apis/events.k8s.io/v1/namespaces/${namespaceOf(subject)}/events`;
  const body = eventOf(report, identity, { now: now.getTime(), node, timing });
  try {
    await client.send({ method: "POST", path: events, body }, within());
    return { outcome: "created", uid };
  } catch (error) {
    const failure = failureOf(error, events);
    if (failure.status === 409) return { outcome: "known", uid };
    return { outcome: outcomeOf(failure), uid, failure };
  }
}

function identityOf(object: unknown): Identity | undefined {
  const uid = valueAt(object, ["metadata", "uid"]);
  const resourceVersion = valueAt(object, ["metadata", "resourceVersion"]);
  return typeof uid === "string" && typeof resourceVersion === "string"
    ? { uid, resourceVersion }
    : undefined;
}

/**
 * Statuses that may change within a moment: a token is being replaced, or the server is busy or unhealthy.
 */
const PASSING: ReadonlySet<number> = new Set([401, 408, 429]);

const outcomeOf = ({ status }: Failure): Outcome =>
  status === undefined || status >= 500 || PASSING.has(status) ? "failed" : "refused";

/** Logs once that Events cannot be reported, until the reason changes, and when they can be again. */
function openTrouble(log: Log) {
  let earlier: string | undefined;
  return {
    record({ failure }: Posted) {
      const reason = failure && (failure.status === undefined ? failure.why : `HTTP ${failure.status}`);
      if (reason === earlier) return;
      earlier = reason;
      if (failure === undefined) log.info("Events can be reported again");
      else log.warn("a problem cannot be reported as an Event", { reason: failure.message });
    },
  };
}

// An Event of events.k8s.io/v1 as the API server requires it, under a name that shows all nodes that it was
// already reported.

/** The API server's identity of a subject. */
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

const API_VERSIONS = {
  NetworkPolicy: "networking.k8s.io/v1",
  ClusterNetworkPolicy: "policy.networking.k8s.io/v1alpha2",
  Pod: "v1",
  Node: "v1",
} as const;

/** What was tried when the problem came up. */
const ACTIONS: Readonly<Record<Reason, string>> = {
  PolicyInvalid: "ReadPolicy",
  PodInvalid: "ReadPod",
  InterfaceUnknown: "FindInterface",
  CapacityExceeded: "ApplyState",
  ProgramsRemoved: "AttachPrograms",
  PolicyBypassed: "BypassPolicy",
  StateNotApplied: "ApplyState",
};

/** Maximum lengths in the API server's validation. */
const INSTANCE_MAX = 128;
const NAME_MAX = 253;
const HASH_DIGITS = 16;

/**
 * Namespace for Events of cluster-scoped objects: the one that servers before and after 1.22 accept with
 * events.k8s.io.
 */
const NODE_EVENTS = "kube-system";

export const namespaceOf = ({ namespace }: Subject): string => namespace ?? NODE_EVENTS;

/** The body of a POST. */
export function eventOf(
  report: EventReport,
  identity: Identity,
  moment: Moment,
): Readonly<Record<string, unknown>> {
  const { notice, solved } = report;
  const { reason, subject } = notice;
  const { namespace, kind, name } = subject;
  return {
    apiVersion: "events.k8s.io/v1",
    kind: "Event",
    metadata: { name: nameOf(report, identity, moment), namespace: namespaceOf(subject) },
    // A MicroTime, which has six digits.
    eventTime: new Date(moment.now).toISOString().replace("Z", "000Z"),
    type: solved ? "Normal" : "Warning",
    reason: solved ? SOLVED : reason,
    action: ACTIONS[reason],
    note: solved ? solvedNote(report) : notice.note,
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

const solvedNote = ({ notice, earlier }: EventReport): string =>
  shortened(`${notice.reason} no longer holds: ${earlier?.note ?? notice.note}`);

/**
 * Equal for equal reports: for a policy on every node, for the node and its pods after a restart of the
 * agent. It changes with the period, so that a lasting problem is reported again; and for a policy with every
 * change of it.
 */
function nameOf(
  report: EventReport,
  { uid, resourceVersion }: Identity,
  { now, node, timing }: Moment,
): string {
  const { notice, solved, returns } = report;
  const period = periodOf(notice.key, now, timing);
  const own = isShared(notice) ? [resourceVersion, notice.note] : [node, String(returns)];
  const hash = createHash("sha256")
    .update(JSON.stringify([uid, notice.reason, solved, period, ...own]))
    .digest("hex")
    .slice(0, HASH_DIGITS);
  const room = NAME_MAX - HASH_DIGITS - 1;
  return `${notice.subject.name.slice(0, room).replace(/[^a-z0-9]+$/, "")}.${hash}`;
}

/**
 * The period that contains a moment. Each notice has a different offset, so that not all are reported again
 * at once.
 */
function periodOf(key: string, now: number, { periodMs }: NoticeTiming): number {
  const offset = createHash("sha256").update(key).digest().readUInt32BE() % periodMs;
  return Math.floor((now + offset) / periodMs);
}
