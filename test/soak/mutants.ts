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

interface Mutant {
  readonly breaks: string;
  readonly file: string;
  readonly from: string;
  readonly to: string;
  /** Kinds of faults in which it shows. */
  readonly faults: readonly string[];
  /** ROUNDS if not given. */
  readonly rounds?: number;
}

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SEED = 7;
const PODS = 16;
/** Each kind of fault of a mutant so often. */
const ROUNDS = 3;

const MUTANTS: readonly Mutant[] = [
  {
    breaks: "a program that was detached is not attached again",
    file: "src/agent/integrity.ts",
    from: "        report(await kernel.attachments.repair(ifindex));",
    to: "        continue;",
    faults: ["link detached"],
  },
  {
    breaks: "pins that were removed are not made again",
    file: "src/agent/integrity.ts",
    from: "      const made = kernel.pin();",
    to: "      const made = 0;",
    faults: ["all pins removed and kill -9"],
  },
  {
    breaks: "the pins of another layout are left",
    file: "src/agent/reconcile.ts",
    from: "    const layouts = removeOtherLayouts(kernel.datapath.root);",
    to: "    const layouts: readonly string[] = [];",
    faults: ["another layout"],
  },
  {
    breaks: "links of pods that are gone are left",
    file: "src/agent/apply-changes.ts",
    from: "    if (wanted.has(ifindex) || gate?.holds(ifindex) === true) continue;",
    to: "    continue;",
    faults: ["pod comes", "pod goes", "address reused"],
  },
  {
    breaks: "an object whose deletion is reported stays",
    file: "src/source/apiserver/object-store.ts",
    from: "          if (!holds() || !(content.values.has(key) || content.records.has(key))) return;",
    to: "          return;",
    faults: ["policy goes", "policy changes"],
  },
  {
    breaks: "a status that was read once counts for good",
    file: "src/source/apiserver/object-store.ts",
    from: "          if (!holds() || isAsKnown(item, content, keepsLastGood)) return;",
    to: "          if (!holds() || content.values.has(item.key)) return;",
    faults: ["pod relabelled", "namespace relabelled"],
  },
  {
    breaks: "entries of the version before are left in the maps",
    file: "src/agent/apply-changes.ts",
    from: "    await kernel.maps.write(changes.cleanup);",
    to: "",
    faults: ["policy changes", "policy goes", "pod relabelled"],
  },
  {
    breaks: "flows of another layout are not taken over",
    file: "src/agent/reconcile.ts",
    from: "      copyFlows: flowCopier(progress.carryOver, env.log),",
    to: "      copyFlows: undefined,",
    faults: ["another layout"],
  },
  {
    breaks: "what an interface was is forgotten when its pod's object goes",
    file: "src/agent/interface-history.ts",
    from: "new Map(sameIn(tables).map((each) => [each.link.ifindex, each.pods])));",
    to: "new Map(sameIn(tables).slice(0, 0).map((each) => [each.link.ifindex, each.pods])));",
    faults: ["pod deleted by force or failed", "status without addresses"],
  },
  {
    breaks: "a change is reported as applied before it is in force",
    file: "src/agent/apply-changes.ts",
    from: "    await kernel.maps.flip(0, attachAndReport);\n    await kernel.maps.write(changes.cleanup);",
    to: "    await attachAndReport();",
    faults: ["policy changes", "policy goes", "pod relabelled"],
  },
  {
    breaks: "a reconciliation leaves one interface out",
    file: "src/agent/apply-changes.ts",
    from: "  for (const ifindex of wanted) {",
    to: "  for (const ifindex of [...wanted].slice(1)) {",
    faults: ["policy changes"],
  },
  {
    breaks: "the kernel is not read after a failed write",
    file: "src/agent/reconcile.ts",
    from: "    progress.mustAdvance = true;\n    progress.mustReread = true;\n    await reread(kernel, progress);\n    throw error;",
    to: "    progress.held = { ...progress.held, state };\n    throw error;",
    faults: ["kernel call fails"],
    rounds: 10,
  },
];

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
  faults: readonly string[],
  rounds = ROUNDS,
): { readonly passed: boolean; readonly text: string } {
  const done = spawnSync(
    "bash",
    [
      join(ROOT, "tools/isolated.sh"),
      process.execPath,
      join(ROOT, "test/soak/soak.ts"),
      ...[
        "--rounds",
        String(rounds),
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
  const chosen = MUTANTS.filter(
    ({ breaks }) => words.length === 0 || words.some((word) => breaks.includes(word)),
  );
  const copy = copyTree();
  let missed = 0;
  try {
    build(copy);
    const sound = soak(join(copy, "bin/weir"), [...new Set(chosen.flatMap(({ faults }) => faults))], 1);
    console.log(`${sound.passed ? "passes" : "FAILS"}: the agent as it is\n${sound.text}`);
    if (!sound.passed) missed += 1;
    for (const { breaks, file, from, to, faults, rounds } of chosen) {
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
        const { passed, text: said } = soak(join(copy, "bin/weir"), faults, rounds);
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
