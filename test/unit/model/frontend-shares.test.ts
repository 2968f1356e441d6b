// Which Services are beyond the shares of their namespaces: by their sizes alone, in whatever order these become known.

import { describe, expect, test } from "vitest";
import { openFrontendShares } from "../../../src/model/frontend-shares.ts";

type Sizes = Readonly<Record<string, readonly [frontends: number, backends: number]>>;

const NONE = { frontends: 0, backends: 0 };

function beyond(sizes: Sizes, [services, backends]: readonly [number, number]) {
  const shares = openFrontendShares();
  for (const [key, [own, behind]] of Object.entries(sizes))
    shares.set(key, { 4: { frontends: own, backends: behind }, 6: NONE });
  const { unlisted, refused, excesses } = shares.update({ services, backends });
  return { unlisted: [...unlisted[4].keys()], refused: [...refused.keys()], excesses };
}

describe("Services beyond their namespace's share", () => {
  test.each<[string, Sizes, [number, number], unlisted: string[], refused: string[]]>([
    ["none where all fit", { "x/a": [2, 4], "y/b": [1, 1] }, [3, 5], [], []],
    ["the largest of the namespace", { "x/a": [2, 4], "x/b": [2, 9], "y/c": [1, 1] }, [9, 6], [], ["x/b"]],
    ["of equal ones the last", { "x/b": [2, 4], "x/a": [2, 4], "y/c": [1, 1] }, [9, 6], [], ["x/b"]],
    ["only of namespaces beyond it", { "x/a": [2, 9], "y/b": [1, 5], "z/c": [1, 1] }, [9, 11], [], ["x/a"]],
    ["those whose frontends do not fit", { "x/a": [8, 1], "x/b": [2, 5] }, [4, 9], ["x/a"], []],
    ["and they count once", { "x/a": [8, 9], "x/b": [2, 5] }, [4, 6], ["x/a"], []],
    ["all where there is nothing", { "x/a": [1, 1], "y/b": [1, 0] }, [2, 0], [], ["x/a"]],
  ])("%s", (_, sizes, capacities, unlisted, refused) => {
    const found = beyond(sizes, capacities);
    expect(found).toMatchObject({ unlisted, refused });
    const reversed = Object.fromEntries(Object.entries(sizes).reverse());
    expect(beyond(reversed, capacities)).toEqual(found);
  });

  test("are named with the sizes of their namespace", () => {
    expect(beyond({ "x/a": [2, 4], "x/b": [2, 9], "y/c": [1, 1] }, [9, 6]).excesses).toEqual([
      { limit: "backends", service: "x/b", wanted: 13, share: 5, capacity: 6, askers: 2 },
    ]);
  });

  test("are limited in each family, and have no backends where they have no frontends", () => {
    const shares = openFrontendShares();
    shares.set("x/a", { 4: { frontends: 5, backends: 50 }, 6: { frontends: 4, backends: 4 } });
    const { unlisted, refused } = shares.update({ services: 4, backends: 4 });
    expect([unlisted[4].has("x/a"), unlisted[6].has("x/a"), refused.has("x/a")]).toEqual([
      true,
      false,
      false,
    ]);
    expect(shares.update({ services: 4, backends: 3 }).refused.has("x/a")).toBe(true);
  });

  test("follow the sizes, with those that have changed", () => {
    const shares = openFrontendShares();
    const step = (capacity: number, sizes: Readonly<Record<string, number>>) => {
      for (const [key, backends] of Object.entries(sizes))
        shares.set(key, backends === 0 ? undefined : { 4: NONE, 6: { frontends: 1, backends } });
      const { refused, changed } = shares.update({ services: 9, backends: capacity });
      return [[...refused.keys()], [...changed]];
    };
    expect(step(10, { "x/a": 4, "x/b": 5 })).toEqual([[], []]);
    expect(step(10, { "x/a": 8 })).toEqual([["x/a"], ["x/a"]]);
    expect(step(10, {})).toEqual([["x/a"], []]);
    expect(step(10, { "x/b": 0 })).toEqual([[], ["x/a"]]);
    expect(step(7, {})).toEqual([["x/a"], ["x/a"]]);
  });
});
