// What only XDP meets: frames whose headers a device has left in another part, which cannot be linearized there.

import { beforeEach, describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import { frame, udpSegment } from "./frames.ts";
import { useWorld } from "./table.ts";
import { CANNOT_SPLIT_FRAMES, firstPart, KERNEL_SPLITS_FRAMES, XDP_DROP, XDP_PASS } from "./uplink.ts";
import { BOTH_FAMILIES, type PodName } from "./world.ts";

const world = useWorld();

const PAYLOAD_BYTES = 5_000;

const bytesOf = (family: 4 | 6): number => 14 + (family === 4 ? 20 : 40) + 8 + PAYLOAD_BYTES;

/** Runs a frame from a pod to its friend with this many bytes in the first part; returns what counted it. */
function sendSplit(name: PodName, family: 4 | 6, linear: number) {
  const { pods, friend } = present(
    BOTH_FAMILIES.find((each) => each.family === family),
    "a family",
  );
  const wire = frame(pods[name], friend, udpSegment(40_000, 53, new Uint8Array(PAYLOAD_BYTES)));
  const before = world().countedByReason(name);
  const program = present(world().bench.guard, "the XDP programs").programs.fromPod;
  const { result } = program.testRun({
    data: wire,
    context: firstPart(linear, world().ifindexOf(name)),
    dataOutSize: 0,
  });
  const counted = [...world().countedByReason(name)].filter(
    ([key, { packets }]) => packets !== before.get(key)?.packets,
  );
  return { result, counted: counted.map(([key, now]) => [key, now.bytes - (before.get(key)?.bytes ?? 0)]) };
}

describe("a frame that ends in its first part", () => {
  beforeEach((context) => context.skip(!KERNEL_SPLITS_FRAMES, CANNOT_SPLIT_FRAMES));

  it.each([4, 6] as const)("behind its headers is judged as any other: IPv%i", (family) => {
    for (const linear of [96, 511, 512, 3_000])
      expect(sendSplit("in", family, linear), `${linear} bytes`).toEqual({
        result: XDP_PASS,
        counted: [[expect.stringMatching(/^egress (policy|established|not-isolated)$/), bytesOf(family)]],
      });
  });

  it.each([4, 6] as const)(
    "within its headers is dropped, since its source cannot be checked: IPv%i",
    (family) => {
      for (const name of ["open", "in", "out", "both"] as const)
        for (const linear of [14, 15, 33, 34, 41])
          expect(sendSplit(name, family, linear), `${name}, ${linear} bytes`).toEqual({
            result: XDP_DROP,
            counted: [["egress malformed", bytesOf(family)]],
          });
    },
  );
});
