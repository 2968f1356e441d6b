// The mutants of `npm run mutants` and `npm run mutants:soak` can be made: each changes text that is in its file.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, it } from "vitest";
import { BPF_MUTANTS } from "../../tools/mutants/bpf.ts";
import { MUTANTS } from "../../tools/mutants/list.ts";
import { SOAK_MUTANTS } from "../soak/mutant-list.ts";
import { root } from "../tidy/files.ts";

it("each mutant's text is in its file", () => {
  const all = [...MUTANTS, ...BPF_MUTANTS];
  expect(all.length).toBeGreaterThan(100);
  const stale = all.filter(
    ({ file, from, to }) => from === to || !readFileSync(join(root, file), "utf8").includes(from),
  );
  expect(stale.map(({ file, rule }) => `${file}: ${rule}`)).toEqual([]);
});

it("each of the soak test's is there once", () => {
  const count = ({ file, from }: (typeof SOAK_MUTANTS)[number]): number =>
    readFileSync(join(root, file), "utf8").split(from).length - 1;
  expect(SOAK_MUTANTS.length).toBeGreaterThan(10);
  expect(SOAK_MUTANTS.filter((each) => count(each) !== 1).map(({ breaks }) => breaks)).toEqual([]);
});
