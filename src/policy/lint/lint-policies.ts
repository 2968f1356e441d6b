// All lint rules over a set of policies: what is valid but most likely unintended or ineffective.

import { dashFindings } from "./lint-dashes.ts";
import { dnsFindings } from "./lint-dns.ts";
import { type Finding, type LintInput, type Path, worldOf } from "./lint-input.ts";
import { nameFindings } from "./lint-names.ts";
import { openFindings } from "./lint-open-rules.ts";
import { portNameFindings } from "./lint-port-names.ts";
import { redundancyFindings } from "./lint-redundant.ts";
import { selectorFindings } from "./lint-selectors.ts";
import { tierFindings } from "./lint-tiers.ts";

export type { Finding, LintInput, Path } from "./lint-input.ts";

const RULES = [selectorFindings, dashFindings, openFindings, redundancyFindings, portNameFindings];

/**
 * Every finding about policies that can be read in full, except silenced ones. Pure; the time is linear in pods times policies, and in
 * the square of the policies of one namespace, and of the rules of cluster policies.
 */
export function lintPolicies(input: LintInput): readonly Finding[] {
  const world = worldOf(input);
  const findings = [
    ...world.policies.flatMap((policy) => RULES.flatMap((rule) => rule(world, policy))),
    ...dnsFindings(world),
    ...tierFindings(world),
    ...nameFindings(world),
  ];
  // Before the weaker ones are removed, so that silencing one finding does not silence those that it replaced.
  const audible = findings.filter(({ policy, code }) => !world.ignores(policy, code));
  const byPolicy = Map.groupBy(audible, (each) => each.policy);
  return audible.filter((each) => !byPolicy.get(each.policy)?.some((other) => overrides(other, each)));
}

/** Whether a finding describes the problem of an element better than another finding. */
function overrides(stronger: Finding, weaker: Finding): boolean {
  switch (stronger.code) {
    case "and-or":
      return (
        (weaker.code === "no-pod-matched" || weaker.code === "peer-redundant") &&
        concernsPair(weaker, stronger)
      );
    case "opens-all":
      return weaker.code === "rule-split" && samePath(weaker.path, stronger.path);
    case "names-unresolved":
      return weaker.code === "dns-denied";
    default:
      return false;
  }
}

const samePath = (a: Path, b: Path): boolean => a.length === b.length && startsWith(a, b);

const startsWith = (path: Path, start: Path): boolean =>
  start.every((segment, index) => path[index] === segment);

/** Whether a finding is about one of the two elements that another finding reports as split: its own and the one before. */
function concernsPair({ path }: Finding, pair: Finding): boolean {
  const second = Number(pair.path.at(-1));
  const list = pair.path.slice(0, -1);
  const element = path[list.length];
  return startsWith(path, list) && (element === second || element === second - 1);
}
