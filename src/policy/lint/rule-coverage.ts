// Whether one selector, peer, port list or rule allows everything that another does, for any set of pods. "No" may mean "not
// provably".

import { assertNever } from "../../base/assert.ts";
import { addressBits, type Cidr, cidrCovers, cidrOf } from "../../base/ip.ts";
import { NAMESPACE_NAME_LABEL } from "../../model/cluster.ts";
import { exceptionsOf, type Peer, type PortMatch, type Rule } from "../../model/network-policy.ts";
import type { Requirement, Selector } from "../../model/selector.ts";
import { rangeOf, union } from "../port-classes.ts";

const PORT_MAX = 65_535;

/** Whether `outer` matches everything that `inner` matches. */
export const selectorCovers = (outer: Selector, inner: Selector): boolean =>
  outer.requirements.every((wanted) => inner.requirements.some((given) => implies(given, wanted)));

function implies(given: Requirement, wanted: Requirement): boolean {
  if (given.key !== wanted.key) return false;
  switch (wanted.operator) {
    case "In":
      return given.operator === "In" && given.values.every((value) => wanted.values.includes(value));
    case "NotIn":
      if (given.operator === "In") return !given.values.some((value) => wanted.values.includes(value));
      if (given.operator === "NotIn") return wanted.values.every((value) => given.values.includes(value));
      return given.operator === "DoesNotExist";
    case "Exists":
      return given.operator === "In" || given.operator === "Exists";
    case "DoesNotExist":
      return given.operator === "DoesNotExist";
    default:
      return assertNever(wanted, "selector operator");
  }
}

/** The first key whose requirements contradict each other, if any: such a selector matches nothing, ever. */
export function contradiction({ requirements }: Selector): string | undefined {
  const byKey = Map.groupBy(requirements, (requirement) => requirement.key);
  return [...byKey].find(([, own]) => contradicts(own))?.[0];
}

function contradicts(requirements: readonly Requirement[]): boolean {
  const lists = requirements.flatMap((each) => (each.operator === "In" ? [each.values] : []));
  const present = lists.length > 0 || requirements.some((each) => each.operator === "Exists");
  if (present && requirements.some((each) => each.operator === "DoesNotExist")) return true;
  const excluded = requirements.flatMap((each) => (each.operator === "NotIn" ? each.values : []));
  const [first, ...others] = lists;
  return (
    first?.every((value) => excluded.includes(value) || !others.every((each) => each.includes(value))) ??
    false
  );
}

/** Whether there may be labels that both match. */
export const mayOverlap = (a: Selector, b: Selector): boolean =>
  contradiction({ requirements: [...a.requirements, ...b.requirements] }) === undefined;

/** Whether `outer` allows all that `inner` does, both rules of policies of the namespace. */
export const ruleCovers = (outer: Rule, inner: Rule, namespace: string): boolean =>
  peersCover(outer.peers, inner.peers, namespace) && portsCover(outer.ports, inner.ports);

function peersCover(outer: Rule["peers"], inner: Rule["peers"], namespace: string): boolean {
  if (outer === "anyone") return true;
  if (inner === "anyone") return false;
  return inner.every((peer) => outer.some((each) => peerCovers(each, peer, namespace)));
}

export function peerCovers(outer: Peer, inner: Peer, namespace: string): boolean {
  // What matches nothing is neither useful nor redundant: other findings report it.
  if (outer.kind === "nothing" || inner.kind === "nothing") return false;
  if (outer.kind === "block") return inner.kind === "block" && blockCovers(outer, inner);
  if (inner.kind === "block") return false;
  const own: Selector = {
    requirements: [{ operator: "In", key: NAMESPACE_NAME_LABEL, values: [namespace] }],
  };
  const sameNamespace = outer.namespaces === undefined && inner.namespaces === undefined;
  return (
    (sameNamespace || selectorCovers(outer.namespaces ?? own, inner.namespaces ?? own)) &&
    selectorCovers(outer.pods, inner.pods)
  );
}

type Block = Pick<Peer & { readonly kind: "block" }, "cidr" | "except">;

/** Every exception of `outer` must also be one of `inner`, or be outside it. */
export function blockCovers(outer: Block, inner: Block): boolean {
  if (!cidrCovers(outer.cidr, inner.cidr)) return false;
  return exceptionsOf(outer).every((cut) => {
    if (cidrCovers(cut, inner.cidr)) return false;
    return !cidrCovers(inner.cidr, cut) || prefixesCover(exceptionsOf(inner), cut);
  });
}

export function portsCover(outer: Rule["ports"], inner: Rule["ports"]): boolean {
  if (outer === "all") return true;
  if (inner === "all") return false;
  return inner.every((port) => portCovered(port, outer));
}

function portCovered(port: PortMatch, by: readonly PortMatch[]): boolean {
  if (port.kind === "nothing") return false;
  const ranges = union(
    by.flatMap((each) => (each.kind === "range" ? rangeOf(each.protocol, each.first, each.last) : [])),
  );
  const wanted =
    port.kind === "range"
      ? rangeOf(port.protocol, port.first, port.last)
      : rangeOf(port.protocol, 1, PORT_MAX);
  if (ranges.some(({ first, last }) => first <= wanted.first && wanted.last <= last)) return true;
  return by.some(
    (each) =>
      each.kind === "name" &&
      port.kind === "name" &&
      each.name === port.name &&
      each.protocol === port.protocol,
  );
}

/** Whether there may be traffic to ports of both. A name and a number are taken for different ports. */
export function portsOverlap(a: Rule["ports"], b: Rule["ports"]): boolean {
  if (a === "all" || b === "all") return true;
  return a.some((one) => b.some((other) => portOverlaps(one, other)));
}

function portOverlaps(a: PortMatch, b: PortMatch): boolean {
  if (a.kind === "nothing" || b.kind === "nothing" || a.protocol !== b.protocol) return false;
  if (a.kind === "range" && b.kind === "range") return a.first <= b.last && b.first <= a.last;
  return a.kind === "name" && b.kind === "name" && a.name === b.name;
}

/** Whether the prefixes together hold every address of another one. */
export function prefixesCover(prefixes: readonly Cidr[], whole: Cidr): boolean {
  if (prefixes.some((each) => cidrCovers(each, whole))) return true;
  const inside = prefixes.filter((each) => cidrCovers(whole, each));
  // Two halves need two prefixes at least.
  if (inside.length < 2 || whole.length === addressBits(whole.family)) return false;
  const length = whole.length + 1;
  const half = 1n << BigInt(addressBits(whole.family) - length);
  return [whole.value, whole.value + half].every((value) =>
    prefixesCover(inside, cidrOf(whole.family, value, length)),
  );
}
