// A map of labels, as metadata.labels and matchLabels have it.

import type { Labels } from "../../model/selector.ts";
import { checkedStringOf, type Field, fieldsOf, note } from "./fields.ts";
import { labelKey, labelValue } from "./syntax.ts";
import { quote } from "./text.ts";

/** What is done where the labels as a whole, or one of them, cannot be read. */
export interface LabelEffects {
  readonly all: string;
  readonly one: string;
}

/** One that is not valid is left out, with an issue; undefined where the value is no map at all. */
export function labelsOf(field: Field, effects?: LabelEffects): Labels | undefined {
  const labels = new Map<string, string>();
  // A label without a value is an issue and not an empty one, which the API server makes of it.
  const map = fieldsOf({ ...field, nullIsMissing: false, ...(effects && { effect: effects.all }) });
  for (const [key, plain] of map ?? []) {
    const item = effects ? { ...plain, effect: effects.one } : plain;
    const expected = labelKey(key);
    if (expected !== undefined) note(item, `${quote(key)} is not ${expected}`);
    const value = checkedStringOf(item, labelValue);
    if (expected === undefined && value !== undefined) labels.set(key, value);
  }
  return map && labels;
}
