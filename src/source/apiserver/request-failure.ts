// Why a list or a watch ended: it is counted and reported, and decides what comes next.

import { messageOf, OperationError } from "../../base/errors.ts";
import { visible } from "../parse/fields.ts";

/**
 * - first: there has been no request before
 * - ended: the server (or a proxy) ended it normally
 * - periodic: it was time to compare
 * - broken: no connection, or it broke off
 * - silent: nothing came for too long, or not all of it
 * - refused: an HTTP status other than success
 * - expired: the server no longer has the resourceVersion (410)
 * - unreadable: not JSON, an unknown type of event, an object without a name, or too large
 * - rewound: the server went back to an older state
 * - failed: the server reported it in an event of the watch
 */
export const CAUSES = [
  "first",
  "ended",
  "periodic",
  "broken",
  "silent",
  "refused",
  "expired",
  "unreadable",
  "rewound",
  "failed",
] as const;
export type Cause = (typeof CAUSES)[number];

/** After these nothing that came before is relied on: all is listed again. */
const REQUIRES_RELIST: ReadonlySet<Cause> = new Set(["expired", "unreadable", "rewound", "periodic"]);

export const requiresRelist = (cause: Cause): boolean => REQUIRES_RELIST.has(cause);

export interface FailureFacts {
  readonly why: Cause;
  /** HTTP status, where there was an answer. */
  readonly status?: number;
  /** The delay that the server requests, in milliseconds. */
  readonly retryAfterMs?: number;
  readonly cause?: unknown;
}

export class Failure extends OperationError {
  readonly why: Cause;
  readonly status: number | undefined;
  readonly retryAfterMs: number | undefined;
  /** The message without operation and object. */
  readonly reason: string;

  constructor(reason: string, path: string, facts: FailureFacts) {
    super(reason, { operation: "request", object: path, cause: facts.cause });
    this.name = "Failure";
    this.reason = reason;
    this.why = facts.why;
    this.status = facts.status;
    this.retryAfterMs = facts.retryAfterMs;
  }
}

const REASON_CHARACTERS_MAX = 300;

/** A text of the server's as part of a message: one line, and not too long. */
export function shown(text: string): string {
  const line = visible(text.replaceAll(/\s+/g, " ").trim());
  return line.length > REASON_CHARACTERS_MAX ? `${line.slice(0, REASON_CHARACTERS_MAX)}...` : line;
}

/** The failure of a request for a path, from whatever was thrown. */
export function failureOf(thrown: unknown, path: string): Failure {
  if (thrown instanceof Failure) return thrown;
  // For a refused connection to a name with several addresses, Node's error has no message of its own.
  const inner = thrown instanceof AggregateError ? thrown.errors.map(messageOf).join(", ") : "";
  return new Failure(shown(inner || messageOf(thrown)), path, { why: "broken", cause: thrown });
}
