// A state in a form for JSON: maps as lists of pairs.

import type { ClassSpan, Endpoint, State } from "./desired-state.ts";

type Pairs<K, V> = readonly (readonly [K, V])[];

/** Same fields as State. */
export interface PlainState {
  readonly endpoints: Pairs<number, Endpoint>;
  readonly scopes: Pairs<number, readonly string[]>;
  readonly tunnelPorts: readonly number[];
  readonly addresses: Pairs<string, number>;
  readonly services: Pairs<string, number>;
  readonly cidrs: Pairs<string, number>;
  readonly ports: readonly ClassSpan[];
  readonly rows: Pairs<number, readonly number[]>;
  readonly policies: Pairs<number, Pairs<number, number>>;
}

export const plainState = (state: State): PlainState => ({
  endpoints: [...state.endpoints],
  scopes: [...state.scopes],
  tunnelPorts: state.tunnelPorts,
  addresses: [...state.addresses],
  services: [...state.services],
  cidrs: [...state.cidrs],
  ports: state.ports,
  rows: [...state.rows],
  policies: [...state.policies].map(([number, cells]) => [number, [...cells]]),
});

export const stateFrom = (plain: PlainState): State => ({
  endpoints: new Map(plain.endpoints),
  scopes: new Map(plain.scopes),
  tunnelPorts: plain.tunnelPorts,
  addresses: new Map(plain.addresses),
  services: new Map(plain.services),
  cidrs: new Map(plain.cidrs),
  ports: plain.ports,
  rows: new Map(plain.rows),
  policies: new Map(plain.policies.map(([number, cells]) => [number, new Map(cells)])),
});
