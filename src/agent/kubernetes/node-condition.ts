// The node's condition that states whether its policies are in force, kept up to date on request.

import { messageOf } from "../../base/errors.ts";
import type { Log } from "../../base/log.ts";
import { openTrigger, pause } from "../../base/scheduler.ts";
import type { Client } from "../../source/apiserver/http-client.ts";
import { isMap, valueAt } from "../../source/parse/fields.ts";
import {
  firstOf,
  type Notice,
  noticesOf,
  pathOf,
  queryOf,
  type Situation,
  shortened,
} from "./event-notices.ts";

export const CONDITION_TYPE = "weir.dev/PolicyEnforced";

export interface Condition {
  readonly status: "True" | "False" | "Unknown";
  readonly reason: string;
  readonly message: string;
}

export interface ConditionTiming {
  /** How often it is written without a change. */
  readonly heartbeatMs: number;
  /** Minimum time between two writes. */
  readonly leastMs: number;
  /** Timeout of a whole request. */
  readonly answerMs: number;
  /** Timeout of the last one, while the agent ends. */
  readonly lastMs: number;
}

export const CONDITION_TIMING: ConditionTiming = {
  heartbeatMs: 5 * 60_000,
  leastMs: 10_000,
  answerMs: 10_000,
  lastMs: 3_000,
};

const IN_FORCE: Condition = {
  status: "True",
  reason: "PoliciesInForce",
  // A condition cannot go stale by itself: its message explains how to recognize that no agent renews it.
  message:
    "all policies are enforced on this node's pods; updated every 5 minutes, unknown if lastHeartbeatTime is older than 10",
};
const STOPPED: Condition = {
  status: "Unknown",
  reason: "AgentStopped",
  message: "no agent runs; the kernel enforces the last applied state",
};

/**
 * The node's problems, first of all those of the node itself; a policy that is invalid on every node is not
 * this node's problem.
 */
export function conditionOf(situation: Situation): Condition {
  const notices = [...noticesOf(situation).values()];
  const isUnknown = ({ reason }: Notice): boolean => reason === "InterfaceUnknown";
  // An unclaimed interface is denied everything, which leaves nothing open.
  const ofNode = notices.find((notice) => notice.subject.kind === "Node" && !isUnknown(notice));
  if (ofNode !== undefined) return { status: "False", reason: ofNode.reason, message: ofNode.note };
  const [pod, ...others] = notices.filter((notice) => notice.subject.kind === "Pod" && isUnknown(notice));
  if (pod === undefined) return IN_FORCE;
  const { namespace, name } = pod.subject;
  const more = others.length === 0 ? "" : ` (and ${others.length} more pods)`;
  const message = shortened(`pod ${namespace}/${name}: ${pod.note}`, more);
  return { status: "False", reason: pod.reason, message };
}

export interface ConditionWriter {
  /** Takes the state after a reconciliation. Returns at once, and never throws. */
  update(situation: Pick<Situation, "problems" | "pods">): void;
  /** Reports that no agent runs, if that is possible within a moment. */
  close(): Promise<void>;
}

export interface ConditionOptions {
  readonly client: Client;
  /** Name of this node. */
  readonly node: string;
  readonly timing: ConditionTiming;
}

export function openCondition(
  { client, node, timing }: ConditionOptions,
  { log, now }: { readonly log: Log; readonly now: () => Date },
): ConditionWriter {
  const subject = { kind: "Node", name: node } as const;
  const ended = new AbortController();
  const trigger = openTrigger(ended.signal);
  let wanted: Condition | undefined;
  let written: Pick<OwnCondition, "status" | "lastTransitionTime"> | undefined;
  let trouble: string | undefined;

  async function write(condition: Condition, signal: AbortSignal): Promise<void> {
    written ??= ownOf(firstOf(await client.send({ method: "GET", path: queryOf(subject) }, signal)));
    const time = now()
      .toISOString()
      .replace(/\.\d+Z$/, "Z");
    const lastTransitionTime = written?.status === condition.status ? written.lastTransitionTime : time;
    const times = { lastHeartbeatTime: time, lastTransitionTime };
    const body = { status: { conditions: [{ type: CONDITION_TYPE, ...condition, ...times }] } };
    const type = "application/strategic-merge-patch+json";
    await client.send({ method: "PATCH", path: `${pathOf(subject)}/status`, body, type }, signal);
    written = { status: condition.status, lastTransitionTime };
  }
  /** Never rejects; a failure is retried at the next change or heartbeat. */
  async function attempt(condition: Condition, signal: AbortSignal): Promise<void> {
    try {
      await write(condition, signal);
      if (trouble !== undefined) log.info("the node's condition can be written again");
      trouble = undefined;
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== trouble && !ended.signal.aborted)
        log.warn("the node's condition cannot be written", { reason });
      trouble = reason;
    }
  }
  async function run(): Promise<void> {
    while (!ended.signal.aborted) {
      await trigger.wait(timing.heartbeatMs - timing.leastMs);
      if (wanted === undefined || ended.signal.aborted) continue;
      await attempt(wanted, AbortSignal.any([ended.signal, AbortSignal.timeout(timing.answerMs)]));
      await pause(timing.leastMs, ended.signal);
    }
  }
  const running = run();
  return {
    update({ problems, pods }) {
      const condition = conditionOf({ problems, pods, node });
      // The message may contain seconds that pass; it is written with the next heartbeat.
      const same = wanted?.status === condition.status && wanted.reason === condition.reason;
      wanted = condition;
      if (!same) trigger.fire();
    },
    async close() {
      ended.abort();
      await running;
      if (wanted !== undefined) await attempt(STOPPED, AbortSignal.timeout(timing.lastMs));
    },
  };
}

interface OwnCondition {
  readonly status: Condition["status"];
  readonly lastTransitionTime: string;
}

const isOwn = (value: unknown): value is OwnCondition =>
  isMap(value) &&
  value["type"] === CONDITION_TYPE &&
  typeof value["status"] === "string" &&
  typeof value["lastTransitionTime"] === "string";

/** An earlier agent may have written it: if the status is the same, the time of its last change is kept. */
function ownOf(node: unknown): OwnCondition | undefined {
  const conditions: unknown = valueAt(node, ["status", "conditions"]);
  return Array.isArray(conditions) ? conditions.find((each) => isOwn(each)) : undefined;
}
