// Every time and number that bounds what Kubernetes is told: in one place, and given, so that tests can be quick.

export interface NoticeTiming {
  /** How long a problem, or its end, must last before it is told: what comes and goes with a pod's start is no news. */
  readonly settleMs: number;
  /** Between the turns of two nodes to tell what all of them know: most find it told, or over. */
  readonly turnMs: number;
  /** How often what lasts is told anew. Events are kept for an hour, unless the server is told otherwise. */
  readonly periodMs: number;
  /** Between two Events of the same object and reason. */
  readonly leastMs: number;
  /** The waits before what failed is tried again; after the last one it has to wait for its next period. */
  readonly retryMs: readonly number[];
  /** For a whole request. */
  readonly answerMs: number;
  /** Events that may be told at once, and how long it takes until another one may. */
  readonly burst: number;
  readonly tokenMs: number;
  /** Notices that are remembered. */
  readonly entriesMax: number;
}

export const NOTICE_TIMING: NoticeTiming = {
  settleMs: 2_000,
  turnMs: 1_000,
  periodMs: 30 * 60_000,
  leastMs: 60_000,
  retryMs: [5_000, 30_000, 120_000],
  answerMs: 10_000,
  burst: 20,
  tokenMs: 5_000,
  entriesMax: 1_000,
};
