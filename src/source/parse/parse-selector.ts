// metav1.LabelSelector: an untrusted value becomes a Selector, or an issue; never a selector that matches more.

import { assertNever } from "../../base/assert.ts";
import type { Requirement, Selector } from "../../model/selector.ts";
import { labelKey, labelValue } from "./common-fields.ts";
import {
  checkedStringOf,
  child,
  type Field,
  fieldsOf,
  isMap,
  itemsOf,
  note,
  quote,
  stringOf,
  warn,
} from "./fields.ts";

const SELECTOR_FIELDS = ["matchLabels", "matchExpressions"];
const EXPRESSION_FIELDS = ["key", "operator", "values"];
const OPERATORS = ["In", "NotIn", "Exists", "DoesNotExist"] as const;

/** Undefined where anything in it is wrong. */
export function parseSelector(field: Field): Selector | undefined {
  const fields = fieldsOf(field, SELECTOR_FIELDS);
  adviseOnLabels(field);
  const matchLabels = fields?.get("matchLabels");
  const matchExpressions = fields?.get("matchExpressions");
  const equalities = (matchLabels && equalitiesOf(matchLabels)) ?? [];
  const expressions = (matchExpressions && itemsOf(matchExpressions)?.map(parseExpression)) ?? [];
  if (fields === undefined || field.issues.hasErrorIn(field.path)) return undefined;
  return { requirements: [...equalities, ...expressions.filter((requirement) => requirement !== undefined)] };
}

/** A label without a value is an issue, and not the empty value that the API server makes of it. */
function equalitiesOf(field: Field): readonly Requirement[] | undefined {
  const map = fieldsOf({ ...field, nullIsMissing: false });
  return (
    map &&
    [...map].map(([key, item]): Requirement => {
      const expected = labelKey(key);
      if (expected !== undefined) note(item, `${quote(key)} is not ${expected}`);
      return { operator: "In", key, values: valuesAt([item]) };
    })
  );
}

const STRAYS_SHOWN_MAX = 5;

/** Labels in the place of matchLabels: a reader that ignored them would select everything. */
function adviseOnLabels(field: Field): void {
  if (!isMap(field.value)) return;
  const strays = Object.entries(field.value).filter(
    ([key, value]) =>
      !SELECTOR_FIELDS.includes(key) &&
      labelKey(key) === undefined &&
      typeof value === "string" &&
      labelValue(value) === undefined,
  );
  const shown = strays.slice(0, STRAYS_SHOWN_MAX).map(([key, value]) => `${key}: ${value}`);
  const labels = [...shown, ...(strays.length > shown.length ? ["..."] : [])].join(", ");
  for (const [key] of strays)
    field.issues.advise(
      [...field.path, key],
      `labels belong under matchLabels: write matchLabels: { ${labels} }`,
    );
}

/** ValidateLabelSelectorRequirement of apimachinery: In and NotIn need values, Exists and DoesNotExist forbid them. */
function parseExpression(field: Field): Requirement | undefined {
  const fields = fieldsOf(field, EXPRESSION_FIELDS);
  if (fields === undefined) return undefined;
  const keyField = fields.get("key");
  if (keyField === undefined) note(child(field, "key"), "is missing");
  const key = keyField && checkedStringOf(keyField, labelKey);
  const operator = operatorOf(field, fields.get("operator"));
  const list = valuesOf(fields.get("values"));
  switch (operator) {
    case undefined:
      return undefined;
    case "In":
    case "NotIn":
      if (list?.given === 0)
        note(child(field, "values"), `is missing or empty; ${operator} needs at least one value`);
      return key === undefined || list === undefined ? undefined : { operator, key, values: list.values };
    case "Exists":
    case "DoesNotExist":
      if (list?.given !== 0) note(child(field, "values"), `must be left out; ${operator} takes no values`);
      return key === undefined ? undefined : { operator, key };
    default:
      return assertNever(operator, "selector operator");
  }
}

function operatorOf(expression: Field, field: Field | undefined): Requirement["operator"] | undefined {
  if (field === undefined) {
    note(child(expression, "operator"), "is missing; expected In, NotIn, Exists or DoesNotExist");
    return undefined;
  }
  const text = stringOf(field);
  const operator = OPERATORS.find((known) => known === text);
  if (text !== undefined && operator === undefined) {
    note(field, `${quote(text)} is not an operator; expected In, NotIn, Exists or DoesNotExist`);
  }
  return operator;
}

/** Undefined where the field is not a list; else the values that can be read. */
function valuesOf(
  field: Field | undefined,
): { readonly given: number; readonly values: readonly string[] } | undefined {
  if (field === undefined) return { given: 0, values: [] };
  const items = itemsOf(field);
  return items && { given: items.length, values: valuesAt(items) };
}

/**
 * The values that labels can have. API servers have stored others too (older ones did not validate those of matchExpressions):
 * no label has such a value, so for In it matches nothing, and for NotIn it excludes nothing.
 */
function valuesAt(items: readonly Field[]): readonly string[] {
  return items.flatMap((item) => {
    const text = stringOf(item);
    const expected = text === undefined ? undefined : labelValue(text);
    if (text === undefined || expected === undefined) return text ?? [];
    warn(item, `${quote(text)} is not ${expected}, so no label has it`, {
      code: "selector-value",
      fix: "write a value that labels have",
    });
    return [];
  });
}
