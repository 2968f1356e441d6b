// What `weir drops`, `weir top` and `weir monitor --since` share: times, requests for the history, and remarks on what it lacks.

import { InvalidArgumentError, Option } from "commander";
import { API_VERSION } from "../observe/api-views.ts";
import type { HistoryCoverage } from "../observe/history-views.ts";
import { ask } from "../observe/socket-client.ts";
import { someOf } from "../observe/text-output.ts";
import { askAgentOrFail, noAgent } from "./agent-client.ts";
import { note, type PodName } from "./command.ts";
import { CommandError, type Context, type Env, EXIT } from "./environment.ts";

/** A day of a large node takes a second; other questions may come first. */
const TIMEOUT_MS = 60_000;

const UNITS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };

/** A time, or how long ago it was. */
export type Since = { readonly ms: number } | { readonly at: Date };

/** "90s", "15m", "1h30m", "1d", or a time as in ISO 8601; undefined for anything else. */
export function sinceOf(text: string): Since | undefined {
  if (/^(\d{1,6}[smhd])+$/.test(text)) {
    const parts = [...text.matchAll(/(\d+)([smhd])/g)];
    return { ms: parts.reduce((sum, [, count, unit]) => sum + Number(count) * (UNITS[unit ?? ""] ?? 0), 0) };
  }
  const at = /^\d{4}-\d\d-\d\d/.test(text) ? new Date(text) : undefined;
  return at === undefined || Number.isNaN(at.getTime()) ? undefined : { at };
}

function parsedSince(text: string): Since {
  const since = sinceOf(text);
  if (since === undefined)
    throw new InvalidArgumentError("Write a duration (15m, 1h30m) or a time (2026-11-30T01:00:00Z).");
  return since;
}

export const sinceOption = (about: string, otherwise?: string): Option => {
  const option = new Option("--since <time>", about).argParser(parsedSince);
  return otherwise === undefined ? option : option.default(sinceOf(otherwise), otherwise);
};

export const untilOption = (): Option =>
  new Option("--until <time>", "end of the range (default: now)").argParser(parsedSince);

/** The range as the agent takes it. @throws CommandError if it is empty */
export function rangeOf(
  env: Env,
  since: Since,
  until?: Since,
): { readonly since: string; readonly until?: string } {
  const now = env.now().getTime();
  const at = (time: Since): Date => ("at" in time ? time.at : new Date(now - time.ms));
  const [from, to] = [at(since), until === undefined ? undefined : at(until)];
  if (from.getTime() >= (to?.getTime() ?? now))
    throw new CommandError("the range is empty: it ends before it begins", EXIT.usage);
  return { since: from.toISOString(), ...(to === undefined ? {} : { until: to.toISOString() }) };
}

export type Parameters = Readonly<Record<string, string | undefined>>;

/** `path` below "history". @throws CommandError if no agent answers */
export async function askHistory<T>(
  context: Context,
  path: string,
  parameters: Parameters,
  timeoutMs = TIMEOUT_MS,
): Promise<T> {
  // One that hangs is not waited for as long as a large answer.
  await askAgentOrFail(context, "log-level", "only it has the history");
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) if (value !== undefined) query.set(name, value);
  const url = `/${API_VERSION}/history${path}?${query}`;
  const answer = await ask<T>(context.settings.socket, url, { timeoutMs });
  if (answer === undefined) throw new CommandError(`${noAgent(context)}; only it has the history`);
  return answer;
}

/** What of the range is not covered, on stderr. */
export function noteCoverage(env: Env, view: HistoryCoverage): void {
  for (const text of coverageTexts(view)) note(env, text);
}

const SPANS_SHOWN_MAX = 5;

const minute = (iso: string): string => `${iso.slice(0, 19)}Z`;

/** When the history begins, if that is within the range. A minute is counted whole, so that it may begin before it. */
export const beginOf = ({ since, covered }: HistoryCoverage): string | undefined =>
  covered !== undefined && Date.parse(covered.from) > Date.parse(since) + 2_000
    ? minute(covered.from)
    : undefined;

export const beginText = (begins: string): string => `the history begins at ${begins}`;

/** What of the range is not covered, a text for each. */
export function coverageTexts(view: HistoryCoverage): string[] {
  const { covered, gaps, away, damaged, lost } = view;
  const texts: string[] = [];
  const spans = (all: HistoryCoverage["gaps"]): string =>
    someOf(
      all.map(({ from, to }) => `${minute(from)} to ${minute(to)}`),
      SPANS_SHOWN_MAX,
      ", ",
    );
  if (covered === undefined) texts.push("the history has nothing of this time");
  const begins = beginOf(view);
  if (begins !== undefined) texts.push(beginText(begins));
  if (gaps.length > 0) texts.push(`nothing was recorded ${spans(gaps)}`);
  if (away.length > 0)
    texts.push(`no agent ran in a part of ${spans(away)}: packets are counted, without peers`);
  if (damaged > 0) texts.push(`${damaged} bytes of the history are damaged: minutes are missing`);
  if (lost > 0) texts.push(`${lost} minutes could not be written and are lost`);
  return texts;
}

/** @throws CommandError (exit code 4) if neither the agent nor the history, which has `found` nothing, knows it */
export async function requireKnown(
  context: Context,
  { pod, policy }: { readonly pod?: PodName; readonly policy?: string },
): Promise<void> {
  const has = async (view: "endpoints" | "policies", key: string): Promise<boolean> => {
    const all = await askAgentOrFail<readonly PodName[]>(context, view, "it just went away");
    return all.some(({ namespace, name }) => `${namespace}/${name}` === key);
  };
  const key = pod === undefined ? undefined : `${pod.namespace}/${pod.name}`;
  if (key !== undefined && !(await has("endpoints", key)))
    throw new CommandError(`no pod ${key} on this node, nor in the history of this time`, EXIT.notFound);
  if (policy !== undefined && !(await has("policies", policy)))
    throw new CommandError(`no policy ${policy}, nor in the history of this time`, EXIT.notFound);
}

/** @throws CommandError (exit code 2) if there is no such reason */
export async function requireReason(reason: string | undefined): Promise<void> {
  if (reason === undefined) return;
  const { REASON_NAMES } = await import("../gen/layout.ts");
  const reasons = Object.values(REASON_NAMES);
  if (!reasons.includes(reason))
    throw new CommandError(`no reason ${reason}; there are ${reasons.join(", ")}`, EXIT.usage);
}

export const podKey = (pod: PodName | undefined): string | undefined =>
  pod === undefined ? undefined : `${pod.namespace}/${pod.name}`;
