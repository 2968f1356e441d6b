// Random worlds and random flows: the suggested policies allow every flow that was seen, and between workloads nothing else; by the
// oracle and by the compiled plan. WEIR_PROPERTY_RUNS sets the number of worlds; a failure prints the seed and the world.

import fc from "fast-check";
import { expect, it } from "vitest";
import { DIRECTIONS, type Direction } from "../../../../src/base/direction.ts";
import { cidrContains, cidrOf } from "../../../../src/base/ip.ts";
import { type Cluster, keyOf, type Pod } from "../../../../src/model/cluster.ts";
import { PROTOCOLS, type Protocol } from "../../../../src/model/protocol.ts";
import { matches } from "../../../../src/model/selector.ts";
import { compile } from "../../../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../../../src/policy/identity-allocation.ts";
import { type Party, permits, sideVerdict } from "../../../../src/policy/oracle.ts";
import { placeOf } from "../../../../src/policy/port-classes.ts";
import { partyAt } from "../../../../src/policy/service-oracle.ts";
import {
  type ObservedFlow,
  type SuggestOptions,
  suggest,
} from "../../../../src/policy/suggest/suggest-policies.ts";
import { type SelectedWorkload, workloadsOf } from "../../../../src/policy/suggest/workload-selectors.ts";
import { planOf } from "../../../../src/state/state-lookup.ts";
import { addressesOf, cluster, localsOf } from "../../../support/worlds.ts";

const RUNS = Number(process.env["WEIR_PROPERTY_RUNS"] ?? 300);
const PATIENCE_MS = 60_000 + RUNS * 500;

/** Ports that are often neighbours, and often those that pods name. */
const PORTS = [1, 53, 79, 80, 81, 82, 443, 8080, 65_535];

interface Flow {
  readonly from: Party;
  readonly to: Party;
  readonly protocol: Protocol;
  readonly port: number;
  readonly seenAt: Direction;
}

const options = fc.record({
  outside: fc.constantFrom("addresses" as const, "networks" as const),
  portNames: fc.boolean(),
  keepsDns: fc.boolean(),
});

type Choice = Pick<SuggestOptions, "outside" | "portNames" | "keepsDns">;

interface Draw extends Pick<Flow, "protocol" | "port" | "seenAt"> {
  readonly own: number;
  readonly other: number;
}

const draws: fc.Arbitrary<readonly Draw[]> = fc.array(
  fc.record({
    own: fc.nat(),
    other: fc.nat(),
    protocol: fc.constantFrom(...PROTOCOLS),
    port: fc.constantFrom(...PORTS),
    seenAt: fc.constantFrom(...DIRECTIONS),
  }),
  { maxLength: 12 },
);

const partiesOf = (world: Cluster): readonly Party[] =>
  addressesOf(world).map((address) => partyAt(world, address));

const podOf = (party: Party): Pod | undefined => (party.kind === "pod" ? party.pod : undefined);

function flowsOf(world: Cluster, chosen: readonly Draw[]): readonly Flow[] {
  const parties = partiesOf(world);
  const pods = parties.filter(({ kind }) => kind === "pod");
  if (pods.length === 0) return [];
  return chosen.flatMap(({ own, other, protocol, port, seenAt }): Flow[] => {
    const here = pods[own % pods.length] as Party;
    const fitting = parties.filter(
      (each) => each.address.family === here.address.family && podOf(each) !== podOf(here),
    );
    const there = fitting[other % Math.max(1, fitting.length)];
    if (there === undefined) return [];
    const ends = seenAt === "egress" ? { from: here, to: there } : { from: there, to: here };
    return [{ ...ends, protocol, port, seenAt }];
  });
}

const observed = ({ from, to, ...flow }: Flow, index: number): ObservedFlow => {
  const end = (party: Party) => ({
    pods: podOf(party) === undefined ? [] : [keyOf(podOf(party) as Pod)],
    address: party.address,
  });
  const time = `2026-11-30T00:00:${String(index % 60).padStart(2, "0")}.000Z`;
  return { ...flow, from: end(from), to: end(to), count: 1, first: time, last: time };
};

interface Outcome {
  readonly flows: readonly Flow[];
  readonly next: Cluster;
  readonly workloadAt: (party: Party) => SelectedWorkload | undefined;
  readonly suggestions: ReturnType<typeof suggest>;
}

function outcomeOf(world: Cluster, chosen: readonly Draw[], choice: Choice): Outcome {
  const flows = flowsOf(world, chosen);
  const suggestions = suggest(world, flows.map(observed), {
    ...choice,
    directions: DIRECTIONS,
    isWanted: () => true,
    mode: "enforce",
  });
  const policies = new Map(suggestions.policies.map(({ policy }) => [keyOf(policy), policy]));
  expect(policies.size).toBe(suggestions.policies.length);
  const workloads = workloadsOf(world.pods.values());
  return {
    flows,
    suggestions,
    next: { ...world, policies, clusterPolicies: new Map() },
    workloadAt: (party) => (party.kind === "pod" ? workloads.of(keyOf(party.pod)) : undefined),
  };
}

const text = ({ from, to, protocol, port, seenAt }: Flow): string =>
  `${[from, to].map((end) => `${end.kind === "pod" ? `${keyOf(end.pod)} ` : ""}${end.address.text}`).join(" -> ")} ${protocol}/${port}, ${seenAt}`;

const KUBE_DNS = "kube-system";

/** Whether a flow of the same workloads and the same port was seen, or it is to an address that was, or its network. */
function wasSeen({ flows, workloadAt }: Outcome, asked: Flow, inSameNetwork: boolean): boolean {
  const isSame = (a: Party, b: Party): boolean => {
    const [one, two] = [workloadAt(a), workloadAt(b)];
    if (one !== undefined || two !== undefined)
      return one?.namespace === two?.namespace && one?.name === two?.name;
    const { family, value, text: own } = a.address;
    return (
      own === b.address.text ||
      (inSameNetwork && cidrContains(cidrOf(family, value, family === 4 ? 24 : 64), b.address))
    );
  };
  return flows.some(
    ({ from, to, protocol, port }) =>
      protocol === asked.protocol && port === asked.port && isSame(from, asked.from) && isSame(to, asked.to),
  );
}

function* askable(world: Cluster): Generator<Flow> {
  const parties = partiesOf(world);
  for (const from of parties)
    for (const to of parties) {
      if (from.address.family !== to.address.family || podOf(from) === podOf(to)) continue;
      for (const protocol of PROTOCOLS)
        for (const port of [2, 83, ...PORTS])
          for (const seenAt of DIRECTIONS) yield { from, to, protocol, port, seenAt };
    }
}

it(
  `the policies allow what was seen, and between workloads nothing else, in ${RUNS} random worlds`,
  () => {
    let checked = 0;
    fc.assert(
      fc.property(cluster, draws, options, (world, chosen, choice) => {
        const outcome = outcomeOf(world, chosen, choice);
        const { next, flows } = outcome;
        for (const flow of flows)
          for (const direction of DIRECTIONS)
            if (!permits(sideVerdict(next, flow, direction)))
              expect.fail(`${direction} denies what was seen: ${text(flow)}`);
        for (const asked of askable(world)) {
          const { kind } = sideVerdict(next, asked, asked.seenAt);
          if (kind === "not-applicable" || kind === "not-isolated" || kind === "denied") continue;
          checked += 1;
          const isDns =
            choice.keepsDns &&
            asked.seenAt === "egress" &&
            asked.to.kind === "pod" &&
            asked.to.pod.namespace === KUBE_DNS;
          if (!isDns && !wasSeen(outcome, asked, choice.outside === "networks"))
            expect.fail(`allowed, and not seen: ${text(asked)}`);
          // A network holds nothing of the cluster's.
          const { from, to } = asked;
          if (!wasSeen(outcome, asked, false) && !isDns) expect([from.kind, to.kind]).toContain("address");
        }
      }),
      { numRuns: RUNS },
    );
    expect(checked).toBeGreaterThan(RUNS);
  },
  PATIENCE_MS,
);

it(
  `as does the plan that they compile to`,
  () => {
    fc.assert(
      fc.property(cluster, draws, options, (world, chosen, choice) => {
        const { next, flows } = outcomeOf(world, chosen, choice);
        const locals = localsOf(next);
        const plan = planOf(compile(next, locals, NOTHING_NUMBERED).state);
        const judge = ({ from, to, protocol, port }: Flow, direction: Direction): boolean | undefined => {
          const [own, other] = direction === "ingress" ? [to, from] : [from, to];
          const local = locals.find(({ pod }) => pod === podOf(own));
          if (local === undefined) return undefined;
          const { ifindex } = local;
          const verdict = plan.judge({
            direction,
            ifindex,
            remote: other.address,
            place: placeOf(protocol, port),
          });
          return verdict === "allowed" || verdict === "not isolated";
        };
        for (const flow of flows)
          for (const direction of DIRECTIONS)
            if (judge(flow, direction) === false) expect.fail(`the plan's ${direction} denies ${text(flow)}`);
        let count = 0;
        for (const asked of askable(world)) {
          count += 1;
          if (count % 17 !== 0) continue;
          const planned = judge(asked, asked.seenAt);
          if (planned !== undefined && planned !== permits(sideVerdict(next, asked, asked.seenAt)))
            expect.fail(`plan ${planned}: ${text(asked)}`);
        }
      }),
      { numRuns: Math.min(RUNS, 500) },
    );
  },
  PATIENCE_MS,
);

it(
  "each workload's selector selects its pods and no others, and no policy has two rules for the same ports",
  () => {
    fc.assert(
      fc.property(cluster, draws, options, (world, chosen, choice) => {
        const { suggestions } = outcomeOf(world, chosen, choice);
        const all = workloadsOf(world.pods.values()).all;
        expect(new Set(all.map(({ namespace, name }) => `${namespace}/${name}`)).size).toBe(all.length);
        for (const { namespace, selector, pods } of all) {
          const selected = [...world.pods.values()].filter(
            (pod) => pod.namespace === namespace && !pod.hostNetwork && matches(selector, pod.labels),
          );
          expect(selected.map(keyOf).sort()).toEqual(pods.map(keyOf).sort());
        }
        for (const { policy } of suggestions.policies)
          for (const direction of DIRECTIONS) {
            const ports = policy.rules[direction].map((rule) => JSON.stringify(rule.ports));
            expect(new Set(ports).size).toBe(ports.length);
            const peers = policy.rules[direction].flatMap((rule) =>
              (rule.peers === "anyone" ? [] : rule.peers).map((peer) =>
                peer.kind === "block" ? peer.cidr.text : JSON.stringify(peer),
              ),
            );
            expect(new Set(peers).size).toBe(peers.length);
          }
      }),
      { numRuns: RUNS },
    );
  },
  PATIENCE_MS,
);
