// The claims of this node: kept in a file, and dropped when their interface or pod has gone.

import { messageOf } from "../../base/errors.ts";
import { attachmentKey, type Claim, readClaims, writeClaims } from "../../cni/cni-claims.ts";
import type { Attached, GcRequest } from "../../cni/cni-protocol.ts";
import { indexOf } from "../../cni/host-links.ts";
import type { Problem } from "../../model/problem.ts";
import { birthOf } from "../../node/link-identity.ts";

/**
 * How long a claim is kept without a pod in the source: deletions of a pod and of its sandbox arrive in any
 * order.
 */
export const FORGET_MS = 300_000;

export interface ClaimStore {
  /** The newest last. */
  all(): Iterable<Claim>;
  size(): number;
  get(attached: Attached): Claim | undefined;
  has(claim: Claim): boolean;
  /** Replaces a claim of the same container and interface, and any of the same interface of the node. */
  put(claim: Claim): void;
  /** Stores the uid of the pod that a claim without a uid belongs to; returns the updated claim. */
  bind(claim: Claim, uid: string): Claim;
  /** Drops the claims that `which` selects, and returns them. */
  drop(which: (claim: Claim) => boolean): readonly Claim[];
  /** Why the file is unusable. */
  problems(): readonly Problem[];
}

export function openClaims(path: string): ClaimStore {
  const claims = new Map<string, Claim>();
  let problem: Problem | undefined;
  const addProblem = (effect: string, thrown: unknown): void => {
    problem = { severity: "warning", reason: messageOf(thrown), effect };
  };
  try {
    for (const claim of readClaims(path)) claims.set(attachmentKey(claim), claim);
  } catch (thrown) {
    addProblem("pods without an address in the source are not enforced until they are recreated", thrown);
  }
  const save = (): void => {
    try {
      writeClaims(path, claims.values());
      problem = undefined;
    } catch (thrown) {
      addProblem("CNI claims are lost when the agent ends", thrown);
    }
  };
  const remove = (which: (claim: Claim) => boolean): readonly Claim[] => {
    const gone = [...claims.values()].filter(which);
    for (const claim of gone) claims.delete(attachmentKey(claim));
    return gone;
  };
  return {
    all: () => claims.values(),
    size: () => claims.size,
    get: (attached) => claims.get(attachmentKey(attached)),
    has: (claim) => claims.get(attachmentKey(claim)) === claim,
    put(claim) {
      remove((each) => each.ifindex === claim.ifindex || attachmentKey(each) === attachmentKey(claim));
      claims.set(attachmentKey(claim), claim);
      save();
    },
    bind(claim, uid) {
      const bound = { ...claim, uid };
      // In its old position: claims are in order of arrival.
      claims.set(attachmentKey(claim), bound);
      save();
      return bound;
    },
    drop(which) {
      const gone = remove(which);
      if (gone.length > 0) save();
      return gone;
    },
    problems: () => (problem === undefined ? [] : [problem]),
  };
}

/** Selects garbage as the runtime defines it: the claims of its network that it does not list. */
export function garbageOf({ network, valid }: GcRequest): (claim: Claim) => boolean {
  const kept = new Set(valid.map(attachmentKey));
  return (claim) => claim.network === network && !kept.has(attachmentKey(claim));
}

/**
 * Whether the link of a claim still exists. With another index or another birth, the name is that of a later
 * link.
 */
function isThere({ link, ifindex, birth }: Claim): boolean {
  if (indexOf(link) !== ifindex) return false;
  return birth === undefined || (birthOf({ name: link, ifindex }) ?? birth) === birth;
}

/**
 * Selects claims whose interface has gone, or that had no pod for FORGET_MS; `now` is in milliseconds of the
 * clock.
 */
export function expiry(
  isLinkThere: (claim: Claim) => boolean = isThere,
): (waits: ReadonlySet<Claim>, now: number) => (claim: Claim) => boolean {
  const since = new WeakMap<Claim, number>();
  return (waits, now) => (claim) => {
    if (!isLinkThere(claim)) return true;
    if (!waits.has(claim)) {
      since.delete(claim);
      return false;
    }
    const begun = since.get(claim) ?? now;
    since.set(claim, begun);
    return now - begun >= FORGET_MS;
  };
}
