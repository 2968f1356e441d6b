// Pods of this node that have an address and no interface: a moment of that is how they are made, more of it is a problem.

import type { Problem } from "../model/problem.ts";
import type { Resolved } from "../source/interfaces.ts";

export interface Absences {
  /** The problems of those that are missing for too long and of whom nothing else is told. */
  problemsOf(resolved: Pick<Resolved, "missing" | "problems">): readonly Problem[];
  close(): void;
}

export const GRACE_MS = 5_000;

/** `onDue` is called when there is a new problem to tell. `now` is a clock in milliseconds that only goes forward. */
export function openAbsences(onDue: () => void, now: () => number = () => performance.now()): Absences {
  const since = new Map<string, number>();
  let timer: NodeJS.Timeout | undefined;

  function problemsOf({ missing, problems }: Pick<Resolved, "missing" | "problems">): readonly Problem[] {
    const absent = new Set(missing);
    const told = new Set(problems.map(({ object }) => object));
    for (const key of [...since.keys()]) if (!absent.has(key)) since.delete(key);
    for (const key of absent) if (!since.has(key)) since.set(key, now());
    const ages = [...since]
      .filter(([key]) => !told.has(`Pod ${key}`))
      .map(([key, at]) => [key, now() - at] as const);
    const waits = ages.map(([, age]) => GRACE_MS - age).filter((rest) => rest > 0);
    clearTimeout(timer);
    // A millisecond more: timers may ring a little early.
    if (waits.length > 0) timer = setTimeout(onDue, Math.min(...waits) + 1);
    return ages
      .filter(([, age]) => age >= GRACE_MS)
      .map(
        ([key]): Problem => ({
          severity: "error",
          object: `Pod ${key}`,
          reason: "none of its addresses is behind an interface of this node",
          effect: "the pod is not enforced",
        }),
      );
  }

  return { problemsOf, close: () => clearTimeout(timer) };
}
