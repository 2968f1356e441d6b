// What `weir trace` reports about random worlds: the kernel gives the same verdict over the same maps, and the rules that are named
// are those that decide. Needs root and eBPF.
//
// WEIR_PROPERTY_RUNS sets the number of worlds; a failure prints the seed and the world.

import fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import { DIRECTIONS, type Direction } from "../../src/base/direction.ts";
import { openShadowPrograms, type ShadowPrograms } from "../../src/datapath/shadow-programs.ts";
import { packet } from "../../src/engines/frame-builder.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { Reason } from "../../src/gen/layout.ts";
import { type Cluster, isSelectable, keyOf } from "../../src/model/cluster.ts";
import type { Policy, Rule } from "../../src/model/network-policy.ts";
import { compile, type LocalEndpoint } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { type Allowance, type Probe, permits } from "../../src/policy/oracle.ts";
import { placeOf } from "../../src/policy/port-classes.ts";
import { sideOf } from "../../src/policy/subjects.ts";
import { EVERY_PORT, endOf } from "../../src/policy/trace/traced-ends.ts";
import { type Path, pathsOf, routesOf } from "../../src/policy/trace/traced-paths.ts";
import { planOf } from "../../src/state/state-lookup.ts";
import { OBJECT } from "../support/object.ts";
import { addressesOf, cluster, localsOf } from "../support/worlds.ts";

const RUNS = Math.min(Number(process.env["WEIR_PROPERTY_RUNS"] ?? 500), 500);
const PATIENCE_MS = 120_000 + RUNS * 1_500;

let bench: Bench;
let aside: ShadowPrograms;
let numbering = NOTHING_NUMBERED;
let clientPort = 0;
/** Pairs of ends that are traced in each world. */
const PAIRS = 6;
/** How often each kind of verdict was compared with the kernel. */
const asked = { allowed: 0, audit: 0, denied: 0, "not-isolated": 0 };

beforeAll(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf" });
  aside = await openShadowPrograms(bench.datapath.root, OBJECT);
});

afterAll(() => {
  aside?.close();
  bench?.close();
});

/** The endpoints of a world on real devices. */
const endpointsOf = (world: Cluster): LocalEndpoint[] =>
  localsOf(world).map(({ pod, ifindex }) => ({ pod, ifindex: bench.devices.at(ifindex - 100) }));

/** The interface of a path's end, if the kernel judges there. */
function interfaceAt(locals: readonly LocalEndpoint[], { probe, sides }: Path, direction: Direction) {
  const subject = direction === "ingress" ? probe.to : probe.from;
  if (subject.kind === "address" || sides[direction].verdict.kind === "loopback") return undefined;
  return locals.find(({ pod }) => keyOf(pod) === keyOf(subject.pod))?.ifindex;
}

async function kernelReason(probe: Probe, direction: Direction, ifindex: number): Promise<number> {
  clientPort = (clientPort + 1) % 28_000;
  const frame = packet({
    source: probe.from.address,
    destination: probe.to.address,
    protocol: probe.protocol,
    sourcePort: 32_768 + clientPort,
    destinationPort: probe.port,
  });
  const { passes, reason } = await aside.judge({ place: direction, ifindex, ingressIfindex: 1, frame });
  expect([Reason.NOT_ISOLATED, Reason.POLICY, Reason.AUDIT, Reason.DENIED]).toContain(reason);
  expect(passes).toBe(reason !== Reason.DENIED);
  return reason;
}

/** The verdict of the compiled plan of another set of policies at one end. */
function planAllows(
  world: Cluster,
  {
    probe,
    direction,
    ifindex,
  }: { readonly probe: Probe; readonly direction: Direction; readonly ifindex: number },
): boolean {
  const plan = planOf(compile(world, endpointsOf(world), NOTHING_NUMBERED).state);
  const remote = (direction === "ingress" ? probe.from : probe.to).address;
  const place = placeOf(probe.protocol === "ICMP" ? "other" : probe.protocol, probe.port);
  return plan.judge({ ifindex, direction, remote, place }) === "allowed";
}

const withRules = (
  world: Cluster,
  rulesOf: (policy: Policy, direction: Direction) => readonly Rule[],
): Cluster => ({
  ...world,
  policies: new Map(
    [...world.policies].map(([key, policy]) => [
      key,
      { ...policy, rules: { ingress: rulesOf(policy, "ingress"), egress: rulesOf(policy, "egress") } },
    ]),
  ),
});

const pick = <T>(list: readonly T[] | "anyone" | "all", index: number | undefined): readonly T[] =>
  typeof list === "string" || index === undefined ? [] : list.filter((_, at) => at === index);

/** The world with all rules of a direction removed except those that an allowance names. */
const withOnly = (world: Cluster, { policy, rule, peer, port }: Allowance, direction: Direction): Cluster =>
  withRules(world, (each, side) =>
    side !== direction || keyOf(each) !== policy
      ? []
      : each.rules[side].slice(rule, rule + 1).map(({ peers, ports }) => ({
          peers: peer === undefined ? "anyone" : pick(peers, peer),
          ports: port === undefined ? "all" : pick(ports, port),
        })),
  );

/** The world without the rules that the allowances name. */
const without = (world: Cluster, by: readonly Allowance[], direction: Direction): Cluster =>
  withRules(world, (each, side) =>
    each.rules[side].filter(
      (_, rule) =>
        side !== direction || !by.some((named) => named.policy === keyOf(each) && named.rule === rule),
    ),
  );

async function agree(world: Cluster, path: Path, locals: readonly LocalEndpoint[]): Promise<void> {
  for (const direction of DIRECTIONS) {
    const ifindex = interfaceAt(locals, path, direction);
    if (ifindex === undefined) continue;
    const { verdict, isolatedBy } = path.sides[direction];
    const { first, last } = path.ports ?? { first: 0, last: 0 };
    for (const port of new Set([first, last])) {
      const probe = { ...path.probe, port };
      const reason = await kernelReason(probe, direction, ifindex);
      expect(reason !== Reason.DENIED).toBe(permits(verdict));
      expect(reason === Reason.AUDIT).toBe(verdict.kind === "audit");
      if (verdict.kind in asked) asked[verdict.kind as keyof typeof asked] += 1;
      if (verdict.kind !== "allowed") continue;
      for (const allowance of verdict.by)
        expect(planAllows(withOnly(world, allowance, direction), { probe, direction, ifindex })).toBe(true);
      expect(planAllows(without(world, verdict.by, direction), { probe, direction, ifindex })).toBe(false);
    }
    // Rules of cluster policies decide with and without NetworkPolicies that isolate.
    const isDecidedByTier = verdict.kind === "accepted" || ("by" in verdict && verdict.kind !== "allowed");
    if (!isDecidedByTier)
      expect(isolatedBy.length > 0).toBe(["allowed", "audit", "denied"].includes(verdict.kind));
  }
}

/** Every pod that a policy isolates with every possible end (pods, and addresses inside and outside of blocks), either way. */
function pairsOf(world: Cluster): (readonly [from: string, to: string])[] {
  const pods = [...world.pods.values()].filter((pod) => isSelectable(pod) && pod.ips.length > 0);
  const isolated = pods.filter((pod) => DIRECTIONS.some((direction) => sideOf(world, pod, direction)));
  const ends = [...pods.map(keyOf), ...addressesOf(world).map(({ text }) => text)];
  return isolated
    .map(keyOf)
    .flatMap((pod) => ends.flatMap((end) => [[pod, end] as const, [end, pod] as const]));
}

async function checkWorld(world: Cluster, seed: number): Promise<void> {
  const locals = endpointsOf(world);
  const compiled = compile(world, locals, numbering);
  await bench.bring(compiled.state);
  numbering = compiled.numbering;
  const pairs = pairsOf(world);
  for (let turn = 0; turn < Math.min(PAIRS, pairs.length); turn++) {
    const [from, to] = (pairs[(seed + turn * 11) % pairs.length] ?? []).map((text) => endOf(world, text));
    if (!from?.ok || !to?.ok) throw new Error("an end of the world is not found in it");
    for (const route of routesOf(from.value, to.value)) {
      const protocol = (["TCP", "UDP", "SCTP"] as const)[(seed + turn) % 3] as "TCP" | "UDP" | "SCTP";
      const worlds = { cluster: world, before: undefined };
      const paths = [
        ...pathsOf(worlds, route, { protocol, ranges: [EVERY_PORT] }),
        ...pathsOf(worlds, route, "ICMP"),
      ];
      for (const path of paths) await agree(world, path, locals);
    }
  }
}

it(
  `trace's verdicts and rules hold in the kernel on ${RUNS} random worlds`,
  async () => {
    // To shrink a world takes longer than the test has.
    await fc.assert(fc.asyncProperty(cluster, fc.nat({ max: 10_000 }), checkWorld), {
      numRuns: RUNS,
      endOnFailure: true,
    });
    for (const count of Object.values(asked)) expect(count).toBeGreaterThan(RUNS / 4);
  },
  PATIENCE_MS,
);
