// Templates of `-o jsonpath=`: the forms of kubectl's documentation, what is not there, and mistakes with their places.
import fc from "fast-check";
import { expect, it } from "vitest";
import { fillTemplate } from "../../../src/observe/jsonpath/evaluate.ts";
import { parseTemplate, TemplateError } from "../../../src/observe/jsonpath/parse.ts";

const ITEMS = [
  {
    name: "nginx",
    id: 1,
    labels: { "app.kubernetes.io/name": "web" },
    ips: ["10.0.0.1", "fd00::1"],
    counts: { packets: 2n ** 60n, bytes: 7 },
  },
  { name: "db", id: 2, labels: {}, ips: ["10.0.0.2"], lost: true },
  { name: "job", id: 10, labels: {}, ips: [] },
];

const fill = (template: string, value: unknown = ITEMS): string =>
  fillTemplate(parseTemplate(template), value);

it.each([
  ["{[*].name}", "nginx db job"],
  ["{[0].name} and {[-1].name}", "nginx and job"],
  ["{[0:2].id}", "1 2"],
  ["{[::2].id}", "1 10"],
  ["{[1:].id}", "2 10"],
  ["{[0,2].name}", "nginx job"],
  ["{[0]['name','id']}", "nginx 1"],
  ["{[0].ips}", '["10.0.0.1","fd00::1"]'],
  ["{[0].ips[1]}", "fd00::1"],
  ["{[0].counts}", '{"packets":"1152921504606846976","bytes":7}'],
  ["{[0].counts.packets}", "1152921504606846976"],
  ["{[0].labels.app\\.kubernetes\\.io/name}", "web"],
  ["{[0].labels['app.kubernetes.io/name']}", "web"],
  ["{..bytes}", "7"],
  ["{[*].ips[*]}", "10.0.0.1 fd00::1 10.0.0.2"],
  ['{[?(@.name=="db")].id}', "2"],
  ["{[?(@.name != 'db')].id}", "1 10"],
  ["{[?(@.id>=2)].name}", "db job"],
  ["{[?(@.id < 10)].name}", "nginx db"],
  ["{[?(@.lost)].name}", "db"],
  ["{[?(@.lost==true)].name}", "db"],
  ["{[?(@.counts.packets > 5)].name}", "nginx"],
  ['{range [*]}{.name}{"\\t"}{.id}{"\\n"}{end}', "nginx\t1\ndb\t2\njob\t10\n"],
  ['{range [*]}{range .ips[*]}{@}{";"}{end}{" "}{end}', "10.0.0.1;fd00::1; 10.0.0.2;  "],
  ["{$[1].name}", "db"],
  ["{.[1].name}", "db"],
  ["{[0].name}{'/'}{[1].name}", "nginx/db"],
  ["[0].name", "nginx"],
  ["plain", "plain"],
  ["{[0].nothing.at.all}", ""],
  ["{[99].name}", ""],
  ["{[0].toString}{[0].__proto__}", ""],
])("%s", (template, text) => {
  expect(fill(template)).toBe(text);
});

it("of an object has its members", () => {
  expect(fill("{.a}{.b.*}", { a: 1, b: { c: 2, d: 3 } })).toBe("12 3");
  expect(fill("{.}", { a: 1 })).toBe('{"a":1}');
});

it.each([
  ["{.a", 1, "the brace is never closed"],
  ["x{range [*]}{.a}", 2, "{range} without {end}"],
  ["{.a}{end}", 5, "{end} without {range}"],
  ["{.a[}", 5, "expected an index, a slice, *, ?(…) or a quoted name"],
  ["{.a[0}", 6, "expected ]"],
  ["{.a.}", undefined, undefined],
  ["{'x}", 2, "the quote is never closed"],
  ["{a}", 2, "expected a path such as .name or [0], or quoted text"],
  ["{[?(@.a==00)]}", 10, "expected a path, a number, true, false, null or quoted text"],
  ["{[?(@.a==)]}", 10, "expected a path, a number, true, false, null or quoted text"],
  ["{[?@.a]}", 4, "expected ("],
  ["{[::0]}", 3, "the step of a slice is 0"],
])("%s is refused with its place", (template, at, reason) => {
  if (reason === undefined) return expect(fill(template, { a: 1 })).toBe("1");
  expect(() => fill(template)).toThrow(new TemplateError(reason, (at ?? 1) - 1));
  return undefined;
});

it("whatever is asked is answered or refused", () => {
  const tokens = [
    "{",
    "}",
    "[",
    "]",
    "range",
    "end",
    " ",
    ".a",
    "..",
    "*",
    "?(",
    ")",
    "@",
    "$",
    "==",
    "'",
    '"',
    "0",
    ":",
    ",",
    "\\",
    "x",
  ];
  fc.assert(
    fc.property(fc.array(fc.constantFrom(...tokens), { maxLength: 14 }), (parts) => {
      try {
        expect(typeof fill(parts.join(""), { a: [{ a: 1 }] })).toBe("string");
      } catch (thrown) {
        expect(thrown).toBeInstanceOf(TemplateError);
      }
    }),
    { numRuns: 20_000 },
  );
});
