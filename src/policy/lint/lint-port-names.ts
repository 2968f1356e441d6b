// Port names that no pod to which they could apply declares.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { type Address, cidrContains } from "../../base/ip.ts";
import { distance } from "../../base/nearest-word.ts";
import type { ContainerPort, Pod } from "../../model/cluster.ts";
import type { Policy, PortMatch, Rule } from "../../model/network-policy.ts";
import { matches } from "../../model/selector.ts";
import {
  type Finding,
  namespacesOf,
  podNames,
  rulePath,
  selectableIn,
  selectedBy,
  type World,
} from "./lint-input.ts";

type NamedPort = PortMatch & { readonly kind: "name" };

export const portNameFindings = (world: World, policy: Policy): readonly Finding[] =>
  DIRECTIONS.flatMap((direction) =>
    policy.rules[direction].flatMap((rule, index) => {
      if (rule.ports === "all") return [];
      return rule.ports.flatMap((port, at) => {
        if (port.kind !== "name") return [];
        const path = [...rulePath(direction, index), "ports", at, "port"];
        const wrong = wrongName(port, targetsOf(world, policy, direction, rule));
        return wrong === undefined ? [] : [{ code: "port-name-unknown" as const, policy, path, ...wrong }];
      });
    }),
  );

/** The pods on which a port name is looked up: for ingress the selected ones, for egress those at the other end. */
function targetsOf(world: World, policy: Policy, direction: Direction, { peers }: Rule): readonly Pod[] {
  if (direction === "ingress") return selectedBy(world, policy);
  const anyone = () => [...world.selectableIn.values(), world.assumed].flat();
  if (peers === "anyone") return anyone();
  return peers.flatMap((peer) => {
    if (peer.kind === "nothing") return [];
    if (peer.kind === "block") {
      const isIn = (ip: Address): boolean =>
        cidrContains(peer.cidr, ip) && !peer.except.some((cut) => cidrContains(cut, ip));
      return anyone().filter((pod) => pod.ips.some(isIn));
    }
    const names = namespacesOf(world, policy, peer);
    const assumed = world.assumed.filter((pod) => names.includes(pod.namespace));
    const there = [...names.flatMap((name) => selectableIn(world, name)), ...assumed];
    return there.filter((pod) => matches(peer.pods, pod.labels));
  });
}

/** Without pods there is no finding. */
function wrongName(
  { name, protocol }: NamedPort,
  pods: readonly Pod[],
): { readonly reason: string; readonly fix: string } | undefined {
  const declared = pods.flatMap((pod) => pod.ports.filter((port): port is Named => port.name !== undefined));
  const same = declared.filter((port) => port.name === name);
  if (pods.length === 0 || same.some((port) => port.protocol === protocol)) return undefined;
  const where = `of the pods that it applies to (${podNames(pods)})`;
  if (same.length > 0) {
    const others = [...new Set(same.map((port) => port.protocol))].join(" and ");
    const reason = `none ${where} declares a port ${name} for ${protocol}, but for ${others}`;
    return { reason, fix: `write protocol: ${same[0]?.protocol}` };
  }
  const nearest = declared.toSorted((a, b) => distance(name, a.name) - distance(name, b.name))[0];
  const reason = `none ${where} declares a port named ${name}`;
  if (nearest === undefined)
    return { reason: `${reason}, nor any other name`, fix: "write the port's number" };
  const text = `${nearest.name} (${nearest.protocol}/${nearest.port})`;
  return { reason: `${reason}; the nearest is ${text}`, fix: `write ${nearest.name}, or the port's number` };
}

type Named = ContainerPort & { readonly name: string };
