// The socket's routes for the history: packets of a time, and the pods with the most traffic.

import { EVENT_VERDICTS, type EventVerdict } from "../observe/filter-choices.ts";
import { HISTORY_GROUPINGS, TOP_BY } from "../observe/history-views.ts";
import { RequestError, type Route } from "../observe/socket-routes.ts";
import {
  answerHistory,
  answerTop,
  type HistoryFilter,
  type HistoryRange,
  type HistorySource,
  ROWS_MAX,
} from "./history-query.ts";

const FILTERS = ["since", "until", "verdict", "reason", "pod", "namespace", "policy", "peer"] as const;

export function historyRoutes(source: () => Promise<HistorySource>, now: () => Date): Route[] {
  // One at a time: a day of a large node takes a second of work, which clients at once would multiply.
  let last: Promise<unknown> = Promise.resolve();
  const inTurn = <T>(work: (from: HistorySource) => Promise<T>): Promise<T> => {
    const answer = last.then(async () => work(await source()));
    last = answer.catch(() => undefined);
    return answer;
  };
  return [
    {
      method: "GET",
      path: "history",
      parameters: [...FILTERS, "by"],
      answer: (asked) => {
        const by = choiceIn(asked, "by", HISTORY_GROUPINGS);
        const question = {
          ...filterIn(asked),
          ...rangeIn(asked, now()),
          ...(by === undefined ? {} : { by }),
        };
        return inTurn((from) => answerHistory(from, question));
      },
    },
    {
      method: "GET",
      path: "history/top",
      parameters: [...FILTERS, "by", "limit"],
      answer: (asked) => {
        const by = choiceIn(asked, "by", TOP_BY) ?? "bytes";
        const question = { ...filterIn(asked), ...rangeIn(asked, now()), by, limit: limitIn(asked) };
        return inTurn((from) => answerTop(from, question));
      },
    },
  ];
}

function choiceIn<T extends string>(
  asked: URLSearchParams,
  name: string,
  choices: readonly T[],
): T | undefined {
  const text = asked.get(name);
  if (text === null) return undefined;
  const found = choices.find((choice) => choice === text);
  if (found === undefined) throw new RequestError(`${name}: expected one of ${choices.join(", ")}`);
  return found;
}

function rangeIn(asked: URLSearchParams, now: Date): HistoryRange {
  const timeIn = (name: string, otherwise: number): number => {
    const text = asked.get(name);
    const ms = text === null ? otherwise : Date.parse(text);
    if (!Number.isFinite(ms)) throw new RequestError(`${name}: expected a time as in ISO 8601`);
    return ms;
  };
  const until = timeIn("until", now.getTime());
  return { since: timeIn("since", until - 3_600_000), until };
}

function filterIn(asked: URLSearchParams): HistoryFilter {
  const verdicts = asked
    .get("verdict")
    ?.split(",")
    .map((text): EventVerdict => {
      const verdict = EVENT_VERDICTS.find((each) => each === text);
      if (verdict === undefined)
        throw new RequestError(`verdict: expected one of ${EVENT_VERDICTS.join(", ")}`);
      return verdict;
    });
  const texts = (["reason", "pod", "namespace", "policy", "peer"] as const).flatMap((name) => {
    const text = asked.get(name);
    return text === null ? [] : [[name, text] as const];
  });
  return { ...Object.fromEntries(texts), ...(verdicts === undefined ? {} : { verdicts: new Set(verdicts) }) };
}

function limitIn(asked: URLSearchParams): number {
  const text = asked.get("limit") ?? "20";
  if (!/^[0-9]{1,5}$/.test(text) || Number(text) < 1 || Number(text) > ROWS_MAX)
    throw new RequestError(`limit: expected a number from 1 to ${ROWS_MAX}`);
  return Number(text);
}
