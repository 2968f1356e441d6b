// Whatever comes in: parsers never throw, problems are one line, and no fault makes a policy select or allow more.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { stringify } from "yaml";
import type { Policy } from "../../../src/model/policy.ts";
import { type ParsedDocument, parseDocument } from "../../../src/source/parse.ts";
import { linesOf, problemsIn, readingOf } from "./support.ts";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const parse = (value: unknown): ParsedDocument => parseDocument(value, { where: () => ({ file: "x" }) });
const problemsOf = ({ objects, problems }: ParsedDocument) => [
  ...objects.flatMap((object) => object.problems),
  ...problems,
];

/** Keys and texts that the parsers know, and some that break careless code. */
const words = fc.constantFrom(
  ...[
    "apiVersion",
    "kind",
    "metadata",
    "spec",
    "status",
    "items",
    "name",
    "namespace",
    "labels",
    "annotations",
  ],
  ...[
    "podSelector",
    "namespaceSelector",
    "ipBlock",
    "cidr",
    "except",
    "matchLabels",
    "matchExpressions",
    "key",
    "operator",
  ],
  ...[
    "values",
    "In",
    "Exists",
    "policyTypes",
    "Ingress",
    "Egress",
    "ingress",
    "egress",
    "from",
    "to",
    "ports",
    "port",
  ],
  ...[
    "endPort",
    "protocol",
    "TCP",
    "podIPs",
    "ip",
    "10.0.0.1",
    "10.0.0.0/8",
    "containers",
    "hostNetwork",
    "phase",
    "v1",
  ],
  ...[
    "NetworkPolicy",
    "Pod",
    "Namespace",
    "List",
    "NetworkPolicyList",
    "networking.k8s.io/v1",
    "weir.dev/interface",
    "a",
  ],
  ...[
    "__proto__",
    "constructor",
    "prototype",
    "toString",
    "hasOwnProperty",
    "",
    "\n",
    "\u2028",
    "\u001b[2J",
    "\ud800",
  ],
);
const { anyJson } = fc.letrec<{ anyJson: Json }>((tie) => ({
  anyJson: fc.oneof(
    { maxDepth: 8, withCrossShrink: true },
    fc.oneof(
      words,
      fc.constant(null),
      fc.boolean(),
      fc.integer(),
      fc.double(),
      fc.string(),
    ) as fc.Arbitrary<Json>,
    fc.array(tie("anyJson"), { maxLength: 4 }),
    fc.dictionary(fc.oneof(words, fc.string()), tie("anyJson"), { maxKeys: 6 }) as fc.Arbitrary<Json>,
  ),
}));
const documents = fc
  .record({
    apiVersion: fc.constantFrom("networking.k8s.io/v1", "v1"),
    kind: fc.constantFrom("NetworkPolicy", "Pod", "Namespace", "List", "NetworkPolicyList", "PodList"),
    metadata: fc.oneof(fc.constant({ name: "a" }), anyJson),
    spec: fc.oneof(fc.record({ podSelector: fc.constant({}), ingress: anyJson, egress: anyJson }), anyJson),
    status: anyJson,
    items: anyJson,
  })
  .map((document) => document as Json);

/** One policy that uses everything. */
const FULL = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { name: "full", namespace: "shop" },
  spec: {
    podSelector: { matchLabels: { app: "web" }, matchExpressions: [{ key: "tier", operator: "Exists" }] },
    policyTypes: ["Ingress", "Egress"],
    ingress: [
      {
        from: [
          { podSelector: { matchExpressions: [{ key: "app", operator: "NotIn", values: ["api", "db"] }] } },
          {
            namespaceSelector: { matchLabels: { team: "blue" } },
            podSelector: { matchLabels: { app: "cart" } },
          },
          { ipBlock: { cidr: "10.0.0.0/8", except: ["10.1.0.0/16", "10.2.0.0/16"] } },
        ],
        ports: [{ protocol: "TCP", port: 80, endPort: 90 }, { port: "http" }],
      },
    ],
    egress: [{ to: [{ ipBlock: { cidr: "2001:db8::/32" } }], ports: [{ protocol: "UDP", port: 53 }] }],
  },
} satisfies Json;
const full = policyIn(parse(FULL));

function policyIn(document: ParsedDocument): Policy | undefined {
  const [object] = document.objects;
  return object?.kind === "NetworkPolicy" ? object.value : undefined;
}

/** Fail closed: a policy with a problem is unreadable and has no rules, or there is no policy. */
function expectClosed(document: ParsedDocument): void {
  for (const line of linesOf(problemsOf(document))) expect(line).not.toMatch(/[^\x20-\x7e]/);
  for (const { kind, value, complete } of document.objects) {
    if (kind !== "NetworkPolicy" || value === undefined || complete) continue;
    expect(value.unreadable).toBeDefined();
    expect(value.rules).toEqual({ ingress: [], egress: [] });
    expect(value.isolates.ingress || value.isolates.egress).toBe(true);
  }
}

/** Every place in a value, as the function that puts another value there (or, with `key`, renames the field). */
function placesIn(value: Json, put: (value: Json) => Json = (changed) => changed): Place[] {
  const own: Place = { value, put };
  if (value === null || typeof value !== "object") return [own];
  const entries: [string | number, Json][] = Array.isArray(value)
    ? [...value.entries()]
    : Object.entries(value);
  return [
    own,
    ...entries.flatMap(([key, item]) => {
      const putItem = (changed: Json): Json =>
        put(Array.isArray(value) ? value.with(Number(key), changed) : { ...value, [key]: changed });
      const rename = (to: string): Json =>
        put(
          Object.fromEntries(Object.entries(value).map(([name, field]) => [name === key ? to : name, field])),
        );
      return placesIn(item, putItem).map((place, index) =>
        index === 0 && !Array.isArray(value) ? { ...place, rename } : place,
      );
    }),
  ];
}

interface Place {
  readonly value: Json;
  readonly put: (value: Json) => Json;
  readonly rename?: (to: string) => Json;
}

const typeOf = (value: Json): string =>
  value === null ? "null" : Array.isArray(value) ? "list" : typeof value;

const RUNS = { numRuns: 2_000 };

describe("any value", () => {
  test("is read without an exception, and closed", () => {
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

  test("has no way to the prototype of objects", () => {
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

  test("nested however deep is no danger", () => {
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
        if (kind !== "NetworkPolicy" || value === undefined) continue;
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
