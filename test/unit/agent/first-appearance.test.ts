// Which object had an address first, over successive snapshots.

import { expect, it } from "vitest";
import { openAppearances } from "../../../src/agent/interface-tracking.ts";
import { keyOf, type Pod } from "../../../src/model/cluster.ts";
import { pod } from "../../support/model.ts";

const X = "10.0.0.7";
const a = pod("x/a", [X]);
const b = pod("x/b", [X]);
const c = pod("x/c", [X]);

/** Consecutive snapshots; returns the pods of the last one that have X, the oldest first, those of one time together. */
function order(...snapshots: readonly (readonly Pod[])[]): string {
  const appearances = openAppearances();
  let since: ReadonlyMap<string, number> | undefined;
  for (const pods of snapshots)
    since = appearances.see(new Map(pods.map((each) => [keyOf(each), each]))).get(X);
  const times = [...new Set(since?.values())].sort((one, other) => one - other);
  return times
    .map((time) =>
      [...(since ?? [])]
        .flatMap(([key, at]) => (at === time ? [key] : []))
        .sort()
        .join("="),
    )
    .join("<");
}

it.each<readonly [string, readonly (readonly Pod[])[], string]>([
  ["of one pod nothing is kept", [[a]], ""],
  ["what is there at first is equally old", [[a, b]], "x/a=x/b"],
  ["the order of the first snapshot says nothing", [[b, a]], "x/a=x/b"],
  ["who comes later is younger", [[a], [a, b]], "x/a<x/b"],
  ["whatever its name", [[b], [b, a]], "x/b<x/a"],
  ["who comes together is equally old", [[a], [a, b, c]], "x/a<x/b=x/c"],
  ["one after another", [[c], [c, a], [b, c, a]], "x/c<x/a<x/b"],
  [
    "an object without the address does not have it yet",
    [
      [pod("x/a", []), b],
      [a, b],
    ],
    "x/b<x/a",
  ],
  ["who had it and has it again is young again", [[a, b], [b], [a, b]], "x/b<x/a"],
  [
    "who has finished does not have it",
    [
      [pod("x/a", [X], { finished: true }), b],
      [a, b],
    ],
    "x/a=x/b",
  ],
])("%s", (_, snapshots, expected) => {
  expect(order(...snapshots)).toBe(expected);
});
