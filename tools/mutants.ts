// Breaks one rule at a time in a copy of the tree and shows that the tests notice: `npm run mutants [-- WORD [FIRST-LAST]]`.
//
// Exit code 0 only if every mutant was noticed, 1 if one survived, 2 if one could not be made. WORD picks mutants whose
// rule or file contains it; without one, all but those of the BPF programs (`bpf/`), which need root and many minutes. FIRST-LAST picks among
// these by their numbers, which are printed.

import { execFileSync, spawnSync } from "node:child_process";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { BPF_MUTANTS } from "./mutants/bpf.ts";
import { MUTANTS, type Mutant } from "./mutants/list.ts";

const ROOT = fileURLToPath(new URL("..", import.meta.url));
/** Tests that need no privilege: the tables of cases, written and random, the evaluator's own, and random worlds. */
const TESTS = [
  "test/unit/cases.test.ts",
  "test/unit/random-cases.test.ts",
  "test/unit/policy",
  "test/unit/model",
  "test/unit/state",
];
const WORLDS = "150";
const STEPS = "1000";
/** For one run of the tests; a mutant that makes them last longer is noticed. */
const PATIENCE_S = "1200";

/** Of a run's output. */
const PRINTED_MAX = 64 << 20;

/** Tests of the programs, those first that notice most; they run packets and need root. */
const PACKET_TESTS = [
  ["fuzz", "hostile", "flows"],
  ["flow-table", "resize"],
  ["stateless", "stateless-fuzz"],
  ["icmp", "headers", "fragments", "sources", "neighbours", "node", "allowed-sources", "wire"],
  ["time"],
  ["domain-names", "domain-names-tcp", "domain-names-services"],
];
/** Files whose tests have another name. */
const TESTED_BY: Readonly<Record<string, string>> = { dns: "domain-names" };
/** Those that know most about a file come before all others. */
const packetTestsFor = ({ file }: Pick<Mutant, "file">): readonly string[][] => {
  const name = file.slice(BPF.length, -".h".length).replaceAll("_", "-");
  const own = TESTED_BY[name] ?? name;
  return PACKET_TESTS.toSorted((a, b) => Number(b.includes(own)) - Number(a.includes(own))).map((names) =>
    names.map((name) => `test/packet/${name}.test.ts`),
  );
};
const PACKETS = "20000";
const BPF = "bpf/";

/** What the tests read; files that git knows but that are gone are left out. */
const isPart = (file: string): boolean =>
  /^(bench|bpf|docs|src|test|tools|native\/lib)\/|^[^/]+\.(json|ts)$/.test(file) &&
  existsSync(join(ROOT, file));

function copyTree(): string {
  const copy = mkdtempSync(join(tmpdir(), "weir-mutants-"));
  const files = execFileSync("git", ["ls-files", "-co", "--exclude-standard"], {
    cwd: ROOT,
    encoding: "utf8",
  });
  for (const file of files.split("\n").filter((each) => isPart(each))) {
    mkdirSync(dirname(join(copy, file)), { recursive: true });
    cpSync(join(ROOT, file), join(copy, file));
  }
  cpSync(join(ROOT, "src/gen"), join(copy, "src/gen"), { recursive: true });
  symlinkSync(join(ROOT, "node_modules"), join(copy, "node_modules"));
  symlinkSync(join(ROOT, "native/build"), join(copy, "native/build"));
  return copy;
}

/** What is broken, and so what must notice: the control plane or the programs. */
type Kind = "unit" | "packet";
const kindOf = ({ file }: Pick<Mutant, "file">): Kind => (file.startsWith(BPF) ? "packet" : "unit");

/** Whether the tests fail in the copy, for this mutant or for none. `report`: gets what a failed run has printed. */
function testsFail(
  copy: string,
  { file }: Pick<Mutant, "file">,
  report?: (printed: string) => void,
): boolean {
  const kind = kindOf({ file });
  const vitest = join(ROOT, "node_modules/vitest/vitest.mjs");
  const fails = (files: readonly string[]): boolean => {
    // Some mutants never end, in a worker that would outlive vitest: timeout(1) ends the process group.
    const command = [process.execPath, vitest, "run", "--project", kind, "--bail", "1", ...files];
    const done = spawnSync("timeout", ["--signal=KILL", PATIENCE_S, ...command], {
      cwd: copy,
      env: {
        ...process.env,
        ...{ WEIR_PROPERTY_RUNS: WORLDS, WEIR_HISTORY_STEPS: STEPS, WEIR_FUZZ_PACKETS: PACKETS },
        ...{ WEIR_SHRINK: "no", WEIR_CONFORMANCE: "" },
      },
      stdio: ["ignore", "pipe", "ignore"],
      encoding: "utf8",
      maxBuffer: PRINTED_MAX,
    });
    if (done.status !== 0) report?.(done.stdout);
    return done.status !== 0;
  };
  return kind === "unit" ? fails(TESTS) : packetTestsFor({ file }).some(fails);
}

/** Whether the programs of the copy build. */
const builds = (copy: string): boolean =>
  spawnSync("make", ["-s", "-C", join(copy, "bpf"), "WERROR="], { stdio: "ignore" }).status === 0;

function occursOnce(text: string, { from }: Mutant): boolean {
  return text.split(from).length === 2;
}

function tryOne(copy: string, mutant: Mutant): "noticed" | "SURVIVED" | "CANNOT BE MADE" {
  const path = join(copy, mutant.file);
  const text = readFileSync(path, "utf8");
  if (!occursOnce(text, mutant)) return "CANNOT BE MADE";
  writeFileSync(
    path,
    text.replace(mutant.from, () => mutant.to),
  );
  const kind = kindOf(mutant);
  try {
    if (kind === "packet" && !builds(copy)) return "CANNOT BE MADE";
    return testsFail(copy, mutant) ? "noticed" : "SURVIVED";
  } finally {
    writeFileSync(path, text);
  }
}

function main(word: string, range: string): number {
  const all = word === "" ? MUTANTS : [...MUTANTS, ...BPF_MUTANTS];
  const [first = 1, last = first] = range === "" ? [1, all.length] : range.split("-").map(Number);
  const chosen = all
    .filter(({ rule, file }) => rule.includes(word) || file.includes(word))
    .map((mutant, index) => ({ ...mutant, number: index + 1 }))
    .filter(({ number }) => first <= number && number <= last);
  if (chosen.length === 0) {
    process.stderr.write("mutants: there is none of this name and number\n");
    return 2;
  }
  const copy = copyTree();
  try {
    const ofKinds = new Map(chosen.map((mutant) => [kindOf(mutant), mutant]));
    if (
      (ofKinds.has("packet") && !builds(copy)) ||
      ofKinds.values().some((mutant) => testsFail(copy, mutant, (printed) => process.stderr.write(printed)))
    ) {
      process.stderr.write("mutants: the tests fail without any mutant; nothing can be shown\n");
      return 2;
    }
    const counts = new Map<string, number>();
    for (const mutant of chosen) {
      const outcome = tryOne(copy, mutant);
      counts.set(outcome, (counts.get(outcome) ?? 0) + 1);
      process.stdout.write(
        `${outcome.padEnd(15)} ${`${mutant.number}`.padStart(3)} ${mutant.file}: ${mutant.rule}\n`,
      );
    }
    process.stdout.write(`${counts.get("noticed") ?? 0} of ${chosen.length} mutants noticed\n`);
    if (counts.has("CANNOT BE MADE")) return 2;
    return counts.has("SURVIVED") ? 1 : 0;
  } finally {
    rmSync(copy, { recursive: true, force: true });
  }
}

process.exitCode = main(process.argv[2] ?? "", process.argv[3] ?? "");
