// Which Events were reported and which are due: compares the present notices with earlier ones, in bounded
// memory and at a bounded rate.

import type { Notice, Reason } from "./event-notices.ts";
import type { NoticeTiming } from "./event-rate-limit.ts";

/** The outcome of a report: only "failed" needs a retry before the next period. */
export type Outcome = "created" | "known" | "gone" | "refused" | "failed";

/** A report: a problem or its end. */
export interface EventReport {
  readonly notice: Notice;
  /** The problem is gone. */
  readonly solved: boolean;
  /** How often it came back after it was reported as solved. */
  readonly returns: number;
  /** The last report of it that Kubernetes has. */
  readonly earlier: Reported | undefined;
}

export interface Reported {
  /** On the ledger's clock. */
  readonly at: number;
  readonly note: string;
  readonly solved: boolean;
  /** Uid of the object in the report. */
  readonly uid: string;
}

export interface Ledger {
  /**
   * The present problems. All times are milliseconds of a monotonic clock. `turnOf` returns how many nodes
   * report before this one a notice that all nodes have.
   */
  take(notices: ReadonlyMap<string, Notice>, now: number, turnOf: (key: string) => number): void;
  /** When the next report is due; undefined if there is none. */
  nextAt(): number | undefined;
  /** The report to send now, if one is due; it must be settled before the next. */
  begin(now: number): EventReport | undefined;
  /** The outcome of the report that was begun. `uid` if it is known. */
  settle(outcome: Outcome, uid: string, now: number): void;
  size(): number;
}

interface Entry {
  notice: Notice;
  solved: boolean;
  returns: number;
  earlier: Reported | undefined;
  /** How long a change must last, including the wait for this node's turn. */
  readonly settleMs: number;
  /** Infinity if there is nothing to report. */
  dueAt: number;
  /** Consecutive failures. */
  failures: number;
}

const NEVER = Number.POSITIVE_INFINITY;

/** `onLeftOut` is called for every notice that exceeds the memory limit, or that ended before its turn. */
export function openLedger(timing: NoticeTiming, onLeftOut: (reason: Reason) => void): Ledger {
  const entries = new Map<string, Entry>();
  let beyond = new Set<string>();
  let begun: { readonly entry: Entry; readonly report: EventReport } | undefined;

  /**
   * Whether there is space for one more, if necessary that of a notice reported as solved. The node's own
   * notices are few and always fit.
   */
  function hasRoom({ subject }: Notice): boolean {
    if (subject.kind === "Node" || entries.size < timing.entriesMax) return true;
    const old = entries.values().find(isDone);
    return old !== undefined && entries.delete(old.notice.key);
  }
  function add(notice: Notice, turn: number, now: number): void {
    const settleMs = DELIBERATE.has(notice.reason) ? 0 : timing.settleMs + turn * timing.turnMs;
    const dueAt = now + settleMs;
    const fresh = { solved: false, returns: 0, earlier: undefined, failures: 0 };
    entries.set(notice.key, { notice, settleMs, dueAt, ...fresh });
  }
  function end(entry: Entry, now: number): void {
    if (entry.earlier === undefined && begun?.entry !== entry) {
      if (entry.dueAt <= now) onLeftOut(entry.notice.reason);
      entries.delete(entry.notice.key);
      return;
    }
    entry.solved = true;
    entry.failures = 0;
    entry.dueAt = dueAfter(entry, now, timing);
  }
  return {
    take(notices, now, turnOf) {
      for (const [key, entry] of entries) {
        if (!notices.has(key) && !entry.solved) end(entry, now);
        if (isDone(entry) && now - (entry.earlier?.at ?? now) > timing.periodMs) entries.delete(key);
      }
      const without = new Set<string>();
      for (const [key, notice] of notices) {
        const entry = entries.get(key);
        if (entry !== undefined) renew(entry, notice, now, timing);
        else if (hasRoom(notice)) add(notice, isShared(notice) ? turnOf(notice.key) : 0, now);
        else {
          if (!beyond.has(key)) onLeftOut(notice.reason);
          if (without.size < LEFT_OUT_MAX) without.add(key);
        }
      }
      beyond = without;
    },
    nextAt: () => earliest(entries.values(), Number.NEGATIVE_INFINITY)?.dueAt,
    begin(now) {
      const entry = earliest(entries.values(), now);
      if (entry === undefined || entry.dueAt > now) return undefined;
      const { notice, solved, returns, earlier } = entry;
      begun = { entry, report: { notice, solved, returns, earlier } };
      return begun.report;
    },
    settle(outcome, uid, now) {
      const { entry, report } = begun ?? {};
      begun = undefined;
      if (entry === undefined || report === undefined || entries.get(entry.notice.key) !== entry) return;
      if (!settleEntry(entry, { report, outcome, uid }, now, timing)) entries.delete(entry.notice.key);
    },
    size: () => entries.size,
  };
}

/** What a person has done, however briefly: reported at once. */
const DELIBERATE: ReadonlySet<Reason> = new Set(["PolicyBypassed"]);

/** Keys of left-out notices that are remembered, so that each is counted once. */
const LEFT_OUT_MAX = 10_000;

/** The problems of a policy are the same on every node, so one Event reports them for all. */
export const isShared = ({ subject }: Notice): boolean =>
  subject.kind === "NetworkPolicy" || subject.kind === "ClusterNetworkPolicy";

const isDone = ({ earlier, solved }: Entry): boolean => solved && earlier?.solved === true;

/** The notice that is due first; of those due by `now`, the node's own go first. */
function earliest(entries: Iterable<Entry>, now: number): Entry | undefined {
  let first: Entry | undefined;
  const rankOf = ({ notice, dueAt }: Entry): number =>
    notice.subject.kind === "Node" && dueAt <= now ? Number.NEGATIVE_INFINITY : dueAt;
  for (const entry of entries)
    if (entry.dueAt < NEVER && (first === undefined || rankOf(entry) < rankOf(first))) first = entry;
  return first;
}

/** When to report what has changed since the last report. */
function dueAfter({ earlier, solved, returns, settleMs }: Entry, now: number, timing: NoticeTiming): number {
  const { leastMs, periodMs } = timing;
  if (earlier?.solved === solved) return solved ? NEVER : earlier.at + periodMs;
  // Flapping problems are reported with exponential backoff.
  const pauseMs = Math.min(leastMs * (2 ** returns - 1), periodMs);
  return Math.max(now + settleMs, (earlier?.at ?? now) + pauseMs);
}

interface Came {
  readonly report: EventReport;
  readonly outcome: Outcome;
  readonly uid: string;
}

/** Returns false if the entry is no longer needed. */
function settleEntry(
  entry: Entry,
  { report, outcome, uid }: Came,
  now: number,
  timing: NoticeTiming,
): boolean {
  const wait = outcome === "failed" ? timing.retryMs[entry.failures] : undefined;
  entry.failures = wait === undefined ? 0 : entry.failures + 1;
  // If the end of a problem could not be reported, it is dropped after the last retry.
  if (wait === undefined && (report.solved || outcome === "created" || outcome === "known"))
    entry.earlier = { at: now, note: report.notice.note, solved: report.solved, uid };
  if (entry.earlier === undefined && entry.solved) return false;
  if (wait !== undefined) entry.dueAt = now + wait;
  else if (entry.earlier === undefined) entry.dueAt = now + timing.periodMs;
  else entry.dueAt = dueAfter(entry, now, timing);
  return true;
}

/** The problem is present, again or still. */
function renew(entry: Entry, notice: Notice, now: number, timing: NoticeTiming): void {
  const before = entry.notice;
  entry.notice = notice;
  if (entry.solved) {
    const ended = entry.earlier?.solved === true;
    if (ended) entry.returns += 1;
    entry.solved = false;
    entry.failures = 0;
    // This may be another object of the same name; if it is not, Kubernetes already has the Event.
    entry.dueAt = ended ? dueAfter(entry, now, timing) : soonest(entry, now, timing);
    return;
  }
  // Reports on nodes and pods may change with each reconciliation ("for 12 s"); on a policy they change with
  // the policy.
  if (entry.earlier !== undefined && isShared(notice) && before.note !== notice.note)
    entry.dueAt = soonest(entry, now, timing);
}

const soonest = ({ earlier, settleMs }: Entry, now: number, { leastMs }: NoticeTiming): number =>
  Math.max(now + settleMs, (earlier?.at ?? Number.NEGATIVE_INFINITY) + leastMs);
