// YAML to plain values: what scalars mean, positions, and what is refused or bounded.

import { describe, expect, test } from "vitest";
import {
  ALIASED_VALUES_MAX,
  DEPTH_MAX,
  readYaml,
  resolvePlain,
} from "../../../../src/source/manifests/yaml-reader.ts";
import { pathText } from "../../../../src/source/parse/fields.ts";

/** Values (as JSON would have them), flaws and errors of all documents. */
function yaml(text: string) {
  const values: unknown[] = [];
  const lines: string[] = [];
  for (const document of readYaml(text)) {
    const flaws = document.ok
      ? document.flaws
      : document.errors.map((error) => ({ ...error, path: ["syntax"] }));
    for (const { path, place, reason } of flaws)
      lines.push(`${place?.line}:${place?.column} ${pathText(path)}: ${reason}`);
    if (document.ok) values.push(JSON.parse(JSON.stringify(document.value)));
  }
  return { values, lines };
}

describe("plain scalars", () => {
  test.each<[string, unknown]>([
    ["", null],
    ["~", null],
    ["null", null],
    ["NULL", null],
    ["nULL", "nULL"],
    ["true", true],
    ["FALSE", false],
    ["yes", true],
    ["No", false],
    ["ON", true],
    ["off", false],
    ["y", true],
    ["N", false],
    ["yEs", "yEs"],
    ["0", 0],
    ["80", 80],
    ["-1", -1],
    ["+80", 80],
    ["80.0", 80],
    ["1e3", 1000],
    [".5", 0.5],
    ["1.", 1],
    ["0x50", 80],
    ["0o120", 80],
    [".inf", Number.POSITIVE_INFINITY],
    ["-.INF", Number.NEGATIVE_INFINITY],
    ["0123", Number.NaN],
    ["-010", Number.NaN],
    ["089", Number.NaN],
    ["1_000", Number.NaN],
    ["0b101", Number.NaN],
    ["+0x50", Number.NaN],
    ["00.5", Number.NaN],
    [".nan", Number.NaN],
    ["1:30", "1:30"],
    ["2026-01-02", "2026-01-02"],
    ["10.0.0.1", "10.0.0.1"],
    ["0x", "0x"],
    ["1_a", "1_a"],
    ["_1", "_1"],
    ["-", "-"],
    [".", "."],
    ["1e", "1e"],
    ["=", "="],
  ])("%j is %j", (text, value) => {
    expect(resolvePlain(text)).toEqual(value);
  });

  test("quoted, block and !!str scalars are always text", () => {
    const text = "a: 'yes'\nb: \"80\"\nc: |\n  null\nd: !!str 80\ne: ! 80\nf: >-\n  tr\n  ue\n";
    expect(yaml(text)).toEqual({
      values: [{ a: "yes", b: "80", c: "null\n", d: "80", e: "80", f: "tr ue" }],
      lines: [],
    });
  });

  test("a %YAML 1.1 directive changes nothing", () => {
    expect(yaml("%YAML 1.1\n---\na: 0o17\nb: 1:30\nc: 2026-01-02\n").values).toEqual([
      { a: 15, b: "1:30", c: "2026-01-02" },
    ]);
  });
});

describe("flaws: the field has no value", () => {
  test.each([
    [
      "a: 1\nb: 2\na: 3\na: 4",
      { b: 2 },
      [
        "3:1 a: duplicate key; the first one is in line 1",
        "4:1 a: duplicate key; the first one is in line 1",
      ],
    ],
    ["{a: {x: 1, 'x': 2}}", { a: {} }, ["1:12 a.x: duplicate key; the first one is in line 1"]],
    ['{"__proto__": 1, "__proto__": 2}', {}, ["1:18 __proto__: duplicate key; the first one is in line 1"]],
    ["a: !!binary aGk=", {}, ['1:13 a: the tag "tag:yaml.org,2002:binary" is not supported']],
    ["a: !!timestamp 2026-01-02", {}, ['1:16 a: the tag "tag:yaml.org,2002:timestamp" is not supported']],
    ["a: !!int '7'", {}, ['1:10 a: the tag "tag:yaml.org,2002:int" is not supported']],
    ["a: !x {b: 1}", {}, ['1:7 a: the tag "!x" is not supported']],
    ["a: [!!set {b}, 1]", { a: [null, 1] }, ['1:11 a[0]: the tag "tag:yaml.org,2002:set" is not supported']],
    ["a: *b", {}, ['1:4 a: alias "b" has no anchor before it']],
    ["a: &x [*x]", { a: [null] }, ['1:8 a[0]: alias "x" refers to its own container']],
    ["a: &x {b: {<<: *x}}", { a: { b: {} } }, ['1:16 a.b["<<"]: alias "x" refers to its own container']],
    ["on: 1", {}, ['1:1 on: the key "on" is not text to every reader of YAML; quote it']],
    ["010: 1", {}, ['1:1 ["010"]: the key "010" is not text to every reader of YAML; quote it']],
    ["~: 1", {}, ['1:1 ["~"]: the key "~" is not text to every reader of YAML; quote it']],
    ["[a]: 1", {}, ['1:1 ["?"]: a key must be text']],
    ["a: {<<: 7, b: 1}", { a: { b: 1 } }, ['1:5 a["<<"]: a merge key (<<) takes a map or a list of maps']],
  ])("%j", (text, value, lines) => {
    const result = yaml(text);
    expect(result.values).toEqual([value]);
    expect(result.lines).toEqual(lines);
  });

  test("keys that are numbers or true everywhere are text, as in kubectl", () => {
    expect(yaml("1: a\ntrue: b\n-7: c\n")).toEqual({ values: [{ 1: "a", true: "b", "-7": "c" }], lines: [] });
  });
});

describe("aliases and merge keys", () => {
  test.each([
    ["a: &x {b: 1}\nc: *x", { a: { b: 1 }, c: { b: 1 } }],
    ["a: &x 1\nb: &x 2\nc: *x", { a: 1, b: 2, c: 2 }],
    ["a: &x {b: 1, c: 1}\nd: {<<: *x, c: 2}", { a: { b: 1, c: 1 }, d: { c: 2, b: 1 } }],
    [
      "a: &x {b: 1}\nc: &y {b: 2, d: 2}\ne: {<<: [*x, *y]}",
      { a: { b: 1 }, c: { b: 2, d: 2 }, e: { b: 1, d: 2 } },
    ],
    ['a: {"<<": {b: 1}}', { a: { "<<": { b: 1 } } }],
  ])("%j", (text, value) => {
    expect(yaml(text)).toEqual({ values: [value], lines: [] });
  });

  test("an alias bomb is bounded, and every alias beyond the bound is a flaw", () => {
    const levels = Array.from(
      { length: 12 },
      (_, level) => `l${level + 1}: &l${level + 1} [${Array(10).fill(`*l${level}`).join(", ")}]`,
    );
    const started = performance.now();
    const { lines } = yaml(`l0: &l0 x\n${levels.join("\n")}\n`);
    expect(performance.now() - started).toBeLessThan(20_000);
    expect(lines[0]).toMatch(`aliases make more than ${ALIASED_VALUES_MAX} values of this document`);
    expect(lines.some((line) => line.includes(" l12["))).toBe(true);
  });
});

describe("depth and syntax", () => {
  test(`${DEPTH_MAX} levels are read, more are a flaw, thousands are refused`, () => {
    const nested = (levels: number): string => "[".repeat(levels) + "]".repeat(levels);
    expect(yaml(nested(DEPTH_MAX)).lines).toEqual([]);
    expect(yaml(nested(DEPTH_MAX + 2)).lines.join()).toMatch(`nested deeper than ${DEPTH_MAX} levels`);
    expect(yaml(nested(50_000)).lines.join()).toMatch("not valid YAML: nested too deeply");
    expect(yaml(nested(50_000)).values).toEqual([]);
  });

  test.each([
    [
      "a: [1",
      "1:6 syntax: not valid YAML: Flow sequence in block collection must be sufficiently indented and end with a ]",
    ],
    ["a: 'b", "1:6 syntax: not valid YAML: Missing closing 'quote"],
    ["a: b: c", "1:4 syntax: not valid YAML: Nested mappings are not allowed in compact mappings"],
    ["\ta: 1", "1:1 syntax: not valid YAML: Tabs are not allowed as indentation"],
    [
      "%FOO\u001b[31m\n---\na: @",
      "3:4 syntax: not valid YAML: Plain value cannot start with reserved character @",
    ],
  ])("%j", (text, line) => {
    expect(yaml(text).lines).toContain(line);
    expect(yaml(text).values).toEqual([]);
  });

  test("an invalid document does not affect the others", () => {
    expect(yaml("a: 1\n---\nb: [\n---\nc: 3\n").values).toEqual([{ a: 1 }, { c: 3 }]);
  });

  test("JSON is YAML", () => {
    const value = { a: [1, "b", null, true, { c: 0.5 }], d: "é\n\u2028" };
    expect(yaml(JSON.stringify(value, null, "\t"))).toEqual({ values: [value], lines: [] });
  });
});

describe("positions", () => {
  const [document] = readYaml(
    "# comment\n- a: 1\n  b:\n    - c\n    -   d: {e: f}\n- &x {g: h}\n- {<<: *x, i: *x}\r\n",
  );
  test.each<[(string | number)[], number, number]>([
    [[], 2, 1],
    [[0], 2, 3],
    [[0, "a"], 2, 3],
    [[0, "b"], 3, 3],
    [[0, "b", 1], 5, 9],
    [[0, "b", 1, "d", "e"], 5, 13],
    [[0, "b", 1, "d", "missing", "deeper"], 5, 9],
    [[0, "b", 7], 3, 3],
    [[2, "g"], 6, 7],
    [[2, "i", "g"], 6, 7],
  ])("%j is at %i:%i", (path, line, column) => {
    expect(document?.ok && document.where(path)).toEqual({ line, column });
  });
});
