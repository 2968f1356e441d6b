// A whole run: opens the worlds that the rows need, goes round, and closes everything.

import type { BpfProgram } from "bpf-ts";
import { Teardown } from "../../src/lab/teardown.ts";
import { pin } from "../common/machine.ts";
import { openDriver } from "./driver.ts";
import { floorPeers, measure, type Rig } from "./measure.ts";
import { canCount, INSTRUCTIONS, openMeter } from "./meter.ts";
import type { Measured } from "./report.ts";
import { openRig, type RunOptions } from "./rig.ts";
import { figuresOf, type Round } from "./rounds.ts";
import type { Row } from "./row.ts";
import { openStage } from "./stage.ts";

/** @throws OperationError, BpfError */
export async function run(options: RunOptions): Promise<Measured[]> {
  const teardown = new Teardown();
  try {
    const rig = await openRig({ openDriver, openStage, floorPeers }, options, teardown);
    pin(options.cpu);
    const rounds: Round[] = [];
    for (let index = 1; index <= options.runs; index += 1) {
      options.progress(`run ${index} of ${options.runs}`);
      rounds.push(await goRound(rig, options));
    }
    const instructions = await countInstructions(rig, options);
    return options.rows.map((row) => ({
      row,
      figures: figuresOf(row, rounds),
      program: programOf(rig, row),
      instructions: instructions.get(row.id),
    }));
  } finally {
    teardown.close();
  }
}

async function goRound(rig: Rig, { rows, packets }: RunOptions): Promise<Round> {
  const round = new Map<string, number>();
  for (const row of rows) round.set(row.id, await measure(rig, row, packets));
  return round;
}

/** For each packet of each row, in a round of its own, which is not timed; nothing where they cannot be counted. */
async function countInstructions(rig: Rig, options: RunOptions): Promise<ReadonlyMap<string, number>> {
  const counts = new Map<string, number>();
  if (!(await canCount(INSTRUCTIONS))) {
    options.progress("no instructions: perf, or the processor's counters, cannot be had here");
    return counts;
  }
  options.progress("instructions");
  for (const row of options.rows) {
    const meter = await openMeter(INSTRUCTIONS);
    await measure({ ...rig, meter }, row, options.packets);
    const count = await meter.end();
    if (count !== undefined) counts.set(row.id, count / options.packets);
  }
  return counts;
}

function programOf({ driver, stages }: Rig, row: Row): Measured["program"] {
  const program: BpfProgram | undefined =
    row.kind === "floor" ? driver.nothing(row.hook) : stages.get(row.world)?.timed(row);
  const { name = "", verifiedInstructions = 0 } = program?.info ?? {};
  return { name, verifiedInstructions };
}
