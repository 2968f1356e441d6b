// Breaks the agent in one way at a time, in a copy of the tree, and shows that a short soak test notices: `npm run mutants:soak`.
//
//   node test/soak/mutants.ts [WORDS ...]   mutants whose description contains any of them; all of them otherwise
//
// Exit code 0 only if every mutant was noticed and the agent as it is was not, 1 if not, 2 if one could not be made.

import { execFileSync, spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { SOAK_MUTANTS, type SoakMutant } from "./mutant-list.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SEED = 7;
const PODS = 16;
/** Each kind of fault of a mutant so often. */
const ROUNDS = 3;

/** What a build needs; all that no mutant changes is the tree's own. */
function copyTree(): string {
  const copy = mkdtempSync(join(tmpdir(), "weir-soak-mutants-"));
  for (const path of [
    "src",
    "tools",
    "bin",
    "package.json",
    "package-lock.json",
    "LICENSE",
    "NOTICE",
    "tsconfig.json",
  ])
    cpSync(join(ROOT, path), join(copy, path), { recursive: true, verbatimSymlinks: true });
  for (const path of ["node_modules", "bpf", "native", "cni"])
    symlinkSync(join(ROOT, path), join(copy, path));
  return copy;
}

const build = (copy: string): void =>
  void execFileSync(process.execPath, [join(copy, "tools/build.ts")], { stdio: "pipe" });

/** The closing lines of a short soak test, and whether it passed. */
function soak(
  bin: string,
  { faults, rounds = ROUNDS, lasting }: Pick<SoakMutant, "faults" | "rounds" | "lasting">,
): { readonly passed: boolean; readonly text: string } {
  const done = spawnSync(
    "bash",
    [
      join(ROOT, "tools/isolated.sh"),
      process.execPath,
      join(ROOT, "test/soak/soak.ts"),
      ...[
        ...(lasting === true ? ["--restarts", String(rounds * faults.length)] : ["--rounds", String(rounds)]),
        "--pods",
        String(PODS),
        "--seed",
        String(SEED),
        "--bin",
        bin,
        "--only",
        faults.join(","),
      ],
    ],
    { encoding: "utf8", maxBuffer: 64 << 20 },
  );
  const lines = done.stdout.trim().split("\n");
  // A test that did not come to its end has noticed nothing.
  if (!/^seed \d+.*: (?:passed|failed: .+)$/.test(lines.at(-1) ?? ""))
    return { passed: true, text: `    no closing line: ${done.stderr.trim().slice(-2_000)}` };
  const all = lines.findIndex((line) => line.startsWith("all "));
  return {
    passed: done.status === 0,
    text: lines
      .slice(Math.max(0, all))
      .map((line) => `    ${line}`)
      .join("\n"),
  };
}

function main(): number {
  const words = process.argv.slice(2);
  const chosen = SOAK_MUTANTS.filter(
    ({ breaks }) => words.length === 0 || words.some((word) => breaks.includes(word)),
  );
  const copy = copyTree();
  let missed = 0;
  try {
    build(copy);
    const sound = soak(join(copy, "bin/weir"), {
      faults: [...new Set(chosen.flatMap(({ faults }) => faults))],
      rounds: 1,
    });
    console.log(`${sound.passed ? "passes" : "FAILS"}: the agent as it is\n${sound.text}`);
    if (!sound.passed) missed += 1;
    for (const mutant of chosen) {
      const { breaks, file, from, to } = mutant;
      const path = join(copy, file);
      const text = readFileSync(path, "utf8");
      if (text.split(from).length !== 2) {
        console.error(`cannot be made: ${breaks}: ${file} does not have its text once`);
        return 2;
      }
      writeFileSync(
        path,
        text.replace(from, () => to),
      );
      try {
        build(copy);
        const { passed, text: said } = soak(join(copy, "bin/weir"), mutant);
        console.log(`${passed ? "NOT NOTICED" : "noticed"}: ${breaks}\n${said}`);
        if (passed) missed += 1;
      } finally {
        writeFileSync(path, text);
      }
    }
  } finally {
    rmSync(copy, { recursive: true });
  }
  console.log(`${chosen.length} mutants, ${missed} not as expected`);
  return missed === 0 ? 0 : 1;
}

process.exitCode = main();
