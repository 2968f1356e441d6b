// Names of ports that no pod declares to which they could apply.

import { DIRECTIONS, type Direction } from "../../base/direction.ts";
import { cidrContains } from "../../base/ip.ts";
import { type ContainerPort, isSelectable, type Pod } from "../../model/cluster.ts";
import type { Policy, PortMatch, Rule } from "../../model/policy.ts";
import { matches } from "../../model/selector.ts";
import { distance } from "./nearest.ts";
import { assumedPods, type Finding, podNames, rulePath, selectedBy, type World } from "./world.ts";

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

/** The pods on which a port's name is looked up: for ingress those that are selected, for egress those at the other end. */
function targetsOf(world: World, policy: Policy, direction: Direction, { peers }: Rule): readonly Pod[] {
  if (direction === "ingress") return selectedBy(world, policy);
  const all = [...world.podsIn.values(), assumedPods(world)].flat().filter(isSelectable);
  if (peers === "anyone") return all;
  return all.filter((pod) =>
    peers.some((peer) => {
      if (peer.kind === "block") {
        const { cidr, except } = peer;
        return pod.ips.some((ip) => cidrContains(cidr, ip) && !except.some((cut) => cidrContains(cut, ip)));
      }
      const labels = world.namespaces.get(pod.namespace)?.labels ?? new Map();
      const inNamespace =
        peer.namespaces === undefined ? pod.namespace === policy.namespace : matches(peer.namespaces, labels);
      return inNamespace && matches(peer.pods, pod.labels);
    }),
  );
}

/** Where there is no pod to look at, nothing can be said. */
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
