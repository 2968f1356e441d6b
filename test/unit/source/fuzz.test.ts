// For any input: parsers never throw, problems are one line, and no fault makes a policy select or allow more.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import type { Policy } from "../../../src/model/network-policy.ts";
import { type ParsedDocument, parseDocument } from "../../../src/source/parse/parse-document.ts";
import { anyJson, documents, FULL, type Json, placesIn } from "./arbitrary.ts";
import { linesOf, problemsIn, readingOf } from "./support.ts";

const parse = (value: unknown): ParsedDocument => parseDocument(value, { where: () => ({ file: "x" }) });
const problemsOf = ({ objects, problems }: ParsedDocument) => [
  ...objects.flatMap((object) => object.problems),
  ...problems,
];

const full = policyIn(parse(FULL));

function policyIn(document: ParsedDocument): Policy | undefined {
  const [object] = document.objects;
  return object?.kind === "NetworkPolicy" ? object.value : undefined;
}

/** Fail closed: a policy with a problem has no rules, or reports what is left out of them; or there is no policy. */
function expectClosed(document: ParsedDocument): void {
  for (const line of linesOf(problemsOf(document))) expect(line).not.toMatch(/[^\x20-\x7e]/);
  for (const { kind, value, complete, problems } of document.objects) {
    if (kind !== "NetworkPolicy" || complete) continue;
    expect(value.isolates.ingress || value.isolates.egress).toBe(true);
    if (value.unreadable !== undefined) expect(value.rules).toEqual({ ingress: [], egress: [] });
    else if (problems.some(({ severity, path = "" }) => severity === "error" && !/metadata/.test(path)))
      expect(value.omitted).toBeDefined();
  }
}

const typeOf = (value: Json): string =>
  value === null ? "null" : Array.isArray(value) ? "list" : typeof value;

const RUNS = { numRuns: 2_000 };

describe("any value", () => {
  test("is read without an exception, and fails closed", () => {
    fc.assert(
      fc.property(fc.oneof(anyJson, documents), (value) => expectClosed(parse(value))),
      RUNS,
    );
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });

  test("as text, too", () => {
    const text = fc.oneof(
      anyJson.map((value) => JSON.stringify(value)),
      documents.map((value) => stringify(value)),
      fc.string({ unit: "binary" }),
    );
    fc.assert(
      fc.property(text, (yaml) => {
        for (const line of linesOf(problemsIn(readingOf(yaml)))) expect(line).not.toMatch(/[^\x20-\x7e]/);
      }),
      { numRuns: 500 },
    );
  });

  test("cannot reach the prototype of objects", () => {
    for (const text of [
      '{"__proto__": {"polluted": 1}}',
      '{"constructor": {"prototype": {"polluted": 1}}}',
    ]) {
      expectClosed(
        parse({
          ...FULL,
          metadata: JSON.parse(text),
          spec: { podSelector: { matchLabels: JSON.parse(text) } },
        }),
      );
      readingOf(`a: &x ${text}\nb: {<<: *x}`);
    }
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });

  test("of any nesting depth is safe", () => {
    let deep: Json = {};
    for (let level = 0; level < 100_000; level += 1) deep = level % 2 ? [deep] : { from: deep };
    expectClosed(parse({ ...FULL, spec: { podSelector: {}, ingress: deep } }));
    expectClosed(parse(deep));
  });
});

describe("a policy with one fault", () => {
  const places = placesIn(FULL);

  test("of type: a value of another type gives a problem", () => {
    expect(full?.unreadable).toBeUndefined();
    const faults = fc.tuple(fc.constantFrom(...places), anyJson).filter(([place, value]) => {
      // A port is a number or a name.
      const types =
        typeof place.value === "number" || place.value === "http"
          ? ["number", "string"]
          : [typeOf(place.value)];
      return !types.includes(typeOf(value)) && place.put(value) !== null;
    });
    fc.assert(
      fc.property(faults, ([place, value]) => {
        const document = parse(place.put(value));
        expectClosed(document);
        expect(problemsOf(document).filter(({ severity }) => severity === "error")).not.toEqual([]);
      }),
      RUNS,
    );
  });

  test("of spelling: a field of another name gives a problem", () => {
    for (const { value, rename } of places) {
      if (rename === undefined) continue;
      for (const to of ["podSelectors", "Spec", "__proto__", "x"]) {
        const document = parse(rename(to));
        expectClosed(document);
        // Labels may have any name, and their number is not what is tested.
        if (value !== "web" && value !== "blue" && value !== "cart")
          expect(problemsOf(document)).not.toEqual([]);
      }
    }
  });

  test("or cut off anywhere: it never selects every pod or peer", () => {
    const text = stringify({
      ...FULL,
      spec: { ...FULL.spec, ingress: FULL.spec.ingress.map((rule) => ({ from: rule.from.slice(0, 1) })) },
    });
    for (let end = 0; end < text.length; end += 1) {
      const reading = readingOf(text.slice(0, end));
      for (const { kind, value } of reading.objects) {
        if (kind !== "NetworkPolicy") continue;
        if (value.unreadable === undefined) expect(value.subject.requirements).not.toEqual([]);
        for (const { peers } of value.rules.ingress) {
          expect(peers).not.toBe("anyone");
          for (const peer of peers === "anyone" ? [] : peers)
            expect(peer).not.toMatchObject({ pods: { requirements: [] } });
        }
      }
    }
  });
});

test("a policy means the same in JSON and in YAML of any style", () => {
  for (const options of [
    {},
    { collectionStyle: "flow" },
    { defaultStringType: "QUOTE_SINGLE" },
    { version: "1.1" },
  ] as const) {
    const [object] = readingOf(stringify(FULL, options)).objects;
    expect(object?.value).toEqual(full);
  }
  expect(readingOf(JSON.stringify(FULL)).objects[0]?.value).toEqual(full);
});
