// Parses the contents of files: short ones at once, all others in processes of their own, while the agent goes on.

import { setImmediate } from "node:timers/promises";
import { decode, type FileReading, failedReading, NOT_TEXT, readText } from "./manifest-reading.ts";
import { openReaders, type ReaderLimits } from "./reader-pool.ts";

/** What is read at once: the worst content of this size takes a few milliseconds. */
export const INLINE_BYTES_MAX = 4 * 1024;

/** How long a file that is read at once may keep the event loop, as far as its division into documents allows. */
const SLICE_MS = 10;

export interface Contents {
  /** Undefined while it is being read: `onRead` is called then, and the same content is requested again. */
  of(file: string, bytes: Uint8Array, digest: string): Promise<FileReading | undefined>;
  /** Whether the content that was requested last is still being read. */
  isReading(file: string): boolean;
  /** Reads it, however long that takes. */
  whole(file: string, bytes: Uint8Array): Promise<FileReading>;
  /** Other files are no longer needed. */
  forgetOthers(files: ReadonlySet<string>): void;
  close(): void;
}

interface Job {
  readonly digest: string;
  readonly stop: AbortController;
  reading?: FileReading;
}

export function openContents(onRead: () => void, limits?: ReaderLimits): Contents {
  const readers = openReaders(limits);
  const jobs = new Map<string, Job>();
  const forever = new AbortController();

  function drop(file: string): void {
    jobs.get(file)?.stop.abort();
    jobs.delete(file);
  }

  function begin(file: string, bytes: Uint8Array, digest: string): void {
    const job: Job = { digest, stop: new AbortController() };
    jobs.set(file, job);
    void readers.read(file, bytes, job.stop.signal).then((reading) => {
      job.reading = reading;
      if (jobs.get(file) === job) onRead();
    });
  }

  return {
    of: async (file, bytes, digest) => {
      const job = jobs.get(file);
      if (job?.digest === digest && job.reading === undefined) return undefined;
      drop(file);
      if (job?.digest === digest) return job.reading;
      if (bytes.length <= INLINE_BYTES_MAX) return readInSlices(file, bytes);
      begin(file, bytes, digest);
      return undefined;
    },
    isReading: (file) => {
      const job = jobs.get(file);
      return job !== undefined && job.reading === undefined;
    },
    whole: (file, bytes) =>
      bytes.length <= INLINE_BYTES_MAX
        ? readInSlices(file, bytes)
        : readers.read(file, bytes, forever.signal),
    forgetOthers: (files) => {
      for (const file of [...jobs.keys()]) if (!files.has(file)) drop(file);
    },
    close: () => {
      forever.abort();
      for (const file of [...jobs.keys()]) drop(file);
      readers.close();
    },
  };
}

/** Reads any content at once. */
export const readAtOnce: Pick<Contents, "of"> = { of: (file, bytes) => readInSlices(file, bytes) };

/** Yields to the event loop between documents. */
async function readInSlices(file: string, bytes: Uint8Array): Promise<FileReading> {
  const text = decode(bytes);
  if (text === undefined) return failedReading(file, NOT_TEXT);
  const steps = readText(file, text);
  let until = performance.now() + SLICE_MS;
  for (;;) {
    const step = steps.next();
    if (step.done) return step.value;
    if (performance.now() < until) continue;
    await setImmediate();
    until = performance.now() + SLICE_MS;
  }
}
