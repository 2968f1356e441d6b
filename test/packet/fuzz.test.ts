// Packets cut short and mutated at random, compared with an independent model: every verdict and every counter.

import { beforeAll, describe, expect, it } from "vitest";
import type { Direction } from "../../src/base/direction.ts";
import { FLOWS_DEFAULT } from "../../src/datapath/flow-capacity.ts";
import { REASON_NAMES, Reason } from "../../src/gen/layout.ts";
import { block, ports } from "../support/model.ts";
import { judge, type Memory, newMemory } from "./model.ts";
import { mutator } from "./mutate.ts";
import { hex } from "./parser.ts";
import { SAMPLES, type Sample } from "./samples.ts";
import { useWorld } from "./table.ts";
import { ELSEWHERE } from "./world.ts";

const PACKETS = Number(process.env["WEIR_FUZZ_PACKETS"] ?? 1_000_000);
const SEED = Number(process.env["WEIR_FUZZ_SEED"] ?? Date.now() % 2 ** 32);
const PATIENCE_MS = 60_000 + PACKETS / 2;

// Large enough for all flows: the model has no table that is full.
const world = useWorld({ conntrackFlows: FLOWS_DEFAULT });

beforeAll(async () => {
  await world().enforce([{ peers: [block("10.9.0.1/32"), block("fd09::1/128")], ports: ports("TCP/80") }]);
  // No flow expires while a test runs, so that the model needs no clock.
  const DAY_MS = 86_400_000;
  await world().setTimeouts({ TCP_NEW: DAY_MS, TCP_CLOSING: DAY_MS, TCP_RESET: DAY_MS, FRAGMENT: DAY_MS });
});

const DROPS = new Set(
  Object.entries(REASON_NAMES).flatMap(([reason, name]) => (Number(reason) >= Reason.DROPS ? [name] : [])),
);

/** The kernel runs no packet that ends within an Ethernet header, or within an IP header that directly follows it. */
function canRun(frame: Uint8Array): boolean {
  const type = ((frame[12] ?? 0) << 8) | (frame[13] ?? 0);
  const header = type === 0x0800 ? 20 : type === 0x86dd ? 40 : 0;
  return frame.length >= 14 + header;
}

interface Tally {
  readonly memory: Memory;
  /** How often the model gave each direction and reason. */
  readonly reasons: Map<string, number>;
  packets: number;
  bytes: number;
}

const newTally = (): Tally => ({ memory: newMemory(), reasons: new Map(), packets: 0, bytes: 0 });
const keyOf = (direction: Direction, reason: string): string => `${direction} ${reason}`;

/** Runs a packet; throws if the programs' verdict is not the model's. */
function hold(tally: Tally, { direction, frame }: Sample): string {
  const reason = judge(tally.memory, direction, frame);
  const verdict = world().bench.run({
    direction,
    // Alternately: the two programs for what a pod sends share their flows.
    hook: tally.packets % 2 === 0 ? "tc" : "xdp",
    ifindex: world().ifindexOf("both"),
    ingressIfindex: ELSEWHERE,
    frame,
  });
  if (verdict !== (DROPS.has(reason) ? "drop" : "pass")) {
    throw new Error(
      `${direction} ${hex(frame)}: ${verdict}, by the model ${reason} (seed ${SEED}, after ${tally.packets})`,
    );
  }
  tally.packets += 1;
  tally.bytes += frame.length;
  tally.reasons.set(keyOf(direction, reason), (tally.reasons.get(keyOf(direction, reason)) ?? 0) + 1);
  return reason;
}

/** Runs `packets`, then compares what was counted meanwhile, reason by reason, with the model's tally. */
function holdAll(packets: Iterable<Sample>): Tally {
  const tally = newTally();
  const before = world().countedByReason("both");
  const beforeAll = world().counted();
  for (const packet of packets) hold(tally, packet);
  const counted = [...world().countedByReason("both")].flatMap(([key, { packets: now }]) => {
    const moved = now - (before.get(key)?.packets ?? 0);
    return moved === 0 ? [] : [[key, moved] as const];
  });
  expect(new Map(counted), `seed ${SEED}`).toEqual(tally.reasons);
  const after = world().counted();
  expect({ packets: after.packets - beforeAll.packets, bytes: after.bytes - beforeAll.bytes }).toEqual({
    packets: tally.packets,
    bytes: tally.bytes,
  });
  return tally;
}

describe("packets cut short", () => {
  it("at every length are what the model says: nothing passes that lacks a header", () => {
    const tally = holdAll(
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
      const mutate = mutator(SEED, SAMPLES);
      function* packets(): Generator<Sample> {
        // Whole ones first, so that there are flows to be mistaken for.
        yield* SAMPLES;
        for (let count = 0; count < PACKETS; ) {
          const packet = mutate();
          if (!canRun(packet.frame)) continue;
          count += 1;
          yield packet;
        }
      }
      const tally = holdAll(packets());
      expect(tally.packets).toBe(PACKETS + SAMPLES.length);
      const passed = [...tally.reasons].filter(([key]) => !DROPS.has(key.split(" ")[1] ?? ""));
      expect(passed.reduce((total, [, count]) => total + count, 0)).toBeGreaterThan(PACKETS / 100);
    },
    PATIENCE_MS,
  );
});
