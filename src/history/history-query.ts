// Questions to the history: rows of a range of minutes, filtered and added up.

import { setImmediate } from "node:timers/promises";
import { verdictOfReason } from "../events/packet-event.ts";
import type { EventVerdict } from "../observe/filter-choices.ts";
import {
  type HistoryCoverage,
  type HistoryGrouping,
  type HistoryRowView,
  type HistoryView,
  OTHER_PEERS,
  type TalkerView,
  type TopBy,
  type TopView,
  talkerSize,
} from "../observe/history-views.ts";
import type { HistoryBlock, HistoryRow } from "./history-block.ts";
import type { HistoryStore } from "./history-store.ts";

export interface HistoryRange {
  /** In ms since the epoch. */
  readonly since: number;
  readonly until: number;
}

export interface HistoryFilter {
  readonly verdicts?: ReadonlySet<EventVerdict>;
  readonly reason?: string;
  readonly pod?: string;
  readonly namespace?: string;
  readonly policy?: string;
  readonly peer?: string;
}

export interface HistorySource {
  readonly store: Pick<HistoryStore, "heads" | "rows" | "damaged" | "lost">;
  /** The minute that is being counted. */
  readonly current: HistoryBlock;
}

/** Of an answer. */
export const ROWS_MAX = 5_000;
/** Distinct rows that are added up in memory; others are added to the omitted ones. */
const KEYS_MAX = 50_000;
/** Between two blocks, this much is the time that sealing one takes. */
const GAP_MS_MIN = 2_000;

type Take = (row: HistoryRow, from: number) => void;

/** Calls `take` with the rows of all minutes that overlap the range; other work may run in between. */
async function walk(
  { store, current }: HistorySource,
  range: HistoryRange,
  take: Take,
): Promise<HistoryCoverage> {
  const overlaps = ({ from, to }: { from: number; to: number }): boolean =>
    to > range.since && from < range.until;
  const spans: { from: number; to: number; away: boolean }[] = [];
  for (const head of store.heads().filter(overlaps)) {
    const rows = await store.rows(head);
    if (rows === undefined) continue;
    spans.push(head);
    for (const row of rows) take(row, head.from);
    await setImmediate();
  }
  if (overlaps(current)) {
    spans.push(current);
    for (const row of current.rows) take(row, current.from);
  }
  return { ...coverageOf(spans, range), damaged: store.damaged(), lost: store.lost() };
}

function coverageOf(
  spans: readonly { from: number; to: number; away: boolean }[],
  { since, until }: HistoryRange,
): Omit<HistoryCoverage, "damaged" | "lost"> {
  const iso = (ms: number): string => new Date(ms).toISOString();
  const view = ({ from, to }: { from: number; to: number }) => ({ from: iso(from), to: iso(to) });
  // By time, not by sequence: a clock that was set makes minutes overlap, or leaves a gap.
  const sorted = [...spans].sort((a, b) => a.from - b.from);
  const gaps: { from: number; to: number }[] = [];
  let end = sorted[0]?.from ?? 0;
  for (const { from, to } of sorted) {
    if (from - end > GAP_MS_MIN) gaps.push({ from: end, to: from });
    end = Math.max(end, to);
  }
  const [first] = sorted;
  return {
    since: iso(since),
    until: iso(until),
    ...(first === undefined ? {} : { covered: view({ from: first.from, to: end }) }),
    gaps: gaps.map(view),
    away: sorted.filter(({ away }) => away).map(view),
  };
}

export const NO_POD = "(no pod)";
export const NO_POLICY = "(none)";

function matches(row: HistoryRow, filter: HistoryFilter): boolean {
  const { verdicts, reason, pod, namespace, policy, peer } = filter;
  return (
    (verdicts === undefined || verdicts.has(verdictOfReason(row.reason))) &&
    (reason === undefined || row.reason === reason) &&
    (pod === undefined || row.pod === pod || row.peer === pod) &&
    (namespace === undefined || row.pod.startsWith(`${namespace}/`)) &&
    (policy === undefined || row.policies.includes(policy)) &&
    (peer === undefined || row.peer === peer)
  );
}

/** The rows of an answer that one stored row belongs to: several for `policy`. */
function partsOf(
  row: HistoryRow,
  from: number,
  by: HistoryGrouping | undefined,
): Omit<HistoryRowView, "packets" | "bytes">[] {
  const pod = row.pod || NO_POD;
  const peer = row.peer || OTHER_PEERS;
  const { direction, reason, policies } = row;
  const port = row.port === "" ? {} : { port: row.port };
  switch (by) {
    case "pod":
      return [{ pod }];
    case "peer":
      return [{ peer }];
    case "policy":
      return (policies.length === 0 ? [NO_POLICY] : policies).map((policy) => ({ policy }));
    case "minute":
      return [{ time: new Date(from).toISOString(), pod, direction, reason, peer, ...port, policies }];
    case undefined:
      return [{ pod, direction, reason, peer, ...port, policies }];
  }
}

export interface HistoryQuestion extends HistoryRange, HistoryFilter {
  readonly by?: HistoryGrouping;
}

export async function answerHistory(source: HistorySource, question: HistoryQuestion): Promise<HistoryView> {
  const { by } = question;
  const sums = new Map<string, { -readonly [K in keyof HistoryRowView]: HistoryRowView[K] }>();
  const total = { packets: 0, bytes: 0 };
  const beyond = { rows: 0, packets: 0, bytes: 0 };
  const coverage = await walk(source, question, (row, from) => {
    if (!matches(row, question)) return;
    total.packets += row.packets;
    total.bytes += row.bytes;
    for (const part of partsOf(row, from, by)) {
      const key = JSON.stringify(part);
      const known = sums.get(key);
      if (known === undefined && sums.size >= KEYS_MAX) {
        beyond.rows += 1;
        beyond.packets += row.packets;
        beyond.bytes += row.bytes;
        continue;
      }
      const sum = known ?? { ...part, packets: 0, bytes: 0 };
      sum.packets += row.packets;
      sum.bytes += row.bytes;
      sums.set(key, sum);
    }
  });
  const sorted = [...sums.values()].sort(
    by === "minute" ? (a, b) => ((a.time ?? "") < (b.time ?? "") ? -1 : 1) : (a, b) => b.packets - a.packets,
  );
  // Of minutes the latest, of sums the largest.
  const [kept, left] =
    by === "minute"
      ? [sorted.slice(-ROWS_MAX), sorted.slice(0, -ROWS_MAX)]
      : [sorted.slice(0, ROWS_MAX), sorted.slice(ROWS_MAX)];
  for (const { packets, bytes } of left) {
    beyond.rows += 1;
    beyond.packets += packets;
    beyond.bytes += bytes;
  }
  return { ...coverage, rows: kept, total, ...(beyond.rows === 0 ? {} : { omitted: beyond }) };
}

export async function answerTop(
  source: HistorySource,
  { by, limit, ...question }: HistoryRange & HistoryFilter & { readonly by: TopBy; readonly limit: number },
): Promise<TopView> {
  type Sum = { packets: number; bytes: number };
  const pods = new Map<
    string,
    { pod: string; ingress: Sum; egress: Sum; connections: number; dropped: number }
  >();
  const coverage = await walk(source, question, (row) => {
    if (row.pod === "" || !matches(row, question)) return;
    const nothing = (): Sum => ({ packets: 0, bytes: 0 });
    const sum = pods.get(row.pod) ?? {
      pod: row.pod,
      ingress: nothing(),
      egress: nothing(),
      connections: 0,
      dropped: 0,
    };
    pods.set(row.pod, sum);
    if (verdictOfReason(row.reason) === "dropped") sum.dropped += row.packets;
    else {
      sum[row.direction].packets += row.packets;
      sum[row.direction].bytes += row.bytes;
      if (row.reason === "policy") sum.connections += row.packets;
    }
  });
  const size = (pod: TalkerView): number => talkerSize(pod, by);
  const sorted = [...pods.values()].sort((a, b) => size(b) - size(a) || (a.pod < b.pod ? -1 : 1));
  const omitted = sorted.length - limit;
  return { ...coverage, pods: sorted.slice(0, limit), ...(omitted <= 0 ? {} : { omitted }) };
}
