// The rules of CONTRIBUTING.md that no linter checks: layers, words, licences, generated files. Import cycles and purity are
// rules of biome.json; here is a check that they are on.
import { execFile } from "node:child_process";
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { basename, dirname, join } from "node:path";
import { promisify } from "node:util";
import { beforeAll, describe, expect, it } from "vitest";
import { git, repositoryFiles, root, textOf } from "./tidy/files.ts";
import { countIdioms, idiomsIn, patternOf, perThousand } from "./tidy/idioms.ts";
import { forbiddenImports } from "./tidy/layers.ts";
import { brokenLinks } from "./tidy/links.ts";

const execFileAsync = promisify(execFile);

const texts = repositoryFiles().flatMap((path): [string, string][] => {
  const text = textOf(path);
  return text === undefined ? [] : [[path, text]];
});
const isTypeScript = (path: string): boolean => /\.m?tsx?$/.test(path) && !path.endsWith(".d.ts");
const isC = (path: string): boolean => /\.(?:c|cc|h)$/.test(path);

describe("layers", () => {
  it("imports go one way between the folders, as the table in test/tidy/layers.ts has it", () => {
    const sources = texts.filter(([path]) => isTypeScript(path));
    expect(sources.length).toBeGreaterThan(100);
    expect(sources.flatMap(([path, text]) => forbiddenImports(path, text))).toEqual([]);
  });

  it.each([
    ["src/policy/a.ts", 'import type { Node } from "../source/manifests.ts";'],
    ["src/observe/a.ts", 'import { pin } from "../datapath/object.ts";'],
    ["src/observe/a.ts", 'import { type A, b } from "../datapath/maps.ts";'],
    ["src/observe/a.ts", 'export * from "../datapath/maps.ts";'],
    ["src/agent/reconcile-loop.ts", 'import { BpfMap } from "bpf-ts";'],
    ["src/cli/a.ts", 'export * from "../../tools/layout.ts";'],
    ["src/newcomer/a.ts", 'import "../base/ip.ts";'],
    ["native/lib/a.ts", 'const x = await import("../../src/base/ip.ts");'],
    ["tools/a.ts", 'type X = import("../native/lib/index.ts").BpfMap;'],
    ["src/base/a.ts", 'type X = import("./b.ts").B;'],
  ])("%s must not have: %s", (path, text) => {
    expect(forbiddenImports(path, text)).toHaveLength(1);
  });

  it.each([
    ["src/observe/a.ts", 'import { type A, type B } from "../datapath/maps.ts";'],
    ["src/observe/a.ts", 'export type { A } from "../datapath/maps.ts";'],
    ["src/datapath/a.ts", 'import { BpfMap } from "bpf-ts"; import { readFile } from "node:fs/promises";'],
    ["src/agent/reconcile-loop.ts", 'import { diff } from "../state/state-diff.ts";'],
    ["tools/a.ts", 'import { Btf } from "bpf-ts";'],
  ])("%s may have: %s", (path, text) => {
    expect(forbiddenImports(path, text)).toEqual([]);
  });
});

describe("Biome, as configured", () => {
  let found: ReadonlyMap<string, string[]>;

  beforeAll(async () => {
    const impure = [
      'import { readFileSync } from "node:fs";',
      "export const impure = [Date.now(), performance.now(), Math.random(), process.pid, crypto, globalThis];",
      "console.log(readFileSync);",
      "setTimeout(() => fetch(setInterval, setImmediate, queueMicrotask, require));",
      "export const pure = (x: { process: { Date: number } }): number => Math.max(x.process.Date, 1);",
    ].join("\n");
    found = await lint({
      "src/model/a.ts": impure,
      "src/policy/deeper/a.ts": impure,
      "src/state/a.ts": impure,
      "src/agent/a.ts": impure,
      "src/base/a.ts": 'import type { B } from "./b.ts";\nexport type A = B;',
      "src/base/b.ts": 'export type { C as B } from "./c.ts";',
      "src/base/c.ts": 'import { d } from "./d.ts";\nexport type C = typeof d;',
      "src/base/d.ts": 'export const d = () => import("./a.ts");',
      "src/base/e.ts": 'import type { A } from "./a.ts";\nexport type E = A;',
    });
  }, 60_000);

  it.each(["src/model/a.ts", "src/policy/deeper/a.ts", "src/state/a.ts"])("keeps %s pure", (path) => {
    expect(found.get(path)).toEqual([
      "1: noNodejsModules",
      "2: noJsRestrictedProperties",
      ...Array(5).fill("2: noRestrictedGlobals"),
      "3: noRestrictedGlobals",
      ...Array(6).fill("4: noRestrictedGlobals"),
    ]);
    expect(found.get("src/agent/a.ts")).toBeUndefined();
  });

  it("finds import cycles, through types, re-exports and dynamic imports too", () => {
    const cycle = ["src/base/a.ts", "src/base/b.ts", "src/base/c.ts", "src/base/d.ts"];
    expect(cycle.map((path) => found.get(path))).toEqual(cycle.map(() => ["1: noImportCycles"]));
    expect(found.get("src/base/e.ts")).toBeUndefined();
  });
});

/** Idioms per thousand words, in each folder. */
const IDIOMS_MAX = 1;

describe("the glossary", () => {
  const rows = (textOf("docs/GLOSSARY.md") ?? "").split("\n").flatMap((line) => {
    const [, term, , where] = /^\| ([^|]+) \| ([^|]+) \| `([^`|]+)` \|$/.exec(line) ?? [];
    return term === undefined || where === undefined ? [] : [{ term, where }];
  });

  it("names files that exist", () => {
    expect(rows.length).toBeGreaterThan(50);
    expect(rows.filter(({ where }) => !existsSync(join(root, where)))).toEqual([]);
  });

  it("has each term once", () => {
    const terms = rows.flatMap(({ term }) => term.split(", "));
    expect(terms.filter((term, index) => terms.indexOf(term) !== index)).toEqual([]);
  });

  it("words to avoid are found as whole words, over line breaks and in capitals", () => {
    const idioms = idiomsIn(textOf("docs/GLOSSARY.md") ?? "");
    expect(idioms).toEqual(expect.arrayContaining(["told", "of which", "whoever"]));
    const pattern = patternOf(idioms);
    const found = "It is told of\n which Whoever stands-by, folk retold.".match(pattern);
    expect(found).toEqual(["told", "of\n which", "Whoever"]);
  });

  it("words to avoid do not spread (node test/tidy/idioms.ts PATH shows each place)", () => {
    const counts = [...countIdioms()].filter(([, { words }]) => words > 0);
    expect(counts.length).toBeGreaterThan(10);
    const worse = counts.flatMap(([name, count]) => {
      const isWorse = perThousand(count) > IDIOMS_MAX;
      return isWorse ? [`${name}: ${perThousand(count).toFixed(2)}, at most ${IDIOMS_MAX}`] : [];
    });
    expect(worse).toEqual([]);
  });
});

describe("links of the documentation", () => {
  const pages = new Map(texts.filter(([path]) => path.endsWith(".md")));

  it("lead to existing files and headings", () => {
    expect(pages.size).toBeGreaterThan(20);
    expect(brokenLinks(pages)).toEqual([]);
  });

  it("that lead nowhere are found, outside of code", () => {
    const page =
      "# Some `code`, and more\n[a](#some-code-and-more) [b](#none) [c](none.md) [d](https://x.example/)\n";
    const code = "```\n# none\n[e](none.md)\n```\n";
    expect(brokenLinks(new Map([["README.md", page + code]]))).toEqual([
      "README.md: #none",
      "README.md: none.md",
    ]);
  });
});

describe("the threat model", () => {
  const page = texts.find(([path]) => path === "docs/threat-model.md")?.[1] ?? "";
  const tests = new Set(texts.map(([path]) => path).filter((path) => path.endsWith(".test.ts")));
  const names = new Set([...tests].map((path) => path.replace(/^.*\//, "")));
  const rows = page.split("\n\n").flatMap((table) => {
    const [head = "", , ...lines] = table.split("\n");
    return head.endsWith("| shown by |") ? lines.filter((line) => line.startsWith("|")) : [];
  });

  it("names tests that exist, for each vector", () => {
    expect(rows.length).toBeGreaterThan(30);
    const isThere = (name: string): boolean => tests.has(name) || (!name.includes("/") && names.has(name));
    const missing = rows.flatMap((row) => {
      const named = [...row.matchAll(/`([\w./-]+\.test\.ts)`/g)].map(([, name = ""]) => name);
      const unknown = named.filter((name) => !isThere(name));
      return named.length === 0 && !row.includes("| the same") ? [row] : unknown;
    });
    expect(missing).toEqual([]);
  });
});

describe("files", () => {
  it("of bpf/ name their licence in the first line", () => {
    const line = /^(?:\/\/|\/\*) SPDX-License-Identifier: GPL-2\.0-only OR BSD-2-Clause(?: \*\/)?\n/;
    const programs = texts.filter(([path]) => path.startsWith("bpf/") && isC(path));
    expect(programs.length).toBeGreaterThan(5);
    expect(programs.filter(([, text]) => !line.test(text)).map(([path]) => path)).toEqual([]);
  });

  it("have no white space at the end of a line, besides licence texts, which are not ours", () => {
    const found = texts
      .filter(([path]) => !/(^|\/)LICENSE/.test(path))
      .flatMap(([path, text]) =>
        text.split("\n").flatMap((line, index) => (/[ \t\r]$/.test(line) ? [`${path}:${index + 1}`] : [])),
      );
    expect(found).toEqual([]);
  });

  it("of src/ share no base name, and none is named like a folder beside it", () => {
    const sources = repositoryFiles().filter((path) => path.startsWith("src/") && path.endsWith(".ts"));
    expect(sources.length).toBeGreaterThan(100);
    const shared = [...Map.groupBy(sources, (path) => basename(path)).values()].filter(
      ({ length }) => length > 1,
    );
    expect(shared).toEqual([]);
    const folders = new Set(sources.map((path) => dirname(path)));
    expect(sources.filter((path) => folders.has(path.slice(0, -".ts".length)))).toEqual([]);
  });

  it("that are generated are not in git", () => {
    const generated = [
      "src/gen",
      "dist",
      "node_modules",
      "native/build",
      "native/dist",
      "bpf/build",
      "cni/build",
    ];
    expect(git("ls-files", "-z", ...generated)).toEqual([]);
  });
});

const RULES: ReadonlySet<string> = new Set([
  "noImportCycles",
  "noNodejsModules",
  "noJsRestrictedProperties",
  "noRestrictedGlobals",
]);

/** Lints files below a folder of their own by the repository's biome.json; path → "line: rule", of RULES only, sorted. */
async function lint(made: Readonly<Record<string, string>>): Promise<ReadonlyMap<string, string[]>> {
  const folder = mkdtempSync(join(tmpdir(), "weir-tidy-"));
  try {
    copyFileSync(join(root, "biome.json"), join(folder, "biome.json"));
    for (const [path, text] of Object.entries(made)) {
      mkdirSync(join(folder, dirname(path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    }
    const biome = join(root, "node_modules/.bin/biome");
    const { stdout } = await execFileAsync(biome, ["lint", "--reporter=json", "--max-diagnostics=none"], {
      cwd: folder,
    }).catch((error: { stdout: string }) => error);
    const { diagnostics } = JSON.parse(stdout) as { diagnostics: Diagnostic[] };
    const found = new Map<string, string[]>();
    for (const { category, location } of diagnostics) {
      const rule = category.split("/").at(-1) ?? "";
      if (!RULES.has(rule)) continue;
      const line = `${location.start.line}: ${rule}`;
      found.set(location.path, [...(found.get(location.path) ?? []), line].sort());
    }
    return found;
  } finally {
    rmSync(folder, { recursive: true });
  }
}

interface Diagnostic {
  readonly category: string;
  readonly location: { readonly path: string; readonly start: { readonly line: number } };
}
