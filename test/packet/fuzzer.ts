// Packets run one after another and held against a model: every verdict, and at the end every counter.

import { expect } from "vitest";
import type { Direction } from "../../src/base/direction.ts";
import { REASON_NAMES, Reason } from "../../src/gen/layout.ts";
import { hex } from "./parser.ts";
import type { Sample } from "./samples.ts";
import { ELSEWHERE, type PodName, type World } from "./world.ts";

export const PACKETS = Number(process.env["WEIR_FUZZ_PACKETS"] ?? 1_000_000);
export const SEED = Number(process.env["WEIR_FUZZ_SEED"] ?? Date.now() % 2 ** 32);
export const PATIENCE_MS = 60_000 + PACKETS / 2;

export const DROPS = new Set(
  Object.entries(REASON_NAMES).flatMap(([reason, name]) => (Number(reason) >= Reason.DROPS ? [name] : [])),
);

/** The kernel runs no packet that ends within an Ethernet header, or within an IP header that directly follows it. */
export function canRun(frame: Uint8Array): boolean {
  const type = ((frame[12] ?? 0) << 8) | (frame[13] ?? 0);
  const header = type === 0x0800 ? 20 : type === 0x86dd ? 40 : 0;
  return frame.length >= 14 + header;
}

export interface Subject {
  readonly pod: PodName;
  readonly world: World;
  /** The model's reason for the next packet. */
  judge(sample: Sample): string;
  /** Of the packet; 0 by default. */
  priorityOf?(sample: Sample): number;
  /** What is counted as one of two, which the model does not tell apart, by "direction reason"; itself by default. */
  countedAs?(key: string): string;
}

export interface Tally {
  /** How often the model gave each direction and reason. */
  readonly reasons: Map<string, number>;
  packets: number;
  bytes: number;
}

export const keyOf = (direction: Direction, reason: string): string => `${direction} ${reason}`;

/** Runs a packet; throws if the programs' verdict is not the model's. */
function hold({ pod, world, judge, priorityOf }: Subject, tally: Tally, sample: Sample): void {
  const { direction, frame } = sample;
  const reason = judge(sample);
  const verdict = world.bench.run({
    direction,
    // Alternately: the two programs for what a pod sends share their flows.
    hook: tally.packets % 2 === 0 ? "tc" : "xdp",
    ifindex: world.ifindexOf(pod),
    ingressIfindex: ELSEWHERE,
    frame,
    ...(priorityOf && { priority: priorityOf(sample) }),
  });
  if (verdict !== (DROPS.has(reason) ? "drop" : "pass")) {
    throw new Error(
      `${direction} ${hex(frame)}: ${verdict}, by the model ${reason} (seed ${SEED}, after ${tally.packets})`,
    );
  }
  tally.packets += 1;
  tally.bytes += frame.length;
  tally.reasons.set(keyOf(direction, reason), (tally.reasons.get(keyOf(direction, reason)) ?? 0) + 1);
}

/** Runs `packets`, then compares what was counted meanwhile, reason by reason, with the model's tally. */
export function holdAll(subject: Subject, packets: Iterable<Sample>): Tally {
  const { pod, world, countedAs = (key) => key } = subject;
  const tally: Tally = { reasons: new Map(), packets: 0, bytes: 0 };
  const before = world.countedByReason(pod);
  const beforeAll = world.counted();
  for (const packet of packets) hold(subject, tally, packet);
  const summed = (counts: Iterable<readonly [key: string, packets: number]>) => {
    const sums = new Map<string, number>();
    for (const [key, packets] of counts)
      if (packets > 0) sums.set(countedAs(key), (sums.get(countedAs(key)) ?? 0) + packets);
    return sums;
  };
  const counted = [...world.countedByReason(pod)].map(
    ([key, { packets }]) => [key, packets - (before.get(key)?.packets ?? 0)] as const,
  );
  expect(summed(counted), `seed ${SEED}`).toEqual(summed(tally.reasons));
  const after = world.counted();
  expect({ packets: after.packets - beforeAll.packets, bytes: after.bytes - beforeAll.bytes }).toEqual({
    packets: tally.packets,
    bytes: tally.bytes,
  });
  return tally;
}

export function* oneByOne(...lists: readonly Iterable<Sample>[]): Generator<Sample> {
  for (const list of lists) yield* list;
}

/** This many mutated packets that the kernel runs. */
export function* mutated(mutate: () => Sample, packets: number): Generator<Sample> {
  for (let count = 0; count < packets; ) {
    const packet = mutate();
    if (!canRun(packet.frame)) continue;
    count += 1;
    yield packet;
  }
}
