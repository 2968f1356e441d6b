// Rate limits of Kubernetes Events: intervals, a token bucket, and the order in which nodes report what all of them
// see.

import type { Cluster } from "../../model/cluster.ts";

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

// A token bucket: so many at once, then one every so often.

export interface TokenBucket {
  /** When one can be taken. All times are milliseconds of a clock that only goes forward. */
  readyAt(now: number): number;
  take(now: number): void;
}

/** `burst` of them at first, and another one every `tokenMs`. */
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

// In which order the nodes tell what all of them know: each works it out for itself, and none has to ask.

/**
 * How many nodes go before this one with this notice (rendezvous hashing: the order is another one for each notice, and a
 * node that goes or comes changes that of no two others). Nodes are known by their pods.
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

/** FNV-1a, mixed by the finaliser of MurmurHash3: names that differ in their last letter only lie far apart. */
function placeOf(key: string, node: string): number {
  const text = `${key} ${node}`;
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
