// What a watched set of files is known to say: changes count at once, losses only when they have lasted.

import type { Seen } from "./files.ts";
import { hasErrors, keepLastGood, objectsLost } from "./lastgood.ts";
import type { FileReading } from "./reading.ts";

/** A reading that takes something away, or is faulty, counts once the file has stayed so for this long. */
export const SETTLE_MS = 250;

/** ... or, where it keeps changing, once this long has passed since it was last as it counts. */
export const HOLD_MAX_MS = 750;

interface Remembered {
  /** The newest look; undefined where the file was gone. */
  readonly seen: Seen | undefined;
  readonly inForce: FileReading;
  /** Set while the newest look does not count yet. Times in milliseconds. */
  readonly held?: { readonly since: number; readonly changedAt: number };
}

/** By file. */
export type Memory = ReadonlyMap<string, Remembered>;

/** What was seen at the newest look, for lookAt(). */
export const seenIn = (memory: Memory, file: string): Seen | undefined => memory.get(file)?.seen;

/** Whether a look does not count yet, so that another one is due soon. */
export const isHolding = (memory: Memory): boolean => memory.values().some(({ held }) => held !== undefined);

/** What is in force, in the order of the files' names. */
export const readingsIn = (memory: Memory): readonly FileReading[] =>
  [...memory].sort(([a], [b]) => (a < b ? -1 : 1)).map(([, { inForce }]) => inForce);

/** The memory after a first look: everything counts at once. */
export const firstMemory = (seen: ReadonlyMap<string, Seen>): Memory =>
  new Map([...seen].map(([file, look]) => [file, { seen: look, inForce: look.reading }]));

/**
 * The memory after a further look. Files are written by truncating and refilling them, or by moving away the old one
 * first, and either can be seen half-way. So what looks like a loss (an object or the file is gone, a document is
 * faulty) is held back for a moment; what only adds and changes counts at once.
 */
export function advance(memory: Memory, seen: ReadonlyMap<string, Seen>, now: number): Memory {
  const next = new Map<string, Remembered>();
  for (const file of new Set([...memory.keys(), ...seen.keys()])) {
    const remembered = advanceFile(memory.get(file), seen.get(file), now);
    if (remembered !== undefined) next.set(file, remembered);
  }
  return next;
}

function advanceFile(
  known: Remembered | undefined,
  seen: Seen | undefined,
  now: number,
): Remembered | undefined {
  const previous = known ?? nothingOf(seen);
  if (previous === undefined) return undefined;
  const changed = seen?.reading !== previous.seen?.reading;
  if (!changed && previous.held === undefined) return { ...previous, seen };
  const since = previous.held?.since ?? now;
  const changedAt = changed ? now : (previous.held?.changedAt ?? now);
  const lasted = now - changedAt >= SETTLE_MS || now - since >= HOLD_MAX_MS;
  if (!lasted && takesAway(previous.inForce, seen?.reading)) {
    return { seen, inForce: previous.inForce, held: { since, changedAt } };
  }
  return seen && { seen, inForce: keepLastGood(previous.inForce, seen.reading) };
}

/** The memory of a file before it was there. */
const nothingOf = (seen: Seen | undefined): Remembered | undefined =>
  seen && { seen: undefined, inForce: { file: seen.reading.file, objects: [], problems: [], failed: false } };

const takesAway = (inForce: FileReading, latest: FileReading | undefined): boolean =>
  latest === undefined || hasErrors(latest) || objectsLost(inForce, latest).length > 0;
