// Where packet events go: a bounded memory of the latest, subscribers, and a file.

import { appendFileSync, renameSync, rmSync, statSync } from "node:fs";
import { codeOf } from "../base/errors.ts";
import type { EventView } from "./packet-event.ts";

/** Maximum number of events that `last` returns. */
export const REMEMBERED_MAX = 1_000;

export type Listener = (line: string) => void;

export interface EventHub {
  publish(events: readonly EventView[]): void;
  /** The latest, oldest first. */
  last(count: number): readonly EventView[];
  /** Passes each event as a line of JSON, until the returned function is called. */
  follow(listener: Listener): () => void;
  followers(): number;
  /** Events that could not be written to the file. */
  lost(): number;
}

/** `onFileError` is called once for each series of failures. */
export function openEventHub(file: EventFile | undefined, onFileError: (error: unknown) => void): EventHub {
  const remembered: EventView[] = [];
  const listeners = new Set<Listener>();
  let lost = 0;
  let failing = false;
  function write(target: EventFile, lines: readonly string[]): void {
    try {
      target.append(lines);
      failing = false;
    } catch (error) {
      lost += lines.length;
      if (!failing) onFileError(error);
      failing = true;
    }
  }
  return {
    publish(events) {
      remembered.push(...events);
      if (remembered.length > REMEMBERED_MAX) remembered.splice(0, remembered.length - REMEMBERED_MAX);
      if (file === undefined && listeners.size === 0) return;
      const lines = events.map((event) => `${JSON.stringify(event)}\n`);
      if (file !== undefined) write(file, lines);
      for (const listener of listeners) for (const line of lines) listener(line);
    },
    last: (count) => (count === 0 ? [] : remembered.slice(-count)),
    follow(listener) {
      // A new function for each, so that one listener can follow twice.
      const own: Listener = (line) => listener(line);
      listeners.add(own);
      return () => listeners.delete(own);
    },
    followers: () => listeners.size,
    lost: () => lost,
  };
}

// The event file, with a line of JSON for each event: limited in size, with a limited number of older files
// beside it.

export interface EventFileOptions {
  readonly path: string;
  /** Maximum size of one file. */
  readonly bytesMax: number;
  /** Files in all, the one in use included: PATH, PATH.1 (the next older) and so on. */
  readonly files: number;
}

export interface EventFile {
  /** Appends lines at once. @throws Error if the file cannot be written; then the lines are lost. */
  append(lines: readonly string[]): void;
}

/** The file is created at the first line, for its owner alone. */
export function openEventFile({ path, bytesMax, files }: EventFileOptions): EventFile {
  let bytes: number | undefined;
  return {
    append(lines) {
      const text = lines.join("");
      const length = Buffer.byteLength(text);
      bytes ??= sizeOf(path);
      if (bytes > 0 && bytes + length > bytesMax) {
        rotate(path, files);
        bytes = 0;
      }
      appendFileSync(path, text, { mode: 0o600 });
      bytes += length;
    },
  };
}

const sizeOf = (path: string): number => statSync(path, { throwIfNoEntry: false })?.size ?? 0;

function rotate(path: string, files: number): void {
  if (files <= 1) {
    rmSync(path, { force: true });
    return;
  }
  for (let age = files - 1; age >= 1; age--) {
    const from = age === 1 ? path : `${path}.${age - 1}`;
    try {
      renameSync(from, `${path}.${age}`);
    } catch (error) {
      if (codeOf(error) !== "ENOENT") throw error;
    }
  }
}
