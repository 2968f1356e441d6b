// NetworkPolicy networking.k8s.io/v1: an untrusted value becomes a Policy, in full or not at all (fail closed).

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { isMode, MODE_KEY, MODES, type Mode } from "../../model/mode.ts";
import type { Policy } from "../../model/policy.ts";
import {
  at,
  child,
  type Field,
  type Fields,
  fieldsOf,
  hasErrorIn,
  itemsOf,
  note,
  pathText,
  stringOf,
  warn,
} from "./fields.ts";
import { parseMetadata } from "./metadata.ts";
import { parseRules } from "./rules.ts";
import { parseSelector } from "./selector.ts";
import { objectName } from "./syntax.ts";
import { quote } from "./text.ts";

/** `status` was a field of some versions; it says nothing of what is wanted. */
const POLICY_FIELDS = ["apiVersion", "kind", "metadata", "spec", "status"];
const POLICY_FIELDS_SHOWN = 4;
const SPEC_FIELDS = ["podSelector", "policyTypes", "ingress", "egress"];
const POLICY_TYPES: ReadonlyMap<string, Direction> = new Map([
  ["Ingress", "ingress"],
  ["Egress", "egress"],
]);

const NO_RULES: Policy["rules"] = { ingress: [], egress: [] };

export interface ParsedPolicy {
  /** Undefined where they cannot be read. */
  readonly namespace: string | undefined;
  readonly name: string | undefined;
  /**
   * Undefined where it is not known which pods are meant. Where they are and anything else is wrong, they are isolated
   * and nothing is allowed.
   */
  readonly policy: Policy | undefined;
}

export function parsePolicy(field: Field): ParsedPolicy {
  const fields: Fields =
    fieldsOf({ ...field, nullIsMissing: false }, POLICY_FIELDS, POLICY_FIELDS_SHOWN) ?? new Map();
  const { namespace, name, annotations } = parseMetadata(field, fields, {
    strict: true,
    nameCheck: objectName,
  });
  const specField = fields.get("spec");
  if (specField === undefined)
    note(child(field, "spec"), "is missing; spec.podSelector is required ({} is every pod)");
  const spec = specField && fieldsOf(specField, SPEC_FIELDS);
  const subjectField = spec?.get("podSelector");
  if (specField && spec && subjectField === undefined) {
    note(child(specField, "podSelector"), "is missing; write {} to select every pod of the namespace");
  }
  const subject = subjectField && parseSelector(subjectField);
  const policyTypes = spec?.get("policyTypes");
  const types = policyTypes && policyTypesOf(policyTypes);
  const rules = {
    ingress: parseRules(spec?.get("ingress"), "ingress"),
    egress: parseRules(spec?.get("egress"), "egress"),
  };
  const isolates = specField && spec && isolatedBy(specField, spec, types);
  const reason = reasonOf(field);
  // After that: a wrong mode makes no policy unreadable.
  const given = at(annotations, MODE_KEY, "the policy is enforced");
  const mode = given && modeAt(given);
  const outcome = reason === undefined ? { rules } : { rules: NO_RULES, unreadable: reason };
  const known =
    name !== undefined && namespace !== undefined && subject !== undefined && isolates !== undefined;
  return {
    namespace,
    name,
    policy: known ? { namespace, name, subject, isolates, ...outcome, ...(mode && { mode }) } : undefined,
  };
}

function modeAt(field: Field): Mode | undefined {
  const text = stringOf(field);
  if (text === undefined || isMode(text)) return text;
  note(field, `${quote(text)} is not a mode; expected ${MODES.join(" or ")}`);
  return undefined;
}

/** Undefined where it cannot be read; empty is the same as missing. More than two are refused, as the API server does. */
function policyTypesOf(field: Field): readonly Direction[] | undefined {
  const items = itemsOf(field);
  if (items === undefined) return undefined;
  if (items.length > POLICY_TYPES.size)
    note(field, "has more than two elements; expected Ingress, Egress or both");
  return items.flatMap((item) => {
    const text = stringOf(item);
    const direction = text === undefined ? undefined : POLICY_TYPES.get(text);
    if (text !== undefined && direction === undefined) {
      note(item, `${quote(text)} is not a policy type; expected Ingress or Egress`);
    }
    return direction ?? [];
  });
}

/**
 * Which directions a policy isolates: policyTypes where it says something, else always ingress, and egress where there
 * are egress rules (SetDefaults_NetworkPolicy: an empty list is none). Where that cannot be told, both.
 */
function isolatedBy(
  specField: Field,
  spec: Fields,
  types: readonly Direction[] | undefined,
): Policy["isolates"] {
  const egress = spec.get("egress");
  const typesPath = [...specField.path, "policyTypes"];
  if (hasErrorIn(specField.issues, typesPath)) return { ingress: true, egress: true };
  if (types !== undefined && types.length > 0) {
    return { ingress: types.includes("ingress"), egress: types.includes("egress") };
  }
  if (Array.isArray(egress?.value)) {
    if (egress.value.length > 0) return { ingress: true, egress: true };
    warn(egress, "is empty and policyTypes is missing, so egress is not isolated", {
      code: "egress-empty",
      fix: "if it should be, write policyTypes: [Ingress, Egress]",
    });
  }
  return { ingress: true, egress: mayHaveEgress(specField) };
}

/** Whether spec.egress is there but unreadable, or an unknown field that may be it or policyTypes, misspelt. */
function mayHaveEgress({ path, issues }: Field): boolean {
  return issues.values().some((issue) => {
    const key = issue.path[path.length];
    if (issue.severity !== "error" || issue.path.length !== path.length + 1) return false;
    return key === "egress" || (typeof key === "string" && !SPEC_FIELDS.includes(key));
  });
}

/** Why the policy cannot be read: its first error, and how many more there are. */
function reasonOf(field: Field): string | undefined {
  const errors = [...field.issues.values()].filter((issue) => issue.severity === "error");
  const first = errors[0];
  if (first === undefined) return undefined;
  const more = errors.length > 1 ? ` (and ${errors.length - 1} more)` : "";
  return `${pathText(first.path)}: ${first.reason}${more}`;
}

/** What is done about a policy with errors, as the end of a problem's line. */
export function policyEffect(policy: Policy | undefined): string {
  if (policy === undefined) return "the policy is refused: it isolates no pod and allows nothing";
  const directions = DIRECTIONS.filter((direction) => policy.isolates[direction]).join(" and ");
  return `its pods are isolated (${directions}) and nothing is allowed by it`;
}
