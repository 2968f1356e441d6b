// From the words of a question to the paths that it is about.

import type { Protocol } from "../../model/cluster.ts";
import { type End, endOf, type Found } from "../../policy/trace/ends.ts";
import { EVERY_PORT, portsOf } from "../../policy/trace/ports.ts";
import { type Path, pathsOf, type Route, routesOf, type Worlds } from "../../policy/trace/trace.ts";
import { CommandError, EXIT } from "../env.ts";

export interface Question {
  readonly from: string;
  readonly to: string;
  readonly port?: string;
  readonly protocol: Protocol | "ICMP";
}

/** @throws CommandError where an end or a port means nothing in the cluster */
export function pathsIn(worlds: Worlds, question: Question): readonly Path[] {
  const { cluster } = worlds;
  const [from, to] = [orThrow(endOf(cluster, question.from)), orThrow(endOf(cluster, question.to))];
  const routes = routesOf(from, to);
  if (routes.length === 0) {
    const text = ({ parties }: End) => parties.map(({ address }) => address.text).join(", ");
    throw new CommandError(`the ends have no family in common: ${text(from)} and ${text(to)}`, EXIT.usage);
  }
  return routes.flatMap((route) => pathsOf(worlds, route, trafficOf(question, route)));
}

function trafficOf({ protocol, port }: Question, { to }: Route): Parameters<typeof pathsOf>[2] {
  if (protocol === "ICMP") return "ICMP";
  const ranges = port === undefined ? [EVERY_PORT] : orThrow(portsOf(port, protocol, to));
  return { protocol, ranges };
}

function orThrow<T>(found: Found<T>): T {
  if (found.ok) return found.value;
  throw new CommandError(found.reason, found.missing ? EXIT.notFound : EXIT.usage);
}
