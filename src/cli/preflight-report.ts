// The findings of `weir check node`, and how they are displayed.

import { left, type Table } from "../observe/text-output.ts";

/**
 * ok: as required. fallback: Weir works, in another way or with a disadvantage, which the detail names.
 * missing: Weir cannot enforce here. unknown: not determined, for a reason that another check names.
 */
export type CheckState = "ok" | "fallback" | "missing" | "unknown";

export interface Finding {
  readonly check: string;
  readonly state: CheckState;
  /** The finding, and for something missing how to get it. */
  readonly detail: string;
}

const COLUMNS = ["CHECK", "STATE", "DETAIL"].map(left);

export const checkTable = (findings: readonly Finding[]): Table => ({
  columns: COLUMNS,
  rows: findings.map(({ check, state, detail }) => [check, state, detail]),
});

/** "9 ok, 1 fallback": the last line. */
export function checkSummary(findings: readonly Finding[]): string {
  const count = (state: CheckState): number => findings.filter((each) => each.state === state).length;
  const parts = (["ok", "fallback", "missing", "unknown"] as const)
    .filter((state) => state === "ok" || count(state) > 0)
    .map((state) => `${count(state)} ${state}`);
  const verdict =
    count("missing") + count("unknown") === 0 ? "Weir can enforce here" : "Weir cannot enforce here";
  return `${verdict}: ${parts.join(", ")}`;
}
