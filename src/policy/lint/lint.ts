// All lint rules over a set of policies: what is valid and yet most likely not meant, or not working.

import type { WarningCode } from "../../model/warnings.ts";
import { dashFindings } from "./dashes.ts";
import { dnsFindings } from "./dns.ts";
import { portNameFindings } from "./names.ts";
import { openFindings } from "./opens.ts";
import { redundancyFindings } from "./redundant.ts";
import { selectorFindings } from "./selectors.ts";
import { type Finding, type LintInput, worldOf } from "./world.ts";

export type { Finding, LintInput, Path } from "./world.ts";

const RULES = [selectorFindings, dashFindings, openFindings, redundancyFindings, portNameFindings];

/** What `and-or` says better about its two elements. */
const WEAKER_THAN_AND_OR: ReadonlySet<WarningCode> = new Set(["no-pod-matched", "peer-redundant"]);

/**
 * Every finding about policies that can be read in full. Pure; the time is linear in pods times policies, and in the
 * square of the policies of one namespace.
 */
export function lintPolicies(input: LintInput): readonly Finding[] {
  const world = worldOf(input);
  const findings = [
    ...world.policies.flatMap((policy) => RULES.flatMap((rule) => rule(world, policy))),
    ...dnsFindings(world),
  ];
  const stronger = findings.filter(({ code }) => code === "and-or");
  return findings.filter(
    (each) => !WEAKER_THAN_AND_OR.has(each.code) || !stronger.some((other) => concernsPair(each, other)),
  );
}

/** Whether a finding is about one of the two elements that another one finds torn apart: its own and the one before. */
function concernsPair({ policy, path }: Finding, pair: Finding): boolean {
  const second = Number(pair.path.at(-1));
  const list = pair.path.slice(0, -1);
  const element = path[list.length];
  return (
    policy === pair.policy &&
    list.every((segment, index) => path[index] === segment) &&
    (element === second || element === second - 1)
  );
}
