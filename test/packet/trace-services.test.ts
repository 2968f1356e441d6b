// What `weir trace` reports about paths through Services in random worlds agrees with the loaded programs. Needs root and eBPF.
//
// WEIR_PROPERTY_RUNS sets the number of worlds; a failure prints the seed and the shrunk world.

import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { DIRECTIONS, type Direction } from "../../src/base/direction.ts";
import { frameOf, isExpected } from "../../src/cli/trace-in-kernel.ts";
import { openShadowPrograms, type ShadowPrograms } from "../../src/datapath/shadow-programs.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { learnNames } from "../../src/engines/known-names.ts";
import { type Cluster, keyOf } from "../../src/model/cluster.ts";
import { compile, type LocalEndpoint } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import type { Party } from "../../src/policy/oracle.ts";
import type { Path } from "../../src/policy/trace/traced-paths.ts";
import { type NodeFacts, pathsThrough } from "../../src/policy/trace/traced-services.ts";
import { OBJECT } from "../support/object.ts";
import { clusterWithServices, serviceQuestions } from "../support/service-worlds.ts";
import { localsOf, namesBetween } from "../support/worlds.ts";

const RUNS = Math.min(Number(process.env["WEIR_PROPERTY_RUNS"] ?? 200), 500);
const PATIENCE_MS = 120_000 + RUNS * 1_000;
/** Clients and frontends that are traced in each world. */
const QUESTIONS = 4;

let bench: Bench;
let aside: ShadowPrograms;
let numbering = NOTHING_NUMBERED;
let clientPort = 0;
/** Of the paths that were traced. */
const seen = { allowed: 0, kept: 0, dropped: 0 };

beforeAll(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf" });
  aside = await openShadowPrograms(bench.datapath.root, OBJECT);
});

afterAll(() => {
  aside?.close();
  bench?.close();
});

function interfaceAt(locals: readonly LocalEndpoint[], { probe, sides }: Path, direction: Direction) {
  const subject = direction === "ingress" ? probe.to : probe.from;
  if (subject.kind === "address" || sides[direction].verdict.kind === "loopback") return undefined;
  return locals.find(({ pod }) => keyOf(pod) === keyOf(subject.pod))?.ifindex;
}

async function agree(path: Path, locals: readonly LocalEndpoint[]): Promise<void> {
  for (const direction of DIRECTIONS) {
    const ifindex = interfaceAt(locals, path, direction);
    if (ifindex === undefined) continue;
    clientPort = (clientPort + 1) % 28_000;
    const frame = frameOf(path, direction, 32_768 + clientPort);
    const { passes } = await aside.judge({ place: direction, ifindex, ingressIfindex: 1, frame });
    if (!isExpected(path, direction, passes))
      throw new Error(`${direction} ${passes ? "passes" : "drops"}: ${JSON.stringify(path, textual)}`);
  }
}

const namesOf = (from: Party, to: Party): readonly string[] => namesBetween(from.address, to.address);

const textual = (_: string, value: unknown): unknown =>
  typeof value === "bigint" ? String(value) : value instanceof Map ? [...value] : value;

async function checkWorld(world: Cluster, choice: number): Promise<void> {
  // Some of the pods are on other nodes.
  const locals = localsOf(world)
    .filter((_, index) => choice % 3 === 0 || ((choice >> index) & 1) === 0)
    .map(({ pod, ifindex }) => ({ pod, ifindex: bench.devices.at(ifindex - 100) }));
  const compiled = compile(world, locals, numbering);
  await bench.bring(compiled.state);
  numbering = compiled.numbering;
  const here = new Set(locals.map(({ pod }) => keyOf(pod)));
  const node: NodeFacts = { nodes: new Set(), isEndpoint: (pod) => here.has(keyOf(pod)) };
  const questions = serviceQuestions(world, locals);
  await learnNames(
    bench.maps.tables,
    compiled.state,
    questions.map((each) => ({ ...each, remote: each.frontend.address })),
  );
  for (let turn = 0; turn < Math.min(QUESTIONS, questions.length); turn++) {
    const question = questions[(choice + turn * 5) % questions.length];
    if (question === undefined) continue;
    for (const path of pathsThrough({ cluster: world, before: undefined, namesOf }, question, node)) {
      expect(path.via?.leaves).toBe(question.leaves);
      await agree(path, locals);
      if (path.allowed) seen.allowed += 1;
      else if (path.via?.leaves === false) seen.kept += 1;
      else seen.dropped += 1;
    }
  }
}

it(
  `trace's paths through Services hold in the kernel on ${RUNS} random worlds`,
  async () => {
    await fc.assert(fc.asyncProperty(clusterWithServices, fc.nat({ max: 511 }), checkWorld), {
      numRuns: RUNS,
    });
    for (const count of Object.values(seen)) expect(count).toBeGreaterThan(RUNS / 20);
  },
  PATIENCE_MS,
);
