// Lint rules over clusters in tests: the findings on each policy, and their places.

import type { Cluster, Pod } from "../../src/model/cluster.ts";
import type { Policy } from "../../src/model/network-policy.ts";
import type { WarningCode } from "../../src/model/problem.ts";
import { type Finding, lintPolicies, type Path } from "../../src/policy/lint/lint-policies.ts";

export type Input = {
  readonly cluster: Cluster;
  readonly templates?: readonly Pod[];
  readonly ignored?: WarningCode;
};

/** A peer's podSelector counts as written if it has requirements; of a policy, everything does. */
export function writes(of: Policy, path: Path): boolean {
  const [, direction, rule, , peer, field] = path;
  if (direction !== "ingress" && direction !== "egress") return true;
  if (rule === undefined) return of.rules[direction].length > 0;
  const { peers = "anyone" } = of.rules[direction][Number(rule)] ?? {};
  const at = peers === "anyone" ? undefined : peers[Number(peer)];
  return field === "podSelector" && at?.kind === "pods" && at.pods.requirements.length > 0;
}

export const lint = ({ cluster: world, templates = [], ignored }: Input): readonly Finding[] =>
  lintPolicies({ cluster: world, templates, writes, ignores: (_, code) => code === ignored });

/** "NAME CODE PATH" of the findings with these codes. */
export const told = (input: Input, ...codes: readonly WarningCode[]): readonly string[] =>
  lint(input)
    .filter(({ code }) => codes.includes(code))
    .map(({ policy: { name }, code, path }) => `${name} ${code} ${path.join(".")}`);
