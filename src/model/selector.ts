// Label selectors (metav1.LabelSelector) as a list of requirements, and whether they match a set of labels.

import { assertNever } from "../base/assert.ts";
import { memo } from "../base/memo.ts";

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
  const { requirements } = selector;
  return isLarge(selector)
    ? matchesByKey(conditionsOf(requirements), labels)
    : requirements.every((requirement) => holds(requirement, labels));
}

/** Requirements, and values of one, that are looked at one after another. Tenants may write thousands, and they are compared with every pod. */
const SMALL = 8;

const isLarge = ({ requirements }: Selector): boolean =>
  requirements.length > SMALL || requirements.some((each) => "values" in each && each.values.length > SMALL);

/** All that requirements say of one key. */
interface Condition {
  /** In, or Exists. */
  isNeeded: boolean;
  isForbidden: boolean;
  /** Undefined: any. */
  allowed: ReadonlySet<string> | undefined;
  readonly denied: Set<string>;
}

interface Conditions {
  readonly byKey: ReadonlyMap<string, Condition>;
  /** How many keys must be there. */
  readonly needed: number;
}

const conditionsOf = memo((requirements: Selector["requirements"]): Conditions => {
  const byKey = new Map<string, Condition>();
  for (const each of requirements) {
    const condition = byKey.get(each.key) ?? {
      ...{ isNeeded: false, isForbidden: false },
      ...{ allowed: undefined, denied: new Set<string>() },
    };
    byKey.set(each.key, condition);
    switch (each.operator) {
      case "In": {
        const values = new Set(each.values);
        condition.isNeeded = true;
        condition.allowed = condition.allowed?.intersection(values) ?? values;
        break;
      }
      case "NotIn":
        for (const value of each.values) condition.denied.add(value);
        break;
      case "Exists":
        condition.isNeeded = true;
        break;
      case "DoesNotExist":
        condition.isForbidden = true;
        break;
      default:
        assertNever(each, "selector operator");
    }
  }
  return { byKey, needed: byKey.values().reduce((sum, { isNeeded }) => sum + Number(isNeeded), 0) };
});

/** In the time of the labels, however many requirements and values there are. */
function matchesByKey({ byKey, needed }: Conditions, labels: Labels): boolean {
  let found = 0;
  for (const [key, value] of labels) {
    const condition = byKey.get(key);
    if (condition === undefined) continue;
    const { isNeeded, isForbidden, allowed, denied } = condition;
    if (isForbidden || denied.has(value) || allowed?.has(value) === false) return false;
    if (isNeeded) found += 1;
  }
  return found === needed;
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
