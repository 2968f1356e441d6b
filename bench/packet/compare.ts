// Rows of two revisions in one run: each is measured by both, one right after the other, round after round.

import { fileURLToPath } from "node:url";
import { Teardown } from "../../src/lab/teardown.ts";
import { openRevision } from "./revision.ts";
import type { RunOptions } from "./rig.ts";
import { type Comparison, comparedOf, floorIdOf } from "./rounds.ts";
import type { Row } from "./row.ts";
import { startWorker, type Worker } from "./worker-process.ts";

const HERE = fileURLToPath(new URL("../..", import.meta.url));

interface Side {
  readonly worker: Worker;
  readonly ids: ReadonlySet<string>;
  readonly rounds: Map<string, number>[];
}

/** @throws OperationError */
export async function compare(options: Omit<RunOptions, "object">, baseline: string): Promise<Comparison> {
  const teardown = new Teardown();
  const workers: Worker[] = [];
  try {
    const revision = await openRevision(baseline, options.progress, teardown);
    const openSide = async (name: string, root: string): Promise<Side> => {
      const worker = startWorker(name, root, options.progress);
      workers.push(worker);
      const { rows, bpffs, cpu } = options;
      const ids = new Set(await worker.open({ ids: rows.map(({ id }) => id), bpffs, cpu }));
      return { worker, ids, rounds: [] };
    };
    const [now, then] = [await openSide("today", HERE), await openSide(revision.name, revision.root)];
    for (let index = 1; index <= options.runs; index += 1) {
      options.progress(`run ${index} of ${options.runs}`);
      await goRound([now, then], options, index);
    }
    const has = (row: Row) => then.ids.has(row.id) && then.ids.has(floorIdOf(row));
    return {
      baseline: revision.name,
      rows: options.rows.map((row) => comparedOf(row, now.rounds, has(row) ? then.rounds : undefined)),
    };
  } finally {
    // They work with what the teardown removes.
    await Promise.all(workers.map((worker) => worker.close()));
    teardown.close();
  }
}

/** Which of the two is first changes from row to row and from round to round. */
async function goRound(
  sides: readonly Side[],
  { rows, packets }: Pick<RunOptions, "rows" | "packets">,
  index: number,
): Promise<void> {
  for (const side of sides) side.rounds.push(new Map());
  for (const [at, { id }] of rows.entries())
    for (const { worker, ids, rounds } of (at + index) % 2 === 0 ? sides : sides.toReversed())
      if (ids.has(id)) rounds.at(-1)?.set(id, await worker.measure(id, packets));
}
