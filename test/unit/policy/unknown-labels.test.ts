// A pod whose labels exceed its namespace's share of the agent's memory: as a peer it has what is allowed whatever they are, and as a subject
// nothing. The oracle.

import fc from "fast-check";
import { expect, test } from "vitest";
import { DIRECTIONS } from "../../../src/base/direction.ts";
import { type Cluster, keyOf, type Pod } from "../../../src/model/cluster.ts";
import type { ClusterPolicy } from "../../../src/model/cluster-network-policy.ts";
import { compile } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { permits, sideVerdict } from "../../../src/policy/oracle.ts";
import { sideOf } from "../../../src/policy/subjects.ts";
import { sideVerdictText } from "../../../src/policy/verdict-text.ts";
import { MEMORY } from "../../../src/source/apiserver/object-memory.ts";
import { planOf } from "../../../src/state/state-lookup.ts";
import {
  block,
  cluster,
  clusterPolicy,
  clusterRule,
  namespace,
  party,
  pod,
  pods,
  policy,
  selector,
} from "../../support/model.ts";
import { questions, questionText } from "../../support/questions.ts";
import { cluster as clusters, localsOf, PROBE_PORTS } from "../../support/worlds.ts";

const SERVER = pod("x/server", ["10.0.0.1"]);
const CLIENT = MEMORY.Pod.reduced(pod("y/client", ["10.0.0.2"], { labels: { tenant: "red" } }));
const everything = block("0.0.0.0/0");
const red = pods({ tenant: "red" });
const ofY = pods({ tenant: "red" }, selector({ team: "y" }));
const ofX = pods({ tenant: "red" }, selector({ team: "x" }));

test.each<[string, ClusterPolicy["rules"]["ingress"], allowed: boolean]>([
  ["a Deny by labels in its namespace", [clusterRule("Deny", [ofY])], false],
  ["a Deny by labels in another namespace", [clusterRule("Deny", [ofX])], true],
  [
    "an Accept of some labels before a Deny of others",
    [clusterRule("Accept", [ofY]), clusterRule("Deny", [red])],
    false,
  ],
  [
    "an Accept by labels before a Deny of all",
    [clusterRule("Accept", [ofY]), clusterRule("Deny", [everything])],
    false,
  ],
  [
    "an Accept of its address before a Deny by labels",
    [clusterRule("Accept", [block("10.0.0.2/32")]), clusterRule("Deny", [ofY])],
    true,
  ],
  ["a Deny of its address alone", [clusterRule("Deny", [block("10.0.0.2/32")])], false],
  [
    "a Pass by labels before an Accept of all",
    [clusterRule("Pass", [ofY]), clusterRule("Accept", [everything])],
    true,
  ],
])("%s", (_, ingress, allowed) => {
  const world = cluster({
    namespaces: [namespace("x", { team: "x" }), namespace("y", { team: "y" })],
    pods: [SERVER, CLIENT],
    clusterPolicies: [clusterPolicy("c", { ingress })],
  });
  const probe = { from: party(CLIENT), to: party(SERVER), protocol: "TCP", port: 80 } as const;
  expect(permits(sideVerdict(world, probe, "ingress"))).toBe(allowed);
});

test("a Pass by labels counts where NetworkPolicies deny what a later rule accepts", () => {
  const ingress = [clusterRule("Pass", [ofY]), clusterRule("Accept", [everything])];
  const world = cluster({
    namespaces: [namespace("x", { team: "x" }), namespace("y", { team: "y" })],
    pods: [SERVER, CLIENT],
    clusterPolicies: [clusterPolicy("c", { ingress })],
    policies: [policy("x/deny", { ingress: [] })],
  });
  const probe = { from: party(CLIENT), to: party(SERVER), protocol: "TCP", port: 80 } as const;
  expect(permits(sideVerdict(world, probe, "ingress"))).toBe(false);
});

test("nothing is allowed to or from it, and the verdict says why", () => {
  const world = cluster({ pods: [SERVER, CLIENT] });
  const probe = { from: party(CLIENT), to: party(SERVER), protocol: "TCP", port: 80 } as const;
  const verdict = sideVerdict(world, probe, "egress");
  expect(sideVerdictText(verdict, "egress", probe)).toBe(
    "egress of y/client is isolated (its labels and ports exceed its namespace's share of the agent's memory), nothing allows TCP/80 to x/server",
  );
  for (const direction of DIRECTIONS)
    expect(sideOf(world, CLIENT, direction)).toMatchObject({ isolated: true, clauses: [] });
});

test("in random worlds: the tables have nothing for it either", () => {
  let count = 0;
  fc.assert(
    fc.property(clusters, (world) => {
      const reduced = new Map([...world.pods].map(([key, one]) => [key, MEMORY.Pod.reduced(one)] as const));
      const all: Cluster = { ...world, pods: reduced };
      const plan = planOf(compile(all, localsOf(all), NOTHING_NUMBERED).state);
      for (const question of questions(all, 5)) {
        expect(question.allowed, questionText(question)).toBe(false);
        expect(["allowed", "not isolated"], questionText(question)).not.toContain(plan.judge(question));
        count += 1;
      }
    }),
    { numRuns: 30 },
  );
  expect(count).toBeGreaterThan(0);
});

test("in random worlds: the tables decide as the oracle, for pods with unknown labels and all others", () => {
  const seen = { allowed: 0, denied: 0, ofReduced: 0 };
  fc.assert(
    fc.property(clusters, fc.array(fc.boolean(), { minLength: 8, maxLength: 8 }), (world, which) => {
      const some = new Map(
        [...world.pods].map(
          ([key, one], index) => [key, which[index % 8] === true ? MEMORY.Pod.reduced(one) : one] as const,
        ),
      );
      const all: Cluster = { ...world, pods: some };
      const reduced = new Set(
        [...some.values()]
          .filter(({ exceeds }) => exceeds === true)
          .flatMap(({ ips }) => ips.map(({ text }) => text)),
      );
      const plan = planOf(compile(all, localsOf(all), NOTHING_NUMBERED).state);
      for (const question of questions(all, 3)) {
        const isAllowed = ["allowed", "audited", "not isolated"].includes(plan.judge(question));
        if (isAllowed !== question.allowed)
          throw new Error(`oracle: ${question.why()} (${questionText(question)})`);
        seen[isAllowed ? "allowed" : "denied"] += 1;
        if (reduced.has(question.remote.text)) seen.ofReduced += 1;
      }
    }),
    { numRuns: Number(process.env["WEIR_PROPERTY_RUNS"] ?? 200) },
  );
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(0);
});

const KEYS = ["app", "tier", "__proto__"];
const VALUES = [undefined, "a", "b", ""];
const LABELS = KEYS.reduce<readonly (readonly [string, string])[][]>(
  (all, key) =>
    all.flatMap((some) =>
      VALUES.map((value) => (value === undefined ? some : [...some, [key, value] as const])),
    ),
  [[]],
);

test("in random worlds: what it may do, it may do with any labels and port names", () => {
  const seen = { allowed: 0, denied: 0 };
  fc.assert(
    fc.property(clusters, fc.nat(), fc.nat(), (world, which, ports) => {
      const all = [...world.pods.values()].filter(
        ({ ips, hostNetwork, finished }) => ips.length > 0 && !hostNetwork && !finished,
      );
      const peer = all[which % Math.max(1, all.length)];
      if (peer === undefined) return;
      const others = all.flatMap((each) => each.ports);
      const withPod = (changed: Pod): Cluster => ({
        ...world,
        pods: new Map([...world.pods, [keyOf(peer), changed]]),
      });
      const reduced = MEMORY.Pod.reduced(peer);
      const lists = [
        [],
        peer.ports,
        others.length === 0 ? [] : [others[ports % others.length] as (typeof others)[number]],
      ];
      for (const subject of all) {
        if (subject === peer) continue;
        for (const direction of DIRECTIONS) {
          for (const traffic of PROBE_PORTS.filter((_, index) => index % 5 === ports % 5)) {
            const permitted = (one: Pod): boolean | undefined => {
              const ends = subject.ips.flatMap((own) =>
                one.ips.filter(({ family }) => family === own.family).map((address) => ({ own, address })),
              );
              const [end] = ends;
              if (end === undefined) return undefined;
              const self = { kind: "pod", pod: subject, address: end.own } as const;
              const other = { kind: "pod", pod: one, address: end.address } as const;
              const probe = direction === "ingress" ? { from: other, to: self } : { from: self, to: other };
              return permits(sideVerdict(withPod(one), { ...probe, ...traffic }, direction));
            };
            const answer = permitted(reduced);
            if (answer === undefined) continue;
            const known = LABELS.every((labels) =>
              lists.every((list) => permitted({ ...peer, labels: new Map(labels), ports: list }) === true),
            );
            if (answer) expect(known).toBe(true);
            seen[answer ? "allowed" : "denied"] += 1;
          }
        }
      }
    }),
    { numRuns: 60 },
  );
  console.info(JSON.stringify(seen));
  expect(Math.min(...Object.values(seen))).toBeGreaterThan(0);
});
