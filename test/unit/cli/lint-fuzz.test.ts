// For any input, `weir lint` ends in its summary, and each finding is a line of its own with an existing place.

import { Readable } from "node:stream";
import fc from "fast-check";
import { expect, it } from "vitest";
import { stringify } from "yaml";
import { anyJson, documents, FULL, placesIn } from "../source/arbitrary.ts";
import { runIn } from "./world.ts";

const comment = fc.constantFrom("", "# weir.dev/lint-ignore: opens-all, x\n", "# weir.dev/lint-ignore\n");
const yaml = fc
  .array(fc.tuple(comment, fc.oneof(documents, anyJson)), { minLength: 1, maxLength: 4 })
  .map((each) => each.map(([above, value]) => above + stringify(value)).join("---\n"));
/** A whole policy with one value replaced. */
const changed = fc
  .tuple(fc.nat(), anyJson)
  .map(([at, json]) => {
    const places = placesIn(FULL);
    return places[at % places.length]?.put(json) ?? null;
  })
  .map((value) => stringify(value));

it("any text", async () => {
  await fc.assert(
    fc.asyncProperty(fc.oneof(yaml, changed, fc.string({ unit: "binary" })), async (text) => {
      const stdin = () => Readable.from([Buffer.from(text)]);
      const { exitCode, stdout, stderr } = await runIn(["lint", "-f", "-", "--strict"], { stdin });
      const lines = stdout.trimEnd().split("\n");
      const [, errors, warnings] = /^(\d+) errors, (\d+) warnings in 1 files$/.exec(lines.pop() ?? "") ?? [];
      expect(lines).toHaveLength(Number(errors) + Number(warnings));
      expect(exitCode).toBe(lines.length > 0 ? 1 : 0);
      expect(stderr).toMatch(/^(?:weir: no NetworkPolicy found\n)?$/);
      for (const line of lines) {
        const [, row, column] = /^<stdin>(?::(\d+):(\d+))?: (?:error|warning): /.exec(line) ?? [line];
        if (row !== undefined) {
          const there = text.split("\n")[Number(row) - 1];
          expect(there?.length ?? -1, line).toBeGreaterThanOrEqual(Number(column) - 1);
        } else expect(line).toMatch(/^<stdin>: error: /);
      }
    }),
    { numRuns: 500 },
  );
});
