// Numbers that must not be reused with a new meaning, because the kernel may still hold them with another
// one.

import {
  endpointKey,
  NOTHING_NUMBERED,
  type Numbering,
  type Reserved,
} from "../policy/identity-allocation.ts";
import { type PortSet, portSetKey, union } from "../policy/port-classes.ts";
import { identityIn, policyNumber, type State } from "../state/desired-state.ts";
import type { Held } from "../state/state-diff.ts";

/**
 * Numbering if only the kernel's state is known: endpoints, pods as incarnations, and the port sets of port
 * classes and rows keep their numbers; all others are new. If the link is not the one of the entry, it
 * belongs to a new pod.
 */
export function numberingOver(
  held: Held,
  previous: Numbering = NOTHING_NUMBERED,
  isSameLink: (ifindex: number) => boolean = () => true,
): Numbering {
  const endpoints = new Map(
    [...held.state.endpoints].map(([ifindex, { id, addresses }]) => [endpointKey(ifindex, addresses), id]),
  );
  const known = previous.incarnations.of;
  const incarnations = {
    last: held.lastIncarnation || previous.incarnations.last,
    of: new Map([
      ...known,
      ...[...held.state.endpoints].flatMap(([ifindex, { incarnation: number, addresses }]) => {
        if (!isSameLink(ifindex)) return [];
        const before = known.get(ifindex);
        const pods = before?.number === number ? before.pods : undefined;
        return [[ifindex, { number, addresses, pods }] as const];
      }),
    ]),
  };
  return {
    ...NOTHING_NUMBERED,
    ...(held.unsettled.ports ? {} : portSetsIn(held.state)),
    incarnations,
    terms: previous.terms,
    nextTerm: previous.nextTerm,
    endpoints,
    reserved: numbersIn(held.state),
  };
}

/**
 * The state itself contains the meaning of port classes and rows. There may be too few numbers to allocate
 * new ones for all.
 */
function portSetsIn({ ports, rows }: State): Pick<Numbering, "classes" | "rows"> {
  const spans = new Map(
    [...Map.groupBy(ports, (span) => span.class)].map(([number, own]) => [number, union(own)]),
  );
  const holds = (classes: readonly number[]): PortSet =>
    union(classes.flatMap((number) => spans.get(number) ?? []));
  return {
    classes: new Map([...spans].map(([number, set]) => [portSetKey(set), number])),
    rows: new Map([...rows].map(([number, classes]) => [portSetKey(holds(classes)), number])),
  };
}

/** All numbers that a state uses. */
export function numbersIn(state: State): Reserved {
  return {
    identities: new Set([
      ...[...state.addresses.values()].map(identityIn),
      ...state.services.values(),
      ...state.cidrs.values(),
      ...[...state.policies.values()].flatMap((cells) => [...cells.keys()]),
    ]),
    policies: new Set([
      ...state.policies.keys(),
      ...[...state.endpoints.values()].flatMap(({ policy }) => [
        policyNumber(policy.ingress),
        policyNumber(policy.egress),
      ]),
    ]),
    rows: new Set([
      ...state.rows.keys(),
      ...[...state.policies.values()].flatMap((cells) => [...cells.values()]),
    ]),
    classes: new Set([...state.ports.map((span) => span.class), ...[...state.rows.values()].flat()]),
    endpoints: new Set([...state.endpoints.values()].map(({ id }) => id)),
  };
}
