// Measures updates: from a changed cluster to the generation in force, step by step, on maps of the bench's own.

import type { Maps } from "../../src/datapath/policy-maps.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { type Compiler, openCompiler } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED, type Numbering } from "../../src/policy/identity-allocation.ts";
import { diff, type Held, settledState } from "../../src/state/state-diff.ts";
import { median } from "../common/median.ts";
import { compileWhole } from "../common/whole-compile.ts";
import { CHANGES, type ChangeName, type Size, type World, worldOf } from "./world.ts";

export interface RunOptions {
  readonly sizes: readonly Size[];
  readonly runs: number;
  /** The built BPF object, and a BPF filesystem. */
  readonly object: string;
  readonly bpffs: string;
  readonly progress: (text: string) => void;
}

/** Milliseconds of each step. */
export interface Steps {
  readonly compile: number;
  readonly diff: number;
  /** Until the new state is in force, and what is left over is removed. */
  readonly write: number;
  readonly cleanup: number;
}

export interface Row {
  readonly size: Size;
  readonly change: ChangeName | "first";
  /** Medians. */
  readonly steps: Steps;
}

/** @throws OperationError, BpfError */
export async function run({ sizes, runs, object, bpffs, progress }: RunOptions): Promise<Row[]> {
  const rows: Row[] = [];
  for (const size of sizes) {
    progress(`${size.pods} pods, ${size.policies} policies`);
    const bench = await openBench({ object, bpffs });
    try {
      rows.push(...(await runSize(bench, size, runs)));
    } finally {
      bench.close();
    }
  }
  return rows;
}

interface Standing {
  readonly compiler: Compiler;
  held: Held;
  numbering: Numbering;
}

async function runSize({ maps }: Bench, size: Size, runs: number): Promise<Row[]> {
  let world = worldOf(size);
  const held = await maps.read();
  const standing: Standing = { compiler: openCompiler(), held, numbering: NOTHING_NUMBERED };
  const first = await update(maps, standing, world);
  // As in an agent that has run for a while: the first repetition settles what the first run numbered.
  for (let turn = 1; turn <= 2; turn += 1) await update(maps, standing, world);
  const rows: Row[] = [{ size, change: "first", steps: first }];
  for (const change of Object.keys(CHANGES) as ChangeName[]) {
    const all: Steps[] = [];
    for (let turn = 1; turn <= runs; turn += 1) {
      world = CHANGES[change](world, turn);
      all.push(await update(maps, standing, world));
    }
    const middle = (step: keyof Steps) => median(all.map((each) => each[step]));
    rows.push({
      size,
      change,
      steps: {
        compile: middle("compile"),
        diff: middle("diff"),
        write: middle("write"),
        cleanup: middle("cleanup"),
      },
    });
  }
  return rows;
}

/** By the same steps as the agent. */
async function update(maps: Maps, standing: Standing, { cluster, locals }: World): Promise<Steps> {
  const times = [performance.now()];
  const lap = () => times.push(performance.now());
  const compiled = compileWhole(standing.compiler, { cluster, locals, previous: standing.numbering });
  lap();
  const changes = diff(standing.held, compiled.state);
  lap();
  const inPlace = compiled.retiresIdentities ? undefined : changes.inPlace;
  if (inPlace !== undefined) {
    await maps.write(inPlace);
    await maps.advance();
  } else if (!changes.empty) {
    await maps.write(changes.prepare);
    await maps.flip();
  }
  lap();
  if (!changes.empty && inPlace === undefined) await maps.write(changes.cleanup);
  lap();
  standing.held = settledState(compiled.state);
  standing.numbering = compiled.numbering;
  const [start = 0, a = 0, b = 0, c = 0, end = 0] = times;
  return { compile: a - start, diff: b - a, write: c - b, cleanup: end - c };
}
