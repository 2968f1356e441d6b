// `weir get policies`: the agent's policies, and their effect on this node.

import type { PolicyView } from "./api-views.ts";
import { left, right, someOf, spare, type Table } from "./text-output.ts";

/** As reported by the agent, now or before the policy was removed. */
export type PolicyRow = PolicyView & { readonly removed?: true };

const PODS_SHOWN_MAX = 5;

const COLUMNS = [
  ...["NAMESPACE", "NAME"].map(left),
  spare("SELECTOR", 2),
  spare("TYPES", 1),
  right("PODS"),
  left("STATE"),
];
const WIDE_COLUMNS = [right("INGRESS-RULES"), right("EGRESS-RULES"), left("SELECTS"), left("UNREADABLE")];

/** `wide` adds the number of rules in each direction, this node's pods that the policy selects, and why it is unreadable. */
export function policiesTable(policies: readonly PolicyRow[], wide: boolean): Table {
  return {
    columns: wide ? [...COLUMNS, ...WIDE_COLUMNS] : COLUMNS,
    rows: policies.map((policy) => (wide ? [...cells(policy), ...wideCells(policy)] : cells(policy))),
  };
}

const cells = (policy: PolicyRow): string[] => [
  placeText(policy),
  policy.name,
  policy.selector === "" ? "<every pod>" : policy.selector,
  policy.types.join(","),
  String(policy.selects.length),
  stateText(policy),
];

/** Cluster policies are in no namespace, but at a place among each other. */
export const placeText = ({
  namespace,
  tier,
  priority,
}: Pick<PolicyRow, "namespace" | "tier" | "priority">): string =>
  tier === undefined ? namespace : `<${tier} ${priority}>`;

const wideCells = ({ rules, selects, namespace, unreadable, omitted }: PolicyView): string[] => [
  String(rules.ingress),
  String(rules.egress),
  someOf(
    selects.map((pod) => (pod.startsWith(`${namespace}/`) ? pod.slice(namespace.length + 1) : pod)),
    PODS_SHOWN_MAX,
    ",",
  ),
  unreadable ?? omitted ?? "",
];

/** Its effect on this node. A policy that cannot be read isolates its pods all the same. */
function stateText({ selects, enforced, unreadable, omitted, removed, audit, tier }: PolicyRow): string {
  const done = audit === true ? "audited" : "enforced";
  if (removed === true) return "removed";
  const reach =
    selects.length === 0
      ? "selects no pod here"
      : enforced === selects.length
        ? done
        : `${done} on ${enforced} of ${selects.length}`;
  if (unreadable !== undefined)
    return `${reach}; unreadable, so ${tier === undefined ? "allows nothing" : "denies more than it says"}`;
  return omitted === undefined ? reach : `${reach}; partly unreadable`;
}

/** `namespace/policy` of each, one line each; the bare name of a cluster policy. */
export const policyNames = (policies: readonly Pick<PolicyRow, "namespace" | "name">[]): string =>
  policies.map(({ namespace, name }) => `${namespace === "" ? name : `${namespace}/${name}`}\n`).join("");
