// What a round has come to for a claim: whether the kernel goes by it now.

import type { Claim } from "../../cni/cni-claims.ts";
import { CNI_CODE, CniError, laterError } from "../../cni/cni-error.ts";
import { indexOf } from "../../cni/host-links.ts";
import type { Matched } from "../../cni/lay.ts";
import { keyOf } from "../../model/cluster.ts";
import { type Problem, problemText } from "../../model/problem.ts";
import { podsOf } from "../../policy/local-endpoints.ts";
import type { InForce } from "../views.ts";
import type { Outcome } from "./waiting.ts";

/** What a round has left: what is in force, and what is wrong. */
export interface ClaimOutcome {
  readonly force: InForce | undefined;
  readonly problems: readonly Problem[];
}

/** Of the claims that a reconciliation went by; it went by none where they are not given. */
export function outcomesOf(
  matched: Matched | undefined,
  { force, problems }: ClaimOutcome,
): (claim: Claim) => Outcome {
  if (matched === undefined) return () => ({ kind: "later", reason: "the source has not been read yet" });
  // A round that failed has left the one before in force.
  const applied = force?.source === matched.cluster ? force : undefined;
  const owners = applied === undefined ? new Map<number, readonly string[]>() : ownersIn(applied);
  return (claim) => {
    const waits = matched.waits.get(claim);
    if (waits !== undefined) return { kind: "later", reason: waits };
    if (!matched.counts.has(claim)) return { kind: "later", reason: "it is its turn next" };
    if (applied === undefined) return failed(problems, "the policies could not be applied");
    if (owners.get(claim.ifindex)?.includes(keyOf(claim)) === true) return { kind: "in force" };
    // It may be so new that the node's tables do not have it: it is looked for again as soon as they do.
    if (!owners.has(claim.ifindex) && indexOf(claim.link) === claim.ifindex)
      return { kind: "later", reason: `interface ${claim.link} is not enforced yet` };
    const own = problems.filter(({ object }) => object === `Pod ${keyOf(claim)}`);
    return failed(own, `interface ${claim.link} is not enforced`);
  };
}

/** Whose each interface is that the programs hang on. */
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

/** Why pods cannot be added now. A round under way is no reason: those who wait for it are answered when it ends. */
export function unreadyReason(
  progress: (Pick<ClaimOutcome, "force"> & { readonly wanted: number; readonly applied: number }) | undefined,
): string | undefined {
  if (progress?.force === undefined) return "nothing has been brought into force yet";
  return progress.wanted === progress.applied ? undefined : "the last change could not be brought into force";
}
