// The items of a list found in its bytes, however these are cut: the same as JSON.parse finds, and the rest without them.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { parseWhole } from "../../../../src/source/apiserver/json-trim.ts";
import { openItems } from "../../../../src/source/apiserver/list-request.ts";

function read(text: string, cuts: readonly number[] = [], bytesMax = 1_000_000) {
  const items: unknown[] = [];
  const reader = openItems("/list", { bytesMax, parse: parseWhole }, (raw) => items.push(raw));
  const bytes = Buffer.from(text);
  const ends = [...cuts.map((cut) => cut % (bytes.length + 1)), bytes.length].sort((a, b) => a - b);
  let start = 0;
  for (const end of ends) {
    reader.take(bytes.subarray(start, end));
    start = end;
  }
  return { items, rest: reader.end() };
}

const tricky = fc.constantFrom(
  '"',
  "\\",
  '\\"',
  "items",
  '"items":[',
  "{",
  "}",
  "[",
  "]",
  ",",
  "é",
  "\u{1f600}",
  "\n",
);
const text = fc.oneof(
  fc.string(),
  fc.array(tricky).map((parts) => parts.join("")),
);
const value = fc.letrec((tie) => ({
  any: fc.oneof(
    { depthSize: "small" },
    text,
    fc.integer(),
    fc.constant(null),
    fc.boolean(),
    fc.array(tie("any"), { maxLength: 4 }),
    tie("map"),
  ),
  map: fc.dictionary(fc.oneof(text, fc.constant("items")), tie("any"), { maxKeys: 4 }),
}));
const list = fc.record({
  metadata: value.map,
  before: value.any,
  items: fc.array(value.map, { maxLength: 6 }),
  after: value.any,
});

test("are those that JSON.parse finds", () => {
  fc.assert(
    fc.property(list, fc.array(fc.nat(), { maxLength: 12 }), fc.boolean(), (whole, cuts, spaced) => {
      const found = read(JSON.stringify(whole, undefined, spaced ? 2 : undefined), cuts);
      // What JSON cannot hold (a key __proto__ given as a field, -0) is as JSON.parse reads it.
      const { items, ...rest } = JSON.parse(JSON.stringify(whole));
      expect(found.items).toEqual(items);
      expect(found.rest).toEqual({ ...rest, items: [] });
    }),
    { numRuns: 2_000 },
  );
});

describe("an invalid list", () => {
  test.each([
    ["a key items further down", '{"metadata":{"items":[{"a":1}]}}', []],
    ["a value items", '{"a":"items","b":[{"c":1}]}', []],
    ["items that are null", '{"items":null}', []],
    ["items of other lists", '{"items":[{"items":[{"a":1}]}]}', [{ items: [{ a: 1 }] }]],
  ])("%s", (_, json, items) => {
    const found = read(json);
    expect(found.items).toEqual(items);
    expect(found.rest).toEqual(items.length > 0 ? { items: [] } : JSON.parse(json));
  });

  test("what is neither map nor list stays in the rest, which has no empty list then", () => {
    expect(read('{"items":[{"a":1},5]}')).toEqual({ items: [{ a: 1 }], rest: { items: [5] } });
    expect(read('{"items":[[{"a":1}]]}')).toEqual({ items: [[{ a: 1 }]], rest: { items: [] } });
  });

  test.each([
    '{"items":[{"a":1}',
    '{"items":[{"a":}]}',
    '{"items":[{"a":1}]',
    "",
    "<html>",
    '{"items":[{"a":"\\x"}]}',
  ])("%j is refused", (json) => {
    expect(() => read(json)).toThrow(/the list is not JSON/);
  });

  test("one item beyond the limit is refused; all together may be more", () => {
    const items = Array.from({ length: 50 }, (_, index) => ({ name: `n${index}` }));
    expect(read(JSON.stringify({ items }), [], 40).items).toHaveLength(50);
    expect(() => read(JSON.stringify({ items: [{ name: "n".repeat(50) }] }), [], 40)).toThrow(
      /has an object of more than 40 bytes/,
    );
  });
});
