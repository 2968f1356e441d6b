// Where events go: the latest are remembered, whoever follows gets each, and a file does if there is one.

import type { EventFile } from "./events/file.ts";
import type { EventView } from "./packet-event.ts";

/** Events that `last` can give. */
export const REMEMBERED_MAX = 1_000;

export type Listener = (line: string) => void;

export interface EventHub {
  publish(events: readonly EventView[]): void;
  /** The latest, oldest first. */
  last(count: number): readonly EventView[];
  /** Gives each event as a line of JSON, until the function that is returned is called. */
  follow(listener: Listener): () => void;
  followers(): number;
  /** Events that the file could not take. */
  lost(): number;
}

/** `onFileError` is called once for each spell of failures. */
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
      // Another function for each, so that one listener may follow twice.
      const own: Listener = (line) => listener(line);
      listeners.add(own);
      return () => listeners.delete(own);
    },
    followers: () => listeners.size,
    lost: () => lost,
  };
}
