// Grammar-based fuzzing of what Weir reads from others: valid texts of each grammar, with random faults in them.
//
//   node test/fuzz/fuzz.ts [--minutes N] [--seed S]
//
// Nothing may crash, hang, or report an error that is not of its own kind; a policy with a fault allows nothing that is not said;
// weir-cni fails for whatever it cannot read. Exit code 0 if all of that holds; else 1, with the input, for test/fuzz/corpus.

import { spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { atLeast } from "../../bench/common/options.ts";
import { pick, type Random, randomFrom } from "../../bench/common/random.ts";
import { addIn, attachedIn, bodyOf, CniError, gcIn } from "../../src/cni/cni-protocol.ts";
import { Failure } from "../../src/source/apiserver/request-failure.ts";
import { PARSERS, SERVED } from "../../src/source/apiserver/resource-kinds.ts";
import { eventOf } from "../../src/source/apiserver/watch-request.ts";
import { readCase } from "../../src/source/conformance/case-reader.ts";
import { parseDocument } from "../../src/source/parse/parse-document.ts";
import { NETWORK, OBJECTS, REQUEST, torn, withFaults } from "./grammar.ts";

const PLUGIN = fileURLToPath(new URL("../../cni/build/weir-cni", import.meta.url));
const CORPUS = fileURLToPath(new URL("corpus", import.meta.url));
const CASES = fileURLToPath(new URL("../cases", import.meta.url));
/** Far more than any of these texts takes, on a busy machine too. */
const HANG_MS = 5_000;

/** Runs it; whatever it throws must be of this kind. */
function throwsOnly(kind: new (...args: never[]) => Error, run: () => unknown): void {
  try {
    run();
  } catch (thrown) {
    if (!(thrown instanceof kind)) throw thrown;
  }
}

function mustHold(condition: boolean, what: string): void {
  if (!condition) throw new Error(`does not hold: ${what}`);
}

interface Target {
  readonly name: string;
  /** How many of the runs are its own. */
  readonly weight: number;
  make(random: Random): Buffer;
  run(input: Buffer): void;
}

const cases = readdirSync(CASES)
  .filter((name) => name.endsWith(".yaml"))
  .map((name) => readFileSync(join(CASES, name), "utf8"));

const jsonOf = (input: Buffer): unknown => {
  try {
    return JSON.parse(input.toString());
  } catch {
    return input.toString();
  }
};

const TARGETS: readonly Target[] = [
  {
    name: "objects",
    weight: 40,
    make: (random) => Buffer.from(JSON.stringify(withFaults(random, pick(random, OBJECTS)))),
    run(input) {
      const { objects } = parseDocument(jsonOf(input), { where: () => ({}) });
      for (const object of objects) {
        if (object.kind !== "NetworkPolicy" || object.complete) continue;
        const { isolates, unreadable, rules } = object.value;
        mustHold(isolates.ingress || isolates.egress, "a policy with a fault isolates");
        mustHold(
          unreadable === undefined || rules.ingress.length + rules.egress.length === 0,
          "an unreadable policy allows nothing",
        );
      }
    },
  },
  {
    name: "watch events",
    weight: 40,
    make(random) {
      const event = {
        type: pick(random, ["ADDED", "MODIFIED", "DELETED", "BOOKMARK", "ERROR"]),
        object: pick(random, OBJECTS),
      };
      return torn(random, JSON.stringify(random.below(2) === 0 ? event : withFaults(random, event)));
    },
    run(input) {
      for (const kind of ["Pod", "NetworkPolicy"] as const)
        throwsOnly(Failure, () => eventOf(input, PARSERS[kind].event, SERVED[kind][0].path));
    },
  },
  {
    name: "requests of the CNI socket",
    weight: 20,
    make: (random) => torn(random, JSON.stringify(withFaults(random, REQUEST))),
    run(input) {
      for (const read of [addIn, attachedIn, gcIn])
        throwsOnly(CniError, () => read(bodyOf(input.toString())));
    },
  },
  {
    name: "cases",
    weight: 3,
    make: (random) => torn(random, pick(random, cases)),
    run(input) {
      const { case: read, problems } = readCase(input.toString(), "case.yaml");
      mustHold(read !== undefined || problems.length > 0, "a case that is not read has a reason");
    },
  },
  {
    name: "weir-cni's stdin",
    weight: 1,
    make: (random) => torn(random, JSON.stringify(withFaults(random, NETWORK))),
    run(input) {
      const command = ["ADD", "DEL", "CHECK", "GC", "STATUS", "VERSION", "?"][input.length % 7] ?? "ADD";
      const env = {
        CNI_COMMAND: command,
        CNI_CONTAINERID: "c",
        CNI_NETNS: "/proc/self/ns/net",
        CNI_IFNAME: "eth0",
        CNI_PATH: "/",
      };
      const { status, signal, stdout, error } = spawnSync(PLUGIN, { input, env, timeout: HANG_MS });
      if (error !== undefined && "code" in error && error.code !== "EPIPE") throw error;
      mustHold(signal === null, `it ends by itself, not by ${signal}`);
      if (status !== 0) mustHold(jsonOf(stdout) instanceof Object, "an error is JSON");
      // No agent is at that socket: only these may succeed without one.
      mustHold(
        status !== 0 || command === "VERSION" || command === "DEL" || command === "GC",
        `${command} fails`,
      );
    },
  },
];

const program = new Command("fuzz")
  .option("--minutes <number>", "how long", (text) => Number(text), 0.1)
  .option("--seed <number>", "of all inputs", atLeast(0), Date.now() % 2 ** 32);
program.parse();
const { minutes, seed } = program.opts<{ readonly minutes: number; readonly seed: number }>();

function runOne(target: Target, input: Buffer, failures: string[]): void {
  const begun = performance.now();
  let reason: string | undefined;
  try {
    target.run(input);
  } catch (thrown) {
    reason = thrown instanceof Error ? (thrown.stack ?? thrown.message) : String(thrown);
  }
  const ms = performance.now() - begun;
  if (reason === undefined && ms > HANG_MS) reason = `took ${Math.round(ms)} ms`;
  if (reason === undefined) return;
  failures.push(
    `${target.name}: ${reason}\n  input: ${JSON.stringify(input.subarray(0, 2_000).toString("latin1"))}`,
  );
}

function main(): number {
  const random = randomFrom(seed);
  const failures: string[] = [];
  const counts = new Map<string, number>();
  // Inputs that once failed come first: FILE is named by its target.
  for (const name of existsSync(CORPUS) ? readdirSync(CORPUS) : []) {
    const target = TARGETS.find((each) => name.startsWith(each.name.replaceAll(/[^a-z]+/g, "-")));
    if (target !== undefined) runOne(target, readFileSync(join(CORPUS, name)), failures);
  }
  const all = TARGETS.flatMap((target) => Array.from({ length: target.weight }, () => target));
  for (
    const deadline = performance.now() + minutes * 60_000;
    performance.now() < deadline && failures.length < 10;
  ) {
    const target = pick(random, all);
    const input = target.make(random);
    const before = failures.length;
    runOne(target, input, failures);
    if (failures.length > before) {
      mkdirSync(CORPUS, { recursive: true });
      const name = target.name.replaceAll(/[^a-z]+/g, "-");
      writeFileSync(join(CORPUS, `${name}-${seed}-${counts.get(target.name) ?? 0}`), input);
    }
    counts.set(target.name, (counts.get(target.name) ?? 0) + 1);
  }
  for (const failure of failures) console.error(failure);
  const memory = Math.round(process.memoryUsage().rss / 1_048_576);
  const text = [...counts].map(([name, count]) => `${count} ${name}`).join(", ");
  console.log(`fuzz: seed ${seed}: ${text}; ${memory} MiB; ${failures.length} failed`);
  return failures.length === 0 ? 0 : 1;
}

process.exitCode = main();
