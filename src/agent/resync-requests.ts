// Requested resyncs: each waits for the next reconciliation that reads the kernel back, and gets its result.

import { problemText } from "../model/problem.ts";
import type { ResyncView } from "../observe/api-views.ts";
import type { Progress } from "./reconcile.ts";

/** Reports the result of the reconciliation to a waiting request; if it failed, why. */
export type Answer = (came: Outcome, settled: boolean) => void;

/** The part of a reconciliation's result that waiting requests get. */
export type Outcome = Pick<Progress, "applied" | "problems" | "repaired">;

export interface Resyncs {
  /** Rejects if the reconciliation fails, or the agent ends before. */
  request(): Promise<ResyncView>;
  /** Called at every request. */
  onRequest(onRequested: () => void): void;
  /** The requests that wait now: the next reconciliation is theirs, and they must be answered. */
  take(): readonly Answer[];
  /** From now on no request is answered. */
  end(reason: string): void;
}

interface Waiting {
  readonly answer: Answer;
  readonly refuse: (reason: string) => void;
}

export function openResyncs(): Resyncs {
  let onRequested: () => void = () => undefined;
  const waiting: Waiting[] = [];
  const taken: Waiting[] = [];
  return {
    request: () =>
      new Promise((resolve, reject) => {
        const refuse = (reason: string): void => reject(new Error(reason));
        const answer: Answer = ({ applied, problems, repaired }, settled) => {
          if (settled) resolve({ generation: applied, repaired });
          else refuse(problems.map(problemText).join("; ") || "retrying");
        };
        waiting.push({ answer, refuse });
        onRequested();
      }),
    onRequest(next) {
      onRequested = next;
      // Requests may have arrived while the agent was starting.
      if (waiting.length > 0) onRequested();
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
