// The rules of CONTRIBUTING.md that a machine can hold: imports, purity, cycles, sizes, opening comments, licences.
import { describe, expect, it } from "vitest";
import { readC } from "./tidy/c.ts";
import { git, lineCount, repositoryFiles, textOf } from "./tidy/files.ts";
import { forbiddenImports, importCycles, impureNames } from "./tidy/imports.ts";
import { readTypeScript } from "./tidy/typescript.ts";

const LIMITS = { fileLines: 300, fileLinesMax: 400, functionLines: 70, entryPointLines: 40, parameters: 4 };

/** Files that may have more than `fileLines` lines (never more than `fileLinesMax`), each with the reason. */
const LONG_FILES: Readonly<Record<string, string>> = {
  "bpf/layout.h": "all that crosses between C and TypeScript",
  "test/packet/flows.test.ts": "one table of cases on connection tracking",
  "test/packet/headers.test.ts": "one table of cases on IP headers",
  "test/packet/icmp.test.ts": "one table of cases on ICMP",
  "native/src/map_bulk.cc": "all ways to read and write a map as a whole, side by side",
};

// Spelt in pieces, so that this file does not break its own rule.
const FORBIDDEN_WORDS = new RegExp(`\\b(?:TO${"DO"}|FIX${"ME"})\\b|(?<![\\w.~-])/wor${"k"}(?![\\w-])`);

const files = repositoryFiles();
const texts = new Map(files.flatMap((path) => [[path, textOf(path)] as const]));
const isTypeScript = (path: string): boolean => /\.m?ts$/.test(path) && !path.endsWith(".d.ts");
const isC = (path: string): boolean => /\.(?:c|cc|h)$/.test(path);
const isCode = (path: string): boolean => isTypeScript(path) || isC(path) || path.endsWith(".sh");

const textsOf = (kind: (path: string) => boolean): [string, string][] =>
  [...texts].flatMap(([path, text]) => (kind(path) && text !== undefined ? [[path, text]] : []));

const sources = new Map(textsOf(isTypeScript).map(([path, text]) => [path, readTypeScript(path, text)]));

describe("imports", () => {
  it("go one way between the folders, as the import table has it", () => {
    expect(forbiddenImports(sources)).toEqual([]);
  });

  it("form no cycle, types included", () => {
    expect(importCycles(sources)).toEqual([]);
  });

  it("and names leave model, policy and state pure", () => {
    expect(impureNames(sources)).toEqual([]);
  });
});

describe("sizes", () => {
  it(`a file has at most ${LIMITS.fileLines} lines, or is listed and has at most ${LIMITS.fileLinesMax}`, () => {
    const tooLong = textsOf(isCode).flatMap(([path, text]) => {
      const lines = lineCount(text);
      const limit = path in LONG_FILES ? LIMITS.fileLinesMax : LIMITS.fileLines;
      return lines > limit ? [`${path}: ${lines} lines`] : [];
    });
    expect(tooLong).toEqual([]);
  });

  it("the list of longer files names no other", () => {
    const listed = Object.keys(LONG_FILES).filter(
      (path) => lineCount(texts.get(path) ?? "") <= LIMITS.fileLines,
    );
    expect(listed).toEqual([]);
  });

  it("functions in TypeScript are short and take few parameters", () => {
    const found = [...sources].flatMap(([path, { functions }]) =>
      functions.flatMap((each) =>
        oversizeOf(path, each, each.suite ? Number.POSITIVE_INFINITY : LIMITS.functionLines),
      ),
    );
    expect(found).toEqual([]);
  });

  it("functions in C and C++ are short and take few parameters, BPF entry points are shorter", () => {
    const found = textsOf(isC).flatMap(([path, text]) =>
      readC(text).flatMap((each) =>
        oversizeOf(path, each, each.entryPoint ? LIMITS.entryPointLines : LIMITS.functionLines),
      ),
    );
    expect(found).toEqual([]);
  });
});

describe("texts", () => {
  it("a code file opens with a comment that says what it holds", () => {
    const silent = [...sources].filter(([, source]) => !source.opensWithComment).map(([path]) => path);
    const silentC = textsOf(isC)
      .filter(([, text]) => !opensWithComment(text))
      .map(([path]) => path);
    const silentShell = textsOf((path) => path.endsWith(".sh") || path.startsWith("bin/")).flatMap(
      ([path, text]) => (/^#![^\n]*\n# \w/.test(text) ? [] : [path]),
    );
    expect([...silent, ...silentC, ...silentShell]).toEqual([]);
  });

  it("the C of bpf/ names its licence in the first line", () => {
    const line = /^(?:\/\/|\/\*) SPDX-License-Identifier: GPL-2\.0-only OR BSD-2-Clause(?: \*\/)?\n/;
    const without = textsOf((path) => path.startsWith("bpf/") && isC(path)).filter(
      ([, text]) => !line.test(text),
    );
    expect(without.map(([path]) => path)).toEqual([]);
  });

  it("hold no note of unfinished work and no path of one machine", () => {
    expect(linesMatching(FORBIDDEN_WORDS)).toEqual([]);
  });

  it("have no white space at the end of a line", () => {
    expect(linesMatching(/[ \t\r]+$/)).toEqual([]);
  });

  it("that are generated are not in git", () => {
    expect(
      git(
        "ls-files",
        "-z",
        "src/gen",
        "dist",
        "node_modules",
        "native/build",
        "native/dist",
        "bpf/build",
        "cni/build",
      ),
    ).toEqual([]);
  });
});

describe("the rules", () => {
  const readAll = (texts: Readonly<Record<string, string>>) =>
    new Map(Object.entries(texts).map(([path, text]) => [path, readTypeScript(path, text)]));

  it.each([
    ["src/policy/a.ts", 'import type { Node } from "../source/manifests.ts";'],
    ["src/policy/a.ts", 'import { readFileSync } from "node:fs";'],
    ["src/observe/a.ts", 'import { pin } from "../datapath/object.ts";'],
    ["src/agent.ts", 'import { BpfMap } from "bpf-ts";'],
    ["src/cli/a.ts", 'export * from "../../tools/layout.ts";'],
    ["src/newcomer/a.ts", 'import "../base/ip.ts";'],
    ["native/lib/a.ts", 'const x = await import("../../src/base/ip.ts");'],
    ["tools/a.ts", 'type X = import("../native/lib/index.ts").BpfMap;'],
  ])("object to %s: %s", (path, text) => {
    expect(forbiddenImports(readAll({ [path]: text }))).toHaveLength(1);
  });

  it.each([
    ["src/observe/a.ts", 'import { type A, type B } from "../datapath/maps.ts";'],
    ["src/datapath/a.ts", 'import { BpfMap } from "bpf-ts"; import { readFile } from "node:fs/promises";'],
    ["src/agent.ts", 'import { diff } from "./state/diff.ts";'],
    ["tools/a.ts", 'import { Btf } from "bpf-ts";'],
  ])("accept %s: %s", (path, text) => {
    expect(forbiddenImports(readAll({ [path]: text }))).toEqual([]);
  });

  it("see a cycle through types, once", () => {
    const cycle = { "a.ts": 'import type { B } from "./b.ts";', "b.ts": 'export type { C } from "./c.ts";' };
    expect(importCycles(readAll({ ...cycle, "c.ts": 'import { a } from "./a.ts";' }))).toEqual([
      "a.ts → b.ts → c.ts → a.ts",
    ]);
    expect(importCycles(readAll({ ...cycle, "c.ts": "" }))).toEqual([]);
  });

  it("see a clock, randomness and the process, but no property of that name", () => {
    const text =
      "const a = Date.now() + Math.random();\nif (x.process.Date) f({ console: process });\nMath.max(1, 2);";
    expect(impureNames(readAll({ "src/model/a.ts": text })).map((line) => line.split(" ")[2])).toEqual([
      "Date",
      "Math.random",
      "process",
    ]);
  });

  it("measure functions in TypeScript", () => {
    const text =
      "#!/usr/bin/env node\nexport const f = (a: 1, { b }: B, ...c: C) => {\n  return a;\n};\nclass D { e() {} }";
    const { functions, opensWithComment } = readTypeScript("a.ts", text);
    expect(functions).toMatchObject([
      { name: "f", line: 2, lines: 3, parameters: 3 },
      { name: "e", line: 5, lines: 1, parameters: 0 },
    ]);
    expect(opensWithComment).toBe(false);
  });

  it("measure functions in C and C++", () => {
    const text = `
      // int no(int a) {
      #define EACH(x) \\
        for (;;) { x }
      struct pair { int a, b; } pair = { 1, 2 };
      SEC("tcx/ingress") int from_pod(struct __sk_buff *skb)
      {
        if (skb) { return "}"[0]; }
        return 0;
      }
      namespace weir {
      class Map : public Base {
        Map(int (*f)(int, int), std::array<int, 2> b = {}) : f_(f), b_(b) { go([&] { return 1; }); }
      };
      }`;
    expect(readC(text)).toMatchObject([
      { name: "from_pod", line: 6, lines: 5, parameters: 1, entryPoint: true },
      { name: "Map", line: 13, lines: 1, parameters: 2, entryPoint: false },
    ]);
  });

  it("know unfinished work and machine paths when they see them", () => {
    const bad = [`// TO${"DO"}: more`, `cd /wor${"k"}/main`, `"/wor${"k"}"`];
    expect(bad.filter((line) => FORBIDDEN_WORDS.test(line))).toEqual(bad);
    const good = ["net/work/x", "/workspace", "methodology", "..XXX"];
    expect(good.filter((line) => FORBIDDEN_WORDS.test(line))).toEqual([]);
  });
});

interface Shape {
  readonly name: string;
  readonly line: number;
  readonly lines: number;
  readonly parameters: number;
}

function oversizeOf(path: string, { name, line, lines, parameters }: Shape, linesMax: number): string[] {
  const found: string[] = [];
  if (lines > linesMax) found.push(`${path}:${line}: ${name} has ${lines} lines, at most ${linesMax}`);
  if (parameters > LIMITS.parameters) {
    found.push(`${path}:${line}: ${name} has ${parameters} parameters, at most ${LIMITS.parameters}`);
  }
  return found;
}

/** Of a C file: a comment at its head, besides a line that only names the licence. */
const opensWithComment = (text: string): boolean =>
  /^\s*\/[/*]/.test(text.replace(/^(?:\/\/|\/\*) SPDX-[^\n]*\n/, ""));

/** "path:line: text" of each line that matches, in all files but licence texts, which are others' words. */
function linesMatching(pattern: RegExp): string[] {
  return textsOf((path) => !/(^|\/)LICENSE/.test(path)).flatMap(([path, text]) =>
    text
      .split("\n")
      .flatMap((line, index) => (pattern.test(line) ? [`${path}:${index + 1}: ${line.trim()}`] : [])),
  );
}
