// The claims of this node: which there are, kept in a file, and given up where their interface or pod has gone.

import { messageOf } from "../../base/errors.ts";
import { attachmentKey, type Claim, readClaims, writeClaims } from "../../cni/cni-claims.ts";
import type { Attached, GcRequest } from "../../cni/cni-request.ts";
import { indexOf } from "../../cni/host-links.ts";
import type { Problem } from "../../model/problem.ts";
import { birthOf } from "../../node/link-identity.ts";

/** How long a claim is kept that the source knows no pod for: deletions of a pod and of its sandbox come in any order. */
export const FORGET_MS = 300_000;

export interface ClaimStore {
  /** The newest last. */
  all(): Iterable<Claim>;
  size(): number;
  get(attached: Attached): Claim | undefined;
  has(claim: Claim): boolean;
  /** Takes the place of one of the same container and interface, and of any of the same interface of the node. */
  put(claim: Claim): void;
  /** Notes the uid of the pod that a claim without one goes by; gives what the claim is now. */
  bind(claim: Claim, uid: string): Claim;
  /** Gives those up that are told; gives the claims. */
  drop(which: (claim: Claim) => boolean): readonly Claim[];
  /** Why the file is not what it should be. */
  problems(): readonly Problem[];
}

export function openClaims(path: string): ClaimStore {
  const claims = new Map<string, Claim>();
  let problem: Problem | undefined;
  const tell = (effect: string, thrown: unknown): void => {
    problem = { severity: "warning", reason: messageOf(thrown), effect };
  };
  try {
    for (const claim of readClaims(path)) claims.set(attachmentKey(claim), claim);
  } catch (thrown) {
    tell("pods that the source gives no address yet are not enforced until they are made anew", thrown);
  }
  const save = (): void => {
    try {
      writeClaims(path, claims.values());
      problem = undefined;
    } catch (thrown) {
      tell("what the CNI plugin has told is lost when the agent ends", thrown);
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
      // In its old place: the order is that of arrival.
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

/** Which claims are garbage, as the runtime sees it: those of its network that it does not list. */
export function garbageOf({ network, valid }: GcRequest): (claim: Claim) => boolean {
  const kept = new Set(valid.map(attachmentKey));
  return (claim) => claim.network === network && !kept.has(attachmentKey(claim));
}

/** Whether the link of a claim is still there. With another index, or another birth, the name is that of a later link. */
function isThere({ link, ifindex, birth }: Claim): boolean {
  if (indexOf(link) !== ifindex) return false;
  return birth === undefined || (birthOf({ name: link, ifindex }) ?? birth) === birth;
}

/** Tells claims whose interface has gone, or that no pod has gone by for FORGET_MS; `now` as the clock gives milliseconds. */
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
