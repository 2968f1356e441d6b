// The reflector: list and watch of one kind, with retry and backoff, and its health.

import type { Log } from "../../base/log.ts";
import { backoffMs, pause } from "../../base/scheduler.ts";
import type { KindHealth } from "../../model/cluster-snapshot.ts";
import { valueAt } from "../parse/fields.ts";
import type { Client } from "./http-client.ts";
import { type Interner, openInterner } from "./interning.ts";
import { type ListOptions, listAll, versionNow } from "./list-request.ts";
import type { Listing, Store, Writer } from "./object-store.ts";
import { type Cause, Failure, failureOf, requiresRelist } from "./request-failure.ts";
import { earlySpan, relistSpan, type Span, spreadMs, type Timing, within } from "./request-timing.ts";
import {
  identityOf,
  KINDS,
  type Kind,
  OPTIONAL_KINDS,
  PARSERS,
  type Reader,
  readItem,
  SERVED,
  type Served,
} from "./resource-kinds.ts";
import { isOlder, type WatchEvent, watchFrom } from "./watch-request.ts";

/** What the kinds have in common. */
export interface Shared {
  readonly client: Client;
  readonly timing: Timing;
  /** Name of this node. */
  readonly node: string;
  readonly log: Log;
  /** Nodes of the cluster, as far as they are known. */
  readonly nodes: () => number;
  /** Nothing that an earlier agent has read of a kind that the server may lack is in force. */
  readonly nothingInForce: () => boolean;
  /** Whether lists may be streamed: until a server turns out not to. */
  streaming: boolean;
}

/** The state of one kind. */
interface Run {
  readonly kind: Kind;
  readonly shared: Shared;
  readonly store: Store;
  readonly observer: Observer;
  readonly signal: AbortSignal;
  served: Served;
  writer: Writer;
  interner: Interner;
  /** From where to watch on; undefined where all has to be listed. */
  version: string | undefined;
  /** The newest version that was ever seen. */
  newest: string | undefined;
  /** Why the next list or watch is begun. */
  cause: Cause;
  /** The connection was lost: the server may have been restored to an older state meanwhile. */
  doubtful: boolean;
  /** Whether all nodes may have lost their watches, and come back together: no event has come since. */
  withOthers: boolean;
  /** The pages of the last list expired before they were all there. */
  whole: boolean;
  /** Failures one after the other. */
  attempts: number;
  /** Since when the server has not had the kind, in the milliseconds of performance.now(). */
  absentSince: number | undefined;
  /** When to relist, and when that was decided by a list, in the milliseconds of performance.now(). */
  relistAt: number;
  listedAt: number;
  /** Whether it is relisted early, for what fits again. */
  early: boolean;
  /** Bytes that have come so far, when the last list began, and that the last complete list had. */
  bytes: number;
  listedFrom: number;
  listBytes: number;
}

/** After so many failures in a row to watch from a version, the version is no longer relied on. */
const WATCH_FAILURES_MAX = 5;
/** After a watch that ends normally sooner than this, the next request waits. */
const SOON_MS = 1_000;
/**
 * Statuses by which a server refuses a streaming list: 400 and 422 where it recognizes the parameters without
 * supporting the feature.
 */
const NOT_STREAMED: ReadonlySet<number | undefined> = new Set([400, 422]);

/** Runs until the signal aborts. Never rejects: every failure is recorded, and retried without end. */
export async function runReflector(
  kind: Kind,
  shared: Shared,
  { store, observer }: { readonly store: Store; readonly observer: Observer },
  signal: AbortSignal,
): Promise<void> {
  const run: Run = {
    ...{ kind, shared, store, observer, signal, served: SERVED[kind][0] },
    ...{ writer: store.writer(), interner: openInterner(), version: undefined, newest: undefined },
    ...{ cause: "first", doubtful: false, withOthers: false, whole: false },
    ...{ attempts: 0, absentSince: undefined, relistAt: 0, listedAt: 0, early: false },
    ...{ bytes: 0, listedFrom: 0, listBytes: 0 },
  };
  while (!signal.aborted) {
    const begun = performance.now();
    try {
      if (run.version === undefined) await relist(run);
      else await watchOn(run, run.version);
    } catch (error) {
      if (signal.aborted) return;
      if (performance.now() - begun > shared.timing.retryMs[1]) run.attempts = 0;
      await recover(run, failureOf(error, run.served.path));
    }
  }
}

/** Whether the events so far came as far as a version. */
function passedBy({ newest }: Run): (version: string) => boolean {
  return (version) => newest !== undefined && !isOlder(newest, version);
}

async function relist(run: Run): Promise<void> {
  const { observer, cause, shared } = run;
  observer.listing(cause);
  // An earlier attempt that still holds the writer of before has no effect any more.
  run.writer = run.store.writer();
  run.interner = openInterner();
  run.listedFrom = run.bytes;
  if (shared.streaming) {
    await streamAll(run);
    return;
  }
  const listing = run.writer.list(passedBy(run));
  const reader = readerOf(run);
  const version = await listAll(listOptions(run), run.whole, (raw) => listing.put(readItem(raw, reader)));
  settle(run, listing, version);
  await watchOn(run, version);
}

/** A list that turns into a watch: everything as events, then a bookmark, then what changes. */
async function streamAll(run: Run): Promise<void> {
  const { shared, signal } = run;
  const listing = run.writer.list(passedBy(run));
  const reader = readerOf(run);
  const begun = performance.now();
  const initialEndAt = begun + shared.timing.initialMs;
  let [initial, opened] = [true, false];
  const onEvent = (event: WatchEvent): void => {
    if (!initial) take(run, event, reader);
    else if (event.type === "BOOKMARK") {
      if (!event.initialEnd) return;
      initial = false;
      settle(run, listing, event.version);
    } else if (event.type === "DELETED") listing.remove(identityOf(event.object, reader).key);
    else listing.put(readItem(event.object, reader));
  };
  try {
    const end = await watchFrom("everything", {
      ...listOptions(run),
      onEvent,
      onOpen: () => {
        opened = true;
      },
      endAt: () => (initial ? initialEndAt : run.relistAt),
    });
    if (!initial) await ended(run, end, begun);
    else if (end === "periodic" && opened && !signal.aborted) stopStreaming(run, "no bookmark ends the list");
    else
      throw new Failure("the watch ended before the list was complete", run.served.path, { why: "broken" });
  } catch (error) {
    if (!(error instanceof Failure) || !initial || !NOT_STREAMED.has(error.status)) throw error;
    stopStreaming(run, `the server does not stream them (HTTP ${error.status})`);
  }
}

function stopStreaming({ shared }: Run, reason: string): void {
  if (shared.streaming) shared.log.info("lists are read by pages", { reason });
  shared.streaming = false;
}

/** The list counts: from here on there is a whole state, and changes to it. */
function settle(run: Run, listing: Listing, version: string): void {
  const { kind, shared, observer, cause, newest } = run;
  if (newest !== undefined && isOlder(version, newest)) {
    shared.log.warn("the API server has gone back to an older state", { kind, from: newest, to: version });
    if (cause !== "rewound") observer.rewound();
  }
  const { added, changed, gone, recreated, missed } = listing.commit(version);
  run.version = version;
  run.newest = version;
  run.doubtful = false;
  run.withOthers = false;
  run.whole = false;
  run.absentSince = undefined;
  run.listBytes = run.bytes - run.listedFrom;
  run.listedAt = performance.now();
  run.relistAt = run.listedAt + within(relistSpan(shared.timing, run.listBytes));
  run.early = false;
  observer.listed(missed);
  const facts = { kind, cause, objects: run.store.size(), added, changed, gone, recreated, missed };
  if (missed === 0) shared.log.debug("listed", facts);
  else shared.log.warn("a list has changes that no event brought", facts);
}

async function watchOn(run: Run, version: string): Promise<void> {
  const { observer, cause } = run;
  const begun = performance.now();
  if (run.doubtful) await checkNotRewound(run, version);
  observer.watching(cause);
  const reader = readerOf(run);
  const end = await watchFrom(
    { version },
    {
      ...listOptions(run),
      onOpen: () => observer.following(),
      onEvent: (event) => take(run, event, reader),
      endAt: () => run.relistAt,
    },
  );
  await ended(run, end, begun);
}

async function ended(run: Run, end: "ended" | "periodic", begun: number): Promise<void> {
  run.cause = end;
  if (end === "periodic") run.version = undefined;
  const elapsed = performance.now() - begun;
  if (end === "periodic" || elapsed > SOON_MS) {
    run.attempts = 0;
    // A server that shuts down ends the watches of all nodes at once.
    if (end === "ended" && elapsed < run.shared.timing.watchMs[0]) {
      run.withOthers = true;
      await pause(within([0, spreadOf(run)]), run.signal);
    }
    return;
  }
  run.attempts += 1;
  await backOff(run, undefined);
}

/** A watch from a version that the server has yet to reach is answered, and silent: only a request shows a restored backup. */
async function checkNotRewound(run: Run, version: string): Promise<void> {
  const now = await versionNow(listOptions(run));
  if (isOlder(now, version))
    throw new Failure(`the server is at version ${now}, after ${version}`, run.served.path, {
      why: "rewound",
    });
  run.doubtful = false;
}

function take(run: Run, event: WatchEvent, reader: Reader): void {
  apply(run, event, reader);
  // Once for each list: a bookmark follows within a minute, should no other event come.
  if (run.early || !run.store.isToBeRelisted()) return;
  run.early = true;
  const soonest = run.listedAt + within(earlySpan(run.shared.timing, run.listBytes));
  run.relistAt = Math.min(run.relistAt, Math.max(performance.now(), soonest));
}

function apply(run: Run, event: WatchEvent, reader: Reader): void {
  if (event.type === "BOOKMARK") {
    advance(run, event.version);
    return;
  }
  if (event.type === "DELETED") {
    const { key, version } = identityOf(event.object, reader);
    advance(run, version);
    run.writer.remove(key);
    return;
  }
  const item = readItem(event.object, reader);
  advance(run, item.version);
  run.writer.put(item);
}

function advance(run: Run, version: string): void {
  const { served } = run;
  if (version === "")
    throw new Failure("an event has no metadata.resourceVersion", served.path, { why: "unreadable" });
  if (run.version !== undefined && isOlder(version, run.version))
    throw new Failure(`version ${version} comes after ${run.version}`, served.path, { why: "rewound" });
  run.version = version;
  run.newest = version;
  run.withOthers = false;
}

async function recover(run: Run, failure: Failure): Promise<void> {
  const { observer, shared, kind } = run;
  run.attempts += 1;
  run.cause = failure.why;
  run.doubtful = true;
  // A version expires for one node that has fallen behind, or for all after the server was away.
  if (failure.why !== "expired") run.withOthers = true;
  if (failure.why === "expired" && run.version === undefined) run.whole = true;
  // Not for a server that is down: when it comes back, every node would have it list everything at once.
  const useless = failure.why === "failed" && run.attempts >= WATCH_FAILURES_MAX;
  if (requiresRelist(failure.why) || useless) run.version = undefined;
  shared.log.debug("not followed", { kind, why: failure.why, reason: failure.reason, attempt: run.attempts });
  if (failure.status === 404 && servedElsewhere(run)) return;
  if (failure.status === 404 && OPTIONAL_KINDS.has(kind)) {
    run.version = undefined;
    const versions = await otherVersions(run);
    if (signalAborted(run)) return;
    if (versions !== undefined && versions.length > 0) {
      const { apiVersion } = run.served;
      run.absentSince = undefined;
      observer.unread(`the API server has it as ${versions.join(", ")} only; expected ${apiVersion}`);
      await pause(absentPause(run), run.signal);
      return;
    }
    if (versions !== undefined) {
      if (isGone(run)) {
        leaveEmpty(run);
        await pause(isNewlyGone(run) ? within(NEWLY_ABSENT_MS) : absentPause(run), run.signal);
        return;
      }
    } else run.absentSince = undefined;
  } else run.absentSince = undefined;
  observer.failed(failure, spreadOf(run));
  await backOff(run, failure.retryAfterMs);
}

const signalAborted = ({ signal }: Run): boolean => signal.aborted;

/**
 * The versions of its group in which the server has the kind, other than the one that is read; undefined if that is not
 * known, or if it has that one, too.
 */
async function otherVersions({ served, shared, signal }: Run): Promise<readonly string[] | undefined> {
  const [group = ""] = served.apiVersion.split("/");
  const plural = served.path.slice(served.path.lastIndexOf("/") + 1);
  const read = (path: string) => shared.client.send({ method: "GET", path }, signal);
  try {
    const versions = listAt(await read(`/apis/${group}`), "versions");
    const found: string[] = [];
    for (const version of versions) {
      const name = valueAt(version, ["groupVersion"]);
      if (typeof name !== "string" || !/^[a-z0-9.]+\/v[a-z0-9]+$/.test(name)) continue;
      const resources = listAt(await read(`/apis/${name}`), "resources");
      if (resources.some((each) => valueAt(each, ["name"]) === plural)) found.push(name);
    }
    return found.includes(served.apiVersion) ? undefined : found;
  } catch (error) {
    return error instanceof Failure && error.status === 404 ? [] : undefined;
  }
}

function listAt(answer: unknown, key: string): readonly unknown[] {
  const list = valueAt(answer, [key]);
  return Array.isArray(list) ? list : [];
}

/** Whether what the store has counts as deleted. */
function isGone(run: Run): boolean {
  run.absentSince ??= performance.now();
  const { observer, store, shared } = run;
  const { goneMs, firstGoneMs } = shared.timing;
  // Before the first list the kernel may still enforce what an earlier agent has read.
  const first = observer.isListed() || shared.nothingInForce() ? 0 : firstGoneMs;
  return performance.now() - run.absentSince >= (store.size() > 0 ? goneMs : first);
}

/** A server that starts may not have it yet: for a moment it is asked again soon. */
const isNewlyGone = ({ absentSince = 0, shared: { timing } }: Run): boolean =>
  performance.now() - absentSince < timing.firstGoneMs;

const NEWLY_ABSENT_MS: Span = [500, 1_000];

/** The server does not have the kind, so it has no object of it. */
function leaveEmpty(run: Run): void {
  run.writer = run.store.writer();
  run.writer.list(() => true).commit("");
  run.newest = undefined;
  run.doubtful = false;
  run.attempts = 0;
  run.observer.absent();
}

/** In a large cluster longer: no node waits for it. */
const absentPause = ({ shared: { timing, nodes } }: Run): number =>
  within(timing.absentMs) * Math.max(1, nodes() / timing.absentNodes);

/** Switches to the next path that may serve the kind; false after the last one. */
function servedElsewhere(run: Run): boolean {
  const all = SERVED[run.kind];
  const index = all.indexOf(run.served) + 1;
  run.served = all[index] ?? all[0];
  run.version = undefined;
  return index < all.length;
}

async function backOff(run: Run, retryAfterMs: number | undefined): Promise<void> {
  const { shared, attempts } = run;
  const { retryMs, retryAfterMsMax } = shared.timing;
  const longest = backoffMs(retryMs, attempts);
  const wait = within([longest / 2, longest]) + Math.min(retryAfterMs ?? 0, retryAfterMsMax);
  await pause(wait + within([0, spreadOf(run)]), run.signal);
}

/** The time over which all nodes spread what this one is about to request. */
function spreadOf(run: Run): number {
  const { shared, version, listBytes, withOthers } = run;
  if (!withOthers) return 0;
  const nodes = shared.nodes();
  const bytes = version === undefined ? nodes * listBytes : 0;
  return spreadMs(shared.timing, { requests: nodes * KINDS.length * requestsOf(run), bytes });
}

/** How many requests it takes until the kind is followed. */
function requestsOf({ version, doubtful, shared: { streaming, timing }, store }: Run): number {
  // The watch, and before it the request that shows whether the server went back.
  if (version !== undefined) return doubtful ? 2 : 1;
  return streaming ? 1 : Math.max(1, Math.ceil(store.size() / timing.pageObjects)) + 1;
}

const readerOf = ({ kind, served, shared, interner }: Run): Reader => ({
  kind,
  served,
  node: shared.node,
  interner,
});

const listOptions = (run: Run): ListOptions => ({
  client: run.shared.client,
  path: run.served.path,
  query: run.served.query,
  timing: run.shared.timing,
  signal: run.signal,
  onBytes(count) {
    run.bytes += count;
    run.observer.received(count);
  },
  parse: PARSERS[run.kind],
});

// The record of one kind's lists and watches: counts and times for status, metrics and problems.

export interface Observer {
  /** A list, or a watch, is begun for a reason. */
  listing(cause: Cause): void;
  watching(cause: Cause): void;
  /** The server has answered the watch. */
  following(): void;
  /** So many bytes have come. */
  received(bytes: number): void;
  /** A list counts; `differences`: how many of its changes the events before it should have brought. */
  listed(differences: number): void;
  rewound(): void;
  /** `spread`: the time in milliseconds over which all nodes spread the next attempt. */
  failed(failure: Failure, spread: number): void;
  /** The server has it in no version that can be read: a problem for as long as that lasts, for which nothing else waits. */
  unread(reason: string): void;
  /** The server does not have the kind. */
  absent(): void;
  isListed(): boolean;
  /**
   * Why it is not watched, where that has lasted for so long or it has never been listed. Not before all nodes have had their turn, or
   * most nodes of a large cluster would report a problem to the API server that has just come back.
   */
  trouble(lastingMs: number): string | undefined;
  health(objects: number): KindHealth;
}

/** `onChange` is called where trouble may have begun or ended. */
export function openObserver(kind: Kind, now: () => Date, onChange: () => void): Observer {
  const lists: Partial<Record<Cause, number>> = {};
  const watches: Partial<Record<Cause, number>> = {};
  let state: KindHealth["state"] = "listing";
  let contactAt: Date | undefined;
  let listedAt: Date | undefined;
  let failure: { readonly reason: string; readonly since: Date; readonly spread: number } | undefined;
  let differences = 0;
  let bytes = 0;
  const well = (): void => {
    state = "following";
    if (failure === undefined) return;
    failure = undefined;
    onChange();
  };
  return {
    listing(cause) {
      lists[cause] = (lists[cause] ?? 0) + 1;
      if (listedAt === undefined) state = "listing";
    },
    watching(cause) {
      watches[cause] = (watches[cause] ?? 0) + 1;
    },
    following: well,
    received(count) {
      contactAt = now();
      bytes += count;
    },
    listed(found) {
      const first = listedAt === undefined;
      listedAt = now();
      differences += found;
      well();
      if (first) onChange();
    },
    rewound() {
      lists.rewound = (lists.rewound ?? 0) + 1;
    },
    failed({ reason }, spread) {
      state = "waiting";
      failure = {
        reason,
        since: failure?.since ?? now(),
        spread: Math.max(spread, failure?.spread ?? 0),
      };
      onChange();
    },
    unread(reason) {
      state = "waiting";
      contactAt = now();
      listedAt ??= contactAt;
      failure = { reason, since: failure?.since ?? contactAt, spread: 0 };
      onChange();
    },
    absent() {
      state = "absent";
      contactAt = now();
      listedAt = contactAt;
      failure = undefined;
      onChange();
    },
    isListed: () => listedAt !== undefined,
    trouble(lastingMs) {
      if (failure === undefined) return undefined;
      const lasted = now().getTime() - failure.since.getTime();
      return listedAt === undefined || lasted >= lastingMs + failure.spread ? failure.reason : undefined;
    },
    health: (objects) => ({
      kind,
      objects,
      state,
      ...(contactAt === undefined ? {} : { contactAt: contactAt.toISOString() }),
      ...(listedAt === undefined ? {} : { listedAt: listedAt.toISOString() }),
      ...(failure === undefined
        ? {}
        : { failure: { reason: failure.reason, since: failure.since.toISOString() } }),
      lists: { ...lists },
      watches: { ...watches },
      differences,
      bytes,
    }),
  };
}
