// Measures who reaches whom: many probes at once, each by what really happened, and doubtful ones once more.

import type { Lab } from "./netns-lab.ts";
import type { Outcome, Probe } from "./pod-protocol.ts";

/** A dropped packet is known only by waiting: much longer than an answer takes here, much shorter than anybody's patience. */
export const PATIENCE_MS = 400;

/** For the second look: time for the kernel to send a lost SYN again (after 1, 3 and 7 s) and for a busy machine to answer. */
export const SECOND_LOOK_MS = 10_000;

/** So many at once that waiting overlaps, so few that two processors keep up with the answers. */
const AT_ONCE_MAX = 48;

export interface Shot {
  /** The endpoint that probes. */
  readonly from: string;
  readonly probe: Omit<Probe, "timeoutMs">;
}

export interface ExpectedShot extends Shot {
  readonly expected: boolean;
}

export interface Measured<S extends Shot> {
  readonly shot: S;
  readonly outcome: Outcome;
  /** Whether it took a second look, because the first was not as expected. */
  readonly again: boolean;
}

/** The outcome of every shot, in their order. */
export async function measure(
  lab: Lab,
  shots: readonly Shot[],
  timeoutMs: number = PATIENCE_MS,
): Promise<Outcome[]> {
  const outcomes: Outcome[] = new Array(shots.length);
  let next = 0;
  const worker = async (): Promise<void> => {
    for (let index = next++; index < shots.length; index = next++) {
      const shot = shots[index];
      if (shot !== undefined) outcomes[index] = await lab.probe(shot.from, { ...shot.probe, timeoutMs });
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE_MAX, shots.length) }, worker));
  return outcomes;
}

/**
 * Measures first and compares then: an unexpected outcome is measured again, with a longer timeout, and the second outcome
 * counts. So a slow machine cannot turn an allowed probe into a denied one, and no expectation
 * can turn a denied one into an allowed.
 */
export async function measureExpected<S extends ExpectedShot>(
  lab: Lab,
  shots: readonly S[],
): Promise<Measured<S>[]> {
  const first = await measure(lab, shots);
  const measured = shots.map((shot, index): Measured<S> => {
    return { shot, outcome: first[index] ?? { result: "failed", reason: "not measured" }, again: false };
  });
  const doubtful = measured.filter((each) => !isAsExpected(each));
  const second = await measure(
    lab,
    doubtful.map(({ shot }) => shot),
    SECOND_LOOK_MS,
  );
  const looks = new Map(doubtful.map(({ shot }, index) => [shot, second[index]]));
  return measured.map((each) => {
    const outcome = looks.get(each.shot);
    return outcome === undefined ? each : { shot: each.shot, outcome, again: true };
  });
}

/** "reached" where that was expected, "silent" where not; a refusal is neither: it means that something else is wrong. */
export const isAsExpected = ({ shot, outcome }: Measured<ExpectedShot>): boolean =>
  outcome.result === (shot.expected ? "reached" : "silent");

/** One line for people: source, destination and outcome. */
export function measuredText({ shot, outcome, again }: Measured<ExpectedShot>): string {
  const { kind, address, port } = shot.probe;
  const target = `${kind} ${address.includes(":") && port !== undefined ? `[${address}]` : address}${port === undefined ? "" : `:${port}`}`;
  const source = shot.probe.source === undefined ? "" : ` (as ${shot.probe.source})`;
  const wanted = shot.expected ? "reached" : "silent";
  const got = outcome.result === "failed" ? `failed, ${outcome.reason}` : outcome.result;
  return `${shot.from}${source} → ${target}: ${got}, expected ${wanted}${again ? " (measured twice)" : ""}`;
}
