// All lint rules over a set of policies: what is valid and yet most likely not meant, or not working.

import { DIRECTIONS } from "../../base/direction.ts";
import type { Policy } from "../../model/policy.ts";
import type { WarningCode } from "../../model/warnings.ts";
import { dashFindings } from "./dashes.ts";
import { dnsFindings } from "./dns.ts";
import { portNameFindings } from "./names.ts";
import { openFindings } from "./opens.ts";
import { redundancyFindings } from "./redundant.ts";
import { selectorFindings } from "./selectors.ts";
import { type Finding, type LintInput, type Path, worldOf } from "./world.ts";

export type { Finding, LintInput, Path } from "./world.ts";

const RULES = [selectorFindings, dashFindings, openFindings, redundancyFindings, portNameFindings];

/** What another finding about the same element, or one around it, says better. */
const OVERRIDES: ReadonlyMap<WarningCode, readonly WarningCode[]> = new Map([
  ["and-or", ["no-pod-matched", "peer-redundant"]],
  ["rule-split", ["rule-redundant"]],
]);

/**
 * Every finding about policies that can be read in full. Pure, and in time linear in pods times policies, and in the
 * square of the policies of one namespace.
 */
export function lintPolicies(input: LintInput): readonly Finding[] {
  const world = worldOf(input);
  const findings = [
    ...world.policies.flatMap((policy) => RULES.flatMap((rule) => rule(world, policy))),
    ...dnsFindings(world),
  ];
  return findings.filter((each) => !findings.some((other) => overrides(other, each)));
}
