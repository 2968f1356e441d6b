// Rounds over all rows, so that the machine's noise meets all alike, and what they come to.

import { present } from "../../src/base/assert.ts";
import { median } from "../common/median.ts";
import type { Row } from "./row.ts";

/** Nanoseconds by row id, of one round. */
export type Round = ReadonlyMap<string, number>;

export interface Figures {
  /** Medians over the rounds, and the least and greatest. */
  readonly ns: number;
  /** The median of what each round had above its floor in the same round. */
  readonly aboveFloorNs: number;
  readonly minNs: number;
  readonly maxNs: number;
  /** `ns` in terms of the floor's; undefined for cold rows, which have theirs subtracted. */
  readonly ratio: number | undefined;
}

/** The id of the row that a row is compared with: a floor's own. */
export const floorIdOf = (row: Row): string => (row.kind === "floor" ? row.id : row.floor);

/** Every round must have the row and its floor. */
export function figuresOf(row: Row, rounds: readonly Round[]): Figures {
  const of = (id: string) => (round: Round) => present(round.get(id), `${id} in a round`);
  const floorId = floorIdOf(row);
  const values = rounds.map(of(row.id));
  const ns = median(values);
  return {
    ns,
    aboveFloorNs: median(rounds.map((round) => of(row.id)(round) - of(floorId)(round))),
    minNs: Math.min(...values),
    maxNs: Math.max(...values),
    ratio: row.cold === undefined ? ns / median(rounds.map(of(floorId))) : undefined,
  };
}

/** Nanoseconds above the floor: the median of what each round had, and the least of the row above the least of its floor. */
export interface AboveFloor {
  readonly median: number;
  readonly min: number;
}

export interface Compared {
  readonly row: Row;
  readonly today: AboveFloor;
  /** Of the other revision; undefined where it has no such row. */
  readonly baseline: AboveFloor | undefined;
}

export interface Comparison {
  /** What today's rows are compared with. */
  readonly baseline: string;
  readonly rows: readonly Compared[];
}

export function comparedOf(
  row: Row,
  today: readonly Round[],
  baseline: readonly Round[] | undefined,
): Compared {
  return { row, today: aboveFloor(row, today), baseline: baseline && aboveFloor(row, baseline) };
}

function aboveFloor(row: Row, rounds: readonly Round[]): AboveFloor {
  const { aboveFloorNs, minNs } = figuresOf(row, rounds);
  const floorMinNs = Math.min(...rounds.map((round) => present(round.get(floorIdOf(row)), floorIdOf(row))));
  return { median: aboveFloorNs, min: minNs - floorMinNs };
}

/** The rows of these ids in the table's order, and the floors that they need. */
export function withFloors(all: readonly Row[], ids: readonly string[]): Row[] {
  const wanted = new Set(ids);
  for (const id of wanted) {
    const row = all.find((each) => each.id === id);
    if (row !== undefined) wanted.add(floorIdOf(row));
  }
  return all.filter(({ id }) => wanted.has(id));
}
