// The history on disk: blocks in files of about an hour, bounded in bytes and age. Errors are problems, never
// exceptions: enforcement does not depend on the history. Damaged parts are skipped and reported.

import { open, readdir, readFile, rm, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { codeOf, messageOf } from "../base/errors.ts";
import { makePrivateDirectory } from "../base/private-directory.ts";
import type { Problem } from "../model/problem.ts";
import {
  type BlockHead,
  frameOf,
  framesIn,
  type HistoryBlock,
  type HistoryRow,
  rowsOf,
} from "./history-block.ts";

export interface HistoryOptions {
  readonly directory: string;
  /** Maximum size of all files together. */
  readonly bytesMax: number;
}

export interface HistoryStore {
  /** In order of their sequence. */
  heads(): readonly BlockHead[];
  /** The rows of a block; undefined if it has been removed or cannot be read. */
  rows(head: BlockHead): Promise<readonly HistoryRow[] | undefined>;
  /** Writes it and what could not be written before, and removes what is too old or too much. */
  append(block: HistoryBlock, now: number): Promise<void>;
  /** Bytes in files that cannot be decoded. */
  damaged(): number;
  /** Minutes that were never written and had to be given up. */
  lost(): number;
  problems(): readonly Problem[];
}

export const HISTORY_MS = 24 * 3_600_000;
/** Blocks in one file, and the part of the limit that one file may take: files are removed as a whole. */
const BLOCKS_EACH = 60;
const FILES_MIN = 16;
/** Of all blocks: a clock that was set back must not keep them forever. */
const BLOCKS_MAX = 2 * 24 * 60;
/** Blocks that wait in memory while they cannot be written. */
const WAITING_MAX = 120;
const WAITING_BYTES_MAX = 4 * 1024 * 1024;
const OPEN_MS_MAX = 5_000;
const NAME = /^[0-9]{12}\.history$/;

interface File {
  readonly path: string;
  /** Of its name: the sequence of its first block, or more. */
  readonly number: number;
  heads: readonly Placed[];
  bytes: number;
  damaged: number;
}

type Placed = BlockHead & { readonly offset: number };

interface Waiting {
  readonly head: BlockHead;
  readonly frame: Buffer;
}

/** Reads what an earlier agent has left. Never throws. */
export async function openHistoryStore(
  { directory, bytesMax }: HistoryOptions,
  openedAt: number,
): Promise<HistoryStore> {
  let files: File[] = [];
  let waiting: Waiting[] = [];
  let lost = 0;
  let unreadable: string | undefined;
  let unwritable: string | undefined;
  try {
    files = await withinTime(filesIn(directory));
  } catch (thrown) {
    unreadable = messageOf(thrown);
  }
  const total = (): number => files.reduce((sum, { bytes }) => sum + bytes, 0);
  const blocks = (): number => files.reduce((sum, { heads }) => sum + heads.length, 0);

  async function prune(now: number, more: number): Promise<void> {
    for (let [oldest] = files; oldest !== undefined; [oldest] = files) {
      // Damaged parts are reported for as long as if they had been written when they were found.
      const newest = Math.max(...oldest.heads.map(({ to }) => to), oldest.damaged > 0 ? openedAt : 0);
      const isWithin = total() + more <= bytesMax && blocks() < BLOCKS_MAX;
      if (newest >= now - HISTORY_MS && isWithin) return;
      // Also a directory in its place.
      await rm(oldest.path, { recursive: true, force: true });
      files = files.slice(1);
    }
  }

  /** The newest file, if it is sound and has room, or another one. */
  function fileFor({ head, frame }: Waiting): File {
    const newest = files.at(-1);
    const isFull = (file: File): boolean =>
      file.heads.length >= BLOCKS_EACH || file.bytes + frame.length > bytesMax / FILES_MIN;
    if (newest !== undefined && newest.damaged === 0 && (!isFull(newest) || newest.heads.length === 0))
      return newest;
    const number = Math.max(head.sequence, (newest?.number ?? 0) + 1);
    const name = `${String(number).padStart(12, "0")}.history`;
    return { path: join(directory, name), number, heads: [], bytes: 0, damaged: 0 };
  }

  async function write(each: Waiting, now: number): Promise<void> {
    await prune(now, each.frame.length);
    await makePrivateDirectory(directory);
    const file = fileFor(each);
    try {
      await appendAt(file.path, file.bytes, each.frame);
    } catch (thrown) {
      if (codeOf(thrown) === "ENOENT" && file.heads.length > 0) {
        unreadable = `${file.path} was removed`;
        files = files.filter((other) => other !== file);
      }
      // What was written of it would be a damaged part.
      else await truncate(file.path, file.bytes).catch(() => undefined);
      throw thrown;
    }
    if (!files.includes(file)) files.push(file);
    file.heads = [...file.heads, { ...each.head, offset: file.bytes }];
    file.bytes += each.frame.length;
  }

  /** `more`: how many of them are about to be written. */
  function limitWaiting(more: number): void {
    let bytes = waiting.reduce((sum, { frame }) => sum + frame.length, 0);
    while (waiting.length > WAITING_MAX + more || bytes > WAITING_BYTES_MAX) {
      bytes -= waiting[0]?.frame.length ?? 0;
      waiting = waiting.slice(1);
      lost += 1;
    }
  }

  let flushed: Promise<void> = Promise.resolve();
  async function flush(now: number): Promise<void> {
    try {
      for (let [next] = waiting; next !== undefined; [next] = waiting) {
        await write(next, now);
        waiting = waiting.filter((each) => each !== next);
      }
      unwritable = undefined;
    } catch (thrown) {
      unwritable = messageOf(thrown);
      limitWaiting(0);
    }
  }

  return {
    heads: () => [...files.flatMap(({ heads }) => heads), ...waiting.map(({ head }) => head)],
    async rows(head) {
      // By value: a block that was waiting may have been written since its head was taken.
      const isIt = (other: BlockHead): boolean => other.sequence === head.sequence && other.to === head.to;
      const kept = waiting.find((each) => isIt(each.head))?.frame;
      if (kept !== undefined) return rowsOf(kept);
      const file = files.find(({ heads }) => heads.some(isIt));
      const placed = file?.heads.find(isIt);
      if (file === undefined || placed === undefined) return undefined;
      try {
        return rowsOf(await readAt(file.path, placed.offset, placed.length));
      } catch (thrown) {
        // Removed or changed by others since it was read first.
        file.heads = file.heads.filter((each) => each !== placed);
        file.damaged += placed.length;
        unreadable = messageOf(thrown);
        return undefined;
      }
    },
    append(block, now) {
      const frame = frameOf(block);
      const { rows: _, ...head } = block;
      waiting.push({ head: { ...head, length: frame.length }, frame });
      limitWaiting(1);
      flushed = flushed.then(() => flush(now));
      return flushed;
    },
    damaged: () => files.reduce((sum, { damaged }) => sum + damaged, 0),
    lost: () => lost,
    problems() {
      const damaged = files.reduce((sum, file) => sum + file.damaged, 0);
      const problem = (reason: string, effect: string): Problem => ({ severity: "warning", reason, effect });
      return [
        ...(unwritable === undefined
          ? []
          : [
              problem(
                `the history cannot be written to ${directory}: ${unwritable}`,
                `enforcement is not affected; ${waiting.length} minutes are in memory alone, ${lost} are lost`,
              ),
            ]),
        ...(unreadable === undefined
          ? []
          : [
              problem(
                `the history in ${directory} cannot be read: ${unreadable}`,
                "enforcement is not affected; `weir drops` and `weir top` lack what is there",
              ),
            ]),
        ...(damaged === 0
          ? []
          : [
              problem(
                `${damaged} bytes of the history in ${directory} are damaged`,
                "enforcement is not affected; the minutes in them are missing in `weir drops` and `weir top`",
              ),
            ]),
      ];
    },
  };
}

async function filesIn(directory: string): Promise<File[]> {
  await makePrivateDirectory(directory);
  const names = (await readdir(directory)).filter((name) => NAME.test(name)).sort();
  const files: File[] = [];
  for (const name of names) files.push(await fileAt(join(directory, name), Number.parseInt(name, 10)));
  return files;
}

/** The agent does not start before this: a disk that hangs must not hold up enforcement. */
async function withinTime<T>(work: Promise<T>): Promise<T> {
  const late = new AbortController();
  try {
    return await Promise.race([
      work,
      sleep(OPEN_MS_MAX, undefined, { signal: late.signal }).then((): never => {
        throw new Error(`no answer within ${OPEN_MS_MAX} ms`);
      }),
    ]);
  } finally {
    late.abort();
    work.catch(() => undefined);
  }
}

/** One that cannot be read counts as damaged, so that it is removed in its turn and hides no other. */
async function fileAt(path: string, number: number): Promise<File> {
  let content: Buffer;
  try {
    content = await readFile(path);
  } catch {
    const size = await stat(path).then(
      (found) => found.size,
      () => 0,
    );
    const bytes = Math.max(1, size);
    return { path, number, heads: [], bytes, damaged: bytes };
  }
  const { frames, damaged } = framesIn(content);
  return { path, number, heads: frames, bytes: content.length, damaged };
}

async function appendAt(path: string, offset: number, bytes: Buffer): Promise<void> {
  const file = await open(path, offset === 0 ? "w" : "r+", 0o600);
  try {
    let written = 0;
    while (written < bytes.length) {
      const done = await file.write(bytes, written, bytes.length - written, offset + written);
      written += done.bytesWritten;
    }
  } finally {
    await file.close();
  }
}

async function readAt(path: string, offset: number, length: number): Promise<Buffer> {
  const file = await open(path, "r");
  try {
    const bytes = Buffer.alloc(length);
    const { bytesRead } = await file.read(bytes, 0, length, offset);
    return bytes.subarray(0, bytesRead);
  } finally {
    await file.close();
  }
}
