// Random worlds: the oracle, the compiled plan and the loaded programs agree on every question. Needs root and eBPF.
//
// One datapath goes through all worlds, so every world is also an update from the one before. WEIR_PROPERTY_RUNS sets the
// number of worlds; a failure prints the seed and the shrunk world.

import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { packet } from "../../src/engines/frame-builder.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { learnNames } from "../../src/engines/known-names.ts";
import type { Cluster } from "../../src/model/cluster.ts";
import { compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { planOf } from "../../src/state/state-lookup.ts";
import { OBJECT } from "../support/object.ts";
import { type AnsweredQuestion, questions, questionText } from "../support/questions.ts";
import { cluster, localsOf } from "../support/worlds.ts";

const RUNS = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 2000);
const PATIENCE_MS = 60_000 + RUNS * 1_000;
/** Of the thousands of questions about a world, one in this many is checked; which ones differs from world to world. */
const STEP = 23;

let bench: Bench;
let numbering = NOTHING_NUMBERED;
let sourcePort = 0;

beforeAll(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf", xdp: true });
});

afterAll(() => bench.close());

function kernelAllows(question: AnsweredQuestion, ifindex: number): boolean {
  const { direction, local, remote, protocol, port } = question;
  sourcePort = (sourcePort + 1) % 32_768;
  const frame = packet({
    source: direction === "egress" ? local : remote,
    destination: direction === "egress" ? remote : local,
    protocol,
    sourcePort: 32_768 + sourcePort,
    destinationPort: port,
  });
  // Alternately: what a pod sends has two programs that must agree on it.
  const hook = sourcePort % 2 === 0 ? "tc" : "xdp";
  return bench.run({ direction, hook, ifindex, ingressIfindex: 1, frame }) === "pass";
}

async function agree(world: Cluster, step: number): Promise<void> {
  // The worlds' interface indexes are small numbers; the kernel's are those of real devices.
  const devices = new Map(localsOf(world).map(({ ifindex }) => [ifindex, bench.devices.at(ifindex - 100)]));
  const real = (ifindex: number) => devices.get(ifindex) as number;
  const locals = localsOf(world).map(({ pod, ifindex }) => ({ pod, ifindex: real(ifindex) }));
  const compiled = compile(world, locals, numbering);
  await bench.bring(compiled.state);
  numbering = compiled.numbering;
  const plan = planOf(compiled.state);
  const asked = [...questions(world, step)];
  await learnNames(
    bench.maps.tables,
    compiled.state,
    asked.map((question) => ({ ...question, ifindex: real(question.ifindex) })),
  );
  for (const question of asked) {
    const ifindex = real(question.ifindex);
    const planned = ["allowed", "not isolated", "audited"].includes(plan.judge({ ...question, ifindex }));
    const kernel = kernelAllows(question, ifindex);
    if (planned === question.allowed && kernel === question.allowed) continue;
    const text = questionText(question);
    expect.fail(
      `plan ${planned}, kernel ${kernel}, oracle ${question.allowed} for ${text}: ${question.why()}`,
    );
  }
}

it(
  `oracle, plan and kernel agree on ${RUNS} random worlds`,
  async () => {
    const worlds = fc.asyncProperty(cluster, fc.integer({ min: 0, max: 5 }), (world, more) =>
      agree(world, STEP + more),
    );
    await fc.assert(worlds, { numRuns: RUNS });
  },
  PATIENCE_MS,
);
