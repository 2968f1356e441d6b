// What the agent makes of the kernel's counters: totals for Prometheus, and the history by the minute. Both go on
// where an earlier agent of this boot has ended, however it ended: the counters outlive the agent, and a file has
// what of them was counted already.

import { setTimeout as sleep } from "node:timers/promises";
import * as z from "zod";
import { messageOf } from "../base/errors.ts";
import type { Log } from "../base/log.ts";
import { bootId, readKept, writeKept } from "../base/state-file.ts";
import { readCounts } from "../datapath/per-cpu-counters.ts";
import { type EventView, POLICY_REASONS, peerOf } from "../events/packet-event.ts";
import type { EventTotals } from "../events/packet-event-ring.ts";
import type { HistoryBlock, HistoryRow } from "../history/history-block.ts";
import { openMinute } from "../history/history-minute.ts";
import type { HistorySource } from "../history/history-query.ts";
import { historyRoutes } from "../history/history-routes.ts";
import { type HistoryOptions, type HistoryStore, openHistoryStore } from "../history/history-store.ts";
import type { Problem } from "../model/problem.ts";
import type { Route } from "../observe/socket-routes.ts";
import type { State } from "../state/desired-state.ts";
import type { InForce } from "./agent-views.ts";
import { KEPT_ENDPOINTS, openCountedEndpoints } from "./counted-endpoints.ts";
import { type Cell, COUNT, KEPT_GROWTH, type KeptGrowth, openGrowth } from "./counter-growth.ts";
import { KEPT_TOTALS, openTraffic, type Traffic } from "./counter-totals.ts";
import type { Kernel } from "./datapath-handle.ts";
import { cellsOf } from "./metrics-samples.ts";

export interface AccountingOptions {
  readonly history: HistoryOptions;
  /** The file that says how far the counters were counted; nothing outlives the agent without it. */
  readonly counters?: string;
}

export interface AccountingEnv {
  readonly kernel: () => Pick<Kernel, "datapath"> | undefined;
  readonly force: () => InForce | undefined;
  /** The endpoints that the kernel has before the first reconciliation. */
  readonly found: () => State["endpoints"];
  readonly log: Log;
  readonly now: () => Date;
}

export interface TrafficAccounting {
  readonly traffic: Traffic;
  readonly routes: readonly Route[];
  /** Counts what the kernel has counted since; to be called before endpoints change. Never throws. */
  take(): Promise<void>;
  report(events: readonly EventView[]): void;
  /** Events over all maps that an agent of this boot has had. */
  eventTotals(now: EventTotals): EventTotals;
  /** To be called before totals are shown to others: after that they do not decrease, even if the agent is killed. */
  persist(): void;
  /** Begins to write a block each minute. */
  start(): void;
  problems(): readonly Problem[];
  /** Writes the unfinished minute. */
  close(): Promise<void>;
}

const VERSION = 1;
const MINUTE_MS = 60_000;
/** For the last block to be written. */
const CLOSE_MS_MAX = 2_000;
/** Between two agents, this much is no interruption. */
const AWAY_MS_MIN = 2_000;

const EVENTS = z.object({ map: z.int(), written: COUNT, dropsWritten: COUNT, lost: COUNT });

const ROWS = z.array(
  z.object({
    pod: z.string(),
    direction: z.enum(["ingress", "egress"]),
    reason: z.string(),
    peer: z.string(),
    port: z.string(),
    policies: z.array(z.string()),
    packets: z.number(),
    bytes: z.number(),
  }),
);

const KEPT = z.object({
  boot: z.string(),
  /** Id of the map of counters. */
  map: z.int(),
  endpoints: KEPT_ENDPOINTS,
  metrics: z.object({ growth: KEPT_GROWTH, totals: KEPT_TOTALS, past: EVENTS, events: EVENTS }),
  /** Absent until there is a history. */
  history: z
    .object({
      growth: KEPT_GROWTH,
      /** Of the last block that has all that `growth` has counted. */
      sequence: z.int(),
      to: z.number(),
      /** That block, while it may not be in its file yet. */
      block: z
        .object({ sequence: z.int(), from: z.number(), to: z.number(), away: z.boolean(), rows: ROWS })
        .exactOptional(),
    })
    .exactOptional(),
});

type Kept = z.output<typeof KEPT>;

const NO_EVENTS: EventTotals = { map: 0, written: 0n, dropsWritten: 0n, lost: 0n };

const added = (a: EventTotals, b: EventTotals): Omit<EventTotals, "map"> => ({
  written: a.written + b.written,
  dropsWritten: a.dropsWritten + b.dropsWritten,
  lost: a.lost + b.lost,
});

const keptEvents = ({ map, written, dropsWritten, lost }: EventTotals): z.output<typeof EVENTS> => ({
  map,
  written: String(written),
  dropsWritten: String(dropsWritten),
  lost: String(lost),
});

const eventsFrom = ({ map, written, dropsWritten, lost }: z.output<typeof EVENTS>): EventTotals => ({
  map,
  written: BigInt(written),
  dropsWritten: BigInt(dropsWritten),
  lost: BigInt(lost),
});

/** An endpoint that was made and removed while nothing was known of it. */
const UNKNOWN_POD = "(unknown pod)";

export async function openTrafficAccounting(
  { history, counters: path }: AccountingOptions,
  { kernel, force, found, log, now }: AccountingEnv,
): Promise<TrafficAccounting> {
  let unreadable: string | undefined;
  let unwritable: string | undefined;
  const before = readBefore();
  function readBefore(): Kept | undefined {
    try {
      const value = path === undefined ? undefined : readKept(path, [VERSION]);
      const kept = value === undefined ? undefined : KEPT.parse(value);
      return kept?.boot === bootId() ? kept : undefined;
    } catch (thrown) {
      unreadable = thrown instanceof z.ZodError ? "it has an unexpected form" : messageOf(thrown);
      return undefined;
    }
  }

  const store: HistoryStore = await openHistoryStore(history, now().getTime());
  const earlier = before?.history;
  const left = earlier?.block;
  const newest = (): number => Math.max(0, ...store.heads().map(({ sequence }) => sequence));
  // Not waited for, as in seal(): a disk that hangs must not hold up the start. It is among the heads at once.
  if (left !== undefined && left.sequence > newest()) void store.append(left, now().getTime());
  // A block that is newer than the file has counted more than the file says.
  const continues = earlier !== undefined && earlier.sequence >= newest();

  const endpoints = openCountedEndpoints(before?.endpoints);
  // What an earlier agent has counted is shown from the first scrape on.
  let traffic = openTraffic(before === undefined ? undefined : { kept: before.metrics.totals });
  let growth = openGrowth();
  let hasBaseline = false;
  let sealed: { growth: KeptGrowth; sequence: number; to: number; block?: HistoryBlock } = {
    growth: [],
    sequence: Math.max(newest(), earlier?.sequence ?? 0),
    to: now().getTime(),
  };
  let past = before === undefined ? NO_EVENTS : eventsFrom(before.metrics.past);
  let lastEvents = before === undefined ? NO_EVENTS : eventsFrom(before.metrics.events);
  const minute = openMinute();
  let begun = { at: performance.now(), away: false, ms: 0 };
  /** Id of the map that is counted; undefined until the first look. */
  let map: number | undefined;
  let timer: NodeJS.Timeout | undefined;
  let isClosed = false;

  /** At the first look at the kernel: whether its counters are those that the file is about. */
  function resume(mapNow: number, isEmpty: boolean): void {
    map = mapNow;
    const isSame = before?.map === mapNow;
    const kept = before?.metrics.totals;
    traffic = openTraffic(
      kept === undefined ? undefined : { kept, ...(isSame ? { growth: before?.metrics.growth ?? [] } : {}) },
    );
    if (earlier !== undefined && isSame && continues) {
      growth = openGrowth(earlier.growth);
      const ms = Math.max(0, now().getTime() - earlier.to);
      beginHistory({ at: performance.now(), away: ms >= AWAY_MS_MIN, ms }, earlier.to);
    } else if (isEmpty || (before !== undefined && !isSame)) beginHistory();
  }

  function beginHistory(from = { at: performance.now(), away: false, ms: 0 }, to = now().getTime()): void {
    hasBaseline = true;
    begun = from;
    sealed = { growth: growth.kept(), sequence: sealed.sequence, to };
  }

  function cleared(ids: readonly number[]): void {
    for (const id of ids) {
      traffic.cleared(id);
      growth.cleared(id);
      sealed = { ...sealed, growth: sealed.growth.filter(([endpoint]) => endpoint !== id) };
    }
  }

  function count(cells: readonly Cell[]): void {
    traffic.take(cells, endpoints.policiesOf);
    const grown = growth.take(cells);
    if (!hasBaseline) {
      // What was counted before there was a history belongs to no minute.
      if (force() !== undefined) beginHistory();
      return;
    }
    for (const { endpoint, direction, reason, packets, bytes } of grown)
      minute.count({
        pod: endpoint === 0 ? "" : (endpoints.get(endpoint)?.pod ?? UNKNOWN_POD),
        direction: direction as HistoryRow["direction"],
        reason,
        policies: POLICY_REASONS.has(reason) ? endpoints.policiesOf(endpoint, direction) : [],
        packets: Number(packets),
        bytes: Number(bytes),
      });
  }

  async function takeNow(): Promise<void> {
    const datapath = kernel()?.datapath;
    if (datapath === undefined || isClosed) return;
    const counters = datapath.map("counters");
    const inForce = force();
    const cells = cellsOf(await readCounts(counters));
    if (map === undefined) {
      resume(counters.info.id, cells.length === 0);
      cleared(endpoints.confirm(found()));
    }
    if (inForce !== undefined) cleared(endpoints.settle(inForce));
    if (!endpoints.isKnown()) return;
    // Before the first reconciliation, endpoints that an agent has made in its last moments have no name yet.
    const isNamed = ({ endpoint }: Cell): boolean => endpoint === 0 || endpoints.get(endpoint) !== undefined;
    count(inForce === undefined ? cells.filter(isNamed) : cells);
  }

  // One after another: an older reading after a newer one would look like counters that were cleared.
  let last: Promise<void> = Promise.resolve();
  const inTurn = (work: () => Promise<void>): Promise<void> => {
    last = last
      .then(work)
      .catch((error: unknown) => log.error("the counters cannot be read", { error: messageOf(error) }));
    return last;
  };
  const take = (): Promise<void> => inTurn(takeNow);

  function blockNow(rows: readonly HistoryRow[]): HistoryBlock {
    const to = now().getTime();
    const from = to - Math.round(performance.now() - begun.at) - begun.ms;
    return { sequence: sealed.sequence + 1, from, to, away: begun.away, rows };
  }

  let written: Promise<void> = Promise.resolve();
  async function seal(): Promise<void> {
    await takeNow();
    if (!hasBaseline) return;
    const block = blockNow(minute.seal());
    begun = { at: performance.now(), away: false, ms: 0 };
    sealed = { growth: growth.kept(), sequence: block.sequence, to: block.to, block };
    // First the file, then the block: between the two the file has both.
    persist();
    // Not waited for: a disk that hangs must not hold up the next look at the counters, or a reconciliation.
    written = store.append(block, block.to).then(() => {
      const { block: newest, ...rest } = sealed;
      if (newest === block) sealed = rest;
      reportProblems();
    });
  }

  function persist(): void {
    if (path === undefined || map === undefined) return;
    const { block, ...history } = sealed;
    const value = {
      version: VERSION,
      boot: bootId(),
      map,
      endpoints: endpoints.kept(),
      metrics: {
        growth: traffic.growth(),
        totals: traffic.kept(),
        past: keptEvents(past),
        events: keptEvents(lastEvents),
      },
      ...(hasBaseline ? { history: { ...history, ...(block === undefined ? {} : { block }) } } : {}),
    };
    try {
      writeKept(path, value);
      unwritable = undefined;
    } catch (thrown) {
      unwritable = messageOf(thrown);
    }
  }

  function problems(): readonly Problem[] {
    const problem = (reason: string, effect: string): Problem => ({ severity: "warning", reason, effect });
    return [
      ...(unreadable === undefined
        ? []
        : [
            problem(
              `the counts of an earlier agent cannot be read: ${unreadable}`,
              "enforcement is not affected; counters restart, and the history lacks what was counted meanwhile",
            ),
          ]),
      ...(unwritable === undefined
        ? []
        : [
            problem(
              `the counts cannot be saved: ${unwritable}`,
              "enforcement is not affected; counters restart if the agent ends now",
            ),
          ]),
      ...store.problems(),
    ];
  }

  let reported: ReadonlySet<string> = new Set();
  function reportProblems(): void {
    const present = new Map(problems().map(({ reason, effect }) => [reason, effect]));
    for (const [reason, effect] of present)
      if (!reported.has(reason)) log.warn("history: a problem", { reason, effect: effect ?? "" });
    reported = new Set(present.keys());
  }

  const schedule = (): void => {
    timer = setTimeout(
      () => {
        void inTurn(seal).finally(() => {
          if (!isClosed) schedule();
        });
      },
      MINUTE_MS - (now().getTime() % MINUTE_MS),
    ).unref();
  };

  const source = async (): Promise<HistorySource> => {
    await take();
    return { store, current: blockNow(minute.rows()) };
  };
  return {
    get traffic() {
      return traffic;
    },
    routes: historyRoutes(source, now),
    take,
    report(events) {
      for (const event of events)
        minute.report({
          pod: event.endpoint ?? "",
          direction: event.direction,
          reason: event.reason,
          ...peerOf(event),
          policies: POLICY_REASONS.has(event.reason) ? event.policies : [],
          bytes: event.bytes,
        });
    },
    eventTotals(current) {
      // The programs are not open yet, which is not another map.
      if (current.map === 0) return { ...added(past, lastEvents), map: 0 };
      if (current.map !== lastEvents.map) past = { ...added(past, lastEvents), map: 0 };
      lastEvents = current;
      return { ...added(past, current), map: current.map };
    },
    persist,
    start() {
      reportProblems();
      schedule();
    },
    problems,
    async close() {
      clearTimeout(timer);
      await inTurn(seal);
      isClosed = true;
      await Promise.race([written, sleep(CLOSE_MS_MAX, undefined, { ref: false })]);
    },
  };
}
