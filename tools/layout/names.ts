// From the names of C (snake_case, UPPER_CASE) to those of TypeScript.

import type { Enum } from "../../src/datapath/btf-types.ts";

/** "flow_v4_key" → "flowV4Key". */
export const camelCase = (name: string): string =>
  name.replace(/_+([A-Za-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** "flow_v4_key" → "FlowV4Key". */
export const pascalCase = (name: string): string => camelCase(`_${name}`);

/** "flow_v4_key" → "FLOW_V4_KEY". */
export const upperCase = (name: string): string => name.toUpperCase();

/** "TCP_NEW" → "tcp-new". */
export const dashed = (name: string): string => name.toLowerCase().replaceAll("_", "-");

/** The words that all constants of an enum begin with, "REASON_"; never the whole of a name. */
export function commonPrefix({ values }: Enum): string {
  const [first = [], ...others] = values.map(({ name }) => name.split("_"));
  let shared = first.length - 1;
  for (const words of others) {
    const different = words.findIndex((word, i) => i === words.length - 1 || word !== first[i]);
    shared = Math.min(shared, different);
  }
  return first
    .slice(0, Math.max(shared, 0))
    .map((word) => `${word}_`)
    .join("");
}
