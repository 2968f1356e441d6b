// Last known good as a pure function: what is enforced of a file after it is read again.

import { describe, expect, test } from "vitest";
import { keepLastGood } from "../../../../src/source/manifests/last-known-good.ts";
import { type FileReading, failedReading } from "../../../../src/source/manifests/manifest-reading.ts";
import type { ParsedObject } from "../../../../src/source/parse/parse-document.ts";
import { linesOf, policyYaml, problemsIn, readingOf } from "../support.ts";

const named = (name: string, spec: string): string => policyYaml(spec, `{ name: ${name}, namespace: shop }`);
const documents = (...texts: string[]): string => texts.join("---\n");

/** What is enforced after these texts, one after the other. */
const inForceAfter = (...texts: string[]): FileReading =>
  texts.map((text) => readingOf(text)).reduce((previous, latest) => keepLastGood(previous, latest));

/** "name allows" for a policy with rules, "isolates" for one without, "partial" and "unreadable". */
function state(reading: FileReading): readonly string[] {
  return reading.objects.map((object) => `${object.identity.replace(/.*\//, "")} ${stateOf(object)}`);
}

function stateOf(object: ParsedObject): string {
  if (object.kind !== "NetworkPolicy") return object.kind;
  if (object.value.unreadable !== undefined) return "unreadable";
  if (object.value.omitted !== undefined) return "partial";
  return object.value.rules.ingress.length > 0 ? "allows" : "isolates";
}

const ALLOWS = "{ podSelector: {}, ingress: [{}] }";
const ISOLATES = "{ podSelector: {} }";
const UNREADABLE = "{ ingress: [{}] }";
const PARTIAL = "{ podSelector: {}, ingress: [{}, 7] }";
const NOT_YAML = "a: [";

describe("when first read there is nothing to keep", () => {
  test.each([
    [named("a", UNREADABLE), ["a unreadable"]],
    [named("a", PARTIAL), ["a partial"]],
    [documents(named("a", ALLOWS), NOT_YAML), ["a allows"]],
  ])("%#", (text, expected) => {
    expect(state(inForceAfter(text))).toEqual(expected);
    expect(inForceAfter("", text)).toEqual(readingOf(text));
  });

  test("an empty file is reported: it may have held objects before", () => {
    expect(linesOf(problemsIn(keepLastGood(undefined, readingOf(""))))).toEqual([
      "x.yaml: is empty; remove the file, or write the comment # weir.dev/empty into it",
    ]);
    expect(problemsIn(keepLastGood(undefined, readingOf("# weir.dev/empty\n")))).toEqual([]);
  });
});

describe("a file that is read in full", () => {
  test("replaces all that was before, what was kept too", () => {
    expect(state(inForceAfter(named("a", ALLOWS), named("a", ISOLATES)))).toEqual(["a isolates"]);
    expect(state(inForceAfter(named("a", ALLOWS), named("b", ISOLATES)))).toEqual(["b isolates"]);
    expect(
      state(inForceAfter(named("a", ALLOWS), named("a", UNREADABLE), NOT_YAML, named("a", ISOLATES))),
    ).toEqual(["a isolates"]);
    expect(problemsIn(inForceAfter(named("a", UNREADABLE), NOT_YAML, named("a", ISOLATES)))).toEqual([]);
  });
});

describe("a file that has no content any more", () => {
  test.each([
    ["empty", ""],
    ["white space", " \n\n"],
    ["comments", "# nothing\n"],
    ["empty documents", "---\n---\nnull\n...\n"],
    ["a list cut off before its items", "apiVersion: v1\nkind: List\nitems:\n"],
    ["a mark of another name", "# weir.dev/emptyish\n"],
  ])("%s: stays as it was, and is reported", (_, text) => {
    const reading = inForceAfter(documents(named("a", ALLOWS), named("b", ISOLATES)), text);
    expect(state(reading)).toEqual(["a allows", "b isolates"]);
    expect(linesOf(problemsIn(reading))).toEqual([
      "x.yaml: is empty; remove the file to remove its objects, or write the comment # weir.dev/empty into it; the 2 last known good objects stay in force",
    ]);
    expect(state(inForceAfter(named("a", ALLOWS), text, text, named("a", ISOLATES)))).toEqual(["a isolates"]);
  });

  test.each([
    ["the mark", "# weir.dev/empty\n"],
    ["the mark with a remark", "\t#weir.dev/empty: moved to b.yaml"],
    ["a list without elements", "apiVersion: v1\nkind: List\nitems: []\n"],
    ["an object that is not read", "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: x }\n"],
  ])("%s: counts as intended", (_, text) => {
    const reading = inForceAfter(named("a", ALLOWS), text);
    expect(state(reading)).toEqual([]);
    expect(problemsIn(reading)).toEqual([]);
  });
});

describe("an object that cannot be read in full", () => {
  test.each([
    ["unreadable", UNREADABLE],
    ["partial", PARTIAL],
  ])("%s: stays at its last readable version, and reports it", (_, spec) => {
    const reading = inForceAfter(
      documents(named("a", ALLOWS), named("b", ALLOWS)),
      documents(named("a", spec), named("b", ISOLATES)),
    );
    expect(state(reading)).toEqual(["a allows", "b isolates"]);
    expect(linesOf(problemsIn(reading))).toHaveLength(1);
    expect(linesOf(problemsIn(reading))[0]).toMatch(
      /^x.yaml:4:.*; its last known good version stays in force$/,
    );
  });

  test("stays so however often it is read", () => {
    const reading = inForceAfter(named("a", ALLOWS), named("a", PARTIAL), named("a", UNREADABLE));
    expect(state(reading)).toEqual(["a allows"]);
    expect(linesOf(problemsIn(reading))[0]).toMatch(
      /spec\.podSelector: is missing.*; its last known good version stays in force$/,
    );
  });

  test("uses the newest version if there never was a good one", () => {
    expect(state(inForceAfter(named("a", PARTIAL), named("a", UNREADABLE)))).toEqual(["a unreadable"]);
    expect(state(inForceAfter(named("a", UNREADABLE), named("a", PARTIAL)))).toEqual(["a partial"]);
  });

  test("a pod or namespace likewise", () => {
    const pod = (labels: string): string =>
      `apiVersion: v1\nkind: Pod\nmetadata: { name: p, labels: ${labels} }\n`;
    const [object] = inForceAfter(pod("{ app: web }"), pod("[app]")).objects;
    expect(object?.kind === "Pod" && object.value.labels).toEqual(new Map([["app", "web"]]));
    expect(linesOf(object?.problems ?? [])).toEqual([
      "x.yaml:3:22: Pod default/p: metadata.labels: must be a map, not a list; its last known good version stays in force",
    ]);
  });

  test("a version with warnings only is a good one", () => {
    const warned = "{ podSelector: {}, egress: [] }";
    const reading = inForceAfter(named("a", ALLOWS), named("a", warned));
    expect(state(reading)).toEqual(["a isolates"]);
    expect(state(inForceAfter(named("a", ALLOWS), named("a", warned), named("a", UNREADABLE)))).toEqual([
      "a isolates",
    ]);
  });
});

describe("a file that cannot be read", () => {
  const good = documents(named("a", ALLOWS), named("b", UNREADABLE));

  test.each([
    ["is not YAML in one document", documents(named("a", ISOLATES), NOT_YAML, named("c", ALLOWS))],
    ["is not YAML at all", NOT_YAML],
  ])("%s: stays as it was", (_, text) => {
    const reading = inForceAfter(good, text);
    expect(state(reading)).toEqual(["a allows", "b unreadable"]);
    expect(linesOf(reading.problems)).toEqual([
      expect.stringMatching(/not valid YAML: .*; the 2 last known good objects stay in force$/),
    ]);
    // What was wrong with an enforced object is still wrong with it.
    expect(linesOf(problemsIn(reading))).toContainEqual(
      expect.stringMatching(/spec.podSelector: is missing/),
    );
  });

  test("cannot be opened: stays as it was, however often it is read", () => {
    const failed = failedReading("x.yaml", "cannot be read: EACCES: permission denied");
    const reading = keepLastGood(keepLastGood(readingOf(named("a", ALLOWS)), failed), failed);
    expect(state(reading)).toEqual(["a allows"]);
    expect(linesOf(problemsIn(reading))).toEqual([
      "x.yaml: cannot be read: EACCES: permission denied; its last known good object stays in force",
    ]);
  });
});

describe("a document that does not identify its object", () => {
  test("keeps the objects that the file no longer names: one of them may be meant", () => {
    const reading = inForceAfter(
      documents(named("a", ALLOWS), named("b", ALLOWS)),
      documents(named("a", ISOLATES), named("B!", ALLOWS), named("c", ALLOWS)),
    );
    expect(state(reading)).toEqual(["a isolates", "?unnamed:6:1 unreadable", "c allows", "b allows"]);
    expect(linesOf(problemsIn(reading))).toEqual([
      expect.stringMatching(
        /metadata.name: "B!" is not.*; objects that the file no longer names stay in force: NetworkPolicy shop\/b$/,
      ),
    ]);
  });

  test("does so if the last object cannot be read in full, but not if an earlier one cannot", () => {
    const good = documents(named("a", ALLOWS), named("b", ALLOWS), named("c", ALLOWS));
    const cutOff = inForceAfter(good, documents(named("a", ISOLATES), named("b", UNREADABLE)));
    expect(state(cutOff)).toEqual(["a isolates", "b allows", "c allows"]);
    expect(linesOf(cutOff.problems)).toEqual([
      "x.yaml: may be cut off, as its last object cannot be read in full; objects that the file no longer names stay in force: NetworkPolicy shop/c",
    ]);
    const edited = inForceAfter(good, documents(named("a", UNREADABLE), named("b", ISOLATES)));
    expect(state(edited)).toEqual(["a allows", "b isolates"]);
    expect(edited.problems).toEqual([]);
  });

  test("keeps nothing if all objects are named", () => {
    const reading = inForceAfter(named("a", ALLOWS), documents(named("a", ISOLATES), "kind: 7\n"));
    expect(state(reading)).toEqual(["a isolates"]);
    expect(linesOf(problemsIn(reading))).toEqual([expect.stringMatching(/; the document is ignored$/)]);
  });

  test("does not do so for a mere warning", () => {
    const other = "apiVersion: policy.networking.k8s.io/v1alpha1\nkind: AdminNetworkPolicy\n";
    expect(state(inForceAfter(named("a", ALLOWS), other))).toEqual([]);
  });
});
