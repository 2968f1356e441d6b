// The metric of what is left out: objects that are kept in a reduced form, by namespace and kind.

import { expect, it } from "vitest";
import type { InForce } from "../../../src/agent/agent-views.ts";
import { enforcementSamples } from "../../../src/agent/metrics-samples.ts";
import type { Cluster } from "../../../src/model/cluster.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { MEMORY } from "../../../src/source/apiserver/object-memory.ts";
import { cluster, pod, policy } from "../../support/model.ts";

it("counts reduced objects, and no others", () => {
  const reduced = MEMORY.Pod.reduced;
  const world: Cluster = cluster({
    pods: [reduced(pod("x/a", ["10.0.0.1"])), reduced(pod("x/b", ["10.0.0.2"])), pod("y/c", ["10.0.0.3"])],
    policies: [MEMORY.NetworkPolicy.reduced(policy("y/deny")), policy("y/other")],
  });
  const force: InForce = {
    ...{ source: world, cluster: world, compiled: compile(world, [], NOTHING_NUMBERED) },
    ...{ interfaces: new Map(), missing: [], attached: new Map() },
  };
  const expected = [
    { labels: { namespace: "y", limit: "memory of policies" }, value: 1 },
    { labels: { namespace: "x", limit: "memory of pods" }, value: 2 },
  ];
  expect(enforcementSamples(force, []).leftOut).toEqual(expected);
  expect(enforcementSamples(force, []).leftOut).toEqual(expected);
});
