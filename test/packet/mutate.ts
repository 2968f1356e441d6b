// Random changes to packets, from a seed: bits, lengths, interesting numbers, parts left out, repeated, or of two packets.

import { addressBytes } from "../../src/base/ip.ts";
import { u16 } from "../../src/engines/frame-builder.ts";
import type { Sample } from "./samples.ts";
import { V4, V6 } from "./world.ts";

const BYTES_MAX = 1_500;
/** Offset range of the headers: most changes are made there. */
const HEADERS_MAX = 110;

/** Numbers that have a meaning in some field, as one byte or as two. */
const BYTES = [
  0, 1, 2, 3, 4, 5, 6, 8, 11, 12, 16, 17, 20, 40, 43, 44, 50, 51, 58, 59, 60, 0x40, 0x45, 0x4f, 0x60, 0x80,
  128, 129, 132, 133, 134, 135, 136, 137, 139, 140, 254, 255,
];
const WORDS = [
  0, 1, 7, 8, 20, 21, 24, 28, 40, 48, 64, 80, 443, 0x0608, 0x0800, 0x0806, 0x1fff, 0x2000, 0x2001, 0x3fff,
  0x4000, 0x8100, 0x88a8, 0x86dd, 32_767, 32_768, 40_000, 65_535,
];

/** Numbers in 0..1, the same from the same seed (mulberry32). */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const ADDRESSES = [
  ...Object.values(V4.pods),
  V4.friend,
  V4.stranger,
  ...Object.values(V6.pods),
  V6.friend,
  V6.stranger,
].map(addressBytes);

/** A source of mutated samples; the same for the same seed. */
export function mutator(seed: number, samples: readonly Sample[]): () => Sample {
  const random = randomFrom(seed);
  const below = (limit: number) => Math.floor(random() * limit);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)] as T;
  /** An offset into the frame, mostly into its headers, never beyond its end. */
  const place = (frame: Uint8Array) =>
    below(random() < 0.9 ? Math.min(frame.length, HEADERS_MAX) : frame.length);
  const write = (frame: Uint8Array, at: number, bytes: readonly number[]) => {
    const copy = Uint8Array.from(frame);
    for (const [index, byte] of bytes.entries()) if (at + index < copy.length) copy[at + index] = byte;
    return copy;
  };
  const join = (...parts: readonly Uint8Array[]) =>
    Uint8Array.from(Buffer.concat(parts).subarray(0, BYTES_MAX));
  const changes: readonly ((frame: Uint8Array) => Uint8Array)[] = [
    (frame) => {
      const at = place(frame);
      return write(frame, at, [(frame[at] ?? 0) ^ (1 << below(8))]);
    },
    (frame) => write(frame, place(frame), [below(256)]),
    (frame) => write(frame, place(frame), [pick(BYTES)]),
    (frame) => write(frame, place(frame), u16(pick(WORDS))),
    (frame) => write(frame, place(frame) & ~1, u16(pick(WORDS))),
    (frame) => write(frame, pick([12, 16, 18, 20, 23]), u16(pick(WORDS))),
    // First bytes of the IP headers: version, lengths, fragment fields, protocols.
    (frame) => write(frame, 14 + below(10), [pick(BYTES)]),
    (frame) => write(frame, pick([22, 26, 30, 38]), pick(ADDRESSES)),
    (frame) => frame.subarray(0, 14 + below(frame.length - 13)),
    (frame) =>
      join(
        frame,
        new Uint8Array(below(64)).map(() => below(256)),
      ),
    (frame) => {
      const at = place(frame);
      return join(
        frame.subarray(0, at),
        new Uint8Array(pick([1, 4, 8, 8, 40])).map(() => pick(BYTES)),
        frame.subarray(at),
      );
    },
    (frame) => {
      const at = place(frame);
      return join(frame.subarray(0, at), frame.subarray(at + pick([1, 4, 8, 20, 40])));
    },
    (frame) => {
      const at = place(frame);
      return join(frame.subarray(0, at), pick(samples).frame.subarray(at));
    },
    (frame) => {
      const at = place(frame);
      const size = pick([4, 8, 20, 40]);
      return join(frame.subarray(0, at), frame.subarray(at, at + size), frame.subarray(at));
    },
  ];
  return () => {
    const { direction, frame } = pick(samples);
    let mutated = frame;
    for (let count = 1 + below(4); count > 0 && mutated.length >= 14; count -= 1)
      mutated = pick(changes)(mutated);
    return { direction, frame: mutated };
  };
}
