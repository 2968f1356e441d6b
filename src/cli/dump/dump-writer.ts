// Writing a dump, piece by piece, so that a table with hundreds of thousands of entries takes no more memory than it must.

import { setImmediate as nextTurn } from "node:timers/promises";
import { joined } from "../../base/slices.ts";
import type { Dump, Entry } from "../../observe/dump/map-dump.ts";
import { tableTexts } from "../../observe/text-output.ts";
import { jsonText, WIDTH_MAX, type WriteOptions } from "../command.ts";
import type { Env } from "../environment.ts";

/** Entries that are written at a time, and rows that say how wide the columns are. */
const PIECE = 1_000;

export async function writeDump(env: Env, dump: Dump, { output, headers }: WriteOptions): Promise<void> {
  const isFitted = output === "table" && headers;
  const fit = isFitted ? { fit: env.stdout.columns ?? WIDTH_MAX } : {};
  for (const piece of await piecesOf(dump, { output, headers }, fit)) {
    env.stdout.write(piece);
    // The reader may have closed the pipe (`| head`): the error arrives only between two writes.
    await nextTurn();
  }
}

async function piecesOf(
  dump: Dump,
  { output, headers }: WriteOptions,
  fit: { readonly fit?: number },
): Promise<Iterable<string>> {
  switch (output) {
    case "json":
      return dump.single ? [jsonText(onlyValue(dump))] : jsonPieces(dump);
    case "ndjson":
      return joined(
        mapped(dump, ({ json }) => jsonText(json(), 0)),
        PIECE,
      );
    case "yaml": {
      const { yamlText } = await import("../yaml-output.ts");
      if (dump.single) return [yamlText(onlyValue(dump))];
      const items = mapped(dump, ({ json }) => yamlText([json()]));
      return joined(orElse(items, "[]\n"), PIECE);
    }
    default:
      return tableTexts(dump.columns, rowsOf(dump), { headers, window: PIECE, ...fit });
  }
}

const onlyValue = ({ entries }: Dump): unknown => [...entries][0]?.json();

function* mapped<T>({ entries }: Dump, make: (entry: Entry) => T): Iterable<T> {
  for (const entry of entries) yield make(entry);
}

function* rowsOf({ entries }: Dump): Iterable<readonly string[]> {
  for (const { rows } of entries) yield* rows();
}

/** As JSON.stringify writes a list: line breaks in an entry's text are never within a string. */
function* jsonPieces(dump: Dump): Iterable<string> {
  let separator = "[\n";
  const items = mapped(dump, ({ json }) => `  ${jsonText(json()).trimEnd().replaceAll("\n", "\n  ")}`);
  for (const item of items) {
    yield `${separator}${item}`;
    separator = ",\n";
  }
  yield separator === "[\n" ? "[]\n" : "\n]\n";
}

function* orElse(items: Iterable<string>, otherwise: string): Iterable<string> {
  let some = false;
  for (const item of items) {
    some = true;
    yield item;
  }
  if (!some) yield otherwise;
}
