// When a look at a file counts: at once if it adds or changes, after a delay if it removes.

import { expect, test } from "vitest";
import {
  advance,
  firstMemory,
  HOLD_MAX_MS,
  heldSince,
  type Memory,
  readingsIn,
  SETTLE_MS,
  seenIn,
} from "../../../../src/source/manifests/last-known-good.ts";
import type { Seen } from "../../../../src/source/manifests/manifest-files.ts";
import { policyYaml, readingOf } from "../support.ts";

const policy = (name: string, spec = "{ podSelector: {} }"): string =>
  policyYaml(spec, `{ name: ${name}, namespace: shop }`);
const seen = (text: string): Seen => ({
  signature: text,
  digest: text,
  identity: "f",
  writing: false,
  reading: readingOf(text, "f"),
});
const isHeld = (memory: Memory): boolean => heldSince(memory) !== undefined;

/** The memory after a first look at `text` and then these looks, each "milliseconds since the first, text". */
function history(text: string, ...looks: (readonly [number, string | undefined])[]): Memory {
  const cache = new Map([[text, seen(text)]]);
  const look = (of: string | undefined): Map<string, Seen> => {
    if (of === undefined) return new Map();
    const known = cache.get(of) ?? seen(of);
    cache.set(of, known);
    return new Map([["f", known]]);
  };
  return looks.reduce((memory, [at, of]) => advance(memory, look(of), { now: at }), firstMemory(look(text)));
}

const names = (memory: Memory): readonly string[] =>
  readingsIn(memory).flatMap((reading) =>
    reading.objects.map((object) => object.identity.replace(/.*\//, "")),
  );

const BOTH = `${policy("a")}---\n${policy("b")}`;
const BAD = policy("a", "{ podSelector: {}, ingress: 7 }");

test("a first look counts at once, faults too", () => {
  const memory = history(BAD);
  expect(isHeld(memory)).toBe(false);
  expect(names(memory)).toEqual(["a"]);
});

test("what adds and changes counts at once", () => {
  const memory = history(policy("a"), [1, BOTH]);
  expect(isHeld(memory)).toBe(false);
  expect(names(memory)).toEqual(["a", "b"]);
  const changed = history(policy("a"), [1, policy("a", "{ podSelector: {}, policyTypes: [Egress] }")]);
  expect(isHeld(changed)).toBe(false);
  expect(readingsIn(changed)[0]?.objects[0]?.value).toMatchObject({
    isolates: { ingress: false, egress: true },
  });
});

test.each([
  ["an object gone", policy("a"), ["a"]],
  ["the file gone", undefined, []],
])("%s counts when it has lasted", (_, text, expected) => {
  const early = history(BOTH, [1, text], [SETTLE_MS, text]);
  expect(isHeld(early)).toBe(true);
  expect(names(early)).toEqual(["a", "b"]);
  const late = history(BOTH, [1, text], [SETTLE_MS + 1, text]);
  expect(isHeld(late)).toBe(false);
  expect(names(late)).toEqual(expected);
  expect(seenIn(late, "f")?.signature).toBe(text);
});

test("an empty file never counts: it keeps its objects, and reports it", () => {
  const late = history(BOTH, [1, ""], [SETTLE_MS + 1, ""], [60_000, ""]);
  expect(isHeld(late)).toBe(false);
  expect(names(late)).toEqual(["a", "b"]);
  expect(readingsIn(late)[0]?.problems).toMatchObject([{ severity: "error", reason: "is empty" }]);
});

test("a half-written file never counts if it is completed in time", () => {
  const memory = history(BOTH, [1, ""], [100, policy("a")], [200, BOTH]);
  expect(isHeld(memory)).toBe(false);
  expect(names(memory)).toEqual(["a", "b"]);
  const moved = history(BOTH, [1, undefined], [100, `${BOTH}---\n${policy("c")}`]);
  expect(isHeld(moved)).toBe(false);
  expect(names(moved)).toEqual(["a", "b", "c"]);
});

test("each further change restarts the wait, up to a limit", () => {
  const looks = Array.from({ length: 20 }, (_, index): [number, string] => [
    index * 100,
    policy(`c${index}`),
  ]);
  const until = (ms: number) => history(BOTH, ...looks.filter(([at]) => at <= ms));
  expect(names(until(HOLD_MAX_MS - 100))).toEqual(["a", "b"]);
  expect(names(until(HOLD_MAX_MS + 100))).toEqual(["c8"]);
});

test("a fault counts when it has lasted, and then keeps what was good", () => {
  expect(readingsIn(history(policy("a"), [1, BAD]))[0]?.objects[0]?.problems).toEqual([]);
  const [reading] = readingsIn(history(policy("a"), [1, BAD], [SETTLE_MS + 1, BAD]));
  expect(reading?.objects[0]?.problems).toMatchObject([
    { effect: "its last known good version stays in force" },
  ]);
});

test("a new file counts at once, unless it is faulty", () => {
  const empty: Memory = new Map();
  expect(names(advance(empty, new Map([["f", seen(BOTH)]]), { now: 0 }))).toEqual(["a", "b"]);
  const faulty = new Map([["f", seen(BAD)]]);
  const held = advance(empty, faulty, { now: 0 });
  expect(names(held)).toEqual([]);
  expect(names(advance(held, faulty, { now: SETTLE_MS }))).toEqual(["a"]);
});

test("the same content changes nothing, whatever the signature", () => {
  const look = seen(BOTH);
  const before = firstMemory(new Map([["f", look]]));
  const after = advance(before, new Map([["f", { ...look, signature: "touched" }]]), { now: 9 });
  expect(readingsIn(after)[0]).toBe(readingsIn(before)[0]);
  expect(seenIn(after, "f")?.signature).toBe("touched");
});

test("results come in the order of the files' names", () => {
  const files = new Map(["b", "a", "B"].map((file) => [file, { ...seen(""), reading: readingOf("", file) }]));
  expect(readingsIn(firstMemory(files)).map(({ file }) => file)).toEqual(["B", "a", "b"]);
});
