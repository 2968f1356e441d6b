// Probes that continue while something happens, from a peer that is allowed and one that is not: was there a gap?

import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import type { Lab } from "../../src/lab/netns-lab.ts";
import type { Sample } from "../../src/lab/pod-protocol.ts";
import { FRIEND, SERVER_V4, SERVER_V6, STRANGER, single } from "./small-world.ts";

const EVERY_MS = 20;
/** Before and after: so that there are samples of both. */
const AROUND_MS = 1_000;

export interface Watched {
  readonly allowed: readonly Sample[];
  readonly denied: readonly Sample[];
}

/** With FRIENDS_ONLY enforced. Each probe is a new flow. */
export async function watchWhile(lab: Lab, work: () => Promise<void>): Promise<Watched> {
  const watches = (from: string, timeoutMs: number) =>
    Promise.all(
      [
        single("udp", SERVER_V4, timeoutMs),
        single("udp", SERVER_V6, timeoutMs),
        // A SYN that was dropped is sent again after a second, and must not look as if it had passed.
        single("tcp", SERVER_V4, Math.min(timeoutMs, 900)),
      ].map((probe) => lab.watch(from, probe, EVERY_MS)),
    );
  const allowed = await watches(FRIEND, 20_000);
  const denied = await watches(STRANGER, 300);
  await sleep(AROUND_MS);
  await work();
  await sleep(AROUND_MS);
  const ended = async (unwatches: readonly (() => Promise<readonly Sample[]>)[]): Promise<Sample[]> =>
    (await Promise.all(unwatches.map((unwatch) => unwatch()))).flat();
  return { allowed: await ended(allowed), denied: await ended(denied) };
}

export function expectNoGlitch({ allowed, denied }: Watched): void {
  expect(allowed.length).toBeGreaterThan(50);
  expect(denied.length).toBeGreaterThan(50);
  expect(allowed.filter(({ result }) => result !== "reached")).toEqual([]);
  expect(denied.filter(({ result }) => result !== "silent")).toEqual([]);
}
