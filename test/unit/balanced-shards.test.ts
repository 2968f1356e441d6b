import { existsSync } from "node:fs";
import { expect, test } from "vitest";
import { divide, SECONDS, secondsOf } from "../setup/balanced-shards.ts";

const FILES = [
  ...Object.keys(SECONDS),
  ...Array.from({ length: 60 }, (_, index) => `test/netns/quick-${index}.test.ts`),
];

test("each file is in one part, and the parts take about the same time", () => {
  const parts = divide(FILES, 3);
  expect(parts.flat().sort()).toEqual([...FILES].sort());
  const seconds = parts.map((files) => files.reduce((sum, file) => sum + secondsOf(file), 0));
  expect(Math.max(...seconds) - Math.min(...seconds)).toBeLessThanOrEqual(8);
});

test("the order in which files are listed does not matter", () => {
  expect(divide([...FILES].reverse(), 4)).toEqual(divide(FILES, 4));
});

test("there are the files whose time is known", () => {
  expect(Object.keys(SECONDS).filter((file) => !existsSync(file))).toEqual([]);
});
