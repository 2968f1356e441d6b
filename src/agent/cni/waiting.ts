// Those who wait for a claim to be in force: the plugin's ADDs, each with the time that it has.

import type { Claim } from "../../cni/cni-claims.ts";
import { type CniError, laterError } from "../../cni/cni-error.ts";

/** What a round has made of a claim; "later" is to be waited on, for the reason given. */
export type Outcome =
  | { readonly kind: "in force" }
  | { readonly kind: "failed"; readonly error: CniError }
  | { readonly kind: "later"; readonly reason: string };

export interface Waiting {
  /** Resolves when the claim is in force. Rejects with a CniError: it failed, or the time is over. */
  until(claim: Claim, timeoutMs: number): Promise<void>;
  /** Tells each what has become of its claim. */
  settle(outcomeOf: (claim: Claim) => Outcome): void;
  /** These claims are gone: why, is for each to say. */
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
          reason: "the agent is coming up",
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
          waiter.reject(laterError("the pod's policy is not in force in time", waiter.reason));
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
