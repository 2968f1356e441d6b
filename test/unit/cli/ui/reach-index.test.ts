// The answers of several nodes as one: sound against the oracle for every pair of pods of random clusters, and unknown where a node is missing.

import fc from "fast-check";
import { expect, it } from "vitest";
import { reachIndex } from "../../../../src/cli/ui/reach-index.ts";
import { keyOf } from "../../../../src/model/cluster.ts";
import { compile } from "../../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../../src/policy/identity-allocation.ts";
import { evaluate, type Party, permits } from "../../../../src/policy/oracle.ts";
import { placeOf } from "../../../../src/policy/port-classes.ts";
import { reachabilityOf } from "../../../../src/policy/reach/reachability.ts";
import { workloadGroups } from "../../../../src/policy/reach/workload-groups.ts";
import { cluster, namespace, pod, policy } from "../../../support/model.ts";
import { cluster as anyCluster, localsOf, PROBE_PORTS } from "../../../support/worlds.ts";

const SEED = Number(process.env["WEIR_FUZZ_SEED"] ?? Date.now() % 2 ** 31);

/** Each node compiles what is its own, as agents do. */
const nodeView = (world: Parameters<typeof compile>[0], locals: ReturnType<typeof localsOf>) => ({
  generation: 1,
  ...reachabilityOf(compile(world, locals, NOTHING_NUMBERED), world),
});

it("has what both nodes allow, no more and no less", { timeout: 120_000 }, () => {
  fc.assert(
    fc.property(anyCluster, (world) => {
      const locals = localsOf(world);
      const half = locals.filter((_, at) => at % 2 === 0);
      const rest = locals.filter((_, at) => at % 2 === 1);
      const index = reachIndex([nodeView(world, half), nodeView(world, rest)]);
      const { groups } = workloadGroups(world.pods);
      const numberOf = new Map(
        index.workloads.map(({ namespace: space, workload }, at) => [`${space}/${workload}`, at]),
      );
      for (const { protocol, port } of PROBE_PORTS) {
        const cellAt = index.cellAt(placeOf(protocol === "ICMP" ? "other" : protocol, port));
        for (const a of groups)
          for (const b of groups) {
            const cell = cellAt([numberOf.get(keyOf(a)) as number], [numberOf.get(keyOf(b)) as number]);
            for (const from of a.pods)
              for (const to of b.pods) {
                if (from === to) continue;
                for (const source of from.ips)
                  for (const destination of to.ips) {
                    if (source.family !== destination.family) continue;
                    const party = (each: typeof from, address: typeof source): Party => ({
                      kind: "pod",
                      pod: each,
                      address,
                    });
                    const verdict = evaluate(world, {
                      from: party(from, source),
                      to: party(to, destination),
                      protocol,
                      port,
                    });
                    const passes = permits(verdict.egress) && permits(verdict.ingress);
                    if (passes) expect(cell.some).not.toBe("nothing");
                    else expect(cell.every).toBe("nothing");
                  }
              }
          }
      }
    }),
    { seed: SEED, numRuns: 100 },
  );
});

it("leaves open what a missing node would allow, and has what the other one denies", () => {
  const world = cluster({
    namespaces: [namespace("a")],
    pods: [pod("a/open", ["10.0.0.1"]), pod("a/closed", ["10.0.0.2"], { labels: { app: "closed" } })],
    policies: [policy("a/p", { subject: { requirements: [{ operator: "Exists", key: "app" }] } })],
  });
  const [open, closed] = [...world.pods.values()].map((each, at) => ({ pod: each, ifindex: 10 + at })) as [
    ReturnType<typeof localsOf>[number],
    ReturnType<typeof localsOf>[number],
  ];
  const kinds = (...nodes: ReturnType<typeof localsOf>[]) => {
    const index = reachIndex(nodes.map((locals) => nodeView(world, locals)));
    const at = (name: string): number[] => [index.workloads.findIndex(({ workload }) => workload === name)];
    return {
      in: index.cell(at("open"), at("closed")).kind,
      out: index.cell(at("closed"), at("open")).kind,
      self: index.cell(at("open"), at("open")).kind,
    };
  };
  expect(kinds([open], [closed])).toEqual({ in: "none", out: "open", self: "self" });
  expect(kinds([closed])).toEqual({ in: "none", out: "unknown", self: "self" });
  expect(kinds([open])).toEqual({ in: "unknown", out: "unknown", self: "self" });
});
