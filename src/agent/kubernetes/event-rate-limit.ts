// Rate limits of Kubernetes Events: intervals, a token bucket, and the order in which nodes report what all of them
// see.

import type { Cluster } from "../../model/cluster.ts";

// Every time and number that limits reports to Kubernetes: in one place, and as parameters, so that tests can
// be quick.

export interface NoticeTiming {
  /**
   * How long a problem, or its end, must last before it is reported: what appears briefly during a pod's
   * start is not worth an Event. What a person has done (a bypass) is reported at once.
   */
  readonly settleMs: number;
  /** Between the turns of two nodes to report what all nodes see: most find it reported already, or over. */
  readonly turnMs: number;
  /**
   * How often a lasting problem is reported again. Events are kept for an hour, unless the server is
   * configured otherwise.
   */
  readonly periodMs: number;
  /** Minimum time between two Events of the same object and reason. */
  readonly leastMs: number;
  /** Waits before retries; after the last one the report has to wait for its next period. */
  readonly retryMs: readonly number[];
  /** Timeout of a whole request. */
  readonly answerMs: number;
  /** Events that may be reported at once, and the time until one more is allowed. */
  readonly burst: number;
  readonly tokenMs: number;
  /** Maximum number of notices remembered. */
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

// A token bucket: a burst at first, then one token per interval.

export interface TokenBucket {
  /** When a token is available. All times are milliseconds of a monotonic clock. */
  readyAt(now: number): number;
  take(now: number): void;
}

/** `burst` tokens at first, and one more every `tokenMs`. */
export function openTokenBucket({
  burst,
  tokenMs,
}: {
  readonly burst: number;
  readonly tokenMs: number;
}): TokenBucket {
  // The moment from which the bucket would be full.
  let fullAt = Number.NEGATIVE_INFINITY;
  return {
    readyAt: (now) => Math.max(now, fullAt - (burst - 1) * tokenMs),
    take(now) {
      fullAt = Math.max(fullAt, now) + tokenMs;
    },
  };
}

// In which order the nodes report what all of them see: each node computes it alone, without requests.

/**
 * How many nodes go before this one with this notice (rendezvous hashing: each notice has its own order, and
 * adding or removing a node does not change the order of any two others). Nodes are those that have pods.
 */
export function openTurns(pods: Cluster["pods"], node: string): (key: string) => number {
  let nodes: ReadonlySet<string> | undefined;
  return (key) => {
    nodes ??= new Set(pods.values().flatMap((pod) => (pod.node === undefined ? [] : [pod.node])));
    const own = placeOf(key, node);
    return nodes.values().reduce((turn, other) => {
      const place = placeOf(key, other);
      return place < own || (place === own && other < node) ? turn + 1 : turn;
    }, 0);
  };
}

/**
 * FNV-1a, mixed by the finaliser of MurmurHash3, so that names that differ only in their last letter get
 * distant values.
 */
function placeOf(key: string, node: string): number {
  const text = `${key} ${node}`;
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
