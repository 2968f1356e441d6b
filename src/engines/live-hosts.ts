// Which pods and external addresses need a network namespace at a step of a case: those that a cell names.

import type { Address } from "../base/ip.ts";
import { isSelectable, keyOf } from "../model/cluster.ts";
import { backendsOf } from "../model/frontends.ts";
import type { Case, Cell, End, Step } from "../source/conformance/case-types.ts";
import { arriving } from "./cell-verdict.ts";

/** One namespace. */
export interface Host {
  /** The pod's key; of places and pods on a host's network, the first name in the order of the case. */
  readonly name: string;
  readonly addresses: readonly string[];
  /** Ports to serve. */
  readonly tcp: readonly number[];
  readonly udp: readonly number[];
}

export interface Hosts {
  readonly list: readonly Host[];
  /** Where an end of a cell of this step lives; undefined where it has no namespace of its own. */
  hostOf(end: End): string | undefined;
}

/**
 * Nodes and pods on a host's network that share an address are one host, without Weir: a node that a case names is
 * another one than the node of its pods. A place whose address a pod has at this step has no host.
 */
export function hostsOf(of: Case, step: Step): Hosts {
  const cells = of.steps.flatMap((each) => each.cells);
  const pods = [...step.cluster.pods.values()];
  const asked = new Set(cells.flatMap(({ from, to, behind }) => [from.name, behind?.end.name ?? to.name]));
  // Every backend of a probed Service is on this node, as for the other engines.
  const backends = new Set(
    cells.flatMap(({ behind }) => (behind ? backendsOf(behind.frontend).map(textOf) : [])),
  );
  for (const pod of pods) if (pod.ips.some(({ text }) => backends.has(text))) asked.add(keyOf(pod));
  const groups: Group[] = pods
    .filter((pod) => isSelectable(pod) && asked.has(keyOf(pod)))
    .map((pod) => ({ names: [keyOf(pod)], addresses: usable(pod.ips) }));
  const taken = new Set(pods.filter(isSelectable).flatMap(({ ips }) => ips.map(({ text }) => text)));
  const outside: [string, readonly Address[]][] = [
    ...pods
      .filter((pod) => !isSelectable(pod))
      .map((pod) => [keyOf(pod), pod.ips] as [string, typeof pod.ips]),
    ...of.places,
  ];
  const free = outside
    .filter(([name, addresses]) => asked.has(name) && !addresses.some(({ text }) => taken.has(text)))
    .map(([name, addresses]): Group => ({ names: [name], addresses: usable(addresses) }));
  groups.push(...merged(free));
  const byName = new Map(groups.flatMap((group) => group.names.map((name) => [name, group] as const)));
  return {
    list: groups.filter(({ addresses }) => addresses.length > 0).map((group) => hostFrom(group, cells)),
    hostOf: ({ name }) => {
      const group = byName.get(name);
      return group === undefined || group.addresses.length === 0 ? undefined : group.names[0];
    },
  };
}

const textOf = ({ address }: { readonly address: Address }): string => address.text;

interface Group {
  readonly names: readonly string[];
  readonly addresses: readonly string[];
}

/** Groups with an address in common become one. */
function merged(groups: readonly Group[]): Group[] {
  const done: Group[] = [];
  for (const group of groups) {
    const same = done.filter(({ addresses }) => addresses.some((each) => group.addresses.includes(each)));
    for (const each of same) done.splice(done.indexOf(each), 1);
    const all = [...same, group];
    done.push({
      names: all.flatMap(({ names }) => names),
      addresses: [...new Set(all.flatMap(({ addresses }) => addresses))],
    });
  }
  return done;
}

function hostFrom({ names, addresses }: Group, cells: readonly Cell[]): Host {
  const targeted = cells.map(arriving).filter(({ to }) => names.includes(to.name));
  const ports = (protocol: Cell["protocol"]) => {
    const numbers = targeted
      .filter((cell) => cell.protocol === protocol && cell.port > 0)
      .map(({ port }) => port);
    return [...new Set(numbers)].sort((a, b) => a - b);
  };
  return { name: names[0] ?? "", addresses, tcp: ports("TCP"), udp: ports("UDP") };
}

const usable = (addresses: readonly Address[]): string[] =>
  addresses.filter((address) => whyUnusable(address) === undefined).map(({ text }) => text);

/** Addresses that no interface can have, or that mean the host itself (RFC 6890). */
const UNUSABLE: readonly (readonly [RegExp, string])[] = [
  [/^0\./, "is not a host's address"],
  [/^127\.|^::1$/, "is a loopback address"],
  [/^(?:22[4-9]|23\d)\.|^ff/, "is a multicast address"],
  [/^255\.255\.255\.255$/, "is the broadcast address"],
  [/^::$/, "is the unspecified address"],
  [/^169\.254\.1\.1$|^fe[89ab]/, "is an address of links"],
];

/** Why no socket can have it; undefined where one can. */
export function whyUnusable({ text }: Address): string | undefined {
  const [, reason] = UNUSABLE.find(([pattern]) => pattern.test(text)) ?? [];
  return reason === undefined ? undefined : `${text} ${reason}`;
}
