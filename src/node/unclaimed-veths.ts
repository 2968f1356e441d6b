// Unclaimed interfaces: pairs into other network namespaces that no known pod owns.

import { RouteProtocol } from "bpf-ts";
import { memo } from "../base/memo.ts";
import { isPairElsewhere, type NetLink, type NetRoute, type NodeTables } from "./node-tables.ts";

/** Patterns of names of interfaces that are not a pod's: `*` matches any characters. */
export type Ignored = readonly string[];

/** Every pair that leads to another namespace, but for those known and those that `isStranger` excludes. */
export const unclaimedVethsIn = (
  tables: NodeTables,
  known: ReadonlySet<number>,
  ignored: Ignored,
): NetLink[] =>
  [...tables.links.values()].filter(
    (link) => !known.has(link.ifindex) && isUnclaimedVeth(tables, link, ignored),
  );

/**
 * Whether a link may be an unknown pod's. An uplink of the node is not: in a container (kind, LXC) the node's own
 * uplink is a pair too.
 */
export const isUnclaimedVeth = (tables: NodeTables, link: NetLink, ignored: Ignored): boolean =>
  isPairElsewhere(link) && !ignored.some((pattern) => matches(pattern, link.name)) && !isUplink(tables, link);

const uplinksIn = memo(
  ({ routes }: NodeTables): ReadonlySet<number> => new Set(routes.flatMap((route) => gatewaysOf(route))),
);

/** Whether routes to elsewhere lead through it. What a router at its other end announces does not count: a pod could. */
const isUplink = (tables: NodeTables, { ifindex }: NetLink): boolean => uplinksIn(tables).has(ifindex);

const gatewaysOf = ({ protocol, hops }: NetRoute): number[] =>
  protocol === RouteProtocol.RA || protocol === RouteProtocol.REDIRECT
    ? []
    : hops.flatMap(({ ifindex, gateway }) => (gateway === undefined ? [] : [ifindex]));

function matches(pattern: string, name: string): boolean {
  const parts = pattern.split("*").map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`).test(name);
}
