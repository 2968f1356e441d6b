// What has been told and what is due: the present notices compared with those before, in bounded memory and at a bounded rate.

import type { Notice, Reason } from "./event-notices.ts";
import type { NoticeTiming } from "./event-rate-limit.ts";

/** What became of a telling: all but "failed" need no other try before the next period. */
export type Outcome = "created" | "known" | "gone" | "refused" | "failed";

/** What is told: a problem or its end. */
export interface Telling {
  readonly notice: Notice;
  /** The problem is no longer there. */
  readonly solved: boolean;
  /** How often it came back after it was told as solved. */
  readonly returns: number;
  /** What of it Kubernetes knows. */
  readonly told: Reported | undefined;
}

export interface Reported {
  /** In the time that the ledger is given. */
  readonly at: number;
  readonly note: string;
  readonly solved: boolean;
  /** Of the object that it was told of. */
  readonly uid: string;
}

export interface Ledger {
  /**
   * What is wrong now. All times are milliseconds of a clock that only goes forward. `turnOf` says how many nodes go before
   * this one with a notice that all of them have.
   */
  take(notices: ReadonlyMap<string, Notice>, now: number, turnOf: (key: string) => number): void;
  /** When the next is due; undefined where there is nothing to tell. */
  nextAt(): number | undefined;
  /** What is to be told now, if anything is due; it must be settled before the next. */
  begin(now: number): Telling | undefined;
  /** What became of the one that was begun. `uid` where it is known. */
  settle(outcome: Outcome, uid: string, now: number): void;
  size(): number;
}

interface Entry {
  notice: Notice;
  solved: boolean;
  returns: number;
  told: Reported | undefined;
  /** How long what is new of it must last, and wait for the turn of this node. */
  readonly settleMs: number;
  /** Infinity where there is nothing to tell. */
  dueAt: number;
  /** Tries that failed one after the other. */
  failures: number;
}

const NEVER = Number.POSITIVE_INFINITY;

/** `onLeftOut` hears of every notice that is beyond what is remembered, or that ended before its turn came. */
export function openLedger(timing: NoticeTiming, onLeftOut: (reason: Reason) => void): Ledger {
  const entries = new Map<string, Entry>();
  let beyond = new Set<string>();
  let begun: { readonly entry: Entry; readonly telling: Telling } | undefined;

  /** Room for one more, if need be that of one that was told as solved. There are few notices of the node: they always fit. */
  function hasRoom({ subject }: Notice): boolean {
    if (subject.kind === "Node" || entries.size < timing.entriesMax) return true;
    const old = entries.values().find(isDone);
    return old !== undefined && entries.delete(old.notice.key);
  }
  function add(notice: Notice, turn: number, now: number): void {
    const settleMs = timing.settleMs + turn * timing.turnMs;
    const dueAt = now + settleMs;
    const fresh = { solved: false, returns: 0, told: undefined, failures: 0 };
    entries.set(notice.key, { notice, settleMs, dueAt, ...fresh });
  }
  function end(entry: Entry, now: number): void {
    if (entry.told === undefined && begun?.entry !== entry) {
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
        if (isDone(entry) && now - (entry.told?.at ?? now) > timing.periodMs) entries.delete(key);
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
      const { notice, solved, returns, told } = entry;
      begun = { entry, telling: { notice, solved, returns, told } };
      return begun.telling;
    },
    settle(outcome, uid, now) {
      const { entry, telling } = begun ?? {};
      begun = undefined;
      if (entry === undefined || telling === undefined || entries.get(entry.notice.key) !== entry) return;
      if (!settleEntry(entry, { telling, outcome, uid }, now, timing)) entries.delete(entry.notice.key);
    },
    size: () => entries.size,
  };
}

/** Names of notices without room that are remembered, so that they are counted once. */
const LEFT_OUT_MAX = 10_000;

/** The problems of a policy are the same on every node, and one Event tells of them for all. */
export const isShared = ({ subject }: Notice): boolean => subject.kind === "NetworkPolicy";

const isDone = ({ told, solved }: Entry): boolean => solved && told?.solved === true;

/** The one that is due first; of those that are due by `now` the node's own go before the others. */
function earliest(entries: Iterable<Entry>, now: number): Entry | undefined {
  let first: Entry | undefined;
  const rankOf = ({ notice, dueAt }: Entry): number =>
    notice.subject.kind === "Node" && dueAt <= now ? Number.NEGATIVE_INFINITY : dueAt;
  for (const entry of entries)
    if (entry.dueAt < NEVER && (first === undefined || rankOf(entry) < rankOf(first))) first = entry;
  return first;
}

/** When to tell what a told problem has come to since. */
function dueAfter({ told, solved, returns, settleMs }: Entry, now: number, timing: NoticeTiming): number {
  const { leastMs, periodMs } = timing;
  if (told?.solved === solved) return solved ? NEVER : told.at + periodMs;
  // What comes and goes is told ever more seldom.
  const pauseMs = Math.min(leastMs * (2 ** returns - 1), periodMs);
  return Math.max(now + settleMs, (told?.at ?? now) + pauseMs);
}

interface Came {
  readonly telling: Telling;
  readonly outcome: Outcome;
  readonly uid: string;
}

/** Returns false where the entry is of no use any more. */
function settleEntry(
  entry: Entry,
  { telling, outcome, uid }: Came,
  now: number,
  timing: NoticeTiming,
): boolean {
  const wait = outcome === "failed" ? timing.retryMs[entry.failures] : undefined;
  entry.failures = wait === undefined ? 0 : entry.failures + 1;
  // The end of a problem that cannot be told is let go.
  if (wait === undefined && (telling.solved || outcome === "created" || outcome === "known"))
    entry.told = { at: now, note: telling.notice.note, solved: telling.solved, uid };
  if (entry.told === undefined && entry.solved) return false;
  if (wait !== undefined) entry.dueAt = now + wait;
  else if (entry.told === undefined) entry.dueAt = now + timing.periodMs;
  else entry.dueAt = dueAfter(entry, now, timing);
  return true;
}

/** The problem is there, again or still. */
function renew(entry: Entry, notice: Notice, now: number, timing: NoticeTiming): void {
  const before = entry.notice;
  entry.notice = notice;
  if (entry.solved) {
    const ended = entry.told?.solved === true;
    if (ended) entry.returns += 1;
    entry.solved = false;
    entry.failures = 0;
    // It may be that of another object of the same name; where it is not, Kubernetes knows of it.
    entry.dueAt = ended ? dueAfter(entry, now, timing) : soonest(entry, now, timing);
    return;
  }
  // What is told of nodes and pods may change from round to round ("for 12 s"); of a policy it changes with the policy.
  if (entry.told !== undefined && isShared(notice) && before.note !== notice.note)
    entry.dueAt = soonest(entry, now, timing);
}

const soonest = ({ told, settleMs }: Entry, now: number, { leastMs }: NoticeTiming): number =>
  Math.max(now + settleMs, (told?.at ?? Number.NEGATIVE_INFINITY) + leastMs);
