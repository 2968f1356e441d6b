// Numbers over a kernel that another agent has filled: rows and classes are read back from it, and no number changes its meaning.

import fc from "fast-check";
import { expect, test } from "vitest";
import { numberingOver } from "../../../src/agent/reserved-numbers.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { settledState } from "../../../src/state/state-diff.ts";
import { cluster, localsOf } from "../../support/worlds.ts";

test("a new agent gives the same rows and classes the same numbers, and others none that is in use", () => {
  fc.assert(
    fc.property(cluster, cluster, (world, other) => {
      const before = compile(world, localsOf(world), NOTHING_NUMBERED);
      const numbering = numberingOver(settledState(before.state));
      const again = compile(world, localsOf(world), numbering);
      expect(again.state.ports).toEqual(before.state.ports);
      expect(new Map(again.state.rows)).toEqual(new Map(before.state.rows));
      const next = compile(other, localsOf(other), numbering);
      for (const table of ["rows", "classes"] as const) {
        const meanings = new Map([...before.numbering[table]].map(([content, number]) => [number, content]));
        for (const [content, number] of next.numbering[table])
          if (meanings.has(number)) expect(content).toBe(meanings.get(number));
      }
      for (const number of next.numbering.identities.values())
        expect([...before.numbering.identities.values()]).not.toContain(number);
    }),
  );
});
