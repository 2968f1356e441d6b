// Every time and size that bounds requests to the API server: in one place, and passed in, so that tests can be quick.

export interface Timing {
  /** The most objects that one page of a list has. */
  readonly pageObjects: number;
  /** The most bytes that one object of a list or one event of a watch may have. */
  readonly bytesMax: number;
  /** Until a request is answered (its header), in milliseconds. */
  readonly answerMs: number;
  /** For the whole of one page. */
  readonly pageMs: number;
  /** For all pages together. */
  readonly listMs: number;
  /** Until all that there is has come over a streaming list. */
  readonly initialMs: number;
  /** Between two bytes of a watch. The server sends a bookmark every 60 s. */
  readonly idleMs: number;
  /** From the first to the last byte of one event. */
  readonly lineMs: number;
  /** The timeout that a watch requests: a random time between these, so that nodes do not come back at once. */
  readonly watchMs: Span;
  /** When everything is relisted, though nothing indicates that a change was missed. */
  readonly relistMs: Span;
  /** Bytes a second that an agent's periodic lists of a kind take at most: large ones are relisted less often. */
  readonly relistBytes: number;
  /** The same two, where a list brings back objects that fit again: since the list before. */
  readonly earlyMs: Span;
  readonly earlyBytes: number;
  /** But not less often than this. */
  readonly relistMsMax: number;
  /**
   * Requests a second that all nodes together send to the API servers after an outage, and bytes a second that their lists take: each
   * node waits for a random part of the time that follows from the number of nodes, at most `spreadMsMax`.
   */
  readonly fleetRequests: number;
  readonly fleetBytes: number;
  readonly spreadMsMax: number;
  /** Backoff after a failure: doubled each time, from first to last, with jitter. */
  readonly retryMs: Span;
  /** When a server is asked again for a kind that it does not have; by more than so many nodes, less often. */
  readonly absentMs: Span;
  readonly absentNodes: number;
  /** How long a kind that had objects must be absent until they count as deleted: a server that starts may not have it yet. */
  readonly goneMs: number;
  /** The same for a kind that has never been listed. */
  readonly firstGoneMs: number;
  /** The longest delay that a server may set by Retry-After. */
  readonly retryAfterMsMax: number;
  /** A kind without contact for so long, beyond the time over which all nodes spread their requests, is a problem. */
  readonly troubleMs: number;
  /** How long a single read waits until everything has been listed. */
  readonly onceMs: number;
}

export type Span = readonly [least: number, most: number];

export const TIMING: Timing = {
  pageObjects: 500,
  bytesMax: 64 << 20,
  answerMs: 30_000,
  pageMs: 60_000,
  listMs: 600_000,
  initialMs: 120_000,
  idleMs: 100_000,
  lineMs: 60_000,
  watchMs: [240_000, 480_000],
  relistMs: [300_000, 600_000],
  relistBytes: 20_000,
  relistMsMax: 86_400_000,
  earlyMs: [2_000, 4_000],
  earlyBytes: 200_000,
  fleetRequests: 2_000,
  fleetBytes: 1_000_000_000,
  spreadMsMax: 60_000,
  retryMs: [500, 10_000],
  absentMs: [20_000, 40_000],
  absentNodes: 500,
  goneMs: 60_000,
  firstGoneMs: 5_000,
  retryAfterMsMax: 60_000,
  troubleMs: 10_000,
  onceMs: 60_000,
};

/** A random time in the span, each as likely as the other. */
export const within = ([least, most]: Span): number => least + Math.random() * (most - least);

/** What all nodes of a cluster send for at once: requests, and bytes of lists. */
export interface Fleet {
  readonly requests: number;
  readonly bytes: number;
}

/** The time over which the nodes of a cluster spread their requests after an outage. */
export function spreadMs(
  { fleetRequests, fleetBytes, spreadMsMax }: Timing,
  { requests, bytes }: Fleet,
): number {
  return Math.min(Math.max(requests / fleetRequests, bytes / fleetBytes) * 1_000, spreadMsMax);
}

/** When a kind whose list had so many bytes is to be relisted: the span to choose from. */
export function relistSpan({ relistMs, relistBytes, relistMsMax }: Timing, listBytes: number): Span {
  const atRate = (listBytes / relistBytes) * 1_000;
  const [least, most] = relistMs;
  return [
    Math.max(least, Math.min(atRate / 2, relistMsMax / 2)),
    Math.max(most, Math.min(atRate * 1.5, relistMsMax)),
  ];
}

/** When a kind may be relisted for objects that fit again: the span to choose from, since the list before. */
export function earlySpan({ earlyMs, earlyBytes }: Timing, listBytes: number): Span {
  const atRate = (listBytes / earlyBytes) * 1_000;
  const [least, most] = earlyMs;
  return [Math.max(least, atRate), Math.max(most, atRate * 1.5)];
}
