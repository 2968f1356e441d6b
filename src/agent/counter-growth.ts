// How much the kernel's counters have grown since they were read last, over the agent's restarts too.

import * as z from "zod";

/** One counter cell: packets of one endpoint in a family and direction, for a reason. */
export interface Cell {
  readonly endpoint: number;
  readonly family: string;
  readonly direction: string;
  readonly reason: string;
  readonly packets: bigint;
  readonly bytes: bigint;
}

/** A cell with the counts since the last look. */
export type Growth = Cell;

export interface CounterGrowth {
  /** The cells that have grown, by how much. */
  take(cells: readonly Cell[]): Growth[];
  /** The counters of this endpoint were cleared, or will be before the next look: they start at zero. */
  cleared(endpoint: number): void;
  kept(): KeptGrowth;
}

/** A count in a file: JSON has no numbers of 64 bits. */
export const COUNT = z.string().regex(/^[0-9]{1,20}$/);

/** Of cells: endpoint, family, direction, reason, packets, bytes. */
export const KEPT_GROWTH = z.array(z.tuple([z.int(), z.string(), z.string(), z.string(), COUNT, COUNT]));

export type KeptGrowth = z.output<typeof KEPT_GROWTH>;

export function openGrowth(before: KeptGrowth = []): CounterGrowth {
  const seen = new Map<string, Cell>();
  const keyOf = ({ endpoint, family, direction, reason }: Cell): string =>
    `${endpoint} ${family} ${direction} ${reason}`;
  for (const [endpoint, family, direction, reason, packets, bytes] of before) {
    const cell = { endpoint, family, direction, reason, packets: BigInt(packets), bytes: BigInt(bytes) };
    seen.set(keyOf(cell), cell);
  }
  return {
    take(cells) {
      const present = new Set<string>();
      const grown = cells.flatMap((cell): Growth[] => {
        const key = keyOf(cell);
        present.add(key);
        const { packets, bytes } = growthOf(seen.get(key), cell);
        seen.set(key, cell);
        return packets === 0n ? [] : [{ ...cell, packets, bytes }];
      });
      // Cleared for an endpoint that has reused the number: it starts at zero.
      for (const key of seen.keys()) if (!present.has(key)) seen.delete(key);
      return grown;
    },
    cleared(endpoint) {
      for (const [key, cell] of seen) if (cell.endpoint === endpoint) seen.delete(key);
    },
    kept: () =>
      [...seen.values()].map(({ endpoint, family, direction, reason, packets, bytes }) => [
        endpoint,
        family,
        direction,
        reason,
        String(packets),
        String(bytes),
      ]),
  };
}

/** A counter that is lower than before was cleared in between. */
function growthOf(before: Cell | undefined, now: Cell): Pick<Cell, "packets" | "bytes"> {
  if (before === undefined || now.packets < before.packets) return now;
  return { packets: now.packets - before.packets, bytes: now.bytes - before.bytes };
}
