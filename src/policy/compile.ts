// The compiler: from policies and pods to the desired state of the datapath, by stages in one direction.
//
//   subjects          the policies that select each endpoint, as clauses (subjects.ts)
//   terms             the peers that clauses name, numbered (peer-selectors.ts)
//   workloads         pods that terms do not distinguish, and from them the identity of every address (workloads.ts)
//   services          what policies allow to frontends (service-groups.ts)
//   rows and classes  what each policy allows each identity (rows.ts, port-classes.ts)
//   numbers           of everything that the maps refer to (identity-allocation.ts)
//   state             plain data for the maps
//
// Each stage keeps its result and runs again only if its input has changed; an unchanged input is the same object.

import { present } from "../base/assert.ts";
import type { Direction } from "../base/direction.ts";
import { type Address, addressBits, cidrOf, compareAddresses, FAMILIES, type Family } from "../base/ip.ts";
import { openKeep, openSettlingStage, openStage, sameItems } from "../base/stage.ts";
import { changesBetween, patched } from "../base/versioned-map.ts";
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
  sameLink,
  serviceKey,
  tenantOf,
} from "../state/desired-state.ts";
import { classAt } from "../state/state-lookup.ts";
import {
  type Contents,
  type DraftInput,
  type DraftStages,
  type EndpointSides,
  egressPolicies,
  openDraftStages,
} from "./enforced-policies.ts";
import type { TermSet } from "./identities.ts";
import {
  assign,
  endpointKey,
  NOTHING_RESERVED,
  type NumberedTable,
  type Numbering,
  type Numbers,
  roomIn,
} from "./identity-allocation.ts";
import { CAPACITIES, type Capacities, contentsThatFit, type Fitted } from "./limits/capacity-fit.ts";
import type { Excess } from "./limits/fair-shares.ts";
import { endpointsShut, groupsDenied, sourcesCut } from "./limits/object-limits.ts";
import { addressesOfLocal, type LocalEndpoint, podsOf, prefixesOfLocal } from "./local-endpoints.ts";
import type { Term } from "./peer-selectors.ts";
import { assignIncarnations } from "./pod-incarnations.ts";
import { classSpans, isAll, type PortClass, type PortSet, placeOf, portSetKey } from "./port-classes.ts";
import { openScopes, tunnelPortsOf } from "./prefix-scopes.ts";
import { rowBits } from "./rows.ts";
import { type Behind, type Grouped, groupFrontends, nowhere, serviceCells } from "./service-groups.ts";
import type { Classified } from "./workloads.ts";

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
  /** Some identity of the previous numbering is no longer in use: its number must not be reused before a grace period. */
  readonly retiresIdentities: boolean;
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

export interface CompileInput extends DraftInput {
  readonly surroundings?: Surroundings;
  readonly capacities?: Capacities;
}

export interface Compiler {
  /**
   * Compiles what this node must enforce, in the time of what has changed since the last call. The result depends on this input
   * alone: it is equal to that of a new compiler. Rules and objects that do not fit are left out by policy/limits.
   */
  compile(input: CompileInput): Compiled;
}

/** Compiles once, without anything known from before. */
export const compile = (
  cluster: Cluster,
  locals: readonly LocalEndpoint[],
  previous: Numbering,
  surroundings: Surroundings = NO_SURROUNDINGS,
  capacities: Capacities = CAPACITIES,
): Compiled => openCompiler().compile({ cluster, locals, previous, surroundings, capacities });

export function openCompiler(): Compiler {
  const drafts = openDraftStages();
  const keepLocals = openKeep<readonly LocalEndpoint[]>(
    (a, b) => a.length === b.length && a.every((local, index) => sameLocal(local, b[index] as LocalEndpoint)),
  );
  const fittingLocals = openStage<
    Pick<Compiled, "shut"> & { readonly locals: readonly LocalEndpoint[] } & Excesses
  >();
  const numbers = openNumberStages();
  const numberedClasses = openStage<readonly NumberedClass[]>();
  const ports = openStage<State["ports"]>();
  const groups = openStage<ReturnType<typeof grouped>>();
  const incarnations = openSettlingStage<Numbering["incarnations"]>();
  const scopes = openScopes();
  const sources = openStage<ReturnType<typeof sourcesOfAll>>();
  const tunnelPorts = openStage<readonly number[]>();
  const states = openStateStages();
  const meanings = openMeaningStages();
  return {
    compile({ cluster, locals: given, previous, surroundings = NO_SURROUNDINGS, capacities = CAPACITIES }) {
      const all = keepLocals(given);
      const fitting = fittingLocals([all, capacities.endpoints], () => {
        const { shut, excesses } = endpointsShut(all, capacities.endpoints);
        return {
          shut,
          excesses,
          locals: shut.length === 0 ? all : all.filter((local) => !shut.includes(local)),
        };
      });
      const { locals } = fitting;
      const fitted = fitNumbers({ cluster, locals, previous }, capacities, drafts);
      const { contents, enforced } = fitted;
      const classNumbers = numbers("classes", [contents.classes], previous, () => contents.classes.keys());
      const classes = numberedClasses([contents.classes, classNumbers], () =>
        [...contents.classes].map(([content, each]) => ({
          ...each,
          number: classNumbers.get(content) as number,
        })),
      );
      const spans = ports([classes], () => classSpans(classes));
      const {
        behind,
        services,
        excesses: ofServices,
      } = groups([contents.behind, contents.denied, spans, capacities.serviceGroups], () =>
        grouped(contents, spans, capacities),
      );
      const numbering: Numbering = {
        identities: numbers("identities", [contents.termSets, services.groups], previous, () => [
          ...contents.termSets.keys(),
          ...services.groups.keys(),
        ]),
        policies: numbers("policies", [contents.policies], previous, () => contents.policies.keys()),
        rows: numbers("rows", [contents.plan], previous, () => contents.plan.rows.keys()),
        classes: classNumbers,
        endpoints: numbers("endpoints", [locals], previous, () => locals.map(endpointContent)),
        incarnations: incarnations([locals], previous.incarnations, () =>
          assignIncarnations(locals, previous.incarnations),
        ),
        terms: contents.termNumbers,
        nextTerm: contents.nextTerm,
        reserved: NOTHING_RESERVED,
      };
      const scope = scopes(cluster, locals, surroundings);
      const { sources: sourcesByInterface, excesses: ofSources } = sources(
        [locals, scope, capacities.sources],
        () => sourcesOfAll(locals, scope, capacities),
      );
      const numbered = { numbering, classes, services, sources: sourcesByInterface, spans };
      const own = { ...contents, behind };
      return {
        state: {
          ...states(own, numbered),
          scopes: scope,
          tunnelPorts: tunnelPorts([surroundings], () => tunnelPortsOf(surroundings)),
        },
        numbering,
        meaning: meanings(own, numbering, services),
        enforced,
        excesses: [...fitting.excesses, ...fitted.excesses, ...ofServices, ...ofSources],
        shut: fitting.shut,
        isTransitional: fitted.isTransitional,
        retiresIdentities:
          numbering.identities !== previous.identities &&
          previous.identities.keys().some((content) => !numbering.identities.has(content)),
      };
    },
  };
}

interface Excesses {
  readonly excesses: readonly Excess[];
}

/** Whether an endpoint is as before: then everything that follows from it is, too. */
const sameLocal = (a: LocalEndpoint, b: LocalEndpoint): boolean =>
  a === b ||
  (a.ifindex === b.ifindex &&
    sameItems(podsOf(a), podsOf(b)) &&
    sameLink(a.link, b.link) &&
    (a.addresses === undefined) === (b.addresses === undefined) &&
    sameItems(
      (a.addresses ?? []).map(({ text }) => text),
      (b.addresses ?? []).map(({ text }) => text),
    ));

/** A number that a content had in the previous numbering, it has in the next one: the stage may run on its own result. */
function openNumberStages() {
  const stages = new Map<NumberedTable, ReturnType<typeof openSettlingStage<Numbers>>>();
  return (
    table: NumberedTable,
    inputs: readonly unknown[],
    previous: Numbering,
    contents: () => Iterable<string>,
  ): Numbers => {
    const stage = stages.get(table) ?? openSettlingStage<Numbers>();
    stages.set(table, stage);
    return stage([...inputs, previous.reserved[table]], previous[table], () =>
      assign(table, contents(), previous),
    );
  };
}

/** The factors tried in turn if there are too few numbers; at 0 no row and no class needs a number. */
const PARTS = [1, 1 / 4, 1 / 16, 1 / 64, 0];

/** If numbers of rows or classes that fall out of use leave too few for the new ones: as many as there are numbers for. */
function fitNumbers(
  asked: DraftInput,
  capacities: Capacities,
  stages: DraftStages,
): Fitted & { readonly isTransitional: boolean } {
  const whole = contentsThatFit(asked, capacities, stages);
  const roomOf = ({ contents }: Fitted) => ({
    rows: roomIn("rows", contents.plan.rows, asked.previous),
    classes: roomIn("classes", contents.classes, asked.previous),
  });
  const room = roomOf(whole);
  if (room.rows.suffices && room.classes.suffices) return { ...whole, isTransitional: false };
  for (const part of PARTS) {
    const reduced = {
      ...capacities,
      rows: Math.floor(Math.min(capacities.rows, room.rows.numbers) * part),
      classes: Math.floor(Math.min(capacities.classes, room.classes.numbers) * part),
    };
    const fitted = contentsThatFit(asked, reduced, stages);
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
): { readonly behind: readonly Behind[]; readonly services: Grouped } & Excesses {
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
  readonly spans: State["ports"];
}

/** The parts of the state, each computed again only if what it consists of has changed. */
function openStateStages(): (
  contents: Contents,
  numbered: Numbered,
) => Omit<State, "scopes" | "tunnelPorts"> {
  const endpoints = openStage<State["endpoints"]>();
  const services = openStage<State["services"]>();
  const cidrs = openStage<State["cidrs"]>();
  const rows = openStage<State["rows"]>();
  const policies = openStage<State["policies"]>();
  const addresses = openAddressValues();
  return (contents, numbered) => {
    const { numbering, classes, spans } = numbered;
    const { sides, classified, plan, policiesOf, behind } = contents;
    const { groups, contents: groupOf } = numbered.services;
    const identity = identityReader(numbering);
    return {
      endpoints: endpoints(
        [
          sides,
          policiesOf,
          numbering.endpoints,
          numbering.incarnations,
          numbering.policies,
          numbered.sources,
        ],
        () => endpointsOf(contents, numbered),
      ),
      addresses: addresses(contents, numbering),
      services: services(
        [behind, groupOf, numbering.identities],
        () =>
          new Map(
            behind.map(({ frontend: { address, protocol, port } }, index) => [
              serviceKey(address.text, placeOf(protocol, port)),
              identity(groupOf[index] as string),
            ]),
          ),
      ),
      cidrs: cidrs([classified.cidrs, numbering.identities], () =>
        mapValues(classified.cidrs, ({ terms }) => identity(terms.content)),
      ),
      ports: spans,
      rows: rows([plan, classes, numbering.rows], () =>
        rowBits([...plan.rows.values()], classes, rowReader(numbering)),
      ),
      policies: policies(
        [plan, policiesOf, sides, groups, numbering.policies, numbering.identities, numbering.rows],
        () => policyCells(contents, numbered),
      ),
    };
  };
}

const rowReader =
  ({ rows }: Numbering) =>
  (set: PortSet): number => {
    // A cell exists only if it differs from that of everyone else, so it must state that it allows nothing.
    if (set.length === 0) return ROW_NONE;
    return isAll(set) ? ROW_ALL : (rows.get(portSetKey(set)) as number);
  };

function endpointsOf(
  { sides, policiesOf }: Contents,
  { numbering, sources }: Numbered,
): Map<number, Endpoint> {
  const policy = (ifindex: number, direction: Direction): number => {
    const compiled = policiesOf.get(ifindex)?.[direction];
    return compiled === undefined ? POLICY_NONE : (numbering.policies.get(compiled.content) as number);
  };
  const side = (entry: EndpointSides, direction: Direction): number =>
    policy(entry.local.ifindex, direction) + (entry.sides[direction]?.audit === true ? POLICY_AUDIT : 0);
  const endpoint = (entry: EndpointSides): Endpoint => ({
    id: numbering.endpoints.get(endpointContent(entry.local)) as number,
    incarnation: present(numbering.incarnations.of.get(entry.local.ifindex), "an incarnation").number,
    addresses: ownAddresses(entry.local),
    sources: sources.get(entry.local.ifindex) as readonly string[],
    ...(entry.local.link && { link: entry.local.link }),
    ...tenantIn(entry.local.pod.namespace),
    policy: { ingress: side(entry, "ingress"), egress: side(entry, "egress") },
  });
  return new Map(sides.map((entry) => [entry.local.ifindex, endpoint(entry)]));
}

function policyCells(
  { sides, policiesOf, plan }: Contents,
  { numbering, services }: Numbered,
): State["policies"] {
  const identity = identityReader(numbering);
  const row = rowReader(numbering);
  const egress = egressPolicies(
    sides.map(({ local }) => local),
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
  return new Map([...plan.cells].map(cellsOf));
}

const identityReader =
  (numbering: Pick<Numbering, "identities">) =>
  (content: string): number =>
    content === "" ? IDENTITY_DEFAULT : (numbering.identities.get(content) as number);

/**
 * The values of addresses. Frontends are among the pods' addresses, with their identity by prefixes, so that one look-up finds both.
 * Only what has changed is computed again: addresses whose terms have, and those of frontends.
 */
function openAddressValues(): (contents: Contents, numbering: Numbering) => State["addresses"] {
  const frontends = openStage<ReadonlyMap<string, Address>>();
  const denials = openStage<ReadonlyMap<string, Address>>();
  const none: ReadonlyMap<string, Address> = new Map();
  let last = {
    addresses: new Map() as Classified["addresses"],
    cidrs: undefined as unknown,
    fronts: none,
    denied: none,
  };
  let identities: Numbers = new Map();
  let values: State["addresses"] = new Map();
  return ({ classified, behind, denied: deniedAddresses }, numbering) => {
    const identity = identityReader(numbering);
    const { addresses, cidrs } = classified;
    const fronts = frontends(
      [behind],
      () => new Map(behind.map(({ frontend: { address } }) => [address.text, address])),
    );
    const denied = denials(
      [deniedAddresses],
      () => new Map(deniedAddresses.map((address) => [address.text, address])),
    );
    const valueAt = (text: string): number | undefined => {
      const refused = denied.get(text);
      if (refused !== undefined) return identity(nowhere(refused.family));
      const front = fronts.get(text);
      if (front !== undefined) return identity(classified.termsOf(front).content) | IDENTITY_FRONTEND;
      const terms = addresses.get(text);
      return terms === undefined ? undefined : identity(terms.content);
    };
    const texts = new Set<string>();
    if (isRenumbered(identities, numbering.identities)) {
      values = new Map();
      last = { addresses: new Map(), cidrs: undefined, fronts: none, denied: none };
    }
    for (const { key } of changesBetween(last.addresses, addresses)) texts.add(key);
    // Without a pod behind it, a frontend has the identity of its prefix, which may be another one.
    if (last.fronts !== fronts || last.denied !== denied || last.cidrs !== cidrs)
      for (const all of [last.fronts, fronts, last.denied, denied])
        for (const text of all.keys()) texts.add(text);
    const patch = new Map(texts.values().map((text) => [text, valueAt(text)] as const));
    values = values.size === 0 ? new Map(entriesOf(patch)) : patched(values, patch);
    last = { addresses, cidrs, fronts, denied };
    identities = numbering.identities;
    return values;
  };
}

const entriesOf = (patch: ReadonlyMap<string, number | undefined>): [string, number][] =>
  [...patch].flatMap(([text, value]) => (value === undefined ? [] : [[text, value]]));

/** Whether a content has another number than before. */
const isRenumbered = (before: Numbers, after: Numbers): boolean =>
  before !== after && before.entries().some(([content, number]) => (after.get(content) ?? number) !== number);

function mapValues<V, W>(map: ReadonlyMap<string, V>, to: (value: V) => W): Map<string, W> {
  return new Map([...map].map(([key, value]) => [key, to(value)]));
}

/** Names for the numbers; each table only if it is other than before. */
function openMeaningStages(): (contents: Contents, numbering: Numbering, services: Grouped) => Meaning {
  const terms = openStage<Meaning["terms"]>();
  const identities = openStage<Meaning["identities"]>();
  const rows = openStage<Meaning["rows"]>();
  const classes = openStage<Meaning["classes"]>();
  const ofServices = openStage<Meaning["services"]>();
  return (contents, numbering, services) => {
    const identity = identityReader(numbering);
    const byNumber = <V>(all: Numbers, values: ReadonlyMap<string, V>): Map<number, V> =>
      new Map([...all].map(([content, number]) => [number, values.get(content) as V]));
    const { plan, behind, termSets } = contents;
    return {
      sides: contents.sides,
      terms: terms(
        [contents.terms, numbering.terms],
        () => new Map(contents.terms.map((term) => [numbering.terms.get(term.key) as number, term])),
      ),
      identities: identities(
        [termSets, numbering.identities],
        () => new Map([...termSets].map(([content, set]) => [identity(content), set])),
      ),
      rows: rows([numbering.rows, plan], () => byNumber(numbering.rows, plan.rows)),
      classes: classes([numbering.classes, contents.classes], () =>
        byNumber(
          numbering.classes,
          mapValues(contents.classes, ({ spans }) => spans),
        ),
      ),
      classified: contents.classified,
      services: ofServices([behind, services.contents, numbering.identities], () =>
        behind.map((each, index) => ({ ...each, identity: identity(services.contents[index] as string) })),
      ),
    };
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
