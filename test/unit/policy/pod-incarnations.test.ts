// The number that a pod's flows are keyed by, as its interfaces, its object and the agent come and go.
import { expect, it } from "vitest";
import { numberingOver } from "../../../src/agent/reserved-numbers.ts";
import type { LocalEndpoint } from "../../../src/policy/local-endpoints.ts";
import {
  assignIncarnations,
  type Incarnations,
  NO_INCARNATIONS,
} from "../../../src/policy/pod-incarnations.ts";
import { EMPTY_STATE, type Endpoint } from "../../../src/state/desired-state.ts";
import { settledState } from "../../../src/state/state-diff.ts";
import { pod } from "../../support/model.ts";

/** "7 x/a uid 10.0.0.1,fd00::1": interface, pods with "or" between them, uid, addresses. */
function local(text: string): LocalEndpoint {
  const [ifindex, names = "", uid = "-", ips = ""] = text.split(" ");
  const [first, ...rivals] = names.split("|").map((name) => ({
    ...pod(name, ips === "" ? [] : ips.split(",")),
    ...(uid === "-" ? {} : { uid }),
  }));
  if (first === undefined) throw new Error(`no pod in ${text}`);
  return { ifindex: Number(ifindex), pod: first, ...(rivals.length === 0 ? {} : { rivals }) };
}

const numbersOf = ({ of }: Incarnations): Record<number, number> =>
  Object.fromEntries([...of].map(([ifindex, { number }]) => [ifindex, number]));

const after = (steps: readonly (readonly string[])[]): Incarnations =>
  steps.reduce((before, locals) => assignIncarnations(locals.map(local), before), NO_INCARNATIONS);

it.each<[string, readonly (readonly string[])[], Record<number, number>]>([
  ["each pod has its own", [["7 x/a - 10.0.0.1", "8 x/b - 10.0.0.2"]], { 7: 1, 8: 2 }],
  ["all interfaces of a pod have one", [["7 x/a - 10.0.0.1", "8 x/a - 10.0.0.1"]], { 7: 1, 8: 1 }],
  ["an interface that comes later has that of its pod", [["7 x/a"], ["7 x/a", "9 x/a"]], { 7: 1, 9: 1 }],
  ["it stays while one interface stays", [["7 x/a"], ["7 x/a", "9 x/a"], ["9 x/a"]], { 9: 1 }],
  ["addresses may change", [["7 x/a - 10.0.0.1"], ["7 x/a - 10.0.0.9"]], { 7: 1 }],
  ["an interface that becomes another pod's has another", [["7 x/a"], ["7 x/b"]], { 7: 2 }],
  ["a pod of the same name on another interface, too", [["7 x/a"], ["9 x/a"]], { 9: 2 }],
  ["so has one of another uid", [["7 x/a one"], ["7 x/a two"]], { 7: 2 }],
  ["a uid may become known", [["7 x/a"], ["7 x/a one"], ["7 x/a"]], { 7: 1 }],
  ["a number does not come back with its pod", [["7 x/a"], [], ["7 x/a"]], { 7: 2 }],
  ["nor is it another's", [["7 x/a", "8 x/b"], ["8 x/b"], ["8 x/b", "9 x/c"]], { 8: 2, 9: 3 }],
  ["whose it is may be found out", [["7 x/a|x/b"], ["7 x/b"]], { 7: 1 }],
  [
    "two that part have different ones",
    [
      ["7 x/a|x/b", "8 x/a|x/b"],
      ["7 x/a", "8 x/b"],
    ],
    { 7: 1, 8: 2 },
  ],
])("%s", (_, steps, numbers) => {
  expect(numbersOf(after(steps))).toEqual(numbers);
});

it("restarts after the highest, and skips those in use", () => {
  const highest = 2 ** 24 - 1;
  const first = assignIncarnations([local("7 x/a")], NO_INCARNATIONS);
  const last = assignIncarnations(["7 x/a", "8 x/b"].map(local), { ...first, last: highest - 1 });
  expect(numbersOf(last)).toEqual({ 7: 1, 8: highest });
  const next = assignIncarnations(["7 x/a", "8 x/b", "9 x/c"].map(local), last);
  expect(numbersOf(next)).toEqual({ 7: 1, 8: highest, 9: 2 });
});

/** What a new agent finds that starts beside these endpoints. */
const restarted = (
  endpoints: readonly (readonly [ifindex: number, incarnation: number, addresses: readonly string[]])[],
  { last, sameLink = () => true }: { last: number; sameLink?: (ifindex: number) => boolean },
): Incarnations => {
  const state = {
    ...EMPTY_STATE,
    endpoints: new Map(
      endpoints.map(([ifindex, incarnation, addresses], at): [number, Endpoint] => [
        ifindex,
        { id: at + 1, incarnation, addresses, sources: [], policy: { ingress: 0, egress: 0 } },
      ]),
    ),
  };
  return numberingOver({ ...settledState(state), lastIncarnation: last }, undefined, sameLink).incarnations;
};

it.each<[string, Incarnations, readonly string[], Record<number, number>]>([
  [
    "a pod keeps its own, by interface and address",
    restarted(
      [
        [7, 4, ["10.0.0.1"]],
        [8, 4, ["fd00::1"]],
      ],
      { last: 9 },
    ),
    ["7 x/a - 10.0.0.1,fd00::1", "8 x/a - 10.0.0.1,fd00::1"],
    { 7: 4, 8: 4 },
  ],
  [
    "one that came meanwhile has none that was ever given",
    restarted([[7, 4, ["10.0.0.1"]]], { last: 9 }),
    ["7 x/a - 10.0.0.1", "8 x/b - 10.0.0.2"],
    { 7: 4, 8: 10 },
  ],
  [
    "other addresses are another pod's",
    restarted([[7, 4, ["10.0.0.1"]]], { last: 9 }),
    ["7 x/a - 10.0.0.2"],
    { 7: 10 },
  ],
  [
    "another link of the same index and address is another pod's",
    restarted([[7, 4, ["10.0.0.1"]]], { last: 9, sameLink: () => false }),
    ["7 x/a - 10.0.0.1"],
    { 7: 10 },
  ],
  [
    "two pods never come to share one",
    restarted(
      [
        [7, 4, ["10.0.0.1"]],
        [8, 4, ["10.0.0.1"]],
      ],
      { last: 9 },
    ),
    ["7 x/a - 10.0.0.1", "8 x/b - 10.0.0.1"],
    { 7: 4, 8: 10 },
  ],
])("after a restart of the agent: %s", (_, before, locals, numbers) => {
  expect(numbersOf(assignIncarnations(locals.map(local), before))).toEqual(numbers);
});
