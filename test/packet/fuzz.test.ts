// Packets cut short and mutated at random, compared with an independent model: every verdict and every counter.

import { beforeAll, describe, expect, it } from "vitest";
import { FLOWS_DEFAULT } from "../../src/datapath/flow-capacity.ts";
import { block, ports } from "../support/model.ts";
import {
  canRun,
  DROPS,
  holdAll,
  keyOf,
  mutated,
  oneByOne,
  PACKETS,
  PATIENCE_MS,
  SEED,
  type Subject,
} from "./fuzzer.ts";
import { judge, newMemory } from "./model.ts";
import { mutator } from "./mutate.ts";
import { SAMPLES } from "./samples.ts";
import { useWorld } from "./table.ts";

// Large enough for all flows: the model has no table that is full.
const world = useWorld({ conntrackFlows: FLOWS_DEFAULT });

beforeAll(async () => {
  await world().enforce([{ peers: [block("10.9.0.1/32"), block("fd09::1/128")], ports: ports("TCP/80") }]);
  // No flow expires while a test runs, so that the model needs no clock.
  const DAY_MS = 86_400_000;
  await world().setTimeouts({ TCP_NEW: DAY_MS, TCP_CLOSING: DAY_MS, TCP_RESET: DAY_MS, FRAGMENT: DAY_MS });
});

function newSubject(): Subject {
  const memory = newMemory();
  return { pod: "both", world: world(), judge: ({ direction, frame }) => judge(memory, direction, frame) };
}

describe("packets cut short", () => {
  it("at every length are what the model says: nothing passes that lacks a header", () => {
    const tally = holdAll(
      newSubject(),
      SAMPLES.flatMap(({ direction, frame }) =>
        Array.from({ length: frame.length + 1 }, (_, length) => ({
          direction,
          frame: frame.subarray(0, length),
        })).filter((cut) => canRun(cut.frame)),
      ),
    );
    for (const reason of [
      "policy",
      "established",
      "related",
      "neighbour",
      "denied",
      "malformed",
      "fragment",
      "unsupported",
    ]) {
      expect(tally.reasons.get(keyOf("ingress", reason)), reason).toBeGreaterThan(0);
    }
  });
});

describe("packets mutated at random", () => {
  it(
    `are what the model says: ${PACKETS} of them, seed ${SEED} (WEIR_FUZZ_PACKETS, WEIR_FUZZ_SEED)`,
    () => {
      // Whole ones first, so that there are flows to be mistaken for.
      const packets = oneByOne(SAMPLES, mutated(mutator(SEED, SAMPLES), PACKETS));
      const tally = holdAll(newSubject(), packets);
      expect(tally.packets).toBe(PACKETS + SAMPLES.length);
      const passed = [...tally.reasons].filter(([key]) => !DROPS.has(key.split(" ")[1] ?? ""));
      expect(passed.reduce((total, [, count]) => total + count, 0)).toBeGreaterThan(PACKETS / 100);
    },
    PATIENCE_MS,
  );
});
