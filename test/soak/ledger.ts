// What was injected, what went wrong, and by which fault: the table at the end.

import { left, right, tableText } from "../../src/observe/text-output.ts";
import type { ProbeSpec, Wrong } from "./prober.ts";

export interface Step {
  readonly kind: string;
  readonly beganUs: number;
  /** When the time to repair began, and when the agent said that all was in force. */
  repairFromUs: number;
  inForceUs: number | undefined;
}

export interface Seen extends Wrong {
  readonly probe: ProbeSpec | undefined;
}

interface Row {
  faults: number;
  passed: number;
  broken: number;
  neither: number;
  lies: number;
  readonly repairMs: number[];
}

export interface Result {
  readonly text: string;
  /** Undefined if nothing went wrong. */
  readonly firstFailure: string | undefined;
}

export interface Ledger {
  begin(kind: string, atUs: number): Step;
  wrong(seen: Seen): void;
  /** Agents that ended by themselves, with the last line of their log. */
  ended(kind: string, why: string): void;
  leak(text: string): void;
  result(): Result;
  wrongs(): number;
}

const quantile = (sorted: readonly number[], share: number): number =>
  sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;

const msText = (ms: number): string =>
  ms >= 10_000 ? `${(ms / 1_000).toFixed(1)} s` : `${Math.round(ms)} ms`;

export function openLedger(): Ledger {
  const steps: Step[] = [];
  const seen: Seen[] = [];
  const leaks: string[] = [];
  const ends: string[] = [];
  /** The start, where no step has begun yet. */
  const kindAt = (us: number): string => stepAt(us)?.kind ?? "start";
  const stepAt = (us: number): Step | undefined => steps.findLast(({ beganUs }) => beganUs <= us);

  function rows(): Map<string, Row> {
    const all = new Map<string, Row>();
    const of = (kind: string): Row => {
      const row = all.get(kind) ?? { faults: 0, passed: 0, broken: 0, neither: 0, lies: 0, repairMs: [] };
      all.set(kind, row);
      return row;
    };
    for (const { kind, repairFromUs, inForceUs } of steps) {
      const row = of(kind);
      row.faults += 1;
      if (inForceUs !== undefined) row.repairMs.push(Math.max(0, inForceUs - repairFromUs) / 1_000);
    }
    for (const { what, count, first } of seen) {
      const step = stepAt(first);
      const row = of(kindAt(first));
      if (what === "passed") row.passed += count;
      else row.broken += count;
      if (step?.inForceUs !== undefined && first >= step.inForceUs) row.lies += 1;
      else row.neither += count;
    }
    return all;
  }

  return {
    begin(kind, atUs) {
      const step: Step = { kind, beganUs: atUs, repairFromUs: atUs, inForceUs: undefined };
      steps.push(step);
      return step;
    },
    wrong: (one) => void seen.push(one),
    ended: (kind, why) => void ends.push(`${kind}: ${why}`),
    leak: (text) => void leaks.push(text),
    wrongs: () => seen.length,
    result() {
      const found = rows();
      const total: Row = { faults: 0, passed: 0, broken: 0, neither: 0, lies: 0, repairMs: [] };
      for (const row of found.values()) {
        for (const key of ["faults", "passed", "broken", "neither", "lies"] as const) total[key] += row[key];
        total.repairMs.push(...row.repairMs);
      }
      const cells = [...found, ["all", total] as const].map(([kind, row]) => {
        const sorted = row.repairMs.toSorted((a, b) => a - b);
        return [kind, row.faults, row.passed, row.broken, row.neither, row.lies]
          .map(String)
          .concat([0.5, 0.99, 1].map((share) => msText(quantile(sorted, share))));
      });
      const lines = [
        tableText({
          columns: [
            left("fault"),
            ...[
              "injected",
              "denied passed",
              "allowed broken",
              "neither old nor new",
              "status lied",
              "repaired p50",
              "p99",
              "worst",
            ].map(right),
          ],
          rows: cells,
        }),
      ];
      if (ends.length > 0)
        lines.push(
          `agents that ended by themselves: ${ends.length}\n${ends.map((each) => `  ${each}\n`).join("")}`,
        );
      lines.push(
        leaks.length === 0
          ? "leaks: 0\n"
          : `leaks: ${leaks.length}\n${leaks.map((each) => `  ${each}\n`).join("")}`,
      );
      const [first] = seen.toSorted((a, b) => a.first - b.first);
      const firstWrong =
        first && `${first.count} ${first.what} at "${kindAt(first.first)}": ${JSON.stringify(first.probe)}`;
      return { text: lines.join(""), firstFailure: firstWrong ?? leaks[0] };
    },
  };
}
