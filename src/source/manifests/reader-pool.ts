// Reads files in processes of their own: the content costs those time and memory, and not the agent. Worker threads
// would not do: V8 keeps the memory of a thread's heap for as long as the process lives.

import { type ChildProcess, fork } from "node:child_process";
import { readFileSync } from "node:fs";
import { programPath } from "../../base/child-program.ts";
import { succeeds } from "../../base/errors.ts";
import type { ParsedObject } from "../parse/parse-document.ts";
import { type FileReading, failedReading } from "./manifest-reading.ts";

/** What goes to a reader. */
export type Request =
  | { readonly kind: "read"; readonly file: string; readonly bytes: Uint8Array }
  | { readonly kind: "next" };

/** What comes from it for each request. */
export interface Part {
  readonly objects: readonly ParsedObject[];
  /** With the last part. */
  readonly rest?: FileReading;
}

/** Objects that come at once: taking them in takes the agent a few milliseconds. */
export const PART_OBJECTS = 100;

export interface ReaderLimits {
  /** Of one reader. The largest document that yaml-reader.ts accepts takes less: V8 ends the process of one that takes more. */
  readonly heapMib: number;
  /** Processor time that one file may take. A megabyte takes one to two seconds. */
  readonly cpuMs: number;
}

export const READER_LIMITS: ReaderLimits = { heapMib: 768, cpuMs: 30_000 };

/** Files that are read at the same time: one that takes long holds up no other. */
export const READERS_MAX = 2;

/** How long a reader is kept for the next file. */
const IDLE_MS = 1_000;

/** How often the processor time is looked at. */
const CHECK_MS = 200;

/** Of the times in /proc; the same on every architecture that Linux shows them on (USER_HZ). */
const TICK_MS = 10;

const DIVIDE = "divide it into several files";

/** The error of a file that is not waited for any more. */
const ABANDONED = "is no longer needed";

export interface Readers {
  /** Reads the content of a file. Never rejects: what cannot be read within the limits is a failed reading. */
  read(file: string, bytes: Uint8Array, signal: AbortSignal): Promise<FileReading>;
  close(): void;
}

export function openReaders(limits = READER_LIMITS): Readers {
  const idle = new Map<ChildProcess, NodeJS.Timeout>();
  const all = new Set<ChildProcess>();
  const waiting: (() => void)[] = [];
  let busy = 0;

  function start(): ChildProcess {
    const reader = fork(programPath("source/manifests/reader-process"), {
      serialization: "advanced",
      execArgv: [`--max-old-space-size=${limits.heapMib}`],
      // Where it fails, V8 prints pages that add nothing to the signal.
      stdio: ["ignore", "ignore", "ignore", "ipc"],
    });
    all.add(reader);
    const gone = (): void => {
      all.delete(reader);
      clearTimeout(idle.get(reader));
      idle.delete(reader);
    };
    reader.once("exit", gone);
    // The caller that waits for it listens too.
    reader.on("error", gone);
    return reader;
  }

  function take(): ChildProcess {
    for (const [reader, timer] of idle) {
      clearTimeout(timer);
      idle.delete(reader);
      if (reader.connected) return reader;
    }
    return start();
  }

  function keep(reader: ChildProcess): void {
    reader.unref();
    reader.channel?.unref();
    const end = (): void => {
      idle.delete(reader);
      reader.kill("SIGKILL");
    };
    idle.set(reader, setTimeout(end, IDLE_MS).unref());
  }

  async function turn(): Promise<void> {
    if (busy < READERS_MAX) busy += 1;
    else await new Promise<void>((resolve) => waiting.push(resolve));
  }

  function done(): void {
    const next = waiting.shift();
    if (next === undefined) busy -= 1;
    else next();
  }

  return {
    read: async (file, bytes, signal) => {
      await turn();
      try {
        if (signal.aborted) return failedReading(file, ABANDONED);
        const reader = take();
        const reading = await readIn(reader, { file, bytes, limits, signal });
        if (reading.ok) keep(reader);
        else reader.kill("SIGKILL");
        if (reading.ok) return reading.value;
        const failed = failedReading(file, reading.reason);
        return reading.isTransient === true ? { ...failed, isTransient: true } : failed;
      } finally {
        done();
      }
    },
    close: () => {
      for (const reader of all) reader.kill("SIGKILL");
    },
  };
}

interface Task {
  readonly file: string;
  readonly bytes: Uint8Array;
  readonly limits: ReaderLimits;
  readonly signal: AbortSignal;
}

type Outcome =
  | { readonly ok: true; readonly value: FileReading }
  | { readonly ok: false; readonly reason: string; readonly isTransient?: true };

function readIn(reader: ChildProcess, { file, bytes, limits, signal }: Task): Promise<Outcome> {
  const { promise, resolve } = Promise.withResolvers<Outcome>();
  const objects: ParsedObject[] = [];
  const fail = (reason: string): void => resolve({ ok: false, reason });
  const failNow = (reason: string): void => {
    resolve({ ok: false, reason: `cannot be parsed now: ${reason}`, isTransient: true });
  };
  const post = (request: Request): void => {
    reader.send(request, (error) => {
      if (error !== null) failNow(error.message);
    });
  };
  const onMessage = (part: Part): void => {
    for (const object of part.objects) objects.push(object);
    if (part.rest === undefined) post({ kind: "next" });
    else resolve({ ok: true, value: { ...part.rest, objects } });
  };
  const onError = (error: Error): void => failNow(error.message);
  const onExit = (code: number | null, by: NodeJS.Signals | null): void => {
    const isMemory = by === "SIGABRT" || by === "SIGKILL";
    if (isMemory) fail(`needs too much memory to be parsed (${limits.heapMib} MiB); ${DIVIDE}`);
    else failNow(`its parser process ended (${by ?? `exit code ${code}`})`);
  };
  const onAbort = (): void => fail(ABANDONED);
  const before = cpuMsOf(reader);
  const checking = setInterval(() => {
    if (cpuMsOf(reader) - before > limits.cpuMs)
      fail(`takes more than ${limits.cpuMs / 1_000} s of CPU time to be parsed; ${DIVIDE}`);
  }, CHECK_MS);
  reader.ref();
  reader.channel?.ref();
  reader.on("message", onMessage);
  reader.once("error", onError);
  reader.once("exit", onExit);
  signal.addEventListener("abort", onAbort, { once: true });
  post({ kind: "read", file, bytes });
  return promise.finally(() => {
    clearInterval(checking);
    reader.off("message", onMessage);
    reader.off("error", onError);
    reader.off("exit", onExit);
    signal.removeEventListener("abort", onAbort);
  });
}

/** What a process has used so far (proc(5): utime and stime); 0 where there is none. */
function cpuMsOf({ pid }: ChildProcess): number {
  let text = "";
  if (pid === undefined || !succeeds(() => (text = readFileSync(`/proc/${pid}/stat`, "utf8")))) return 0;
  // The name, in parentheses, may hold anything.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) * TICK_MS;
}
