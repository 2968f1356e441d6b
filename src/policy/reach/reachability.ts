// Who may reach whom, as the compiled state has it: for each workload with a pod on this node, and each peer workload, the ports that
// its policies allow. No rule is evaluated here: the cells, rows and classes are those that the kernel looks up.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { memo } from "../../base/memo.ts";
import { findAddress } from "../../base/prefix-table.ts";
import { type Cluster, keyOf } from "../../model/cluster.ts";
import {
  OUTSIDE,
  type Reachability,
  type ReachPorts,
  type ReachSide,
} from "../../model/reachability-view.ts";
import {
  IDENTITY_DEFAULT,
  identityIn,
  isAudited,
  POLICY_NONE,
  policyNumber,
  ROW_ALL,
  ROW_NONE,
  ROW_NOTHING,
  type State,
} from "../../state/desired-state.ts";
import { cidrTable } from "../../state/state-lookup.ts";
import type { Compiled } from "../compile.ts";
import { type LocalEndpoint, podsOf } from "../local-endpoints.ts";
import { ALL_PORTS, intersection, NO_PORTS, type PortSet, portSetKey, union } from "../port-classes.ts";
import { workloadGroups } from "./workload-groups.ts";

/** How many addresses of a workload have each identity. */
type Identities = ReadonlyMap<number, number>;

/** `cluster` is what was compiled. */
export function reachabilityOf(
  { state, meaning }: Pick<Compiled, "state" | "meaning">,
  cluster: Cluster,
): Reachability {
  const { groups, indexOf } = workloadGroups(cluster.pods);
  const identityAt = identityReader(state);
  // The first is OUTSIDE: what the prefixes of rules cover, and every other address.
  const peers = interned([
    outsideOf(state),
    ...groups.map(({ pods }) => counted(pods.flatMap(({ ips }) => ips.map(identityAt)))),
  ]);
  const ports = openPortSets();
  const allowed = openAllowances(state, meaning.rows, ports);
  const sides = new Map<string, { side: Omit<ReachSide, "pods">; pods: number }>();
  const note = (local: LocalEndpoint, direction: Direction): void => {
    const policy = state.endpoints.get(local.ifindex)?.policy[direction];
    if (policy === undefined) return;
    const owners = podsOf(local).flatMap((pod) => indexOf.get(keyOf(pod)) ?? []);
    const own = counted(podsOf(local).flatMap(({ ips }) => ips.map(identityAt)));
    for (const owner of new Set(owners)) {
      const workload = owner + 1;
      const side = { workload, direction, ...allowed(policy, peers, { workload, own }) };
      const key = JSON.stringify(side);
      const known = sides.get(key) ?? { side, pods: 0 };
      known.pods += 1;
      sides.set(key, known);
    }
  };
  for (const { local } of meaning.sides) for (const direction of DIRECTIONS) note(local, direction);
  return {
    workloads: [
      { namespace: "", name: OUTSIDE, pods: 0, example: "" },
      ...groups.map(({ namespace, name, pods }) => ({
        namespace,
        name,
        pods: pods.length,
        example: keyOf(pods[0] as { namespace: string; name: string }),
      })),
    ],
    ports: ports.list().map((set) => set.map(({ first, last }) => [first, last] as const)),
    sides: [...sides.values()].map(({ side, pods }) => ({ ...side, pods })),
  };
}

const prefixesOf = memo((cidrs: State["cidrs"]) => cidrTable({ cidrs } as State));

function identityReader(state: State): (address: Parameters<typeof findAddress>[1]) => number {
  const prefixes = prefixesOf(state.cidrs);
  return (address) =>
    identityIn(state.addresses.get(address.text) ?? findAddress(prefixes, address) ?? IDENTITY_DEFAULT);
}

const counted = (identities: readonly number[]): Identities => {
  const counts = new Map<number, number>();
  for (const identity of identities) counts.set(identity, (counts.get(identity) ?? 0) + 1);
  return counts;
};

/** Workloads with the same identities have the same object: policies do not distinguish most of them. */
function interned(all: readonly Identities[]): readonly Identities[] {
  const known = new Map<string, Identities>();
  return all.map((each) => {
    const key = [...each].sort(([a], [b]) => a - b).join(" ");
    const found = known.get(key) ?? each;
    known.set(key, found);
    return found;
  });
}

/** Of addresses that no pod has: those of all prefixes, and of the rest where no prefix covers everything. */
const outsideOf = ({ cidrs, addresses }: State): Identities => {
  const families = [...addresses.keys()].some((text) => text.includes(":"))
    ? ["0.0.0.0/0", "::/0"]
    : ["0.0.0.0/0"];
  const isCovered = families.every((all) => cidrs.has(all));
  return counted([...cidrs.values(), ...(isCovered ? [] : [IDENTITY_DEFAULT])]);
};

interface PortSets {
  numberOf(set: PortSet): number;
  list(): readonly PortSet[];
}

/** Equal sets have one number. */
function openPortSets(): PortSets {
  const numbers = new Map<string, number>();
  const sets: PortSet[] = [];
  return {
    numberOf(set) {
      const key = portSetKey(set);
      const known = numbers.get(key);
      if (known !== undefined) return known;
      numbers.set(key, sets.length);
      sets.push(set);
      return sets.length - 1;
    },
    list: () => sets,
  };
}

type Allowance = Pick<ReachSide, "open" | "audit" | "others" | "peers">;

interface Subject {
  readonly workload: number;
  /** Identities of the pod's own addresses: a pod is not a peer of itself. */
  readonly own: Identities;
}

function openAllowances(
  state: State,
  rows: ReadonlyMap<number, PortSet>,
  ports: PortSets,
): (policy: number, peers: readonly Identities[], subject: Subject) => Allowance {
  const all = ports.numberOf(ALL_PORTS);
  /** Of each policy, what it allows each workload. */
  const known = new Map<number, readonly ReachPorts[]>();
  const setOf = (cells: ReadonlyMap<number, number>, identity: number): PortSet => {
    const row = cells.get(identity) ?? cells.get(IDENTITY_DEFAULT) ?? ROW_NOTHING;
    if (row === ROW_ALL) return ALL_PORTS;
    return row === ROW_NOTHING || row === ROW_NONE ? NO_PORTS : (rows.get(row) ?? NO_PORTS);
  };
  const portsOf = (cells: ReadonlyMap<number, number>, identities: Identities): ReachPorts => {
    const [first, ...others] = new Set(
      [...identities.keys()].map((each) => setOf(cells, each)),
    ) as Iterable<PortSet>;
    const set = first ?? NO_PORTS;
    if (others.length === 0) return [ports.numberOf(set), ports.numberOf(set)];
    return [
      ports.numberOf(others.reduce(intersection, set)),
      ports.numberOf(union([...set, ...others.flat()])),
    ];
  };
  return (policy, peers, { workload, own }) => {
    if (policy === POLICY_NONE) return { open: true, others: [all, all], peers: [] };
    const number = policyNumber(policy);
    const cells = state.policies.get(number) ?? new Map<number, number>();
    const others = portsOf(cells, new Map([[IDENTITY_DEFAULT, 1]]));
    const every = known.get(number) ?? peers.map(memo((identities) => portsOf(cells, identities)));
    known.set(number, every);
    const differing = every.flatMap((each, index) => {
      const found = index === workload ? portsOf(cells, without(peers[index] as Identities, own)) : each;
      return found[0] === others[0] && found[1] === others[1] ? [] : [[index, ...found] as const];
    });
    return { ...(isAudited(policy) ? { audit: true } : {}), others, peers: differing };
  };
}

/** Those that others of the workload have; of a single pod its own, which are not used. */
function without(all: Identities, own: Identities): Identities {
  const left = new Map(
    [...all].flatMap(([identity, count]) => {
      const rest = count - (own.get(identity) ?? 0);
      return rest > 0 ? [[identity, rest] as const] : [];
    }),
  );
  return left.size === 0 ? all : left;
}
