// What an update keeps beside the new state until the flip: cells of identities and bits of classes that are still active.

import { expect, test } from "vitest";
import { EMPTY_STATE } from "../../../src/state/desired-state.ts";
import { diff, settledState } from "../../../src/state/state-diff.ts";

test("a policy keeps the cell of an active identity, and loses it after the flip", () => {
  const before = {
    ...EMPTY_STATE,
    addresses: new Map([["10.0.0.1", 5]]),
    policies: new Map([[1, new Map([[5, 2]])]]),
  };
  const after = {
    ...EMPTY_STATE,
    addresses: new Map([["10.0.0.1", 6]]),
    policies: new Map([[1, new Map([[6, 2]])]]),
  };
  const { prepare, cleanup } = diff(settledState(before), after);
  expect(prepare.policies.map(({ cells, changed }) => [new Map(cells), changed])).toEqual([
    [
      new Map([
        [5, 2],
        [6, 2],
      ]),
      [6],
    ],
  ]);
  expect(cleanup.policies.map(({ cells, changed }) => [[...cells], changed])).toEqual([[[[6, 2]], [5]]]);
});

test("a row keeps the bit of an active class, and loses it after the flip", () => {
  const span = { first: 80, last: 80 };
  const before = { ...EMPTY_STATE, ports: [{ ...span, class: 1 }], rows: new Map([[2, [1]]]) };
  const after = { ...EMPTY_STATE, ports: [{ ...span, class: 3 }], rows: new Map([[2, [3]]]) };
  const { prepare, cleanup } = diff(settledState(before), after);
  expect(prepare.rows).toEqual([{ number: 2, classes: [1, 3] }]);
  expect(cleanup.rows).toEqual([{ number: 2, classes: [3] }]);
});
