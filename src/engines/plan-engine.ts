// The compiled plan as an engine for conformance cases: the state that would be written, looked up in memory.

import { compile } from "../policy/compile.ts";
import { NOTHING_NUMBERED } from "../policy/identity-allocation.ts";
import { placeOf } from "../policy/port-classes.ts";
import type { Engine } from "../source/conformance/case-runner.ts";
import { planOf } from "../state/state-lookup.ts";
import { judgeSides, localsOf } from "./cell-verdict.ts";

export function planEngine(): Engine {
  let numbering = NOTHING_NUMBERED;
  const interfaces = new Map<string, number>();
  let last = 0;
  return {
    name: "plan",
    judge(step) {
      const compiled = compile(
        step.cluster,
        localsOf(step, interfaces, () => ++last),
        numbering,
      );
      numbering = compiled.numbering;
      const plan = planOf(compiled.state);
      return step.cells.map((asked) =>
        judgeSides(step, asked, interfaces, ({ cell, direction, ifindex }) => {
          const remote = direction === "egress" ? cell.to.address : cell.from.address;
          const place = placeOf(cell.protocol === "ICMP" ? "other" : cell.protocol, cell.port);
          const answer = plan.judge({ ifindex, direction, remote, place, names: cell.names });
          return { allowed: answer !== "denied" && answer !== "unknown endpoint", answer };
        }),
      );
    },
  };
}
