// The kernel program's verdict on a new flow, looked up in a desired state in memory.

import { isInFilter } from "../base/address-filter.ts";
import type { Direction } from "../base/direction.ts";
import { mostSpecific } from "../base/domain-name.ts";
import { type Address, type Cidr, parseCidr } from "../base/ip.ts";
import { findAddress, type PrefixTable, prefixTable } from "../base/prefix-table.ts";
import {
  CLASS_OTHER,
  closedKey,
  domainsOf,
  IDENTITY_DEFAULT,
  identityIn,
  isAudited,
  nameKey,
  POLICY_NONE,
  policyNumber,
  ROW_ALL,
  ROW_NOTHING,
  type State,
  serviceKey,
  usesNames,
} from "./desired-state.ts";

export interface Question {
  /** Interface index of the endpoint. */
  readonly ifindex: number;
  readonly direction: Direction;
  /** The peer's address. */
  readonly remote: Address;
  /** Destination port's place on the port line. */
  readonly place: number;
  /** The domain names that the endpoint has resolved to the address. */
  readonly names?: readonly string[];
}

/** "audited": would be denied if it were enforced. */
export type Answer = "not isolated" | "allowed" | "audited" | "denied" | "unknown endpoint";

/** A state prepared for many look-ups. */
export interface Plan {
  judge(question: Question): Answer;
}

/** Mirrors judge() in bpf/policy.h, step by step. */
export function planOf(state: State): Plan {
  const cidrs = cidrTable(state);
  const domains = domainsOf(state.names);
  const allows = (policy: number, identity: number, place: number): boolean => {
    const cells = state.policies.get(policy);
    const row = cells?.get(identity) ?? cells?.get(IDENTITY_DEFAULT) ?? ROW_NOTHING;
    if (row === ROW_NOTHING || row === ROW_ALL) return row === ROW_ALL;
    return state.rows.get(row)?.includes(classAt(state, place)) === true;
  };
  return {
    judge({ ifindex, direction, remote, place, names = [] }) {
      const endpoint = state.endpoints.get(ifindex);
      if (endpoint === undefined) return "unknown endpoint";
      const policy = endpoint.policy[direction];
      if (policy === POLICY_NONE) return "not isolated";
      const denied = isAudited(policy) ? "audited" : "denied";
      const found = exactIn(state, remote) ?? findAddress(cidrs, remote) ?? IDENTITY_DEFAULT;
      const isAsked = found !== identityIn(found) && direction === "egress";
      const service = isAsked ? state.services.get(serviceKey(remote.text, place)) : undefined;
      const identity = service ?? identityIn(found);
      const number = policyNumber(policy);
      if (allows(number, identity, place)) return "allowed";
      if (!usesNames(policy) || direction !== "egress") return denied;
      const isAccepted = names.some((name) => {
        const pattern = mostSpecific(domains, name);
        const by = pattern === undefined ? undefined : state.names.get(nameKey(number, pattern));
        return by !== undefined && allows(by, identity, place);
      });
      return isAccepted ? "allowed" : denied;
    },
  };
}

/** The value of an address that needs no prefix. */
export const exactIn = (
  { addresses, closed }: Pick<State, "addresses" | "closed">,
  address: Address,
): number | undefined =>
  addresses.get(address.text) ??
  (isInFilter(closed, address) ? addresses.get(closedKey(address.family)) : undefined);

/** The prefixes of a state as a longest-match table. */
export function cidrTable(state: State): PrefixTable<number> {
  return prefixTable([...state.cidrs].map(([text, identity]) => [cidrFrom(text), identity] as const));
}

/** A prefix from the canonical text that a state holds. */
export function cidrFrom(text: string): Cidr {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new Error(`assertion failed: state holds the prefix ${text}: ${parsed.reason}`);
  return parsed.value;
}

/** The class of a place on the port line, by binary search. */
export function classAt(state: Pick<State, "ports">, place: number): number {
  let low = 0;
  let high = state.ports.length - 1;
  while (low <= high) {
    const middle = (low + high) >> 1;
    const span = state.ports[middle] as State["ports"][number];
    if (place < span.first) high = middle - 1;
    else if (place > span.last) low = middle + 1;
    else return span.class;
  }
  return CLASS_OTHER;
}
