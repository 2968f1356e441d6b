// Differences between the actual and the desired state of the kernel: each is found, and none if there is none.

import { expect, test } from "vitest";
import { filterOf, NO_WORDS } from "../../../src/base/address-filter.ts";
import { plainState, type State, stateFrom } from "../../../src/state/desired-state.ts";
import { differences, differencesText } from "../../../src/state/state-compare.ts";
import { type Held, settledState } from "../../../src/state/state-diff.ts";

const WANT: State = {
  endpoints: new Map([
    [7, { id: 1, incarnation: 5, addresses: ["10.0.0.1"], sources: [], policy: { ingress: 1, egress: 0 } }],
  ]),
  scopes: new Map([[0, ["10.0.0.9/32"]]]),
  tunnelPorts: [4789],
  addresses: new Map([
    ["10.0.0.1", 1],
    ["10.0.0.2", 2],
  ]),
  closed: filterOf([[0x1234_5678, 0x9abc_def0]]),
  services: new Map([["10.96.0.1 80", 4]]),
  cidrs: new Map([["10.0.0.0/8", 3]]),
  ports: [{ first: 80, last: 90, class: 1 }],
  rows: new Map([[2, [1]]]),
  names: new Map([["1 www.example.com", 2]]),
  policies: new Map([[1, new Map([[2, 2]])]]),
};

const against = (change: Partial<State>, unsettled: Partial<Held["unsettled"]> = {}) =>
  differences(
    { state: { ...WANT, ...change }, unsettled: { ...settledState(WANT).unsettled, ...unsettled } },
    WANT,
  );

test("nothing differs from itself, also by way of JSON", () => {
  expect(against({})).toEqual([]);
  const copy = stateFrom(JSON.parse(JSON.stringify(plainState(WANT))));
  expect(copy).toEqual(WANT);
});

test.each<[string, Partial<State>, object]>([
  [
    "an identity that changed",
    { addresses: new Map(WANT.addresses).set("10.0.0.2", 9) },
    { table: "addresses", key: "10.0.0.2", wanted: "identity 2", held: "identity 9" },
  ],
  [
    "an address that is missing",
    { addresses: new Map([["10.0.0.1", 1]]) },
    { table: "addresses", key: "10.0.0.2", wanted: "identity 2" },
  ],
  [
    "a prefix that is too many",
    { cidrs: new Map(WANT.cidrs).set("0.0.0.0/0", 1) },
    { table: "cidrs", key: "0.0.0.0/0", held: "identity 1" },
  ],
  [
    "an endpoint that lost its policy",
    {
      endpoints: new Map([
        [
          7,
          { id: 1, incarnation: 5, addresses: ["10.0.0.1"], sources: [], policy: { ingress: 0, egress: 0 } },
        ],
      ]),
    },
    {
      table: "endpoints",
      key: "7",
      wanted: "id 1, incarnation 5, ingress policy 1, egress policy 0, addresses 10.0.0.1",
      held: "id 1, incarnation 5, ingress policy 0, egress policy 0, addresses 10.0.0.1",
    },
  ],
  [
    "a row of a policy",
    { policies: new Map([[1, new Map([[2, 1]])]]) },
    { table: "policy", key: "1, identity 2", policy: 1, identity: 2, wanted: "row 2", held: "row 1" },
  ],
  [
    "a policy that is missing",
    { policies: new Map() },
    { table: "policy", key: "1", policy: 1, wanted: "rows of 1 identities" },
  ],
  [
    "a port of another class",
    { ports: [{ first: 80, last: 89, class: 1 }] },
    { table: "ports", key: "90-90", span: { first: 90, last: 90 }, wanted: "class 1", held: "class 0" },
  ],
  [
    "a class that a row lost",
    { rows: new Map([[2, []]]) },
    { table: "rows", key: "2", wanted: "classes 1", held: "classes none" },
  ],
])("finds %s", (_, change, difference) => {
  expect(against(change)).toEqual([difference]);
});

test.each<[string, Partial<State>, string]>([
  [
    "more that is refused",
    { closed: filterOf([[0x1234_5678, 0x9abc_def0, 0x0fed_cba9]]) },
    "6 bits, 4 of them right",
  ],
  ["nothing that is refused", { closed: NO_WORDS }, "0 bits, 0 of them right"],
])("finds %s", (_, change, held) => {
  const of = { table: "addresses", key: "of Services whose ports are not known" };
  expect(against(change)).toEqual([{ ...of, wanted: "4 bits", held }]);
});

test("finds what the next update would change", () => {
  expect(against({}, { cidrs: new Set(["10.0.0.0/8"]), ports: true })).toEqual([
    {
      table: "cidrs",
      key: "10.0.0.0/8",
      wanted: "identity 3",
      held: "identity 3, and something else in the version out of force",
    },
    { table: "ports", key: "all", held: "another class in the version out of force" },
  ]);
});

test("are summed up by table", () => {
  const found = against({ addresses: new Map(), rows: new Map() });
  expect(differencesText(found)).toBe("addresses 2, rows 1");
  expect(differencesText([])).toBe("");
});
