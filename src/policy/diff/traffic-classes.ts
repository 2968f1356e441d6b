// What a comparison asks about: classes of pods that neither cluster tells apart, and what there is of addresses besides.

import type { Direction } from "../../base/direction.ts";
import { addressBits, type Cidr, cidrCovers, cidrOf, compareCidrs, type Family } from "../../base/ip.ts";
import { type Cluster, isSelectable, keyOf, type Pod } from "../../model/cluster.ts";
import type { Reach } from "./reach.ts";

export const FAMILIES: readonly Family[] = [4, 6];

/** Before and after. */
export type Twice<T> = readonly [T, T];

/** Members of a unit are alike to every policy, before as after. */
export type Unit =
  | {
      readonly kind: "pods";
      readonly pods: readonly Pod[];
      readonly policy: { readonly [direction in Direction]: Twice<string> };
      /** Of the first address of each family; undefined where they have none. */
      readonly terms: { readonly [family in Family]: Twice<string> | undefined };
    }
  | {
      readonly kind: "addresses";
      /** The prefixes without the narrower ones of other units; the one of length 0 is all the rest. */
      readonly cidr: Cidr;
      readonly terms: { readonly [family in Family]: Twice<string> | undefined };
    };

/** Pods that are there before and after (those after stand for both), by class. */
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

/** Those of which the narrower ones leave nothing. */
function filledOf(cidrs: readonly Cidr[]): ReadonlySet<Cidr> {
  const size = ({ family, length }: Cidr): bigint => 1n << BigInt(addressBits(family) - length);
  const taken = new Map<Cidr, bigint>();
  for (const [cidr, parent] of parentsOf(cidrs)) taken.set(parent, (taken.get(parent) ?? 0n) + size(cidr));
  return new Set(cidrs.filter((cidr) => taken.get(cidr) === size(cidr)));
}
