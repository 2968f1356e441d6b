// Compiles policies and pods to the desired state of the datapath, in steps: subjects, terms, identities, rows, classes.

import { present } from "../base/assert.ts";
import type { Direction } from "../base/direction.ts";
import { type Address, addressBits, cidrOf, compareAddresses, FAMILIES, type Family } from "../base/ip.ts";
import { type Cluster, NO_SURROUNDINGS, type Surroundings } from "../model/cluster.ts";
import { sourceTexts } from "../state/anti-spoofing.ts";
import {
  type Endpoint,
  IDENTITY_DEFAULT,
  IDENTITY_FRONTEND,
  OWN_ADDRESSES_MAX,
  POLICY_AUDIT,
  POLICY_NONE,
  ROW_ALL,
  ROW_NONE,
  type State,
  serviceKey,
  tenantOf,
} from "../state/desired-state.ts";
import { classAt } from "../state/state-lookup.ts";
import { type Contents, type EndpointSides, egressPolicies } from "./enforced-policies.ts";
import type { Classified, TermSet } from "./identities.ts";
import { assign, endpointKey, NOTHING_RESERVED, type Numbering, roomIn } from "./identity-allocation.ts";
import { CAPACITIES, type Capacities, contentsThatFit, type Fitted } from "./limits/capacity-fit.ts";
import type { Excess } from "./limits/fair-shares.ts";
import { endpointsShut, groupsDenied, sourcesCut } from "./limits/object-limits.ts";
import { addressesOfLocal, type LocalEndpoint, prefixesOfLocal } from "./local-endpoints.ts";
import type { Term } from "./peer-selectors.ts";
import { assignIncarnations } from "./pod-incarnations.ts";
import { classSpans, isAll, type PortClass, type PortSet, placeOf, portSetKey } from "./port-classes.ts";
import { scopesOf, tunnelPortsOf } from "./prefix-scopes.ts";
import { rowBits } from "./rows.ts";
import {
  type Behind,
  type Grouped,
  groupFrontends,
  nowhere,
  serviceCells,
  termsReader,
} from "./service-groups.ts";

export type { EndpointSides } from "./enforced-policies.ts";
export type { LocalEndpoint } from "./local-endpoints.ts";

export interface Compiled {
  readonly state: State;
  /** Pass to the next compile once this state is applied. */
  readonly numbering: Numbering;
  /** Readable names for the numbers: see policy/map-value-names.ts. */
  readonly meaning: Meaning;
  /** The cluster without the rules that do not fit: its policies describe what the kernel enforces. */
  readonly enforced: Cluster;
  /** What did not fit. */
  readonly excesses: readonly Excess[];
  /** Endpoints that exceed capacity: everything is to be dropped at their interfaces. */
  readonly shut: readonly LocalEndpoint[];
  /**
   * More is left out than necessary: there are not enough numbers for the old and the new rows or classes side by side. The next
   * compile, after this state is applied, can use the numbers that this one frees.
   */
  readonly isTransitional: boolean;
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
 * Compiles what this node must enforce. Pure: the same cluster, endpoints and numbering give the same state. Rules and objects that
 * do not fit are left out by policy/limits.
 */
export function compile(
  cluster: Cluster,
  all: readonly LocalEndpoint[],
  previous: Numbering,
  surroundings: Surroundings = NO_SURROUNDINGS,
  capacities: Capacities = CAPACITIES,
): Compiled {
  const { shut, excesses: ofEndpoints } = endpointsShut(all, capacities.endpoints);
  const locals = shut.length === 0 ? all : all.filter((local) => !shut.includes(local));
  const fitted = fitNumbers({ cluster, locals, previous }, capacities);
  const { contents, enforced } = fitted;
  const classNumbers = assign("classes", contents.classes.keys(), previous);
  const classes = [...contents.classes].map(([content, each]) => ({
    ...each,
    number: classNumbers.get(content) as number,
  }));
  const { behind, services, excesses: ofServices } = grouped(contents, classSpans(classes), capacities);
  const numbering: Numbering = {
    identities: assign("identities", [...contents.termSets.keys(), ...services.groups.keys()], previous),
    policies: assign("policies", contents.policies.keys(), previous),
    rows: assign("rows", contents.plan.rows.keys(), previous),
    classes: classNumbers,
    endpoints: assign("endpoints", locals.map(endpointContent), previous),
    incarnations: assignIncarnations(locals, previous.incarnations),
    terms: contents.termNumbers,
    nextTerm: contents.nextTerm,
    reserved: NOTHING_RESERVED,
  };
  const scopes = scopesOf(cluster, locals, surroundings);
  const { sources, excesses: ofSources } = sourcesOfAll(locals, scopes, capacities);
  const numbered = { numbering, classes, services, sources };
  const excesses = [...ofEndpoints, ...fitted.excesses, ...ofServices, ...ofSources];
  return {
    state: {
      ...stateOf({ ...contents, behind }, numbered),
      scopes,
      tunnelPorts: tunnelPortsOf(surroundings),
    },
    numbering,
    meaning: meaningOf({ ...contents, behind }, numbering, services),
    enforced,
    excesses,
    shut,
    isTransitional: fitted.isTransitional,
  };
}

/** The factors tried in turn if there are too few numbers; at 0 no row and no class needs a number. */
const PARTS = [1, 1 / 4, 1 / 16, 1 / 64, 0];

/** If numbers of rows or classes that fall out of use leave too few for the new ones: as many as there are numbers for. */
function fitNumbers(
  asked: Parameters<typeof contentsThatFit>[0],
  capacities: Capacities,
): Fitted & { readonly isTransitional: boolean } {
  const whole = contentsThatFit(asked, capacities);
  const roomOf = ({ contents }: Fitted) => ({
    rows: roomIn("rows", contents.plan.rows, asked.previous),
    classes: roomIn("classes", contents.classes, asked.previous),
  });
  const room = roomOf(whole);
  if (room.rows.suffices && room.classes.suffices) return { ...whole, isTransitional: false };
  for (const part of PARTS) {
    const fitted = contentsThatFit(asked, {
      ...capacities,
      rows: Math.floor(Math.min(capacities.rows, room.rows.numbers) * part),
      classes: Math.floor(Math.min(capacities.classes, room.classes.numbers) * part),
    });
    const { rows, classes } = roomOf(fitted);
    if (rows.suffices && classes.suffices)
      return {
        contents: fitted.contents,
        enforced: fitted.enforced,
        excesses: whole.excesses,
        isTransitional: true,
      };
  }
  throw new Error("assertion failed: without rules no row and no class needs a number");
}

/** The frontends by groups; those of groups beyond the limit lead nowhere. */
function grouped(
  { behind, denied }: Contents,
  ports: State["ports"],
  { serviceGroups }: Capacities,
): { readonly behind: readonly Behind[]; readonly services: Grouped; readonly excesses: readonly Excess[] } {
  const classOf = (place: number): number => classAt({ ports }, place);
  const all = groupFrontends(behind, classOf);
  const cut =
    all.groups.size <= serviceGroups ? undefined : groupsDenied(behind, all.contents, serviceGroups);
  const left =
    cut === undefined
      ? behind
      : behind.map((each) => (cut.surplus.has(each) ? { ...each, backends: [] } : each));
  const services = cut === undefined ? all : groupFrontends(left, classOf);
  const groups = new Map(services.groups);
  for (const { family } of denied) groups.set(nowhere(family), { family, backends: [] });
  return { behind: left, services: { ...services, groups }, excesses: cut?.excesses ?? [] };
}

/** The sources of each endpoint besides its own addresses, by interface index; limited to what other scopes leave of the table. */
function sourcesOfAll(
  locals: readonly LocalEndpoint[],
  scopes: State["scopes"],
  capacities: Capacities,
): { readonly sources: ReadonlyMap<number, readonly string[]>; readonly excesses: readonly Excess[] } {
  let sources = new Map(locals.map((local) => [local.ifindex, sourcesOf(local)]));
  // Nearly always both families together fit.
  const all = [...sources.values(), ...scopes.values()].reduce((sum, texts) => sum + texts.length, 0);
  if (all <= capacities.sources) return { sources, excesses: [] };
  const excesses: Excess[] = [];
  for (const family of FAMILIES) {
    const taken = [...scopes.values()].flat().filter((text) => text.includes(":") === (family === 6));
    const capacity = Math.max(0, capacities.sources - taken.length);
    const { cut, excesses: more } = sourcesCut(locals, { family, capacity, sources });
    if (cut.size === 0) continue;
    sources = new Map(
      [...sources].map(([ifindex, texts]) => [
        ifindex,
        texts.filter((text) => cut.get(ifindex)?.has(text) !== true),
      ]),
    );
    excesses.push(...more);
  }
  return { sources, excesses };
}

function tenantIn(namespace: string): Pick<Endpoint, "tenant"> {
  const tenant = tenantOf(namespace);
  return tenant === 0 ? {} : { tenant };
}

interface Numbered {
  readonly numbering: Numbering;
  readonly classes: readonly NumberedClass[];
  readonly services: Grouped;
  readonly sources: ReadonlyMap<number, readonly string[]>;
}

function stateOf(
  contents: Contents,
  { numbering, classes, services, sources }: Numbered,
): Omit<State, "scopes" | "tunnelPorts"> {
  const { classified, plan, policiesOf } = contents;
  const identity = identityReader(numbering);
  const row = (set: PortSet): number => {
    // A cell exists only if it differs from that of everyone else, so it must state that it allows nothing.
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
    incarnation: present(numbering.incarnations.of.get(entry.local.ifindex), "an incarnation").number,
    addresses: ownAddresses(entry.local),
    sources: sources.get(entry.local.ifindex) as readonly string[],
    ...(entry.local.link && { link: entry.local.link }),
    ...tenantIn(entry.local.pod.namespace),
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

/** Frontends are among the pods' addresses, with their identity by prefixes, so that one look-up finds both. */
function addressValues(
  { classified, behind, denied }: Contents,
  identity: (content: string) => number,
): Map<string, number> {
  const values = mapValues(classified.addresses, ({ terms }) => identity(terms.content));
  const termsOf = termsReader(classified);
  for (const { frontend } of behind)
    values.set(frontend.address.text, identity(termsOf(frontend.address).content) | IDENTITY_FRONTEND);
  for (const { text, family } of denied) values.set(text, identity(nowhere(family)));
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

/** Sorted; at most as many of each family as fit in an endpoint's entry, the first ones of the pod. */
function ownAddresses(local: LocalEndpoint): string[] {
  const first = FAMILIES.flatMap((family) => ofFamily(local, family).slice(0, OWN_ADDRESSES_MAX));
  return first.sort(compareAddresses).map(({ text }) => text);
}

/** Its further sources: its other addresses, and the prefixes that it was given. */
function sourcesOf(local: LocalEndpoint): string[] {
  const others = FAMILIES.flatMap((family) => ofFamily(local, family).slice(OWN_ADDRESSES_MAX));
  const prefixes = others.map(({ family, value }) => cidrOf(family, value, addressBits(family)));
  return sourceTexts([...prefixes, ...prefixesOfLocal(local)]);
}

const ofFamily = (local: LocalEndpoint, family: Family): Address[] =>
  addressesOfLocal(local).filter((address) => address.family === family);
