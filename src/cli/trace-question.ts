// From the words of a question to the paths that it is about.

import { parseDomainName } from "../base/domain-name.ts";
import { type Cluster, keyOf, type Protocol } from "../model/cluster.ts";
import {
  type End,
  EVERY_PORT,
  endOf,
  type Found,
  type PortRange,
  portsOf,
} from "../policy/trace/traced-ends.ts";
import { type Path, pathsOf, type Route, routesOf, type Worlds } from "../policy/trace/traced-paths.ts";
import {
  frontendsAt,
  isClusterIp,
  type NodeFacts,
  noServicePort,
  pathsThrough,
  pathsToClosed,
  rangesWithout,
  servicePortsOf,
} from "../policy/trace/traced-services.ts";
import { CommandError, EXIT } from "./environment.ts";
import type { Live } from "./query-manifests.ts";

export interface Question {
  readonly from: string;
  readonly to: string;
  readonly port?: string;
  readonly protocol: Protocol | "ICMP";
  /** A domain name that the source is supposed to have resolved to the destination, instead of those in the kernel. */
  readonly name?: string;
}

/** @throws CommandError where an end or a port means nothing in the cluster */
export function pathsIn(asked: Worlds, question: Question, live: Live | undefined): readonly Path[] {
  const worlds = { ...asked, namesOf: namesIn(live, question.name) };
  const { cluster } = worlds;
  const [from, to] = [orThrow(endOf(cluster, question.from)), orThrow(endOf(cluster, question.to))];
  if (from.service !== undefined && from.parties.every(({ kind }) => kind === "address"))
    throw new CommandError(
      `${question.from} is a Service's: a connection comes from a pod or an address`,
      EXIT.usage,
    );
  const routes = routesOf(from, to);
  if (routes.length === 0) {
    const text = ({ parties }: End) => parties.map(({ address }) => address.text).join(", ");
    throw new CommandError(`the ends have no family in common: ${text(from)} and ${text(to)}`, EXIT.usage);
  }
  return routes.flatMap((route) =>
    pathsOn(worlds, route, { question, to, node: nodeOf(cluster, route, live) }),
  );
}

/** Those that the agent found in the kernel, or the one that is supposed. */
function namesIn(live: Live | undefined, name: string | undefined): NonNullable<Worlds["namesOf"]> {
  if (name !== undefined) {
    const parsed = parseDomainName(name);
    if (!parsed.ok) throw new CommandError(`--name ${name}: ${parsed.reason}`, EXIT.usage);
    return () => [parsed.value];
  }
  if (live === undefined) return () => [];
  const interfaces = new Map(live.endpoints.map((each) => [keyOf(each), each.ifindex]));
  return (from, to) => {
    const ifindex = from.kind === "pod" ? interfaces.get(keyOf(from.pod)) : undefined;
    return ifindex === undefined ? [] : live.namesOf(ifindex, to.address.text);
  };
}

interface Asked {
  readonly question: Question;
  readonly to: End;
  readonly node: NodeFacts;
}

function pathsOn(worlds: Worlds, route: Route, { question, to, node }: Asked): readonly Path[] {
  const { protocol, port } = question;
  if (protocol === "ICMP") return pathsOf(worlds, route, "ICMP");
  const ranges = rangesOf(worlds.cluster, question, { to, protocol, route });
  if (to.service === undefined) return pathsOf(worlds, route, { protocol, ranges });
  const closed = pathsToClosed(worlds, route, { protocol, ranges, node });
  if (closed !== undefined) return closed;
  const frontends = frontendsAt(worlds.cluster, route.to, { protocol, ranges, node });
  const through = frontends.flatMap((frontend) => pathsThrough(worlds, { from: route.from, frontend }, node));
  // A Service means its ports. Other ports of an address outside the cluster (a node's, a load balancer's) lead to
  // whatever listens there, if they are queried; those of a ClusterIP lead nowhere.
  const hasOtherPorts = !question.to.includes("/") && !isClusterIp(worlds.cluster, route.to);
  if (frontends.length === 0 && !hasOtherPorts) orThrow(noServicePort(worlds.cluster, to.service, question));
  if (through.length > 0 && (port === undefined || !hasOtherPorts)) return through;
  const rest = rangesWithout(
    ranges,
    frontends.map((frontend) => frontend.port),
  );
  return [...through, ...pathsOf(worlds, route, { protocol, ranges: rest })];
}

function rangesOf(
  cluster: Cluster,
  { port }: Question,
  { to, protocol, route }: { readonly to: End; readonly protocol: Protocol; readonly route: Route },
): readonly PortRange[] {
  if (port === undefined) return [EVERY_PORT];
  if (to.service !== undefined && /^[a-z0-9-]*[a-z][a-z0-9-]*$/.test(port))
    return orThrow(servicePortsOf(cluster, to.service, port, protocol));
  return orThrow(portsOf(port, protocol, route.to));
}

/** The node where the connection begins: this one, where the agent says who is here, else what the client says of its own. */
function nodeOf(cluster: Cluster, { from }: Route, live: Live | undefined): NodeFacts {
  if (live === undefined) {
    const own = from.kind === "pod" ? from.pod.node : undefined;
    const nodes = new Set(own === undefined ? [] : [own]);
    return { nodes, isEndpoint: ({ node }) => node === undefined || own === undefined || node === own };
  }
  const here = new Set(live.endpoints.filter(({ ifindex }) => ifindex !== undefined).map(keyOf));
  const nodes = new Set([...here].flatMap((key) => cluster.pods.get(key)?.node ?? []));
  return { nodes, isEndpoint: (pod) => here.has(keyOf(pod)) };
}

function orThrow<T>(found: Found<T>): T {
  if (found.ok) return found.value;
  throw new CommandError(found.reason, found.missing ? EXIT.notFound : EXIT.usage);
}
