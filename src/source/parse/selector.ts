// metav1.LabelSelector: an untrusted value becomes a Selector, or an issue; never a selector that matches more.

import { assertNever } from "../../base/assert.ts";
import type { Labels, Requirement, Selector } from "../../model/selector.ts";
import {
  advise,
  checkedStringOf,
  child,
  type Field,
  fieldsOf,
  hasErrorIn,
  isMap,
  itemsOf,
  note,
  stringOf,
} from "./fields.ts";
import { labelsOf } from "./labels.ts";
import { labelKey, labelValue } from "./syntax.ts";
import { quote } from "./text.ts";

const SELECTOR_FIELDS = ["matchLabels", "matchExpressions"];
const EXPRESSION_FIELDS = ["key", "operator", "values"];
const OPERATORS = ["In", "NotIn", "Exists", "DoesNotExist"] as const;

/** Undefined where anything in it is wrong. */
export function parseSelector(field: Field): Selector | undefined {
  const fields = fieldsOf(field, SELECTOR_FIELDS);
  adviseOnLabels(field);
  const matchLabels = fields?.get("matchLabels");
  const matchExpressions = fields?.get("matchExpressions");
  const labels: Labels = (matchLabels && labelsOf(matchLabels)) ?? new Map();
  const expressions = (matchExpressions && itemsOf(matchExpressions)?.map(parseExpression)) ?? [];
  if (fields === undefined || hasErrorIn(field.issues, field.path)) return undefined;
  const equalities = [...labels].map(
    ([key, value]): Requirement => ({ operator: "In", key, values: [value] }),
  );
  return { requirements: [...equalities, ...expressions.filter((requirement) => requirement !== undefined)] };
}

/** Labels that stand where matchLabels should: a reader that ignored them would select everything. */
function adviseOnLabels(field: Field): void {
  if (!isMap(field.value)) return;
  const strays = Object.entries(field.value).filter(
    ([key, value]) =>
      !SELECTOR_FIELDS.includes(key) &&
      labelKey(key) === undefined &&
      typeof value === "string" &&
      labelValue(value) === undefined,
  );
  const labels = strays.map(([key, value]) => `${key}: ${value}`).join(", ");
  for (const [key] of strays)
    advise(child(field, key), `labels stand under matchLabels: write matchLabels: { ${labels} }`);
}

/** ValidateLabelSelectorRequirement of apimachinery: In and NotIn need values, Exists and DoesNotExist forbid them. */
function parseExpression(field: Field): Requirement | undefined {
  const fields = fieldsOf(field, EXPRESSION_FIELDS);
  if (fields === undefined) return undefined;
  const keyField = fields.get("key");
  if (keyField === undefined) note(child(field, "key"), "is missing");
  const key = keyField && checkedStringOf(keyField, labelKey);
  const operator = operatorOf(field, fields.get("operator"));
  const values = valuesOf(fields.get("values"));
  switch (operator) {
    case undefined:
      return undefined;
    case "In":
    case "NotIn":
      if (values?.length === 0)
        note(child(field, "values"), `is missing or empty; ${operator} needs at least one value`);
      return key === undefined || values === undefined ? undefined : { operator, key, values };
    case "Exists":
    case "DoesNotExist":
      if (values?.length !== 0) note(child(field, "values"), `must be left out; ${operator} takes no values`);
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

/** Empty where the field is missing; undefined where a value is wrong. */
function valuesOf(field: Field | undefined): readonly string[] | undefined {
  if (field === undefined) return [];
  const values = itemsOf(field)?.map((item) => checkedStringOf(item, labelValue));
  return values?.every((value) => value !== undefined) ? values : undefined;
}
