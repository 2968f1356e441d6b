// Taking a snapshot: every table of the kernel, decoded, as lines of JSON; and such files, written and read.

import { createReadStream, createWriteStream, renameSync, rmSync } from "node:fs";
import { hostname, release } from "node:os";
import { createInterface } from "node:readline";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { createGunzip, createGzip } from "node:zlib";
import { codeOf, messageOf } from "../base/errors.ts";
import { joined } from "../base/slices.ts";
import type { Dump } from "../observe/dump/map-dump.ts";
import { TABLE_NAMES, type TableName } from "../observe/dump/map-tables.ts";
import { SNAPSHOT_FORMAT, type Snapshot, type SnapshotHead, snapshotFrom } from "../observe/map-snapshot.ts";
import { namesFor } from "./agent-client.ts";
import { jsonText } from "./command.ts";
import { readDump } from "./dump/dump-reader.ts";
import { CommandError, type Context, EXIT, versionOf } from "./environment.ts";
import { readKernel } from "./pinned-maps.ts";

export interface Taken {
  readonly head: SnapshotHead;
  /** With line breaks, produced on demand. */
  readonly lines: Iterable<string>;
}

/** All tables at one generation. @throws CommandError where nothing is pinned */
export async function takeSnapshot(context: Context): Promise<Taken> {
  const { env } = context;
  const { names } = await namesFor(context);
  return readKernel(context, async (kernel) => {
    const dumps: (readonly [TableName, Dump])[] = [];
    for (const name of TABLE_NAMES) dumps.push([name, await readDump(name, kernel, names)]);
    const head: SnapshotHead = {
      format: SNAPSHOT_FORMAT,
      takenAt: env.now().toISOString(),
      node: hostname(),
      weir: versionOf(env.root),
      layout: kernel.pins.digest,
      kernel: release(),
      generation: kernel.generation,
    };
    return { head, lines: linesOf(head, dumps) };
  });
}

function* linesOf(head: SnapshotHead, dumps: readonly (readonly [TableName, Dump])[]): Iterable<string> {
  yield jsonText(head, 0);
  for (const [table, { entries }] of dumps)
    for (const { json } of entries) yield jsonText({ table, entry: json() }, 0);
}

/** Readable by its owner alone, and there only when it is whole. */
export async function writeSnapshot({ lines }: Taken, file: string): Promise<void> {
  const unfinished = `${file}.partial`;
  try {
    const out = createWriteStream(unfinished, { mode: 0o600 });
    await pipeline(Readable.from(joined(lines, CHUNK_LINES)), createGzip(), out);
    renameSync(unfinished, file);
  } catch (thrown) {
    rmSync(unfinished, { force: true });
    throw new CommandError(`${file}: ${messageOf(thrown)}`);
  }
}

const CHUNK_LINES = 1_000;

export async function snapshotOfNow(context: Context): Promise<Snapshot> {
  const { lines } = await takeSnapshot(context);
  return snapshotFrom(Readable.from(lines));
}

/** @throws CommandError if it is not a snapshot, or missing (exit code 4) */
export async function readSnapshot(file: string): Promise<Snapshot> {
  const unzipped = createGunzip();
  const reading = pipeline(createReadStream(file), unzipped);
  // The reader of the lines reports this, unless nothing could be read.
  reading.catch(() => undefined);
  try {
    const snapshot = await snapshotFrom(
      createInterface({ input: unzipped, crlfDelay: Number.POSITIVE_INFINITY }),
    );
    await reading;
    return snapshot;
  } catch (thrown) {
    const cause = await reading.then(
      () => thrown,
      (error: unknown) => error,
    );
    const isMissing = codeOf(cause) === "ENOENT";
    const reason = isMissing ? "does not exist" : `is not a snapshot: ${messageOf(cause)}`;
    throw new CommandError(`${file} ${reason}`, isMissing ? EXIT.notFound : EXIT.error);
  }
}
