// Resyncs that somebody asked for: each waits for the next round that reads the kernel back, and hears what came of it.

import { problemText } from "../model/problem.ts";
import type { ResyncView } from "../observe/api-views.ts";
import type { Progress } from "./reconcile.ts";

/** Tells one who waits what the round came to; where it failed, why. */
export type Answer = (came: Outcome, settled: boolean) => void;

/** What of a round those who waited for it hear. */
export type Outcome = Pick<Progress, "applied" | "problems" | "repaired">;

export interface Resyncs {
  /** Rejects where the round fails, or the agent ends before. */
  request(): Promise<ResyncView>;
  /** Called at every request. */
  onRequest(ring: () => void): void;
  /** Those who wait now: the next round is theirs, and they must be answered. */
  take(): readonly Answer[];
  /** Nobody is answered from now on. */
  end(reason: string): void;
}

interface Waiting {
  readonly answer: Answer;
  readonly refuse: (reason: string) => void;
}

export function openResyncs(): Resyncs {
  let ring: () => void = () => undefined;
  const waiting: Waiting[] = [];
  const taken: Waiting[] = [];
  return {
    request: () =>
      new Promise((resolve, reject) => {
        const refuse = (reason: string): void => reject(new Error(reason));
        const answer: Answer = ({ applied, problems, repaired }, settled) => {
          if (settled) resolve({ generation: applied, repaired });
          else refuse(problems.map(problemText).join("; ") || "it is tried again");
        };
        waiting.push({ answer, refuse });
        ring();
      }),
    onRequest(next) {
      ring = next;
      // Some may have asked while the agent was coming up.
      if (waiting.length > 0) ring();
    },
    take() {
      taken.length = 0;
      taken.push(...waiting.splice(0));
      return taken.map(({ answer }) => answer);
    },
    end(reason) {
      for (const { refuse } of [...taken, ...waiting.splice(0)]) refuse(reason);
    },
  };
}
