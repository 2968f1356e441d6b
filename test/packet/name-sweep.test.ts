// What is left of the names of pods that are gone: removed by the pods' rings, without a walk over the maps while no pod goes. And how those
// of an earlier build's maps get into the rings.

import { afterAll, beforeAll, expect, it } from "vitest";
import { openNameSweeper, ringEntryOf } from "../../src/datapath/domain-names.ts";
import { addNames, type EarlierName } from "../../src/datapath/name-carry-over.ts";
import {
  type Codec,
  CountedFamily,
  MAPS,
  NAME_RING_ENTRY_SIZE,
  NAMES_EACH,
  type NameRingEntry,
} from "../../src/gen/layout.ts";
import { openWorld, type World } from "./world.ts";

let world: World;
beforeAll(async () => {
  world = await openWorld();
  await world.enforce();
});
afterAll(() => world.close());

const tables = () => world.bench.maps.tables;

const addressOf = (incarnation: number, place: number) => ({
  address: { high: 0n, low: BigInt(place + 1) << 32n },
  incarnation,
  family: CountedFamily.IPV4,
});

/** As the programs would write it: a full ring of addresses, and one question. */
async function fill(incarnation: number): Promise<void> {
  const { names, questions, nameRings } = tables();
  const places = Array.from({ length: NAMES_EACH }, (_, place) => place);
  const slots = Array.from({ length: 4 }, () => ({ pattern: 1n, expires: 1n }));
  const question = {
    ...{ resolver: { high: 0n, low: 7n << 32n }, incarnation, localPort: 40_000, id: 1, type: 1 },
    family: CountedFamily.IPV4,
    ...{ tcp: 0, name: 1 },
  };
  await names.writeBatch(
    places.map((place) => [addressOf(incarnation, place), { slots, entered: BigInt(place) } as never]),
  );
  await questions.writeBatch([[question as never, { name: 1n, expires: 1n, entered: 0n }]]);
  await nameRings.writeBatch([
    ...places.map(
      (place) => [{ incarnation, place }, ringEntryOf(addressOf(incarnation, place), BigInt(place))] as const,
    ),
    [{ incarnation, place: NAMES_EACH }, { words: wordsOf(MAPS.questions.key, question as never) }],
  ]);
}

/** The bytes of a key, and the number of its entry: 0. */
function wordsOf<T>(codec: Codec<T>, key: T): NameRingEntry["words"] {
  const view = new DataView(new ArrayBuffer(NAME_RING_ENTRY_SIZE));
  codec.encode(key, view, 0);
  return [0, 8, 16, 24, 32].map((at) => view.getBigUint64(at, true)) as unknown as NameRingEntry["words"];
}

const left = async () => {
  const { names, questions, nameRings } = tables();
  const of = (all: readonly (readonly [{ readonly incarnation: number }, unknown])[]) =>
    [...Map.groupBy(all, ([{ incarnation }]) => incarnation)].map(
      ([incarnation, each]) => [incarnation, each.length] as const,
    );
  return {
    names: new Map(of(await names.read())),
    questions: new Map(of(await questions.read())),
    rings: new Map(of(await nameRings.read())),
  };
};

it("of an earlier agent's pods at first, then of those that have come and gone; never of the others", async () => {
  const live = world.incarnationOf("out");
  const [old, later] = [live + 1_000, live + 1_001];
  for (const incarnation of [live, old]) await fill(incarnation);
  const sweeper = openNameSweeper(tables());
  await sweeper.sweep();
  const one = { names: new Map([[live, NAMES_EACH]]), questions: new Map([[live, 1]]) };
  const rings = new Map([[live, NAMES_EACH + 1]]);
  expect(await left()).toEqual({ ...one, rings });
  // Of a pod of which this agent does not know, nothing is looked for.
  await fill(later);
  await sweeper.sweep();
  expect((await left()).names.get(later)).toBe(NAMES_EACH);
  sweeper.came(later);
  await sweeper.sweep();
  expect(await left()).toEqual({ ...one, rings });
});

it("the first walk lets the event loop run", async () => {
  const { nameRings } = tables();
  const incarnation = world.incarnationOf("out");
  await nameRings.writeBatch(
    Array.from({ length: 20_000 }, (_, place) => [
      { incarnation, place: 10_000 + place },
      { words: [1n, 2n, 3n, 4n, 5n] },
    ]),
  );
  let pages = 0;
  let turns = 0;
  const timer = setInterval(() => {
    turns += 1;
  });
  const seen = new Set<number>();
  for await (const page of nameRings.keyPages()) {
    pages += 1;
    expect(page.length).toBeLessThanOrEqual(1_024);
    for (const { place } of page) if (place >= 10_000) seen.add(place);
    await nameRings.deleteBatch(page);
  }
  clearInterval(timer);
  expect(seen.size).toBe(20_000);
  expect(pages).toBeGreaterThan(19);
  expect(turns).toBeGreaterThan(0);
  expect(await nameRings.read()).toEqual([]);
});

it("addresses of an earlier build go where the programs come to last, and replace nothing", async () => {
  const { names, nameRings } = tables();
  const incarnation = world.incarnationOf("out");
  await names.deleteBatch((await names.read()).map(([key]) => key));
  await nameRings.deleteBatch((await nameRings.read()).map(([key]) => key));
  const earlier = (at: number, expires: bigint): EarlierName => ({
    key: addressOf(incarnation, at),
    slots: [
      { pattern: 7n, expires: 1n },
      { pattern: BigInt(at + 100), expires },
    ],
  });
  // What the programs have learned: the first address, and the last place of a ring that has gone round.
  const own = {
    slots: Array.from({ length: 4 }, () => ({ pattern: 1n, expires: 9n })),
    entered: 0n,
  } as never;
  await names.writeBatch([[addressOf(incarnation, 0), own]]);
  for (const place of [0, NAMES_EACH - 1])
    nameRings.set({ incarnation, place }, ringEntryOf(addressOf(incarnation, 0), 0n));
  await addNames(tables(), [earlier(0, 50n), earlier(1, 10n), earlier(2, 30n), earlier(3, 20n)]);
  expect(names.get(addressOf(incarnation, 0))).toEqual(own);
  const placed = await Promise.all(
    [2, 3, 1].map(async (at) => {
      const found = names.get(addressOf(incarnation, at));
      const place = Number(found?.entered);
      expect(found?.slots[0]?.pattern, "the latest first").toBe(BigInt(at + 100));
      expect(nameRings.get({ incarnation, place })).toEqual(
        ringEntryOf(addressOf(incarnation, at), BigInt(place)),
      );
      return place;
    }),
  );
  expect(placed).toEqual([NAMES_EACH - 2, NAMES_EACH - 3, NAMES_EACH - 4]);
  // Again, with more than fit: what is there stays, and the ring is never exceeded.
  await addNames(
    tables(),
    Array.from({ length: 2 * NAMES_EACH }, (_, at) => earlier(at, BigInt(at))),
  );
  expect((await nameRings.read()).length).toBe(NAMES_EACH);
  const left = await names.read();
  expect(left.length).toBe(NAMES_EACH - 1);
  for (const [key, { entered }] of left)
    if (key.address.low !== addressOf(incarnation, 0).address.low)
      expect(nameRings.get({ incarnation, place: Number(entered) })).toEqual(ringEntryOf(key, entered));
  expect(
    left.some(([{ address }]) => address.low === addressOf(incarnation, 2 * NAMES_EACH - 1).address.low),
  ).toBe(true);
});
