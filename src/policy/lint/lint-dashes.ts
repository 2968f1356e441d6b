// A superfluous dash: peers or ports that were likely meant to be one element, and were written as separate elements.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import type { Policy, Rule } from "../../model/network-policy.ts";
import { matches } from "../../model/selector.ts";
import { namesDns } from "./dns-rules.ts";
import {
  type Finding,
  namespacesOf,
  type PodsPeer,
  pathName,
  peerPath,
  rulePath,
  selectableIn,
  type World,
} from "./lint-input.ts";

export const dashFindings = (world: World, policy: Policy): readonly Finding[] =>
  DIRECTIONS.flatMap((direction) =>
    policy.rules[direction].flatMap((rule, index) => [
      ...andOrFindings(world, policy, { direction, index, rule }),
      ...splitFindings(policy, direction, index),
    ]),
  );

interface RuleAt {
  readonly direction: Direction;
  readonly index: number;
  readonly rule: Rule;
}

/**
 * Two neighbours, one with a namespaceSelector alone and one with a podSelector alone. Either may be meant, and both are
 * common; the finding is reported if the list has only such pairs, in the order in which people write one element, and the
 * policy nowhere uses the other form. If there are pods, they decide.
 */
function andOrFindings(world: World, policy: Policy, { direction, index, rule }: RuleAt): readonly Finding[] {
  if (rule.peers === "anyone") return [];
  const { peers } = rule;
  const path = (peer: number) => peerPath(direction, index, peer);
  const isNamespaceAlone = (at: number): boolean =>
    peers[at]?.kind === "pods" &&
    peers[at].namespaces !== undefined &&
    !world.writes(policy, [...path(at), "podSelector"]);
  const isPodAlone = (at: number): boolean => {
    const peer = peers[at];
    return peer?.kind === "pods" && peer.namespaces === undefined && peer.pods.requirements.length > 0;
  };
  const isPair = (at: number): boolean => isNamespaceAlone(at) && isPodAlone(at + 1);
  const onlyPairs = peers.length % 2 === 0 && peers.every((_, at) => at % 2 === 1 || isPair(at));
  const suspicious = onlyPairs && !knowsBoth(world, policy);
  return peers.flatMap((peer, at): readonly Finding[] => {
    const next = peers[at + 1];
    const swapped = isPodAlone(at) && isNamespaceAlone(at + 1);
    if (peer.kind !== "pods" || next?.kind !== "pods" || !(swapped || isPair(at))) return [];
    const combined = swapped ? { namespaces: next, pods: peer } : { namespaces: peer, pods: next };
    const evidence = evidenceOf(world, policy, combined);
    if (evidence === "either" || (evidence === "unknown" && (swapped || !suspicious))) return [];
    const second = path(at + 1);
    const reason = `is an element of its own, so ${pathName(path(at))} or ${pathName(second)} is enough; with one element for both, both would have to match`;
    const fix = `if both were meant, take the dash before ${swapped ? "namespaceSelector" : "podSelector"} away`;
    return [{ code: "and-or", policy, path: second, reason, fix }];
  });
}

/** Whether a peer of the policy has both selectors. */
const knowsBoth = (world: World, policy: Policy): boolean =>
  DIRECTIONS.some((direction) =>
    policy.rules[direction].some(
      ({ peers }, rule) =>
        peers !== "anyone" &&
        peers.some((peer, index) => {
          const path = peerPath(direction, rule, index);
          const both = peer.kind === "pods" && peer.namespaces !== undefined;
          return both && world.writes(policy, [...path, "podSelector"]);
        }),
    ),
  );

/** What the given pods indicate: that only pods of both match ("both"), that there are no such pods ("either"), or nothing. */
function evidenceOf(
  world: World,
  policy: Policy,
  { namespaces, pods }: { readonly namespaces: PodsPeer; readonly pods: PodsPeer },
): "both" | "either" | "unknown" {
  const fits = (namespace: string): boolean =>
    selectableIn(world, namespace).some((pod) => matches(pods.pods, pod.labels));
  const others = namespacesOf(world, policy, namespaces).filter((name) => name !== policy.namespace);
  const own = fits(policy.namespace);
  const there = others.some(fits);
  if (there && !own && world.podsIn.has(policy.namespace)) return "both";
  const known = others.length > 0 && others.every((name) => world.podsIn.has(name));
  return own && !there && known ? "either" : "unknown";
}

/** A rule with ports only next to one with peers only. DNS ports are listed alone on purpose. */
function splitFindings(policy: Policy, direction: Direction, index: number): readonly Finding[] {
  const rules = policy.rules[direction];
  const rule = rules[index];
  if (rule === undefined || rule.peers !== "anyone" || rule.ports === "all") return [];
  if (direction === "egress" && rule.ports.every(namesDns)) return [];
  const hasPeersOnly = (each: Rule | undefined): boolean => each?.peers !== "anyone" && each?.ports === "all";
  const other = [index - 1, index + 1].find((at) => rules[at] !== undefined && hasPeersOnly(rules[at]));
  if (other === undefined) return [];
  const who = direction === "ingress" ? "from everyone" : "to everyone";
  const reason = `is a rule of its own: it allows its ports ${who}, and ${pathName(rulePath(direction, other))} allows its peers on every port`;
  const fix = `if these ports were meant for those peers only, take the dash before ${other < index ? "ports" : "the peers"} away`;
  return [{ code: "rule-split", policy, path: rulePath(direction, index), reason, fix }];
}
