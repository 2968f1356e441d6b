// What is left of the names of pods that are gone: removed by the pods' rings, without a walk over the maps while no pod goes.

import { afterAll, beforeAll, expect, it } from "vitest";
import { openNameSweeper } from "../../src/datapath/domain-names.ts";
import { type Codec, CountedFamily, MAPS, NAMES_EACH } from "../../src/gen/layout.ts";
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
    reserved: [0, 0, 0, 0, 0],
  };
  await names.writeBatch(
    places.map((place) => [addressOf(incarnation, place), { slots, entered: BigInt(place) } as never]),
  );
  await questions.writeBatch([[question as never, { name: 1n, expires: 1n }]]);
  await nameRings.writeBatch([
    ...places.map(
      (place) =>
        [
          { incarnation, place },
          { words: wordsOf(MAPS.names.key, addressOf(incarnation, place), BigInt(place)) },
        ] as const,
    ),
    [{ incarnation, place: NAMES_EACH }, { words: wordsOf(MAPS.questions.key, question as never) }],
  ]);
}

/** A ring's entry of a key: its bytes, and the entry's number if they leave room for one. */
function wordsOf<T>(codec: Codec<T>, key: T, number = 0n): readonly [bigint, bigint, bigint, bigint] {
  const view = new DataView(new ArrayBuffer(32));
  view.setBigUint64(24, number, true);
  codec.encode(key, view, 0);
  return [0, 8, 16, 24].map((at) => view.getBigUint64(at, true)) as [bigint, bigint, bigint, bigint];
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
      { words: [1n, 2n, 3n, 4n] },
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
