// Traffic that continues while something is done to the agents, and the result of each attempt.

import { setTimeout as sleep } from "node:timers/promises";
import { expect } from "vitest";
import type { Cluster } from "./cluster.ts";
import { type Addresses, type Attempt, apply, attemptsOf, podOf, waitReady } from "./pods.ts";

const INTERVAL_MS = 50;
/** Longer than any attempt lasts: what began earlier has been reported. */
const REPORTED_MS = 2_000;

interface Source {
  readonly name: string;
  readonly node: string;
  readonly role: string;
  readonly args: readonly string[];
  readonly expects: "answers" | "echoes" | "nothing";
}

/** Pods that send requests without end: `client` may reach `web` alone, `guest` may not reach `web`. */
function sourcesOf(addresses: Addresses): readonly Source[] {
  const targets = (...pods: readonly string[]): string[] =>
    pods.flatMap((pod) => (addresses[pod] ?? []).map((address) => `tcp:[${address}]:80`));
  const beat = (timeoutMs: number): string[] => ["beat", "-i", String(INTERVAL_MS), "-t", String(timeoutMs)];
  const stream = ["stream", "-i", String(INTERVAL_MS), "-t", "5000"];
  return [1, 2].flatMap((here): Source[] => {
    const node = `node-${here}`;
    const there = 3 - here;
    return [
      {
        name: `asks-${here}`,
        node,
        role: "client",
        args: [...beat(1_500), ...targets("web-1", "web-2")],
        expects: "answers",
      },
      {
        name: `refused-${here}`,
        node,
        role: "guest",
        args: [...beat(400), ...targets("web-1", "web-2")],
        expects: "nothing",
      },
      {
        name: `locked-in-${here}`,
        node,
        role: "client",
        args: [...beat(400), ...targets("guest-1", "guest-2")],
        expects: "nothing",
      },
      {
        name: `streams-${here}`,
        node,
        role: "client",
        args: [...stream, targets(`web-${there}`)[0] ?? ""],
        expects: "echoes",
      },
    ];
  });
}

export interface Traffic {
  /** Runs something, and expects that meanwhile each attempt had the result that the policies require. */
  during(what: () => Promise<unknown>): Promise<void>;
}

/** Starts it; policies must be enforced. */
export async function openTraffic(cluster: Cluster, addresses: Addresses): Promise<Traffic> {
  const sources = sourcesOf(addresses);
  await apply(
    cluster,
    ...sources.map(({ name, node, role, args }) => podOf({ name, node, labels: { role }, args })),
  );
  await waitReady(
    cluster,
    sources.map(({ name }) => name),
  );
  return {
    async during(what) {
      // The agents may not have these pods yet, which is not under test here.
      await sleep(REPORTED_MS);
      const begun = Date.now();
      await what();
      await sleep(REPORTED_MS);
      const ended = Date.now() - REPORTED_MS;
      for (const source of sources) {
        const all = await attemptsOf(cluster, source.name);
        const attempts = all.filter(({ at }) => at >= begun && at < ended);
        expect(summaryOf(attempts, source), source.name).toEqual({ wrong: [], enough: true });
      }
    },
  };
}

function summaryOf(attempts: readonly Attempt[], { args, expects }: Source) {
  const wrong = attempts.filter(({ result, retransmits }) => {
    if (expects === "nothing") return result !== "timeout";
    // An attempt that had to be sent again was dropped once.
    return retransmits > 0 || (expects === "echoes" ? result !== "ok" : !/^web-\d$/.test(result));
  });
  // A busy machine may not complete all of them.
  const targets = args.filter((each) => each.includes("[")).length;
  return { wrong: wrong.slice(0, 5), enough: attempts.length >= 20 * targets };
}
