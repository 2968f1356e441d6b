// Random clusters with Services: the compiled plan allows the same egress as the oracle, and what it allows is accepted by no
// backend that is denied to the sender.

import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { keyOf, NO_SURROUNDINGS } from "../../../src/model/cluster.ts";
import { openFrontends } from "../../../src/model/frontends.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { CAPACITIES } from "../../../src/policy/limits/capacity-fit.ts";
import { permits, policyVerdict } from "../../../src/policy/oracle.ts";
import { placeOf } from "../../../src/policy/port-classes.ts";
import { isItself, partyAt } from "../../../src/policy/service-oracle.ts";
import { planOf } from "../../../src/state/state-lookup.ts";
import { clusterWithServices, frontendCapacities, serviceQuestions } from "../../support/service-worlds.ts";
import { localsOf } from "../../support/worlds.ts";

const RUNS = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 500);
const PATIENCE_MS = 60_000 + RUNS * 200;

const passes = (answer: string): boolean => ["allowed", "audited", "not isolated"].includes(answer);

describe("services", { timeout: PATIENCE_MS }, () => {
  test("are judged as the oracle judges them, and what is denied arrives nowhere", () => {
    const seen = { let: 0, kept: 0, mixed: 0, named: 0, refused: 0 };
    fc.assert(
      fc.property(clusterWithServices, fc.nat({ max: 511 }), frontendCapacities, (world, choice, few) => {
        // The others are pods of other nodes.
        const locals = localsOf(world).filter((_, index) => !((choice >> index) & 1) || choice > 255);
        const here = new Map(locals.map((local) => [keyOf(local.pod), local.ifindex]));
        const capacities = { ...CAPACITIES, ...few };
        const { closed } = openFrontends()(world, new Set(), few);
        const plan = planOf(compile(world, locals, NOTHING_NUMBERED, NO_SURROUNDINGS, capacities).state);
        for (const question of serviceQuestions(world, locals, few)) {
          const { from, frontend, ifindex, names, leaves, backends, text } = question;
          const { protocol } = frontend;
          const place = placeOf(protocol, frontend.port);
          const remote = frontend.address;
          const out = passes(plan.judge({ ifindex, direction: "egress", remote, place, names }));
          if (out !== leaves) throw new Error(`plan ${out}, oracle ${leaves}: ${text}`);
          seen[out ? "let" : "kept"] += 1;
          if (frontend.refused === true && !out) seen.refused += 1;
          for (const { backend, verdict } of backends) {
            const { address, port } = backend;
            const to = partyAt(world, address);
            // It cannot block itself: the programs allow what comes back to where it was sent from.
            if (isItself(from, to)) continue;
            const probe = { from, to, protocol, port };
            const denied = !permits(verdict);
            const byName = verdict.kind === "accepted" && verdict.by.domain !== undefined;
            if (byName) seen.named += 1;
            const guard = to.kind === "pod" ? here.get(keyOf(to.pod)) : undefined;
            const arrives =
              out &&
              (guard === undefined ||
                passes(
                  plan.judge({
                    ifindex: guard,
                    direction: "ingress",
                    remote: from.address,
                    place: placeOf(protocol, port),
                  }),
                ));
            if (denied && arrives) throw new Error(`denied, and arrives at ${address.text}:${port}: ${text}`);
            if (denied && out) seen.mixed += 1;
            const welcome = guard === undefined || permits(policyVerdict(world, probe, "ingress"));
            // What only a name allows is dropped where the guards of another Service drop it, and what a pod sends whose address is that
            // of a Service with unknown ports, where anything may be denied.
            const mayBeLost = byName || closed.has(from.address);
            if (!denied && out && arrives !== welcome && !(mayBeLost && welcome))
              throw new Error(`allowed, and ${arrives ? "arrives unbidden" : "does not arrive"}: ${text}`);
          }
        }
      }),
      { numRuns: RUNS },
    );
    // The random worlds contain the relevant cases; one in some seventy has a guard with something to drop.
    expect(Math.min(seen.let, seen.kept, seen.refused)).toBeGreaterThan(0);
    if (RUNS >= 2000) expect(Math.min(seen.mixed, seen.named)).toBeGreaterThan(0);
  });
});
