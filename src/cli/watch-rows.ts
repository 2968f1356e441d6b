// `get … --watch`: writes what there is, then again whatever changes, until it is stopped.

import { pause } from "../base/scheduler.ts";
import { tableTexts } from "../observe/text-output.ts";
import { isSilence, type Silence } from "./agent-client.ts";
import { note, type Result, type WriteOptions, write } from "./command.ts";
import { type Context, EXIT } from "./environment.ts";

const PERIOD_MS = 1_000;

/** The watched rows, identified by their keys. */
export interface Watched<T> {
  /** The present rows, or why there are none. */
  readonly fetch: () => Promise<readonly T[] | Silence>;
  readonly keyOf: (row: T) => string;
  /** What of a row makes it another one when it changes. */
  readonly contentOf: (row: T) => unknown;
  /** How a row is shown that is gone. */
  readonly gone: (row: T) => T;
  readonly resultOf: (rows: readonly T[]) => Result;
}

/** Ends at SIGINT or SIGTERM. While no agent answers, that is noted once, and the last rows are kept. */
export async function watchRows<T>(
  { env }: Context,
  watched: Watched<T>,
  options: WriteOptions,
): Promise<number> {
  const signal = env.stopSignal();
  const print = printer({ env }, watched, options);
  let seen: ReadonlyMap<string, T> = new Map();
  let isSilent = false;
  while (!signal.aborted) {
    const answer = await watched.fetch();
    if (isSilence(answer)) {
      if (!isSilent) note(env, `${answer.reason}; waiting for one`);
      isSilent = true;
    } else {
      isSilent = false;
      const rows = new Map(answer.map((row) => [watched.keyOf(row), row]));
      await print(changes(seen, rows, watched));
      seen = rows;
    }
    await pause(PERIOD_MS, signal);
  }
  return EXIT.ok;
}

function changes<T>(
  before: ReadonlyMap<string, T>,
  now: ReadonlyMap<string, T>,
  { contentOf, gone }: Watched<T>,
): T[] {
  const text = (row: T | undefined): string | undefined =>
    row === undefined ? undefined : JSON.stringify(contentOf(row));
  const changed = [...now].filter(([key, row]) => text(row) !== text(before.get(key)));
  const lost = [...before].filter(([key]) => !now.has(key));
  return [...changed.map(([, row]) => row), ...lost.map(([, row]) => gone(row))];
}

/** Tables keep their columns from one print to the next; other formats come row by row. */
function printer<T>({ env }: Pick<Context, "env">, { resultOf }: Watched<T>, options: WriteOptions) {
  const widths: number[] = [];
  let headers = options.headers;
  return async (rows: readonly T[]): Promise<void> => {
    if (rows.length === 0) return;
    const { output } = options;
    if (output !== "table" && output !== "wide") {
      for (const row of rows) await write(env, { ...resultOf([row]), value: row }, options);
      return;
    }
    const { columns, rows: cells } = resultOf(rows).table(output === "wide");
    const texts = tableTexts(columns, cells, { headers, window: Number.POSITIVE_INFINITY, widths });
    env.stdout.write([...texts].join(""));
    headers = false;
  };
}
