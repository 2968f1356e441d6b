// Numbers that must not be given a new meaning: those that the kernel may still hold with another one.

import { endpointKey, NOTHING_NUMBERED, type Numbering, type Reserved } from "../policy/numbers.ts";
import type { Held } from "../state/diff.ts";
import { identityIn, policyNumber, type State } from "../state/state.ts";

/** What to number by where only the kernel's state is known: endpoints keep their numbers, all others are new. */
export function numberingOver(held: Held, previous: Numbering = NOTHING_NUMBERED): Numbering {
  const endpoints = new Map(
    [...held.state.endpoints].map(([ifindex, { id, addresses }]) => [endpointKey(ifindex, addresses), id]),
  );
  return {
    ...NOTHING_NUMBERED,
    terms: previous.terms,
    nextTerm: previous.nextTerm,
    endpoints,
    reserved: numbersIn(held.state),
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
