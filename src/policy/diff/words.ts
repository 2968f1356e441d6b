// Sets of pods and addresses in few words: "every pod of shop", "pods of shop with app=web", or their names.

import type { Cidr, Family } from "../../base/ip.ts";
import { type Cluster, isSelectable, keyOf, type Pod } from "../../model/cluster.ts";
import { parentsOf, type Unit } from "./traffic-classes.ts";

const NAMES_MAX = 5;

/** One end of a group. `all` are the units that were compared. */
export function unitsText(units: readonly Unit[], all: readonly Unit[], cluster: Cluster): string {
  const pods = podsIn(units);
  const texts = [...podTexts(pods, podsIn(all), cluster), ...addressTexts(units, all)];
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

/** A label that these pods have and no others of the namespace. */
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

const cidrsIn = (units: readonly Unit[]): readonly Cidr[] =>
  units.flatMap((unit) => (unit.kind === "addresses" ? unit.cidr : []));

const restText = (families: readonly Family[]): string[] =>
  families.length === 2
    ? ["every other address"]
    : families.map((family) => `every other IPv${family} address`);
