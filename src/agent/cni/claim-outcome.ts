// Whether a CNI claim is in force, and the plugin's requests that wait for it.

import type { Claim, Matched } from "../../cni/cni-claims.ts";
import { CNI_CODE, CniError, laterError } from "../../cni/cni-protocol.ts";
import { indexOf } from "../../cni/host-links.ts";
import { keyOf } from "../../model/cluster.ts";
import { type Problem, problemText } from "../../model/problem.ts";
import { podsOf } from "../../policy/local-endpoints.ts";
import type { InForce } from "../agent-views.ts";

/** The result of a reconciliation: what is in force, and the problems. */
export interface ClaimOutcome {
  readonly force: InForce | undefined;
  readonly problems: readonly Problem[];
}

/** Outcomes of the claims that a reconciliation used; if `matched` is undefined, it used none. */
export function outcomesOf(
  matched: Matched | undefined,
  { force, problems }: ClaimOutcome,
): (claim: Claim) => Outcome {
  if (matched === undefined) return () => ({ kind: "later", reason: "the source has not been read yet" });
  // A reconciliation that failed has left the state before it in force.
  const applied = force?.source === matched.cluster ? force : undefined;
  const owners = applied === undefined ? new Map<number, readonly string[]>() : ownersIn(applied);
  return (claim) => {
    const waits = matched.waits.get(claim);
    if (waits !== undefined) return { kind: "later", reason: waits };
    if (!matched.counts.has(claim)) return { kind: "later", reason: "queued for the next reconciliation" };
    if (applied === undefined) return failed(problems, "the policies could not be applied");
    if (owners.get(claim.ifindex)?.includes(keyOf(claim)) === true) return { kind: "in force" };
    // A new interface may not be in the node's tables yet: the next change of these triggers another
    // reconciliation.
    if (!owners.has(claim.ifindex) && indexOf(claim.link) === claim.ifindex)
      return { kind: "later", reason: `interface ${claim.link} is not enforced yet` };
    const own = problems.filter(({ object }) => object === `Pod ${keyOf(claim)}`);
    return failed(own, `interface ${claim.link} is not enforced`);
  };
}

/** The pods of each interface that the programs are attached to. */
function ownersIn({ compiled, attached }: InForce): Map<number, readonly string[]> {
  const sides = compiled.meaning.sides.filter(({ local }) => attached.has(local.ifindex));
  return new Map(sides.map(({ local }) => [local.ifindex, podsOf(local).map(keyOf)]));
}

function failed(problems: readonly Problem[], message: string): Outcome {
  const error = problems.findLast(({ severity }) => severity === "error");
  return { kind: "failed", error: laterError(message, error && problemText(error)) };
}

export const removed = (claim: Claim): CniError =>
  new CniError(CNI_CODE.tryAgainLater, `container ${claim.containerId} was removed while it was added`);

/**
 * Why pods cannot be added now. A reconciliation in progress is no reason: requests that wait for it are
 * answered when it ends.
 */
export function unreadyReason(
  progress: (Pick<ClaimOutcome, "force"> & { readonly wanted: number; readonly applied: number }) | undefined,
): string | undefined {
  if (progress?.force === undefined) return "no state has been applied yet";
  return progress.wanted === progress.applied ? undefined : "the last change could not be applied";
}

// Requests that wait for a claim to be in force: the plugin's ADDs, each with its timeout.

/**
 * The outcome of a reconciliation for a claim; with "later" the request keeps waiting, for the reason given.
 */
export type Outcome =
  | { readonly kind: "in force" }
  | { readonly kind: "failed"; readonly error: CniError }
  | { readonly kind: "later"; readonly reason: string };

export interface Waiting {
  /** Resolves when the claim is in force. Rejects with a CniError if it failed or the timeout has passed. */
  until(claim: Claim, timeoutMs: number): Promise<void>;
  /** Passes each request the outcome of its claim. */
  settle(outcomeOf: (claim: Claim) => Outcome): void;
  /** These claims are gone; `errorOf` gives the reason for each. */
  refuse(gone: readonly Claim[], errorOf: (claim: Claim) => CniError): void;
}

interface Waiter {
  readonly claim: Claim;
  readonly resolve: () => void;
  readonly reject: (error: CniError) => void;
  reason: string;
}

export function openWaiting(): Waiting {
  const waiters = new Set<Waiter>();
  return {
    until(claim, timeoutMs) {
      return new Promise((resolve, reject) => {
        const end = (): void => {
          waiters.delete(waiter);
          clearTimeout(timer);
        };
        const waiter: Waiter = {
          claim,
          reason: "the agent is starting",
          resolve() {
            end();
            resolve();
          },
          reject(error) {
            end();
            reject(error);
          },
        };
        const late = (): void =>
          waiter.reject(laterError("timeout: the pod's policy is not enforced yet", waiter.reason));
        const timer = setTimeout(late, timeoutMs).unref();
        waiters.add(waiter);
      });
    },
    settle(outcomeOf) {
      for (const waiter of [...waiters]) {
        const outcome = outcomeOf(waiter.claim);
        if (outcome.kind === "in force") waiter.resolve();
        else if (outcome.kind === "failed") waiter.reject(outcome.error);
        else waiter.reason = outcome.reason;
      }
    },
    refuse(gone, errorOf) {
      for (const waiter of [...waiters])
        if (gone.includes(waiter.claim)) waiter.reject(errorOf(waiter.claim));
    },
  };
}
