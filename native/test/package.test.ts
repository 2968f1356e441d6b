// The package as others get it: its files, its types, its README, and what it says when it has not been built.
import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { expect, onTestFinished, test } from "vitest";

const packageFolder = fileURLToPath(new URL("..", import.meta.url));
const require = createRequire(import.meta.url);
const folderOf = (name: string) => dirname(require.resolve(`${name}/package.json`));

function packedFiles(): string[] {
  const output = execFileSync("npm", ["pack", "--dry-run", "--json", "--ignore-scripts"], {
    cwd: packageFolder,
    encoding: "utf8",
    stdio: ["ignore", "pipe", "pipe"],
  });
  const parsed = JSON.parse(output) as Record<string, { files: { path: string }[] }>;
  return Object.values(parsed).flatMap(({ files }) => files.map(({ path }) => path));
}

/** A project with the packed files in its node_modules, removed when the test ends; without the compiled addon. */
function install(): string {
  const project = mkdtempSync(join(tmpdir(), "wt-bpf-ts-"));
  onTestFinished(() => rmSync(project, { recursive: true }));
  const target = join(project, "node_modules/bpf-ts");
  for (const path of packedFiles()) {
    mkdirSync(dirname(join(target, path)), { recursive: true });
    cpSync(join(packageFolder, path), join(target, path));
  }
  mkdirSync(join(project, "node_modules/@types"));
  symlinkSync(folderOf("@types/node"), join(project, "node_modules/@types/node"));
  writeFileSync(join(project, "package.json"), '{ "type": "module" }\n');
  return project;
}

/** Standard output and standard error of a child that may fail. */
function tryNode(project: string, text: string): string {
  try {
    const args = ["--input-type=module", "-e", text];
    return execFileSync(process.execPath, args, { cwd: project, encoding: "utf8", stdio: "pipe" });
  } catch (error) {
    return String((error as { stderr: string }).stderr);
  }
}

test("it holds what is needed to build and use it, and nothing else", () => {
  const files = packedFiles();
  for (const needed of ["Makefile", "README.md", "LICENSE", "package.json", "tsconfig.json"]) {
    expect(files).toContain(needed);
  }
  for (const needed of ["dist/index.js", "dist/index.d.ts", "lib/index.ts", "src/map.cc", "src/common.h"]) {
    expect(files).toContain(needed);
  }
  expect(
    files.filter((path) => !/^(dist|lib|src)\/[\w-]+\.(d\.ts|ts|js|js\.map|cc|h)$/.test(path)),
  ).toHaveLength(5);
});

test("without its addon it says how to build it, and with it it runs", () => {
  const project = install();
  const text = 'import { possibleCpus } from "bpf-ts"; console.log("cpus", possibleCpus());';
  expect(tryNode(project, text)).toContain("is missing; build it with: make -C node_modules/bpf-ts");
  const addon = "build/bpf_ts.node";
  cpSync(join(packageFolder, addon), join(project, "node_modules/bpf-ts", addon));
  expect(tryNode(project, text)).toMatch(/^cpus \d+\n$/);
});

test("the README's examples are correct for the strictest compiler", () => {
  const project = install();
  const readme = readFileSync(join(packageFolder, "README.md"), "utf8");
  const examples = [...readme.matchAll(/^```ts\n(.*?)^```$/gms)].map(([, text = ""]) => text);
  expect(examples.length).toBeGreaterThanOrEqual(4);
  for (const [i, text] of examples.entries()) writeFileSync(join(project, `example${i}.ts`), text);
  writeFileSync(join(project, "wrong.ts"), 'import { BpfMap } from "bpf-ts";\nBpfMap.openById("1");\n');
  const compilerOptions = {
    module: "nodenext",
    target: "es2024",
    types: ["node"],
    strict: true,
    exactOptionalPropertyTypes: true,
    noUncheckedIndexedAccess: true,
    noPropertyAccessFromIndexSignature: true,
    noEmit: true,
  };
  writeFileSync(join(project, "tsconfig.json"), JSON.stringify({ compilerOptions }));
  const compiler = join(folderOf("typescript"), "bin/tsc");
  let complaints = "";
  try {
    execFileSync(process.execPath, [compiler, "-p", project], {
      encoding: "utf8",
      stdio: "pipe",
      cwd: project,
    });
  } catch (error) {
    complaints = (error as { stdout: string }).stdout;
  }
  // Types do reach the project: the one wrong use is found, and nothing else.
  expect(complaints.trim().split("\n")).toEqual([expect.stringMatching(/^wrong\.ts\(2,17\): error TS2345/)]);
});
