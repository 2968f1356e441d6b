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

import { append } from "../base/append.ts";
import { present } from "../base/assert.ts";
import type { Direction } from "../base/direction.ts";
import {
  type Address,
  addressBits,
  cidrOf,
  compareAddresses,
  FAMILIES,
  type Family,
  parseAddress,
} from "../base/ip.ts";
import { openKeep, openSettlingStage, openStage, sameItems } from "../base/stage.ts";
import { changesBetween, overlaid, patched, versionOf } from "../base/versioned-map.ts";
import { type Cluster, NO_SURROUNDINGS, type Surroundings } from "../model/cluster.ts";
import { type ClosedAddresses, NOTHING_CLOSED } from "../model/frontends.ts";
import { sourceTexts } from "../state/anti-spoofing.ts";
import {
  closedKey,
  type Endpoint,
  IDENTITY_DEFAULT,
  IDENTITY_FRONTEND,
  nameKey,
  OWN_ADDRESSES_MAX,
  POLICY_AUDIT,
  POLICY_NAMES,
  POLICY_NONE,
  ROW_ALL,
  ROW_NONE,
  type State,
  sameLink,
  serviceKey,
  tenantOf,
} from "../state/desired-state.ts";
import { classAt } from "../state/state-lookup.ts";
import { type Contents, type DraftInput, type EndpointSides, egressPolicies } from "./enforced-policies.ts";
import type { TermSet } from "./identities.ts";
import {
  assign,
  endpointKey,
  NOTHING_NUMBERED,
  NOTHING_RESERVED,
  type NumberedTable,
  type Numbering,
  type Numbers,
  openAssignment,
  roomIn,
} from "./identity-allocation.ts";
import {
  CAPACITIES,
  type Capacities,
  contentsThatFit,
  type Fitted,
  type FittingStages,
  openFittingStages,
} from "./limits/capacity-fit.ts";
import type { Excess } from "./limits/fair-shares.ts";
import { endpointsShut, groupsDenied, sourcesCut } from "./limits/object-limits.ts";
import { addressesOfLocal, type LocalEndpoint, podsOf, prefixesOfLocal } from "./local-endpoints.ts";
import type { Term } from "./peer-selectors.ts";
import { assignIncarnations } from "./pod-incarnations.ts";
import { classSpans, isAll, type PortClass, type PortSet, placeOf, portSetKey } from "./port-classes.ts";
import { openScopes, tunnelPortsOf } from "./prefix-scopes.ts";
import type { CompiledPolicy } from "./rows.ts";
import { rowBits } from "./rows.ts";
import {
  type Behind,
  type Grouped,
  openGroups,
  refusedGroup,
  type ServiceGroup,
  serviceCell,
} from "./service-groups.ts";
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
  /** The frontends of Services, each with the number of its identity; in no order. */
  readonly services: () => readonly (Behind & { readonly identity: number })[];
  /** Addresses of Services whose ports are not distinguished: all of them are refused. */
  readonly closed: ClosedAddresses;
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
  const drafts = openFittingStages();
  const keepLocals = openKeep<readonly LocalEndpoint[]>(
    (a, b) => a.length === b.length && a.every((local, index) => sameLocal(local, b[index] as LocalEndpoint)),
  );
  const fittingLocals = openStage<
    Pick<Compiled, "shut"> & { readonly locals: readonly LocalEndpoint[] } & Excesses
  >();
  const numbers = openNumberStages();
  const identities = openAssignment("identities");
  const numberedClasses = openStage<readonly NumberedClass[]>();
  const ports = openStage<State["ports"]>();
  const groups = openStage<Fit>();
  const allGroups = openGroups();
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
      } = groups([contents.behind, contents.closed, spans, capacities.serviceGroups], () => {
        const all = allGroups(contents.behind, (place) => classAt({ ports: spans }, place));
        return groupsThatFit(contents, all, { spans, capacities });
      });
      const numbering: Numbering = {
        identities: identities([contents.termSets, services.groups], previous),
        policies: numbers("policies", [contents.policies], previous, () => contents.policies.keys()),
        rows: numbers("rows", [contents.plan.rows], previous, () => contents.plan.rows.keys()),
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
        retiresIdentities: changesBetween(previous.identities, numbering.identities).some(
          ({ after }) => after === undefined,
        ),
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
  stages: FittingStages,
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

interface Fit extends Excesses {
  readonly behind: ReadonlyMap<string, Behind>;
  readonly services: Grouped;
}

/** The frontends of groups beyond the limit lead nowhere, and so do addresses of Services that are denied as a whole. */
function groupsThatFit(
  { behind, closed }: Contents,
  all: Grouped,
  { spans, capacities }: { readonly spans: State["ports"]; readonly capacities: Capacities },
): Fit {
  const cut =
    all.groups.size <= capacities.serviceGroups
      ? undefined
      : groupsDenied(behind, all.contents, capacities.serviceGroups);
  const left =
    cut === undefined
      ? behind
      : new Map(
          [...behind].map(([key, each]) => [
            key,
            cut.surplus.has(each) ? { ...each, backends: [], refused: true as const } : each,
          ]),
        );
  const services = cut === undefined ? all : openGroups()(left, (place) => classAt({ ports: spans }, place));
  const families = closed.words.length === 0 ? [] : FAMILIES;
  const refused = families.map((family): [string, ServiceGroup] => [
    refusedGroup(family),
    { family, backends: [], refused: true },
  ]);
  const groups = overlaid(services.groups, new Map(refused));
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
    append(excesses, more);
  }
  return { sources, excesses };
}

/** An interface that may be that of pods of several namespaces takes nothing from the share of any one of them. */
function tenantIn(local: LocalEndpoint): Pick<Endpoint, "tenant"> {
  const namespaces = new Set(podsOf(local).map(({ namespace }) => namespace));
  const tenant = tenantOf([...namespaces].sort().join("/"));
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
  const cidrs = openStage<State["cidrs"]>();
  const rows = openStage<State["rows"]>();
  const services = openServiceValues();
  const policies = openPolicyCells();
  const addresses = openAddressValues();
  const names = openStage<State["names"]>();
  return (contents, numbered) => {
    const { numbering, classes, spans } = numbered;
    const { sides, classified, plan, policiesOf } = contents;
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
      names: names([contents.policiesOf, numbering.policies], () =>
        namesIn(contents.policiesOf, numbering.policies),
      ),
      addresses: addresses(contents, numbering),
      closed: contents.closed.words,
      services: services(contents, numbered),
      cidrs: cidrs([classified.cidrs, numbering.identities], () =>
        mapValues(classified.cidrs, ({ terms }) => identity(terms.content)),
      ),
      ports: spans,
      rows: rows([plan.rows, classes, numbering.rows], () =>
        rowBits([...plan.rows.values()], classes, rowReader(numbering)),
      ),
      policies: policies(contents, numbered),
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
  const marks = (entry: EndpointSides, direction: Direction): number =>
    (entry.sides[direction]?.audit === true ? POLICY_AUDIT : 0) +
    (policiesOf.get(entry.local.ifindex)?.[direction]?.byDomain === undefined ? 0 : POLICY_NAMES);
  const side = (entry: EndpointSides, direction: Direction): number =>
    policy(entry.local.ifindex, direction) + marks(entry, direction);
  const endpoint = (entry: EndpointSides): Endpoint => ({
    id: numbering.endpoints.get(endpointContent(entry.local)) as number,
    incarnation: present(numbering.incarnations.of.get(entry.local.ifindex), "an incarnation").number,
    addresses: ownAddresses(entry.local),
    sources: sources.get(entry.local.ifindex) as readonly string[],
    ...(entry.local.link && { link: entry.local.link }),
    ...tenantIn(entry.local),
    policy: { ingress: side(entry, "ingress"), egress: side(entry, "egress") },
  });
  return new Map(sides.map((entry) => [entry.local.ifindex, endpoint(entry)]));
}

/** What applies to addresses resolved from a name. */
function namesIn(policiesOf: Contents["policiesOf"], policies: Numbers): State["names"] {
  const numberOf = ({ content }: CompiledPolicy): number => policies.get(content) as number;
  const named = new Map(
    policiesOf
      .values()
      .flatMap(({ egress }) => (egress?.byDomain === undefined ? [] : [[egress.content, egress]])),
  );
  return new Map(
    named
      .values()
      .flatMap((egress) =>
        [...(egress.byDomain ?? [])].map(([name, variant]) => [
          nameKey(numberOf(egress), name),
          numberOf(variant),
        ]),
      ),
  );
}

/** The identity of each frontend; only those that have another group are computed again. */
function openServiceValues(): (contents: Contents, numbered: Numbered) => State["services"] {
  let last: Grouped["contents"] = new Map();
  let behindBefore: Contents["behind"] = new Map();
  let identities: Numbers = new Map();
  let values: State["services"] = new Map();
  return ({ behind }, { numbering, services: { contents } }) => {
    const identity = identityReader(numbering);
    if (isRenumbered(identities, numbering.identities)) {
      values = new Map();
      last = new Map();
    }
    const patch = new Map<string, number | undefined>();
    for (const { key, before, after } of changesBetween(last, contents)) {
      const { frontend } = present(
        before === undefined ? behind.get(key) : (behind.get(key) ?? behindBefore.get(key)),
        "the frontend of a group",
      );
      const place = placeOf(frontend.protocol, frontend.port);
      patch.set(serviceKey(frontend.address.text, place), after === undefined ? undefined : identity(after));
    }
    values = values.size === 0 ? versionOf(new Map(entriesOf(patch))) : patched(values, patch);
    last = contents;
    behindBefore = behind;
    identities = numbering.identities;
    return values;
  };
}

/** By content: egress policies, and those that apply in their place to what is resolved from a name. */
const withVariants = (all: ReturnType<typeof egressPolicies>): ReadonlyMap<string, CompiledPolicy> =>
  new Map(
    all
      .values()
      .flatMap(({ policy }) => [policy, ...(policy.byDomain?.values() ?? [])])
      .map((policy) => [policy.content, policy]),
  );

interface CellsOfPolicy {
  readonly isEgress: boolean;
  readonly source: ReadonlyMap<string, PortSet>;
  readonly cells: ReadonlyMap<number, number>;
}

/** The cells of policies: only of identities whose row is another one. */
function openPolicyCells(): (contents: Contents, numbered: Numbered) => State["policies"] {
  const egress = openStage<ReturnType<typeof withVariants>>();
  const stage = openStage<State["policies"]>();
  const known = new Map<string, CellsOfPolicy>();
  let cellsBefore: Contents["plan"]["cells"] = new Map();
  let egressBefore: ReturnType<typeof withVariants> | undefined;
  let groupsBefore: Grouped["groups"] = new Map();
  let last: Pick<Numbering, "identities" | "rows" | "policies"> = NOTHING_NUMBERED;
  let policies: State["policies"] = new Map();
  const update = (
    { sides, policiesOf, plan, policies: compiled }: Contents,
    { numbering, services: { groups } }: Numbered,
  ): State["policies"] => {
    const ofEgress = egress([sides, policiesOf], () =>
      withVariants(
        egressPolicies(
          sides.map(({ local }) => local),
          policiesOf,
        ),
      ),
    );
    const isOther =
      isRenumbered(last.identities, numbering.identities) || isRenumbered(last.rows, numbering.rows);
    if (isOther) known.clear();
    const isMoved = isRenumbered(last.policies, numbering.policies);
    if (isMoved) policies = new Map();
    const before = identityReader(last);
    const identity = identityReader(numbering);
    const row = rowReader(numbering);
    const changedGroups = [...changesBetween(groupsBefore, groups)];
    const touched = new Set<string>();
    const isRefused = changedGroups.some(
      ({ before: was, after }) => (was?.refused ?? after?.refused) === true,
    );
    if (isOther || isMoved || isRefused || ofEgress !== egressBefore)
      for (const content of plan.cells.keys()) touched.add(content);
    else if (changedGroups.length > 0)
      for (const content of ofEgress.keys()) if (plan.cells.has(content)) touched.add(content);
    for (const { key } of changesBetween(cellsBefore, plan.cells)) touched.add(key);
    const patch = new Map<number, ReadonlyMap<number, number> | undefined>();
    for (const content of touched) {
      const source = plan.cells.get(content);
      if (source === undefined) {
        known.delete(content);
        const number = last.policies.get(content);
        if (number !== undefined) patch.set(number, undefined);
      }
    }
    for (const content of touched) {
      const source = plan.cells.get(content);
      if (source === undefined) continue;
      const service = ofEgress.get(content);
      const was = known.get(content);
      const isSame = was !== undefined && was.isEgress === (service !== undefined);
      const changes = isSame ? changesBetween(was.source, source) : changesBetween(new Map(), source);
      const gone = new Map<number, undefined>();
      const put = new Map<number, number>();
      const note = (key: string, ports: PortSet | undefined): void => {
        if (ports !== undefined) put.set(identity(key), row(ports));
        else if (isSame) gone.set(before(key), undefined);
      };
      for (const { key, after } of changes) note(key, after);
      // A refused address may be a pod's, too: what is denied to that pod must not enter as the Service's.
      const cellOf = (group: ServiceGroup | undefined): PortSet | undefined => {
        const judge = service ?? (group?.refused === true ? compiled.get(content) : undefined);
        return judge && group && serviceCell(judge, group);
      };
      if (isSame) for (const { key, after } of changedGroups) note(key, cellOf(after));
      else for (const [key, group] of groups) note(key, cellOf(group));
      // A number that is free again may be another content's already.
      const cells = patched(isSame ? was.cells : new Map<number, number>(), new Map([...gone, ...put]));
      known.set(content, { isEgress: service !== undefined, source, cells });
      patch.set(numbering.policies.get(content) as number, cells);
    }
    policies = patched(policies, patch);
    cellsBefore = plan.cells;
    egressBefore = ofEgress;
    groupsBefore = groups;
    last = numbering;
    return policies;
  };
  return (contents, numbered) => {
    const { sides, policiesOf, plan } = contents;
    const { identities, rows, policies: numbers } = numbered.numbering;
    return stage([plan, sides, policiesOf, numbered.services.groups, identities, rows, numbers], () =>
      update(contents, numbered),
    );
  };
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
  /** Addresses of frontends, each with the number of its ports. */
  const fronts = new Map<string, { readonly address: Address; ports: number }>();
  let last = {
    addresses: new Map() as Classified["addresses"],
    cidrs: undefined as unknown,
    behind: new Map() as Contents["behind"],
    closed: NOTHING_CLOSED,
  };
  let identities: Numbers = new Map();
  let values: State["addresses"] = new Map();
  return ({ classified, behind, closed }, numbering) => {
    const identity = identityReader(numbering);
    const { addresses, cidrs } = classified;
    const valueAt = (text: string): number | undefined => {
      const front = fronts.get(text);
      const terms = addresses.get(text);
      const ofClosed = FAMILIES.find((family) => text === closedKey(family));
      if (front === undefined && terms === undefined && ofClosed === undefined) return undefined;
      const refused = closed.words.length === 0 ? undefined : (ofClosed ?? familyClosedAt(closed, text));
      if (refused !== undefined) return identity(refusedGroup(refused));
      if (front !== undefined) return identity(classified.termsOf(front.address).content) | IDENTITY_FRONTEND;
      return terms === undefined ? undefined : identity(terms.content);
    };
    const count = (behindOne: Behind | undefined, by: 1 | -1): void => {
      if (behindOne === undefined) return;
      const { address } = behindOne.frontend;
      const known = fronts.get(address.text) ?? { address, ports: 0 };
      known.ports += by;
      if (known.ports === 0) fronts.delete(address.text);
      else fronts.set(address.text, known);
      texts.add(address.text);
    };
    const texts = new Set<string>();
    for (const { before, after } of changesBetween(last.behind, behind)) {
      if (before?.frontend.address.text === after?.frontend.address.text) continue;
      count(after, 1);
      count(before, -1);
    }
    if (isRenumbered(identities, numbering.identities)) {
      values = new Map();
      last = { ...last, addresses: new Map(), cidrs: undefined, closed: NOTHING_CLOSED };
    }
    for (const { key } of changesBetween(last.addresses, addresses)) texts.add(key);
    // Without a pod behind it, a frontend has the identity of its prefix, which may be another one.
    if (last.closed !== closed || last.cidrs !== cidrs) for (const text of fronts.keys()) texts.add(text);
    if (last.closed !== closed) {
      for (const text of addresses.keys()) texts.add(text);
      for (const family of FAMILIES) texts.add(closedKey(family));
    }
    const patch = new Map(texts.values().map((text) => [text, valueAt(text)] as const));
    values = values.size === 0 ? versionOf(new Map(entriesOf(patch))) : patched(values, patch);
    last = { addresses, cidrs, behind, closed };
    identities = numbering.identities;
    return values;
  };
}

/** The family of an address that is closed. */
function familyClosedAt(closed: ClosedAddresses, text: string): Family | undefined {
  const address = parseAddress(text);
  if (!address.ok) throw new Error(`assertion failed: not an address: ${text}`);
  return closed.has(address.value) ? address.value.family : undefined;
}

const entriesOf = (patch: ReadonlyMap<string, number | undefined>): [string, number][] =>
  [...patch].flatMap(([text, value]) => (value === undefined ? [] : [[text, value]]));

/** Whether a content has another number than before. */
const isRenumbered = (before: Numbers, after: Numbers): boolean =>
  changesBetween(before, after).some((each) => each.before !== undefined && each.after !== undefined);

function mapValues<V, W>(map: ReadonlyMap<string, V>, to: (value: V) => W): Map<string, W> {
  return new Map([...map].map(([key, value]) => [key, to(value)]));
}

/** Names for the numbers; each table only if it is other than before. */
function openMeaningStages(): (contents: Contents, numbering: Numbering, services: Grouped) => Meaning {
  const terms = openStage<Meaning["terms"]>();
  const identities = openIdentityMeanings();
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
      identities: identities(termSets, numbering.identities),
      rows: rows([numbering.rows, plan.rows], () => byNumber(numbering.rows, plan.rows)),
      classes: classes([numbering.classes, contents.classes], () =>
        byNumber(
          numbering.classes,
          mapValues(contents.classes, ({ spans }) => spans),
        ),
      ),
      classified: contents.classified,
      closed: contents.closed,
      services: ofServices(
        [behind, services.contents, numbering.identities],
        () => () =>
          [...behind].map(([key, each]) => ({
            ...each,
            identity: identity(present(services.contents.get(key), "the group of a frontend")),
          })),
      ),
    };
  };
}

/** The sets of identities, in the time of those that have come or gone since the last call. */
function openIdentityMeanings(): (termSets: Contents["termSets"], numbers: Numbers) => Meaning["identities"] {
  let last: { readonly termSets: Contents["termSets"]; readonly numbers: Numbers } = {
    termSets: new Map(),
    numbers: new Map(),
  };
  let identities: Meaning["identities"] = new Map();
  return (termSets, numbers) => {
    if (isRenumbered(last.numbers, numbers)) {
      last = { termSets: new Map(), numbers };
      identities = new Map();
    }
    const changes = [...changesBetween(last.termSets, termSets)];
    // A number that is free again may be another content's already.
    const gone = changes.map(({ key }) => [last.numbers.get(key), undefined] as const);
    const put = changes.map(({ key, after }) => [after && numbers.get(key), after] as const);
    identities = patched(
      identities,
      new Map([...gone, ...put].flatMap(([number, set]) => (number === undefined ? [] : [[number, set]]))),
    );
    last = { termSets, numbers };
    return identities;
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
