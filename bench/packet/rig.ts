// Opens what rows are measured with. Its modules may be those of another revision: so it keeps to what all revisions have.

import type { Teardown } from "../../src/lab/teardown.ts";
import type { openDriver } from "./driver.ts";
import type { floorPeers, measure, Rig } from "./measure.ts";
import type { Row } from "./row.ts";
import type { openStage, Stage } from "./stage.ts";
import type { WorldName } from "./worlds.ts";

/** What a revision's files in bench/packet export. */
export interface Modules {
  readonly ROWS: readonly Row[];
  readonly openDriver: typeof openDriver;
  readonly openStage: typeof openStage;
  readonly floorPeers: typeof floorPeers;
  readonly measure: typeof measure;
}

export interface RigOptions {
  readonly rows: readonly Row[];
  /** The built BPF object, and a BPF filesystem. */
  readonly object: string;
  readonly bpffs: string;
  readonly progress: (text: string) => void;
}

/** The rows are those to measure with the floors that they need, in the order in which they are measured. */
export interface RunOptions extends RigOptions {
  readonly runs: number;
  /** Of each row in each run. */
  readonly packets: number;
  readonly cpu: number;
}

/** @throws OperationError, BpfError */
export async function openRig(
  { openDriver, openStage, floorPeers }: Omit<Modules, "ROWS" | "measure">,
  { rows, object, bpffs, progress }: RigOptions,
  teardown: Teardown,
): Promise<Rig> {
  const driver = await openDriver();
  teardown.defer(() => driver.close());
  const stages = new Map<WorldName, Stage>();
  for (const row of rows) {
    if (row.kind === "floor" || stages.has(row.world)) continue;
    progress(`world ${row.world}`);
    const here = rows.filter((each) => each.kind === "program" && each.world === row.world);
    const stage = await openStage({
      world: row.world,
      object,
      bpffs,
      xdp: here.some(({ hook }) => hook === "xdp"),
      primitives: here.some((each) => each.kind === "program" && each.primitive !== undefined),
    });
    teardown.defer(() => stage.close());
    stages.set(row.world, stage);
  }
  return { driver, stages, floorPeers: floorPeers() };
}
