// cidr_index_v4 and cidr_filter_v4: together they give for every address what the trie cidrs_v4 gives. Needs root.

import { afterAll, beforeAll, expect, it } from "vitest";
import { randomFrom } from "../../bench/common/random.ts";
import { present } from "../../src/base/assert.ts";
import { addressOf, type Cidr, cidrOf } from "../../src/base/ip.ts";
import { filterWords, paintBlocks } from "../../src/datapath/cidr-index.ts";
import { CIDR_FILTER_WORDS } from "../../src/gen/layout.ts";
import type { Peer, Rule } from "../../src/model/network-policy.ts";
import { cidr } from "../support/model.ts";
import { openWorld, RULES, type World } from "./world.ts";

const SEED = Number(process.env["WEIR_SEED"] ?? Date.now() % 2 ** 32);

let world: World;
beforeAll(async () => {
  world = await openWorld();
});
afterAll(() => world?.close());

/** As find_prefix_v4() in bpf/policy.h; undefined where it searches the trie. */
function fromIndex(value: number): readonly [number, number] | undefined {
  const { cidrFilterV4, cidrIndexV4 } = world.bench.maps.tables;
  const { words } = present(cidrFilterV4.get(value >>> 20), "an element of the filter");
  const word = present(words[(value >>> 14) & (CIDR_FILTER_WORDS - 1)], "a word");
  if ((word >> BigInt((value >>> 8) & 63)) & 1n) return undefined;
  return present(cidrIndexV4.get(value >>> 16), "a block").number;
}

const fromTrie = (value: number): readonly [number, number] =>
  world.bench.maps.tables.cidrsV4.get({ length: 32, address: value })?.number ?? [0, 0];

/** The first and the last address of a prefix, those beside it, and one inside. */
function addressesAround({ value, length }: Cidr, inside: bigint): number[] {
  const last = value | ((1n << BigInt(32 - length)) - 1n);
  return [value, last, value - 1n, last + 1n, value | (inside & (last ^ value))].map((each) =>
    Number(BigInt.asUintN(32, each)),
  );
}

/** How many of the addresses have no need of the trie. */
function compared(values: readonly number[]): number {
  let indexed = 0;
  for (const value of values) {
    const found = fromIndex(value);
    if (found === undefined) continue;
    indexed += 1;
    expect(found, addressOf(4, BigInt(value)).text).toEqual(fromTrie(value));
  }
  return indexed;
}

const block = (prefix: Cidr, except: readonly Cidr[]): Peer => ({ kind: "block", cidr: prefix, except });

it(`has the trie's answers after each of 40 random updates, seed ${SEED} (WEIR_SEED)`, async () => {
  const random = randomFrom(SEED);
  // Few first octets, so that prefixes are within each other.
  const prefix = (within?: Cidr): Cidr => {
    const length = within ? within.length + random.below(33 - within.length) : random.below(33);
    const base = within?.value ?? BigInt(random.below(4)) << 24n;
    return cidrOf(4, base | random.bits(32 - (within?.length ?? 8)), length);
  };
  let indexed = 0;
  for (let update = 0; update < 40; update += 1) {
    const rules = Array.from({ length: 1 + random.below(3) }, (): Rule => {
      const peers = Array.from({ length: 1 + random.below(8) }, () => {
        const covering = prefix();
        const except = Array.from({ length: random.below(3) }, () => prefix(covering));
        return block(
          covering,
          except.filter(({ length }) => length > covering.length),
        );
      });
      return { peers, ports: "all" };
    });
    await world.enforce(rules);
    const prefixes = [...(await world.bench.maps.read()).state.cidrs.keys()].map(cidr);
    const near = prefixes
      .filter(({ family }) => family === 4)
      .flatMap((each) => addressesAround(each, random.bits(32)));
    indexed += compared([...near, ...Array.from({ length: 200 }, () => Number(random.bits(32)))]);
  }
  expect(indexed).toBeGreaterThan(4_000);
});

it("repairs external changes, and clears the bits of removed prefixes, with the next snapshot", async () => {
  await world.enforce([
    ...RULES,
    { peers: [block(cidr("0.0.0.0/0"), []), block(cidr("198.51.100.64/26"), [])], ports: "all" },
  ]);
  await world.enforce(RULES);
  const { cidrFilterV4, cidrIndexV4, cidrsV4 } = world.bench.maps.tables;
  const removed = 198 * 2 ** 24 + 51 * 2 ** 16 + 100 * 2 ** 8;
  expect(fromIndex(removed)).toBeUndefined();
  cidrIndexV4.set(removed >>> 16, { number: [3, 3] });
  const friends = 10 * 2 ** 24 + 9 * 2 ** 16;
  cidrFilterV4.set(friends >>> 20, { words: Array.from({ length: CIDR_FILTER_WORDS }, () => 0n) });
  await world.bench.maps.read();
  expect(fromIndex(removed)).toEqual([0, 0]);
  expect(fromIndex(friends)).toBeUndefined();
  const held = (await cidrsV4.read()).map(([{ length, address }]) => cidrOf(4, BigInt(address), length));
  const bits = (await cidrFilterV4.read()).filter(([, { words }]) => words.some((word) => word !== 0n));
  expect(new Map(bits.map(([at, { words }]) => [at, BigUint64Array.from(words)]))).toEqual(filterWords(held));
});

it.each([
  ["nothing", [], [0, 0, 0]],
  ["the whole family", [["0.0.0.0/0", 1]], [1, 1, 1]],
  [
    "a prefix within another, in either order",
    [
      ["10.1.0.0/16", 2],
      ["10.0.0.0/8", 1],
    ],
    [0, 2, 1],
  ],
] as const)("paints %s", (_, entries, [zero, inner, outer]) => {
  const [first, second] = paintBlocks(
    entries.map(([text, identity]) => ({ cidr: cidr(text), number: [identity, identity + 5] as const })),
  );
  expect([first[0], first[0x0a01], first[0x0a02]]).toEqual([zero, inner, outer]);
  expect(second[0x0a01]).toBe(inner && inner + 5);
});
