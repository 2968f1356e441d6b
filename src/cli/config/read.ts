// Values of single options: from the texts of flags and variables, checked against the schema.

import type { OptionSpec } from "./config-options.ts";
import { CONFIG } from "./config-schema.ts";

export type Checked = { readonly ok: true; readonly value: unknown } | { readonly ok: false };

/** A value as a file would have it. What cannot be one stays a text, which the schema refuses. */
export function valueOfText({ type }: Pick<OptionSpec, "type">, text: string): unknown {
  switch (type) {
    case "string":
      return text;
    case "integer":
      return /^-?\d{1,15}$/.test(text) ? Number(text) : text;
    case "boolean":
      return text === "true" || (text === "false" ? false : text);
    case "array":
      return text.split(",").map((each) => each.trim());
  }
}

export function checked({ key }: Pick<OptionSpec, "key">, value: unknown): Checked {
  if (value === undefined) return { ok: false };
  const result = CONFIG.shape[key].safeParse(value);
  return result.success ? { ok: true, value: result.data } : { ok: false };
}
