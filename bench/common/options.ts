// What the benches' command lines share.

import { InvalidArgumentError, Option } from "commander";

export const FORMATS = ["table", "json", "markdown"] as const;
export type Format = (typeof FORMATS)[number];

export const outputOption = (): Option =>
  new Option("-o, --output <format>", "how the result is written").choices(FORMATS).default("table");

/** A parser of whole numbers. */
export const atLeast =
  (least: number) =>
  (text: string): number => {
    const value = Number(text);
    if (Number.isInteger(value) && value >= least && text.trim() !== "") return value;
    throw new InvalidArgumentError(`A whole number from ${least} up is expected.`);
  };

/** What a bench is doing, on stderr. */
export const progress = (text: string): void => {
  process.stderr.write(`bench: ${text}\n`);
};
