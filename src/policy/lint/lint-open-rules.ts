// Rules that allow more than was likely meant (everything), or less (a block whose exceptions leave nothing of it).

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { addressBits, type Cidr, cidrOf, type Family } from "../../base/ip.ts";
import { isSelectable, type Pod } from "../../model/cluster.ts";
import type { Peer, Policy, Rule } from "../../model/network-policy.ts";
import { rangeOf, union } from "../port-classes.ts";
import { type Finding, type Path, peerPath, podNames, rulePath, type World } from "./lint-input.ts";
import { prefixesCover } from "./rule-coverage.ts";

type Block = Peer & { readonly kind: "block" };

export const openFindings = (world: World, policy: Policy): readonly Finding[] =>
  DIRECTIONS.flatMap((direction) =>
    policy.rules[direction].flatMap((rule, index) => [
      ...(policy.isolates[direction] ? opensAll(policy, { direction, index, rule }) : []),
      ...blockFindings(world, policy, { direction, index, rule }),
    ]),
  );

interface RuleAt {
  readonly direction: Direction;
  readonly index: number;
  readonly rule: Rule;
}

function opensAll(policy: Policy, { direction, index, rule }: RuleAt): readonly Finding[] {
  const who = isEveryPort(rule.ports) ? openPeers(rule.peers) : undefined;
  if (who === undefined) return [];
  const isNoLimit = rule.peers === "anyone" && rule.ports === "all";
  const verb = direction === "ingress" ? "from" : "to";
  const reason = `allows traffic ${verb} ${who} on every port${isNoLimit ? `, so the policy restricts no ${direction}` : ""}`;
  const fix = `name the peers (${verb}) or the ports that are meant`;
  return [{ code: "opens-all", policy, path: rulePath(direction, index), reason, fix }];
}

const PORT_MAX = 65_535;

/** All ports of TCP and UDP are treated as every port. */
function isEveryPort(ports: Rule["ports"]): boolean {
  if (ports === "all") return true;
  const spans = ports.flatMap((each) =>
    each.kind === "range" ? rangeOf(each.protocol, each.first, each.last) : [],
  );
  const all = union(spans);
  // No traffic has port 0, so that 1 to 65535 is all.
  const needed = [rangeOf("TCP", 1, PORT_MAX), rangeOf("UDP", 1, PORT_MAX)];
  return needed.every((each) => all.some(({ first, last }) => first <= each.first && each.last <= last));
}

const WHOLE: Readonly<Record<Family, Cidr>> = { 4: cidrOf(4, 0n, 0), 6: cidrOf(6, 0n, 0) };

function openPeers(peers: Rule["peers"]): string | undefined {
  if (peers === "anyone") return "everyone";
  const open = peers.flatMap((peer) =>
    peer.kind === "block" && peer.except.length === 0 ? [peer.cidr] : [],
  );
  const families = ([4, 6] as const).filter((family) => prefixesCover(open, WHOLE[family]));
  if (families.length === 2) return "every address";
  return families.length === 1 ? `every IPv${families[0]} address` : undefined;
}

function blockFindings(world: World, policy: Policy, { direction, index, rule }: RuleAt): readonly Finding[] {
  if (rule.peers === "anyone") return [];
  return rule.peers.flatMap((peer, at) => {
    if (peer.kind !== "block") return [];
    const path: Path = [...peerPath(direction, index, at), "ipBlock"];
    return [...wholeExcept(policy, peer, path), ...podBlock(world, policy, { peer, path })];
  });
}

function wholeExcept(policy: Policy, { cidr, except }: Block, path: Path): readonly Finding[] {
  if (!prefixesCover(except, cidr)) return [];
  const reason = `together they leave no address of ${cidr.text}, so the block matches nothing`;
  const fix = "remove the exceptions that are too wide, or the whole block";
  return [{ code: "except-whole-block", policy, path: [...path, "except"], reason, fix }];
}

/** A block of one address that a pod currently has: pods get new addresses. */
function podBlock(
  world: World,
  policy: Policy,
  { peer: { cidr }, path }: { readonly peer: Block; readonly path: Path },
): readonly Finding[] {
  if (cidr.length !== addressBits(cidr.family)) return [];
  const isIts = (pod: Pod): boolean =>
    pod.ips.some(({ family, value }) => family === cidr.family && value === cidr.value);
  const owners = [...world.cluster.pods.values()].filter((pod) => isSelectable(pod) && isIts(pod));
  if (owners.length === 0) return [];
  const reason = `${cidr.text} is the address of a pod (${podNames(owners)}), which gets another one when it is replaced`;
  const fix = "select the pod by its labels (podSelector)";
  return [{ code: "block-of-pod", policy, path: [...path, "cidr"], reason, fix }];
}
