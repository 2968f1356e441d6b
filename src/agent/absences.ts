// What is missing for a moment while pods are made, and a problem where it lasts.

import type { Problem } from "../model/problem.ts";

export interface Absences {
  /** Of all problems that there are now, told by object, those that last for too long. */
  lasting(problems: readonly (Problem & { readonly object: string })[]): readonly Problem[];
  close(): void;
}

export const GRACE_MS = 5_000;

/** `onDue` is called when there is a new problem to tell. `now` is a clock in milliseconds that only goes forward. */
export function openAbsences(onDue: () => void, now: () => number = () => performance.now()): Absences {
  const since = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;
  return {
    lasting(problems) {
      const objects = new Set(problems.map(({ object }) => object));
      for (const object of [...since.keys()]) if (!objects.has(object)) since.delete(object);
      for (const object of objects) if (!since.has(object)) since.set(object, now());
      const ageOf = ({ object }: { readonly object: string }) => now() - (since.get(object) ?? now());
      const waits = problems.map((each) => GRACE_MS - ageOf(each)).filter((rest) => rest > 0);
      clearTimeout(timer);
      // A millisecond more: timers may ring a little early.
      if (waits.length > 0) timer = setTimeout(onDue, Math.min(...waits) + 1);
      return problems.filter((each) => ageOf(each) >= GRACE_MS);
    },
    close: () => clearTimeout(timer),
  };
}
