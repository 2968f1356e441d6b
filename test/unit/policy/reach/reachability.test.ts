// Reachability by workload: sound against the compiled plan for every pair of pods of random clusters, and readable in small ones.

import fc from "fast-check";
import { expect, it } from "vitest";
import { DIRECTIONS } from "../../../../src/base/direction.ts";
import { keyOf } from "../../../../src/model/cluster.ts";
import { OUTSIDE, type Reachability } from "../../../../src/model/reachability-view.ts";
import { compile } from "../../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../../src/policy/identity-allocation.ts";
import { holds, placeOf, portSetText } from "../../../../src/policy/port-classes.ts";
import { reachabilityOf } from "../../../../src/policy/reach/reachability.ts";
import { workloadGroups } from "../../../../src/policy/reach/workload-groups.ts";
import { planOf } from "../../../../src/state/state-lookup.ts";
import { block, cluster, namespace, pod, pods, policy, ports, selector } from "../../../support/model.ts";
import { cluster as anyCluster, localsOf, PROBE_PORTS } from "../../../support/worlds.ts";

const SEED = Number(process.env["WEIR_FUZZ_SEED"] ?? Date.now() % 2 ** 31);

const setAt = (view: Reachability, index: number) =>
  (view.ports[index] ?? []).map(([first, last]) => ({ first, last }));

it("never promises more, nor less, than the compiled plan has for each pair of pods", {
  timeout: 120_000,
}, () => {
  fc.assert(
    fc.property(anyCluster, (world) => {
      const locals = localsOf(world);
      const compiled = compile(world, locals, NOTHING_NUMBERED);
      const plan = planOf(compiled.state);
      const view = reachabilityOf(compiled, world);
      const { indexOf } = workloadGroups(world.pods);
      for (const local of locals)
        for (const direction of DIRECTIONS) {
          const own = (indexOf.get(keyOf(local.pod)) ?? 0) + 1;
          const sides = view.sides.filter((side) => side.workload === own && side.direction === direction);
          for (const peer of world.pods.values()) {
            const index = indexOf.get(keyOf(peer));
            if (index === undefined || keyOf(peer) === keyOf(local.pod)) continue;
            const sets = sides.map(({ others, peers }) => {
              const [, every, some] = peers.find(([at]) => at === index + 1) ?? [0, ...others];
              return { every: setAt(view, every), some: setAt(view, some) };
            });
            for (const remote of peer.ips)
              for (const { protocol, port } of PROBE_PORTS) {
                const place = placeOf(protocol === "ICMP" ? "other" : protocol, port);
                const answer = plan.judge({ ifindex: local.ifindex, direction, remote, place });
                const passes = answer === "allowed" || answer === "not isolated";
                if (passes) expect(sets.some(({ some }) => holds(some, place))).toBe(true);
                else expect(sets.every(({ every }) => holds(every, place))).toBe(false);
              }
          }
        }
    }),
    { seed: SEED, numRuns: 150 },
  );
});

const replica = (name: string, address: string, labels: Record<string, string>) =>
  pod(name, [address], { labels });

it("groups the replicas of a workload, and separates sides that differ", () => {
  const world = cluster({
    namespaces: [namespace("shop")],
    pods: [
      replica("shop/web-5d4f-aaaaa", "10.0.0.1", { app: "web", "pod-template-hash": "5d4f" }),
      replica("shop/web-5d4f-bbbbb", "10.0.0.2", { app: "web", "pod-template-hash": "5d4f" }),
      replica("shop/db-0", "10.0.1.1", { app: "db", "statefulset.kubernetes.io/pod-name": "db-0" }),
      replica("shop/db-1", "10.0.1.2", { app: "db", "statefulset.kubernetes.io/pod-name": "db-1" }),
      // Without an address no node enforces anything for it, and nothing of the others is unknown for that.
      pod("shop/db-2", [], { labels: { app: "db" } }),
    ],
    policies: [
      policy("shop/db", {
        subject: selector({ app: "db" }),
        ingress: [
          { peers: [pods({ app: "web" })], ports: ports("TCP/5432") },
          { peers: [pods({ "statefulset.kubernetes.io/pod-name": "db-0" })], ports: ports("TCP/7000") },
          { peers: [block("192.0.2.0/24")], ports: "all" },
        ],
      }),
    ],
  });
  const locals = [...world.pods.values()]
    .filter(({ ips }) => ips.length > 0)
    .map((each, at) => ({ pod: each, ifindex: 10 + at }));
  const view = reachabilityOf(compile(world, locals, NOTHING_NUMBERED), world);
  expect(view.workloads).toEqual([
    { namespace: "", name: OUTSIDE, pods: 0, example: "" },
    { namespace: "shop", name: "db", pods: 2, example: "shop/db-0" },
    { namespace: "shop", name: "web", pods: 2, example: "shop/web-5d4f-aaaaa" },
  ]);
  const text = (index: number) => portSetText(setAt(view, index));
  const sides = view.sides
    .filter(({ direction }) => direction === "ingress")
    .sort((a, b) => a.workload - b.workload);
  expect(
    sides.map(({ workload, pods: count, others, peers }) => ({
      workload,
      count,
      others: others.map(text),
      peers: peers.map(([peer, ...sets]) => [peer, ...sets.map(text)]),
    })),
  ).toEqual([
    // db-0 may reach db-1, and not the other way round.
    {
      workload: 1,
      count: 1,
      others: ["nothing", "nothing"],
      peers: [
        [0, "nothing", "all"],
        [2, "TCP/5432", "TCP/5432"],
      ],
    },
    {
      workload: 1,
      count: 1,
      others: ["nothing", "nothing"],
      peers: [
        [0, "nothing", "all"],
        [1, "TCP/7000", "TCP/7000"],
        [2, "TCP/5432", "TCP/5432"],
      ],
    },
    { workload: 2, count: 2, others: ["all", "all"], peers: [] },
  ]);
});
