// The plugin's JSON reader against JSON.parse: the same texts are valid, the same members are read, and nothing makes it crash.

import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import * as fc from "fast-check";
import { expect, it } from "vitest";

/** Built with the compiler's sanitizers: a read beyond a text's end, or an overflow, ends it. */
const READER = fileURLToPath(new URL("../../../cni/build/test/read-json", import.meta.url));

type Read =
  | { readonly error: string }
  | {
      readonly members: readonly { kind: string; key: string; text: string; quoted: string }[];
    };

function readAll(documents: readonly Buffer[]): Read[] {
  const input = documents.flatMap((each) => {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(each.length);
    return [length, each];
  });
  const done = spawnSync(READER, { input: Buffer.concat(input), maxBuffer: 1 << 28 });
  expect({ status: done.status, signal: done.signal, stderr: done.stderr.toString() }).toEqual({
    status: 0,
    signal: null,
    stderr: "",
  });
  const lines = done.stdout.toString().split("\n").slice(0, -1);
  expect(lines).toHaveLength(documents.length);
  return lines.map(readIn);
}

function readIn(line: string): Read {
  if (line.startsWith("-")) return { error: line.replace(/^- \d+ /, "") };
  const words = line.split(" ").slice(1);
  const hex = (word: string | undefined): string => Buffer.from((word ?? "").slice(0, -1), "hex").toString();
  const members = Array.from({ length: words.length / 4 }, (_, at) => {
    const [kind = "", key, text, quoted] = words.slice(at * 4);
    return { kind, key: hex(key), text: hex(text), quoted: hex(quoted) };
  });
  return { members };
}

/** The result of JSON.parse; undefined if it is not an object, or not UTF-8. */
function parsed(document: Buffer): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(
      new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(document),
    );
    return typeof value === "object" && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : undefined;
  } catch {
    return undefined;
  }
}

/** Refused here, read by JSON.parse. */
const STRICTER = /two members have this name|surrogate|too deeply nested|number overflow/;

const withoutNegativeZero = (value: unknown): unknown => JSON.parse(JSON.stringify(value));

function compare(document: Buffer, read: Read): void {
  const expected = parsed(document);
  const text = document.toString("latin1");
  if ("error" in read) {
    if (!STRICTER.test(read.error)) expect(expected, text).toBeUndefined();
    return;
  }
  expect(expected, text).toBeDefined();
  expect(new Set(read.members.map(({ key }) => key)), text).toEqual(new Set(Object.keys(expected ?? {})));
  for (const { kind, key, text: inner, quoted } of read.members) {
    const value = expected?.[key];
    // -0 is 0 here, also inside of a value: the library reads "-0" as an integer, and "-1e-999" as -0.0.
    expect(withoutNegativeZero(JSON.parse(inner))).toEqual(withoutNegativeZero(value));
    expect(JSON.parse(quoted)).toBe(key);
    expect(kind).toBe(value === null ? "null" : Array.isArray(value) ? "array" : typeof value);
  }
}

const object = fc.dictionary(
  fc.string({ unit: "grapheme" }),
  fc.jsonValue({ maxDepth: 4, stringUnit: "grapheme" }),
);

/** A text with a few bytes changed, removed or inserted. */
const mutated = fc
  .tuple(
    object.map((value) => Buffer.from(JSON.stringify(value))),
    fc.array(
      fc.tuple(
        fc.nat(),
        fc.nat({ max: 2 }),
        fc.oneof(fc.constantFrom(...Buffer.from('{}[]",:\\u0dD89e-+.tfn \n')), fc.nat({ max: 255 })),
      ),
      {
        maxLength: 4,
      },
    ),
  )
  .map(([bytes, changes]) => {
    const list = [...bytes];
    for (const [at, how, byte] of changes)
      list.splice(at % (list.length + 1), how === 2 ? 0 : 1, ...(how === 1 ? [] : [byte]));
    return Buffer.from(list);
  });

it("reads what JSON.parse reads, and refuses what it refuses", () => {
  fc.assert(
    fc.property(
      fc.array(
        fc.oneof(
          mutated,
          fc.uint8Array().map((bytes) => Buffer.from(bytes)),
        ),
        { minLength: 200, maxLength: 200 },
      ),
      (documents) => {
        for (const [index, read] of readAll(documents).entries())
          compare(documents[index] ?? Buffer.alloc(0), read);
      },
    ),
    { numRuns: 8 },
  );
});

it("every beginning of a text is invalid", () => {
  const whole = Buffer.from('{"a":[1.5e-3,true,{"b":"\\ud83d\\ude00é"}],"c":null,"d":-0}');
  const beginnings = Array.from({ length: whole.length }, (_, length) => whole.subarray(0, length));
  expect(readAll(beginnings).filter((read) => !("error" in read))).toEqual([]);
  expect(readAll([whole])[0]).toMatchObject({ members: [{ key: "a" }, { key: "c" }, { key: "d" }] });
});

it.each([
  ["a repeated name", '{"a":1,"a":2}', /two members have this name/],
  ["a repeated name, escaped", '{"a":1,"\\u0061":2}', /two members have this name/],
  ["a high surrogate alone", '{"a":"\\ud800"}', /surrogate/],
  ["a high surrogate before something else", '{"a":"\\ud800\\u0041"}', /surrogate/],
  ["a low surrogate alone", '{"a":"\\udc00"}', /surrogate/],
  ["100,000 nested arrays", `{"a":${"[".repeat(100_000)}`, /too deeply nested/],
  ["65 nested objects", `{"a":${'{"b":'.repeat(64)}`, /too deeply nested/],
  ["a control character", '{"a":"\u0001"}', /control character/],
  ["a zero in a string", '{"a":"\u0000"}', /zero byte/],
  ["a zero after the object", '{"a":1}\u0000', /zero byte/],
  ["a byte order mark", '\ufeff{"a":1}', /byte order mark/],
  ["a zero before a digit", '{"a":01}', /expected '}'/],
  ["a comma too many", '{"a":1,}', /expected string literal/],
  ["a word after the object", '{"a":1} x', /invalid literal/],
  ["a second object", '{"a":1}{}', /expected end of input/],
  ["a comment", '{"a":1/**/}', /invalid literal/],
  ["a number beyond the range of a double", '{"a":[1e400]}', /number overflow/],
  ["an array", "[{}]", /expected an object/],
  ["a string", '"a"', /expected an object/],
  ["nothing", "", /unexpected end of input/],
])("refuses %s", (_, text, error) => {
  expect(readAll([Buffer.from(text)])).toEqual([{ error: expect.stringMatching(error) }]);
});

it.each([
  [[0xc0, 0xaf]],
  [[0xe0, 0x80, 0x80]],
  [[0xed, 0xa0, 0x80]],
  [[0xf4, 0x90, 0x80, 0x80]],
  [[0xff]],
  [[0xe2, 0x82]],
])("refuses bytes that are not UTF-8: %j", (bytes) => {
  const text = Buffer.concat([Buffer.from('{"a":"'), Buffer.from(bytes), Buffer.from('"}')]);
  expect(readAll([text])).toEqual([{ error: expect.stringContaining("ill-formed UTF-8 byte") }]);
});

it("gives objects and arrays as they were written, to the last digit and space", () => {
  const [inner, list] = ['{ "n": 12345678901234567890123.10,\n"s":"}\\u0041" , "e": {}}', "[ [ ] , 1e5 ]"];
  const text = ` {"before": 1 , "a":\t${inner} ,"b" :${list}, "c":${"[".repeat(63)}${"]".repeat(63)} } `;
  const [read] = readAll([Buffer.from(text)]);
  expect(read).toMatchObject({
    members: [
      { kind: "number", text: "1" },
      { kind: "object", text: inner },
      { kind: "array", text: list },
      { kind: "array", text: "[".repeat(63) + "]".repeat(63) },
    ],
  });
});
