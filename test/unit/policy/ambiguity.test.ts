// Pods that may be either: as a subject all their policies apply, as a peer an address is allowed only what each of them is allowed.
//
// WEIR_PROPERTY_RUNS sets the number of random worlds, WEIR_CASE_SEED their seed, which the tests' names have.

import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { DIRECTIONS } from "../../../src/base/direction.ts";
import { isMapping } from "../../../src/base/versioned-map.ts";
import { type Cluster, keyOf, type Pod, type Retained } from "../../../src/model/cluster.ts";
import { compile, type LocalEndpoint } from "../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../src/policy/identity-allocation.ts";
import { evaluate, type Party, permits, sideVerdict } from "../../../src/policy/oracle.ts";
import { placeOf } from "../../../src/policy/port-classes.ts";
import { partyAt } from "../../../src/policy/service-oracle.ts";
import { verdictText } from "../../../src/policy/verdict-text.ts";
import { planOf } from "../../../src/state/state-lookup.ts";
import { address, cluster, pod, pods, policy, ports } from "../../support/model.ts";
import { addressesOf, cluster as anyCluster, localsOf, PROBE_PORTS } from "../../support/worlds.ts";

const RUNS = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 300);
const SEED = Number(process.env["WEIR_CASE_SEED"] ?? Date.now() % 1_000_000_000);

const passes = (answer: string): boolean => !["denied", "unknown endpoint"].includes(answer);

describe("an address that two pods may have", () => {
  const rule = (labels: Record<string, string>, ...of: readonly string[]) => ({
    peers: [pods(labels)],
    ports: of.length === 0 ? ("all" as const) : ports(...of),
  });
  const server = pod("x/server", ["10.0.0.1"], { labels: { app: "server" } });
  const one = pod("x/one", ["10.0.0.9"], { labels: { app: "one", tier: "web" } });
  const two = pod("x/two", ["10.0.0.9"], { labels: { app: "two", tier: "web" } });
  const judged = (...ingress: ReturnType<typeof rule>[]) => {
    const world = cluster({
      pods: [server, one, two],
      policies: [policy("x/p", { subject: { requirements: [] }, ingress })],
    });
    const plan = planOf(compile(world, [{ pod: server, ifindex: 7 }], NOTHING_NUMBERED).state);
    return (port: number): boolean =>
      passes(
        plan.judge({
          ifindex: 7,
          direction: "ingress",
          remote: address("10.0.0.9"),
          place: placeOf("TCP", port),
        }),
      );
  };

  it("is allowed what one rule allows to both", () => {
    expect(judged(rule({ tier: "web" }))(80)).toBe(true);
  });

  it("is not allowed what only one of them is", () => {
    expect(judged(rule({ app: "one" }))(80)).toBe(false);
  });

  it("is allowed what each is by a rule of its own, port by port", () => {
    const allowed = judged(rule({ app: "one" }, "TCP/80-90"), rule({ app: "two" }, "TCP/85-95"));
    expect([79, 80, 84, 85, 90, 91, 95].map(allowed)).toEqual([
      false,
      false,
      false,
      true,
      true,
      false,
      false,
    ]);
  });
});

const FLOORS = [
  { ingress: false, egress: false },
  { ingress: true, egress: false },
  { ingress: true, egress: true },
] as const satisfies readonly Retained["isolated"][];

/** A cluster in which pods share addresses, interfaces and, if they have lost their object, a name. */
const contested = fc
  .tuple(
    anyCluster,
    fc.array(fc.tuple(fc.nat(), fc.nat()), { maxLength: 4 }),
    fc.array(fc.nat(), { maxLength: 3 }),
    fc.array(fc.tuple(fc.nat(), fc.constantFrom(...FLOORS), fc.boolean()), { maxLength: 2 }),
  )
  .map(([world, shared, joined, lost]) => {
    const all = [...world.pods.values()];
    const at = (index: number): Pod => all[index % all.length] as Pod;
    for (const [to, from] of shared) {
      const [receiver, giver] = [at(to), at(from)];
      const ips = [...new Map([...receiver.ips, ...giver.ips].map((each) => [each.text, each])).values()];
      all[to % all.length] = { ...receiver, ips };
    }
    const current = new Map(all.map((each) => [keyOf(each), each]));
    const retained = lost.map(
      ([index, isolated, sealed]): Pod => ({
        ...at(index),
        finished: false,
        // It has had an interface.
        hostNetwork: false,
        retained: {
          isolated,
          ...(sealed ? { sealed: true } : {}),
          since: "2026-01-01T00:00:00Z",
          why: "its object was deleted",
        },
      }),
    );
    const held = new Map(
      retained.flatMap((each) => each.ips.map((ip) => [ip.text, { address: ip, holders: [each] }] as const)),
    );
    const of: Cluster = { ...world, pods: current, ownership: { held, appeared: new Map() } };
    const own = localsOf(of);
    const locals: LocalEndpoint[] = [
      ...own.map((local, index) => {
        const rival = joined.includes(index) ? own[(index + 1) % own.length] : undefined;
        return rival === undefined || rival.pod === local.pod ? local : { ...local, rivals: [rival.pod] };
      }),
      ...retained.map((each, index) => ({ pod: each, ifindex: 500 + index })),
    ];
    return { world: of, locals };
  });

function mismatch({ world, locals }: { readonly world: Cluster; readonly locals: readonly LocalEndpoint[] }) {
  const plan = planOf(compile(world, locals, NOTHING_NUMBERED).state);
  let [allowed, denied] = [0, 0];
  for (const { pod: of, rivals, ifindex } of locals) {
    const mine = new Set([of, ...(rivals ?? [])].flatMap(({ ips }) => ips.map(({ text }) => text)));
    for (const own of of.ips) {
      const self: Party = { kind: "pod", pod: of, address: own, ...(rivals && { rivals }) };
      for (const remote of addressesOf(world)) {
        if (remote.family !== own.family || mine.has(remote.text)) continue;
        const other = partyAt(world, remote);
        for (const direction of DIRECTIONS) {
          const ends = direction === "ingress" ? { from: other, to: self } : { from: self, to: other };
          for (const { protocol, port } of PROBE_PORTS) {
            const probe = { ...ends, protocol, port };
            const place = placeOf(protocol === "ICMP" ? "other" : protocol, port);
            const expected = permits(sideVerdict(world, probe, direction));
            const answer = plan.judge({ ifindex, direction, remote, place });
            if (passes(answer) !== expected)
              return {
                wrong: `${direction} of ${ifindex}: plan ${answer}; ${verdictText(evaluate(world, probe))}`,
              };
            if (expected) allowed += 1;
            else denied += 1;
          }
        }
      }
    }
  }
  return { allowed, denied };
}

describe(`random duplicates from seed ${SEED}`, { timeout: 60_000 + RUNS * 1_000 }, () => {
  it("are judged by the compiled plan as by the oracle", () => {
    const seen = { allowed: 0, denied: 0 };
    fc.assert(
      fc.property(contested, (each) => {
        const found = mismatch(each);
        if ("wrong" in found) throw new Error(found.wrong);
        seen.allowed += found.allowed;
        seen.denied += found.denied;
      }),
      { numRuns: RUNS, seed: SEED },
    );
    expect(seen.allowed).toBeGreaterThan(1_000);
    expect(seen.denied).toBeGreaterThan(1_000);
  });

  it("give the same state in any order", () => {
    fc.assert(
      fc.property(contested, fc.infiniteStream(fc.nat()), ({ world, locals }, random) => {
        const shuffled = <T>(list: readonly T[]): T[] =>
          list
            .map((each) => [random.next().value as number, each] as const)
            .sort(([a], [b]) => a - b)
            .map(([, each]) => each);
        const other: Cluster = {
          ...world,
          pods: new Map(shuffled([...world.pods])),
          policies: new Map(shuffled([...world.policies])),
          namespaces: new Map(shuffled([...world.namespaces])),
        };
        const turned = shuffled(locals).map((local) => {
          const [first, ...rest] = shuffled([local.pod, ...(local.rivals ?? [])]) as [Pod, ...Pod[]];
          return rest.length === 0 ? local : { ...local, pod: first, rivals: rest };
        });
        // Versions of maps compare in the order of their entries.
        const sorted = (value: unknown): unknown =>
          isMapping(value)
            ? [...value]
                .map(([key, each]) => [String(key), sorted(each)])
                .sort(([a], [b]) => (`${a}` < `${b}` ? -1 : 1))
            : value;
        const plain = (state: ReturnType<typeof compile>["state"]) =>
          Object.entries(state).map(([name, value]) => [name, sorted(value)]);
        expect(plain(compile(other, turned, NOTHING_NUMBERED).state)).toEqual(
          plain(compile(world, locals, NOTHING_NUMBERED).state),
        );
      }),
      { numRuns: Math.ceil(RUNS / 3), seed: SEED },
    );
  });
});
