// The memory that labels take, as it counts for pods and Services (object-memory.ts).

import type { Labels } from "../../model/selector.ts";

/** As measured, with room: docs/limits.md has the figures. */
const BYTES = { label: 192, character: 2 } as const;

/** Of a text besides its object. */
export const textBytes = (text: string): number => BYTES.character * text.length;

export const labelsBytes = (labels: Labels): number =>
  labels
    .entries()
    .reduce((bytes, [key, value]) => bytes + BYTES.label + textBytes(key) + textBytes(value), 0);

/**
 * The labels, ports and annotations of a pod count where together they take more than this: fifty labels, say. Most pods share them with
 * others, however many these are, and count the same.
 */
export const ORDINARY_PARTS = 16_384;
