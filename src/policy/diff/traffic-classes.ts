// Classes of pods and addresses that no policy distinguishes, what they can reach, and their names.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import {
  type Address,
  addressBits,
  type Cidr,
  cidrCovers,
  cidrOf,
  compareCidrs,
  type Family,
} from "../../base/ip.ts";
import { type PrefixTable, prefixTable } from "../../base/prefix-table.ts";
import { type Cluster, isSelectable, keyOf, type Pod } from "../../model/cluster.ts";
import { ALL_PORTS, type PortSet, union } from "../port-classes.ts";
import { compilePolicy, planRows, setsByTerm } from "../rows.ts";
import { allClauses, closingTerms, type Side, sideOf } from "../subjects.ts";
import { domainsIn } from "../tiers.ts";
import { classify } from "../workloads.ts";

// The units of a comparison: classes of pods that neither cluster distinguishes, and all other addresses.

export const FAMILIES: readonly Family[] = [4, 6];

/** Before and after. */
export type Twice<T> = readonly [T, T];

/** Members of a unit are equal for every policy, before and after. */
export type Unit =
  | {
      readonly kind: "pods";
      readonly pods: readonly Pod[];
      readonly policy: { readonly [direction in Direction]: Twice<string> };
      /** Of the first address of each family; undefined if they have none. */
      readonly terms: { readonly [family in Family]: Twice<string> | undefined };
    }
  | {
      readonly kind: "addresses";
      /** The prefixes without the narrower ones of other units; the one of length 0 is all the rest. */
      readonly cidr: Cidr;
      readonly terms: { readonly [family in Family]: Twice<string> | undefined };
    }
  | {
      readonly kind: "name";
      /** A rule's domain name: addresses that a pod has resolved from it, and that no rule has otherwise. Only a destination. */
      readonly name: string;
      readonly terms: { readonly [family in Family]: Twice<string> };
    };

/** The domain names of rules, before or after. */
export function nameUnits(clusters: Twice<Cluster>, reaches: Twice<Reach>): Unit[] {
  const rest = (family: Family): Twice<string> => {
    const cidr = cidrOf(family, 0n, 0);
    return [reaches[0].termsIn(cidr), reaches[1].termsIn(cidr)];
  };
  return namesOf(clusters).map((name) => ({ kind: "name", name, terms: { 4: rest(4), 6: rest(6) } }));
}

export const namesOf = (clusters: Twice<Cluster>): readonly string[] =>
  [...new Set(clusters.flatMap(({ clusterPolicies }) => domainsIn(clusterPolicies ?? new Map())))].sort();

/** Pods that exist before and after (represented by those after), by class. */
export function podUnits(clusters: Twice<Cluster>, reaches: Twice<Reach>): Unit[] {
  const classes = new Map<string, { unit: Unit & { readonly kind: "pods" }; pods: Pod[] }>();
  for (const pod of clusters[1].pods.values()) {
    const earlier = clusters[0].pods.get(keyOf(pod));
    if (earlier === undefined || !isSelectable(pod) || !isSelectable(earlier)) continue;
    const policy = (direction: Direction): Twice<string> => [
      reaches[0].policyOf(earlier, direction),
      reaches[1].policyOf(pod, direction),
    ];
    const terms = (family: Family): Twice<string> | undefined => {
      const [was, is] = [earlier, pod].map(({ ips }) => ips.find((each) => each.family === family));
      return was === undefined || is === undefined
        ? undefined
        : [reaches[0].termsAt(was), reaches[1].termsAt(is)];
    };
    const facts = {
      policy: { ingress: policy("ingress"), egress: policy("egress") },
      terms: { 4: terms(4), 6: terms(6) },
    };
    const key = JSON.stringify(facts);
    const known = classes.get(key);
    if (known !== undefined) known.pods.push(pod);
    else {
      const pods = [pod];
      classes.set(key, { unit: { kind: "pods", pods, ...facts }, pods });
    }
  }
  return [...classes.values()].map(({ unit }) => unit);
}

/** The prefixes that any rule names, and the rest of either family. */
export function addressUnits(reaches: Twice<Reach>): Unit[] {
  const named = reaches.flatMap(({ cidrs }) => cidrs);
  const rest = FAMILIES.map((family) => cidrOf(family, 0n, 0));
  const cidrs = [...new Map([...rest, ...named].map((cidr) => [cidr.text, cidr])).values()];
  const filled = filledOf(cidrs);
  return cidrs
    .filter((cidr) => !filled.has(cidr))
    .map((cidr): Unit => {
      const terms: Twice<string> = [reaches[0].termsIn(cidr), reaches[1].termsIn(cidr)];
      const none = { 4: undefined, 6: undefined };
      return { kind: "addresses", cidr, terms: { ...none, [cidr.family]: terms } };
    });
}

/** The next wider one of the prefixes, for each that has one. */
export function parentsOf(cidrs: readonly Cidr[]): ReadonlyMap<Cidr, Cidr> {
  const parents = new Map<Cidr, Cidr>();
  const path: Cidr[] = [];
  // In this order every prefix comes right after those that cover it, and those that are done with.
  for (const cidr of cidrs.toSorted(compareCidrs)) {
    while (path.length > 0 && !cidrCovers(path.at(-1) as Cidr, cidr)) path.pop();
    const parent = path.at(-1);
    if (parent !== undefined) parents.set(cidr, parent);
    path.push(cidr);
  }
  return parents;
}

/** Prefixes that narrower ones cover completely. */
function filledOf(cidrs: readonly Cidr[]): ReadonlySet<Cidr> {
  const size = ({ family, length }: Cidr): bigint => 1n << BigInt(addressBits(family) - length);
  const taken = new Map<Cidr, bigint>();
  for (const [cidr, parent] of parentsOf(cidrs)) taken.set(parent, (taken.get(parent) ?? 0n) + size(cidr));
  return new Set(cidrs.filter((cidr) => taken.get(cidr) === size(cidr)));
}

// Allowed sources, destinations and ports in one cluster, by classes: pods of equal policy, addresses that no rule distinguishes.

/** No policy isolates the pod in that direction. */
export const OPEN = "open";

export interface Reach {
  /** The effect of a pod's policies in a direction, as text that is equal if the effect is equal; or OPEN. */
  policyOf(pod: Pod, direction: Direction): string;
  /** The rules that match a pod's address, as text that is equal if the rules are the same. */
  termsAt(address: Address): string;
  /** The same for the addresses of a prefix that no narrower prefix contains and no pod has. */
  termsIn(cidr: Cidr): string;
  /** The ports that a policy allows to (from) addresses of these terms, those that a domain name adds included. */
  ports(policy: string, terms: string, name?: string): PortSet;
  /** The prefixes that rules name. */
  readonly cidrs: readonly Cidr[];
}

/** Prepares a cluster for many queries, also about these domain names. Time: pods of distinct labels times policies. */
export function reachOf(cluster: Cluster, domains: readonly string[]): Reach {
  const sides = sidesOf(cluster);
  const distinct = [...new Set(sides.values())].flatMap((each) =>
    DIRECTIONS.flatMap((direction) => each[direction] ?? []),
  );
  const terms = new Map(
    distinct.flatMap((side) =>
      allClauses(side).flatMap(({ term }) => (term ? [[term.key, term] as const] : [])),
    ),
  );
  const numbers = new Map([...terms.keys()].map((key, index) => [key, index + 1]));
  const { cidrs, termSets, termsOf } = classify(cluster, {
    terms: [...terms.values()],
    termNumbers: numbers,
    closing: closingTerms(distinct, numbers),
  });
  const compiled = new Map(distinct.map((side) => [side, compilePolicy(side, numbers, { domains })]));
  const policies = new Map(
    [...compiled.values()]
      .flatMap((policy) => [...(policy.byDomain?.values() ?? []), policy])
      .map((policy) => [policy.content, policy]),
  );
  const { cells } = planRows(policies, setsByTerm(termSets));
  const table: PrefixTable<string> = prefixTable(
    [...cidrs.values()].map(({ cidr, terms: set }) => [cidr, set.content] as const),
  );
  const allowed = (policy: string, set: string): PortSet =>
    cells.get(policy)?.get(set) ?? policies.get(policy)?.others ?? [];
  return {
    policyOf(pod, direction) {
      const side = sides.get(pod)?.[direction];
      return side === undefined ? OPEN : (compiled.get(side)?.content ?? OPEN);
    },
    termsAt: (address) => termsOf(address).content,
    termsIn: (cidr) => table.find(cidr.family, cidr.value, cidr.length) ?? "",
    ports(policy, set, name) {
      if (policy === OPEN) return ALL_PORTS;
      const by = name === undefined ? undefined : policies.get(policy)?.byDomain?.get(name);
      // Names only add.
      return by === undefined
        ? allowed(policy, set)
        : union([...allowed(policy, set), ...allowed(by.content, set)]);
    },
    cidrs: [...cidrs.values()].map(({ cidr }) => cidr),
  };
}

type Sides = { readonly [direction in Direction]: Side | undefined };

/** Audited policies drop nothing, so they change no decision. */
function enforcedSideOf(cluster: Cluster, pod: Pod, direction: Direction): Side | undefined {
  const side = sideOf(cluster, pod, direction);
  return side?.audit === true ? undefined : side;
}

/** A pod's namespace, labels and ports determine what selects it and what its policies mean: evaluated once for each combination. */
function sidesOf(cluster: Cluster): Map<Pod, Sides> {
  const known = new Map<string, Sides>();
  const sides = new Map<Pod, Sides>();
  for (const pod of cluster.pods.values()) {
    if (!isSelectable(pod)) continue;
    const labels = [...pod.labels].sort(([a], [b]) => (a < b ? -1 : 1));
    const key = JSON.stringify([pod.namespace, labels, pod.ports]);
    const own = known.get(key) ?? {
      ingress: enforcedSideOf(cluster, pod, "ingress"),
      egress: enforcedSideOf(cluster, pod, "egress"),
    };
    known.set(key, own);
    sides.set(pod, own);
  }
  return sides;
}

// Short descriptions of sets of pods and addresses: "every pod of shop", "pods of shop with app=web", or their names.

const NAMES_MAX = 5;

/** One end of a group. `all` are the units that were compared. */
export function unitsText(units: readonly Unit[], all: readonly Unit[], cluster: Cluster): string {
  const pods = podsIn(units);
  const texts = [
    ...podTexts(pods, podsIn(all), cluster),
    ...addressTexts(units, all),
    ...namesIn(units).map((name) => `addresses of ${name}`),
  ];
  return texts.join(", ");
}

export const podsIn = (units: readonly Unit[]): readonly Pod[] =>
  units.flatMap((unit) => (unit.kind === "pods" ? unit.pods : []));

function podTexts(pods: readonly Pod[], compared: readonly Pod[], cluster: Cluster): string[] {
  if (pods.length > 1 && pods.length === compared.length && isEverything(pods, cluster)) return ["every pod"];
  const inCluster = Map.groupBy(
    [...cluster.pods.values()].filter(isSelectable),
    ({ namespace }) => namespace,
  );
  const byNamespace = [...Map.groupBy(pods, ({ namespace }) => namespace)].sort(([a], [b]) =>
    a < b ? -1 : 1,
  );
  return byNamespace.flatMap(([namespace, own]) =>
    namespaceTexts(namespace, own, inCluster.get(namespace) ?? []),
  );
}

const isEverything = (pods: readonly Pod[], cluster: Cluster): boolean =>
  pods.length === [...cluster.pods.values()].filter(isSelectable).length;

function namespaceTexts(namespace: string, pods: readonly Pod[], all: readonly Pod[]): string[] {
  if (pods.length === 1) return pods.map(keyOf);
  if (pods.length === all.length) return [`every pod of ${namespace}`];
  const label = commonLabel(pods, all);
  if (label !== undefined) return [`pods of ${namespace} with ${label}`];
  const names = pods.map(keyOf).sort();
  const more = names.length - NAMES_MAX;
  return more > 0 ? [...names.slice(0, NAMES_MAX), `${more} more of ${namespace}`] : names;
}

/** A label that these pods have and no other pods of the namespace. */
function commonLabel(pods: readonly Pod[], all: readonly Pod[]): string | undefined {
  const candidates = [...(pods[0]?.labels ?? [])].sort(([a], [b]) => (a < b ? -1 : 1));
  const chosen = candidates.find(([key, value]) => {
    const having = all.filter(({ labels }) => labels.get(key) === value);
    return having.length === pods.length && pods.every(({ labels }) => labels.get(key) === value);
  });
  return chosen === undefined ? undefined : `${chosen[0]}=${chosen[1]}`;
}

function addressTexts(units: readonly Unit[], all: readonly Unit[]): string[] {
  const [cidrs, known] = [cidrsIn(units), cidrsIn(all)];
  if (cidrs.length === 0) return [];
  if (cidrs.length === known.length) return ["every address outside"];
  const own = new Set(cidrs);
  const named = known.filter(({ length }) => length > 0);
  const parents = parentsOf(named);
  const tops = named.filter((cidr) => {
    const parent = parents.get(cidr);
    return own.has(cidr) && (parent === undefined || !own.has(parent));
  });
  const inner = Map.groupBy(named, (cidr) => parents.get(cidr));
  const holes = (top: Cidr): string[] =>
    (inner.get(top) ?? []).flatMap((each) => (own.has(each) ? holes(each) : [each.text]));
  const texts = tops.map((top) => [top.text, ...holes(top).map((hole) => `but not ${hole}`)].join(" "));
  return [...texts, ...restText(cidrs.filter(({ length }) => length === 0).map(({ family }) => family))];
}

export const namesIn = (units: readonly Unit[]): readonly string[] =>
  units.flatMap((unit) => (unit.kind === "name" ? unit.name : []));

const cidrsIn = (units: readonly Unit[]): readonly Cidr[] =>
  units.flatMap((unit) => (unit.kind === "addresses" ? unit.cidr : []));

const restText = (families: readonly Family[]): string[] =>
  families.length === 2
    ? ["every other address"]
    : families.map((family) => `every other IPv${family} address`);
