// Numbers that look random and are the same in every run, so that runs can be compared.

import { present } from "../../src/base/assert.ts";

export interface Random {
  /** From 0 to `bound` - 1; `bound` is at most 2^32. */
  below(bound: number): number;
  /** So many bits. */
  bits(count: number): bigint;
}

export const pick = <T>(random: Random, from: readonly T[]): T =>
  present(from[random.below(from.length)], "one of several");

/** Mulberry32: 32 bits of state, public domain. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  const word = (): number => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return (mixed ^ (mixed >>> 14)) >>> 0;
  };
  return {
    below: (bound) => Math.floor((word() / 2 ** 32) * bound),
    bits(count) {
      let value = 0n;
      for (let have = 0; have < count; have += 32) value = (value << 32n) | BigInt(word());
      return value & ((1n << BigInt(count)) - 1n);
    },
  };
}
