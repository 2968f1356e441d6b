// The path through a Service: from its address and port to each backend, where both ends are judged.

import type { Cluster, Pod, Protocol } from "../../model/cluster.ts";
import {
  type Backend,
  type Frontend,
  frontendKey,
  frontendsOf,
  openFrontends,
} from "../../model/frontends.ts";
import { type Party, permits, type SideVerdict, sideVerdict } from "../oracle.ts";
import { partyAt, reaches, serviceVerdict } from "../service-oracle.ts";
import type { Found, PortRange } from "./traced-ends.ts";
import {
  type Path,
  partyIn,
  type Route,
  sideOf,
  type TracedSide,
  type Via,
  type Worlds,
} from "./traced-paths.ts";

/** What is known about the node that rewrites. */
export interface NodeFacts {
  /** Its names, as far as pods state them. */
  readonly nodes: ReadonlySet<string>;
  /** Whether the pod is an endpoint of the node. */
  readonly isEndpoint: (pod: Pod) => boolean;
}

/** Traffic to an address. */
interface Traffic {
  readonly protocol: Protocol;
  readonly ranges: readonly PortRange[];
  readonly node: NodeFacts;
}

/** In the place of a Service: the address is none's, but has the bits of some that are closed. */
const ALIKE = "unknown";

/** The paths to an address of a Service whose ports are not known; undefined if it is none. */
export function pathsToClosed(
  { cluster }: Worlds,
  { from, to: { address } }: Route,
  { protocol, ranges, node }: Traffic,
): readonly Path[] | undefined {
  const { closed } = openFrontends()(cluster, node.nodes);
  if (!closed.has(address)) return undefined;
  const service = closed.serviceAt(address) ?? ALIKE;
  const traits = { keepsSource: false, judgedAsItself: false, backends: [], refused: true } as const;
  return ranges.map((ports) => {
    const frontend: Frontend = { ...traits, service, address, protocol, port: ports.first };
    const { leaves } = serviceVerdict(cluster, { from, frontend }, node.isEndpoint);
    return pathToNobody(cluster, from, { via: { frontend, leaves }, ports });
  });
}

/** The frontends at an address whose ports are among the queried ones, in rising order. */
export function frontendsAt(cluster: Cluster, { address }: Party, traffic: Traffic): readonly Frontend[] {
  return frontendsOf(cluster, traffic.node.nodes)
    .filter(
      (each) =>
        each.address.text === address.text &&
        each.protocol === traffic.protocol &&
        traffic.ranges.some(({ first, last }) => first <= each.port && each.port <= last),
    )
    .sort((a, b) => a.port - b.port);
}

/** Whether an address is a Service's within the cluster: nothing else answers there. */
export const isClusterIp = ({ services }: Cluster, { address }: Party): boolean =>
  services.values().some(({ clusterIps }) => clusterIps.some(({ text }) => text === address.text));

/** The Service has no port of this protocol (and number): kube-proxy forwards such packets to nobody. */
export function noServicePort(
  cluster: Cluster,
  service: string,
  { protocol, port }: { readonly protocol: string; readonly port?: string },
): Found<never> {
  if (cluster.services.get(service)?.exceeds !== undefined) return portsUnknown(service);
  const ports = (cluster.services.get(service)?.ports ?? []).map((each) => `${each.port}/${each.protocol}`);
  const wanted = port === undefined ? `${protocol} port` : `port ${port}/${protocol}`;
  const has = ports.length === 0 ? "it has none" : `it has ${ports.join(", ")}`;
  return { ok: false, reason: `Service ${service} has no ${wanted}; ${has}`, missing: true };
}

const portsUnknown = (service: string): Found<never> => ({
  ok: false,
  reason: `the ports of Service ${service} are not known: it is beyond its namespace's share of the agent's memory`,
  missing: true,
});

/** The parts of a range besides single ports. */
export function rangesWithout(ranges: readonly PortRange[], taken: readonly number[]): PortRange[] {
  return ranges.flatMap((range) => {
    const cuts = taken.filter((port) => range.first <= port && port <= range.last).sort((a, b) => a - b);
    const starts = [range.first, ...cuts.map((port) => port + 1)];
    const ends = [...cuts.map((port) => port - 1), range.last];
    return starts.flatMap((first, index) => {
      const last = ends[index] ?? range.last;
      return first <= last ? [{ first, last }] : [];
    });
  });
}

/** The numbers of a Service's port of this name. */
export function servicePortsOf(
  cluster: Cluster,
  service: string,
  name: string,
  protocol: Protocol,
): Found<PortRange[]> {
  const ports = cluster.services.get(service)?.ports ?? [];
  const named = ports.filter((port) => port.name === name && port.protocol === protocol);
  if (cluster.services.get(service)?.exceeds !== undefined) return portsUnknown(service);
  if (named.length === 0)
    return { ok: false, reason: `Service ${service} has no ${protocol} port called ${name}`, missing: true };
  return { ok: true, value: named.map(({ port }) => ({ first: port, last: port })) };
}

/** One path for each backend; one to the frontend itself if there is none. */
export function pathsThrough(
  { cluster, before, namesOf }: Worlds,
  { from, frontend }: { readonly from: Party; readonly frontend: Frontend },
  { nodes, isEndpoint }: NodeFacts,
): readonly Path[] {
  const names = namesOf?.(from, { kind: "address", address: frontend.address }) ?? [];
  const { leaves, backends, itself } = serviceVerdict(cluster, { from, frontend, names }, isEndpoint);
  const { address, protocol, port } = frontend;
  const atItself = { from, to: partyAt(cluster, address), protocol, port };
  const via: Via = {
    ...{ frontend, leaves },
    ...(itself && { itself: sideOf(cluster, atItself, "egress", itself) }),
  };
  if (backends.length === 0)
    return [pathToNobody(cluster, from, { via, ports: { first: port, last: port } })];
  return backends.map(({ backend, verdict }): Path => {
    const to = partyAt(cluster, backend.address);
    const probe = { from, to, protocol, port: backend.port };
    const ingress = sideVerdict(cluster, probe, "ingress");
    return {
      probe,
      ports: { first: backend.port, last: backend.port },
      allowed: leaves && permits(verdict) && permits(ingress),
      before: before && reachedBefore(before, { from, frontend, backend, names }, { nodes, isEndpoint }),
      sides: {
        egress: sideOf(cluster, probe, "egress", verdict),
        ingress: sideOf(cluster, probe, "ingress", ingress),
      },
      via,
    };
  });
}

function pathToNobody(
  cluster: Cluster,
  from: Party,
  { via, ports }: { readonly via: Via; readonly ports: PortRange },
): Path {
  const { address, protocol, port, refused } = via.frontend;
  const probe = { from, to: { kind: "address", address } as const, protocol, port };
  const verdict = sideVerdict(cluster, probe, "egress");
  const nobody: SideVerdict = { kind: "not-applicable" };
  const egress = sideOf(cluster, probe, "egress", verdict);
  const { isolatedBy } = egress;
  // What rules say of the address does not matter.
  const denied: TracedSide = {
    ...{ verdict: { kind: "denied", isolatedBy }, isolatedBy },
    ...{ nearest: undefined, namesMissing: [] },
  };
  return {
    probe,
    ports,
    allowed: refused === true && via.leaves,
    before: undefined,
    sides: {
      egress: refused === true && !via.leaves ? denied : egress,
      ingress: sideOf(cluster, probe, "ingress", nobody),
    },
    via,
  };
}

/** Undefined if the client did not exist. */
function reachedBefore(
  before: Cluster,
  {
    from,
    frontend,
    backend,
    names,
  }: {
    readonly from: Party;
    readonly frontend: Frontend;
    readonly backend: Backend;
    readonly names: readonly string[];
  },
  { nodes, isEndpoint }: NodeFacts,
): boolean | undefined {
  const client = partyIn(before, from);
  const earlier = frontendsOf(before, nodes).find((each) => frontendKey(each) === frontendKey(frontend));
  if (client === undefined || earlier === undefined) return undefined;
  return reaches(before, { from: client, frontend: earlier, names }, backend, isEndpoint);
}
