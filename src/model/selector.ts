// Label selectors (metav1.LabelSelector) as a list of requirements, and whether they match a set of labels.

import { assertNever } from "../base/assert.ts";

/** Label keys come from users, so they are map keys and never properties of an object ("constructor" is a valid one). */
export type Labels = ReadonlyMap<string, string>;

export type Requirement =
  | { readonly operator: "In" | "NotIn"; readonly key: string; readonly values: readonly string[] }
  | { readonly operator: "Exists" | "DoesNotExist"; readonly key: string };

/** All requirements must hold; no requirement at all matches everything. `matchLabels` entries are `In` with one value. */
export interface Selector {
  readonly requirements: readonly Requirement[];
}

export const EVERYTHING: Selector = { requirements: [] };

export function matches(selector: Selector, labels: Labels): boolean {
  return selector.requirements.every((requirement) => holds(requirement, labels));
}

function holds(requirement: Requirement, labels: Labels): boolean {
  const value = labels.get(requirement.key);
  switch (requirement.operator) {
    case "In":
      return value !== undefined && requirement.values.includes(value);
    case "NotIn":
      // A missing key is not in any list: labels.Requirement.Matches of apimachinery.
      return value === undefined || !requirement.values.includes(value);
    case "Exists":
      return value !== undefined;
    case "DoesNotExist":
      return value === undefined;
    default:
      return assertNever(requirement, "selector operator");
  }
}

/** Canonical text, in kubectl's notation (`app=web,tier in (a,b),!old`): equal selectors have equal text. "" is everything. */
export function selectorText(selector: Selector): string {
  return selector.requirements.map(requirementText).sort().join(",");
}

function requirementText(requirement: Requirement): string {
  switch (requirement.operator) {
    case "In":
    case "NotIn": {
      const values = [...new Set(requirement.values)].sort();
      if (requirement.operator === "In" && values.length === 1) return `${requirement.key}=${values[0]}`;
      return `${requirement.key} ${requirement.operator === "In" ? "in" : "notin"} (${values.join(",")})`;
    }
    case "Exists":
      return requirement.key;
    case "DoesNotExist":
      return `!${requirement.key}`;
    default:
      return assertNever(requirement, "selector operator");
  }
}
