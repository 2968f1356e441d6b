// Policies and pods to the desired state of the datapath. The conductor: subjects, terms, identities, rows, classes.

import type { Direction } from "../base/direction.ts";
import { type Address, addressBits, cidrOf, compareAddresses, type Family } from "../base/ip.ts";
import type { Cluster } from "../model/cluster.ts";
import { NO_SURROUNDINGS, type Surroundings } from "../model/surroundings.ts";
import { classAt } from "../state/lookup.ts";
import { countPrefixes, sourceTexts } from "../state/sources.ts";
import {
  type Endpoint,
  IDENTITY_DEFAULT,
  IDENTITY_FRONTEND,
  LIMITS,
  LimitError,
  OWN_ADDRESSES_MAX,
  POLICY_AUDIT,
  POLICY_NONE,
  ROW_ALL,
  ROW_NONE,
  type State,
  serviceKey,
} from "../state/state.ts";
import { rowBits } from "./contents.ts";
import { type Contents, contentsOf, type EndpointSides, egressPolicies } from "./gather.ts";
import type { Classified, TermSet } from "./identity.ts";
import { addressesOfLocal, type LocalEndpoint, prefixesOfLocal } from "./locals.ts";
import { assign, endpointKey, NOTHING_RESERVED, type Numbering } from "./numbers.ts";
import type { Term } from "./peers.ts";
import { classSpans, isAll, type PortClass, type PortSet, placeOf, portSetKey } from "./ports.ts";
import { scopesOf, tunnelPortsOf } from "./scopes.ts";
import { type Behind, type Grouped, groupFrontends, serviceCells, termsReader } from "./services.ts";

export type { EndpointSides } from "./gather.ts";
export type { LocalEndpoint } from "./locals.ts";

export interface Compiled {
  readonly state: State;
  /** Pass to the next compile once this state is in force. */
  readonly numbering: Numbering;
  /** What the numbers mean, for people: see policy/names.ts. */
  readonly meaning: Meaning;
}

export interface Meaning {
  readonly sides: readonly EndpointSides[];
  readonly terms: ReadonlyMap<number, Term>;
  readonly identities: ReadonlyMap<number, TermSet>;
  readonly rows: ReadonlyMap<number, PortSet>;
  readonly classes: ReadonlyMap<number, PortSet>;
  readonly classified: Classified;
  /** The frontends of Services, each with the number of its identity. */
  readonly services: readonly (Behind & { readonly identity: number })[];
}

type NumberedClass = PortClass & { readonly number: number };

/**
 * Compiles what this node must enforce. Pure: the same cluster, endpoints and numbering give the same state.
 * Throws LimitError where a table cannot hold it.
 */
export function compile(
  cluster: Cluster,
  locals: readonly LocalEndpoint[],
  previous: Numbering,
  surroundings: Surroundings = NO_SURROUNDINGS,
): Compiled {
  const contents = contentsOf(cluster, locals, previous);
  const classNumbers = assign("classes", contents.classes.keys(), previous);
  const classes = [...contents.classes].map(([content, each]) => ({
    ...each,
    number: classNumbers.get(content) as number,
  }));
  const ports = classSpans(classes);
  const services = groupFrontends(contents.behind, (place) => classAt({ ports }, place));
  const numbering: Numbering = {
    identities: assign("identities", [...contents.termSets.keys(), ...services.groups.keys()], previous),
    policies: assign("policies", contents.policies.keys(), previous),
    rows: assign("rows", contents.plan.rows.keys(), previous),
    classes: classNumbers,
    endpoints: assign("endpoints", locals.map(endpointContent), previous),
    terms: contents.termNumbers,
    nextTerm: contents.nextTerm,
    reserved: NOTHING_RESERVED,
  };
  const state: State = {
    ...stateOf(contents, { numbering, classes, services }),
    scopes: scopesOf(cluster, locals, surroundings),
    tunnelPorts: tunnelPortsOf(surroundings),
  };
  const sources = countPrefixes(state);
  if (sources > LIMITS.sources) throw new LimitError("sources", sources);
  return { state, numbering, meaning: meaningOf(contents, numbering, services) };
}

interface Numbered {
  readonly numbering: Numbering;
  readonly classes: readonly NumberedClass[];
  readonly services: Grouped;
}

function stateOf(
  contents: Contents,
  { numbering, classes, services }: Numbered,
): Omit<State, "scopes" | "tunnelPorts"> {
  const { classified, plan, policiesOf } = contents;
  const identity = identityReader(numbering);
  const row = (set: PortSet): number => {
    // A cell is there only where it differs from that of everyone else, so it must say that it allows nothing.
    if (set.length === 0) return ROW_NONE;
    return isAll(set) ? ROW_ALL : (numbering.rows.get(portSetKey(set)) as number);
  };
  const policy = (ifindex: number, direction: Direction): number => {
    const compiled = policiesOf.get(ifindex)?.[direction];
    return compiled === undefined ? POLICY_NONE : (numbering.policies.get(compiled.content) as number);
  };
  const side = ({ local, sides }: EndpointSides, direction: Direction): number =>
    policy(local.ifindex, direction) + (sides[direction]?.audit === true ? POLICY_AUDIT : 0);
  const endpoint = (entry: EndpointSides): Endpoint => ({
    id: numbering.endpoints.get(endpointContent(entry.local)) as number,
    addresses: ownAddresses(entry.local),
    sources: sourcesOf(entry.local),
    ...(entry.local.link && { link: entry.local.link }),
    policy: { ingress: side(entry, "ingress"), egress: side(entry, "egress") },
  });
  const egress = egressPolicies(
    contents.sides.map(({ local }) => local),
    policiesOf,
  );
  const cellsOf = ([content, cells]: [string, ReadonlyMap<string, PortSet>]) => {
    const asked = egress.get(content);
    const more = asked === undefined ? [] : serviceCells(asked.policy, services.groups);
    return [
      numbering.policies.get(content) as number,
      new Map([...cells, ...more].map(([termSet, set]) => [identity(termSet), row(set)])),
    ] as const;
  };
  return {
    endpoints: new Map(contents.sides.map((entry) => [entry.local.ifindex, endpoint(entry)])),
    addresses: addressValues(contents, identity),
    services: new Map(
      contents.behind.map(({ frontend: { address, protocol, port } }, index) => [
        serviceKey(address.text, placeOf(protocol, port)),
        identity(services.contents[index] as string),
      ]),
    ),
    cidrs: mapValues(classified.cidrs, ({ terms }) => identity(terms.content)),
    ports: classSpans(classes),
    rows: rowBits([...plan.rows.values()], classes, row),
    policies: new Map([...plan.cells].map(cellsOf)),
  };
}

const identityReader =
  (numbering: Numbering) =>
  (content: string): number =>
    content === "" ? IDENTITY_DEFAULT : (numbering.identities.get(content) as number);

/** Frontends stand among the pods' addresses, with what the prefixes say of them, so that one look tells both. */
function addressValues(
  { classified, behind }: Contents,
  identity: (content: string) => number,
): Map<string, number> {
  const values = mapValues(classified.addresses, ({ terms }) => identity(terms.content));
  const termsOf = termsReader(classified);
  for (const { frontend } of behind)
    values.set(frontend.address.text, identity(termsOf(frontend.address).content) | IDENTITY_FRONTEND);
  return values;
}

function mapValues<V, W>(map: ReadonlyMap<string, V>, to: (value: V) => W): Map<string, W> {
  return new Map([...map].map(([key, value]) => [key, to(value)]));
}

function meaningOf(contents: Contents, numbering: Numbering, services: Grouped): Meaning {
  const identity = identityReader(numbering);
  const byNumber = <V>(
    numbers: ReadonlyMap<string, number>,
    values: ReadonlyMap<string, V>,
  ): Map<number, V> => new Map([...numbers].map(([content, number]) => [number, values.get(content) as V]));
  return {
    sides: contents.sides,
    terms: new Map(contents.terms.map((term) => [numbering.terms.get(term.key) as number, term])),
    identities: new Map([...contents.termSets].map(([content, set]) => [identity(content), set])),
    rows: byNumber(numbering.rows, contents.plan.rows),
    classes: byNumber(
      numbering.classes,
      mapValues(contents.classes, ({ spans }) => spans),
    ),
    classified: contents.classified,
    services: contents.behind.map((each, index) => ({
      ...each,
      identity: identity(services.contents[index] as string),
    })),
  };
}

const endpointContent = (local: LocalEndpoint): string => endpointKey(local.ifindex, ownAddresses(local));

/** Sorted; at most as many of each family as stand in an endpoint's entry, the first ones of the pod. */
function ownAddresses(local: LocalEndpoint): string[] {
  const first = FAMILIES.flatMap((family) => ofFamily(local, family).slice(0, OWN_ADDRESSES_MAX));
  return first.sort(compareAddresses).map(({ text }) => text);
}

/** What it may send from besides: its other addresses, and the prefixes that it was given. */
function sourcesOf(local: LocalEndpoint): string[] {
  const others = FAMILIES.flatMap((family) => ofFamily(local, family).slice(OWN_ADDRESSES_MAX));
  const prefixes = others.map(({ family, value }) => cidrOf(family, value, addressBits(family)));
  return sourceTexts([...prefixes, ...prefixesOfLocal(local)]);
}

const FAMILIES = [4, 6] as const satisfies readonly Family[];

const ofFamily = (local: LocalEndpoint, family: Family): Address[] =>
  addressesOfLocal(local).filter((address) => address.family === family);
