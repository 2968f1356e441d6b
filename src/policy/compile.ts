// Policies and pods to the desired state of the datapath. The conductor: subjects, terms, identities, rows, classes.

import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { compareAddresses } from "../base/ip.ts";
import type { Cluster, Pod } from "../model/cluster.ts";
import {
  type Endpoint,
  IDENTITY_DEFAULT,
  LIMITS,
  LimitError,
  POLICY_NONE,
  ROW_ALL,
  ROW_NOTHING,
  type State,
} from "../state/state.ts";
import { type Classified, classify, type TermSet } from "./identity.ts";
import { assign, endpointKey, type Numbering, NOTHING_RESERVED } from "./numbers.ts";
import type { Term } from "./peers.ts";
import { classesOf, classSpans, isAll, NO_PORTS, type PortClass, type PortSet, portSetKey, union } from "./ports.ts";
import { type Side, sideOf } from "./subjects.ts";

/** A pod of this node and the host-side interface that its packets cross. */
export interface LocalEndpoint {
  readonly pod: Pod;
  readonly ifindex: number;
}

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
  readonly policies: ReadonlyMap<number, CompiledPolicy>;
  readonly rows: ReadonlyMap<number, PortSet>;
  readonly classes: ReadonlyMap<number, PortSet>;
  readonly classified: Classified;
}

export interface EndpointSides {
  readonly local: LocalEndpoint;
  readonly sides: { readonly [direction in Direction]: Side | undefined };
}

/** A policy as its content: the same for every endpoint and direction with the same clauses. */
export interface CompiledPolicy {
  readonly content: string;
  /** Ports allowed for everyone. */
  readonly others: PortSet;
  /** Ports allowed for peers of a term, by term number, `others` not included. */
  readonly byTerm: ReadonlyMap<number, PortSet>;
}

/**
 * Compiles what this node must enforce. Pure: the same cluster, endpoints and numbering give the same state.
 * Throws LimitError where a table cannot hold it.
 */
export function compile(cluster: Cluster, locals: readonly LocalEndpoint[], previous: Numbering): Compiled {
  const sides = locals.map((local) => ({
    local,
    sides: {
      ingress: sideOf(cluster, local.pod, "ingress"),
      egress: sideOf(cluster, local.pod, "egress"),
    },
  }));
  const { terms, numbers: termNumbers, nextTerm } = numberTerms(sides, previous);
  const classified = classify(cluster, terms, termNumbers);
  checkSizes(classified);

  const termSets = distinctTermSets(classified);
  const identities = assign("identities", termSets.keys(), previous);
  const contents = policyContents(sides, termNumbers);
  const policies = assign("policies", contents.keys(), previous);
  const plan = planRows(contents, termSets);
  const rows = assign("rows", plan.rows.keys(), previous);
  const classes = numberClasses([...plan.rows.values()], previous);
  const endpoints = assign("endpoints", locals.map(endpointContent), previous);

  const rowNumber = (set: PortSet): number =>
    set.length === 0 ? ROW_NOTHING : isAll(set) ? ROW_ALL : (rows.get(portSetKey(set)) as number);
  const identityOf = (set: TermSet): number => (set.content === "" ? IDENTITY_DEFAULT : (identities.get(set.content) as number));
  const state: State = {
    endpoints: new Map(
      sides.map((entry) => [entry.local.ifindex, endpointOf(entry, { endpoints, policies, termNumbers })]),
    ),
    addresses: new Map([...classified.addresses].map(([text, { terms: set }]) => [text, identityOf(set)])),
    cidrs: new Map([...classified.cidrs].map(([text, { terms: set }]) => [text, identityOf(set)])),
    ports: classSpans(classes.list),
    rows: rowBits([...plan.rows.values()], classes.list, rowNumber),
    policies: new Map(
      [...plan.cells].map(([content, cells]) => [
        policies.get(content) as number,
        new Map([...cells].map(([termSet, set]) => [termSet === "" ? IDENTITY_DEFAULT : (identities.get(termSet) as number), rowNumber(set)])),
      ]),
    ),
  };
  return {
    state,
    numbering: {
      identities,
      policies,
      rows,
      classes: classes.numbers,
      endpoints,
      terms: termNumbers,
      nextTerm,
      reserved: NOTHING_RESERVED,
    },
    meaning: {
      sides,
      terms: new Map(terms.map((term) => [termNumbers.get(term.key) as number, term])),
      identities: new Map([...identities].map(([content, number]) => [number, termSets.get(content) as TermSet])),
      policies: new Map([...policies].map(([content, number]) => [number, contents.get(content) as CompiledPolicy])),
      rows: new Map([...plan.rows].map(([content, set]) => [rows.get(content) as number, set])),
      classes: new Map(classes.list.map(({ number, spans }) => [number, spans])),
      classified,
    },
  };
}

function numberTerms(sides: readonly EndpointSides[], previous: Numbering) {
  const terms = new Map<string, Term>();
  for (const { sides: both } of sides) {
    for (const direction of DIRECTIONS) {
      for (const { term } of both[direction]?.clauses ?? []) if (term !== undefined) terms.set(term.key, term);
    }
  }
  const numbers = new Map<string, number>();
  let nextTerm = previous.nextTerm;
  for (const key of [...terms.keys()].sort()) {
    const known = previous.terms.get(key);
    numbers.set(key, known ?? nextTerm);
    if (known === undefined) nextTerm += 1;
  }
  return { terms: [...terms.values()], numbers, nextTerm };
}

function checkSizes(classified: Classified): void {
  const sizes = { addresses: classified.addresses.size, cidrs: classified.cidrs.size };
  for (const name of ["addresses", "cidrs"] as const) {
    if (sizes[name] > LIMITS[name]) throw new LimitError(name, sizes[name]);
  }
}

function distinctTermSets(classified: Classified): Map<string, TermSet> {
  const sets = new Map<string, TermSet>();
  for (const { terms } of [...classified.cidrs.values(), ...classified.addresses.values()]) {
    if (terms.content !== "") sets.set(terms.content, terms);
  }
  return new Map([...sets].sort(([a], [b]) => (a < b ? -1 : 1)));
}

function compilePolicy(side: Side, termNumbers: ReadonlyMap<string, number>): CompiledPolicy {
  const others = union(side.clauses.filter(({ term }) => term === undefined).flatMap(({ ports }) => ports));
  const spans = new Map<number, PortSet>();
  for (const { term, ports } of side.clauses) {
    if (term === undefined) continue;
    const number = termNumbers.get(term.key) as number;
    spans.set(number, union([...(spans.get(number) ?? []), ...ports]));
  }
  const byTerm = new Map([...spans].sort(([a], [b]) => a - b));
  const content = JSON.stringify([portSetKey(others), ...[...byTerm].map(([term, set]) => [term, portSetKey(set)])]);
  return { content, others, byTerm };
}

function policyContents(sides: readonly EndpointSides[], termNumbers: ReadonlyMap<string, number>) {
  const contents = new Map<string, CompiledPolicy>();
  for (const { sides: both } of sides) {
    for (const direction of DIRECTIONS) {
      const side = both[direction];
      if (side === undefined) continue;
      const policy = compilePolicy(side, termNumbers);
      contents.set(policy.content, policy);
    }
  }
  return new Map([...contents].sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** For each policy the ports of each term set that differs from the others', and all distinct sets that need a row. */
function planRows(contents: ReadonlyMap<string, CompiledPolicy>, termSets: ReadonlyMap<string, TermSet>) {
  const byTerm = new Map<number, TermSet[]>();
  for (const set of termSets.values()) {
    for (const term of set.terms) byTerm.set(term, [...(byTerm.get(term) ?? []), set]);
  }
  const rows = new Map<string, PortSet>();
  const cells = new Map<string, Map<string, PortSet>>();
  const note = (set: PortSet): PortSet => {
    if (set.length > 0 && !isAll(set)) rows.set(portSetKey(set), set);
    return set;
  };
  for (const [content, policy] of contents) {
    const own = new Map<string, PortSet>();
    if (policy.others.length > 0) own.set("", note(policy.others));
    const affected = new Set([...policy.byTerm.keys()].flatMap((term) => byTerm.get(term) ?? []));
    for (const termSet of affected) {
      const ports = union([...policy.others, ...termSet.terms.flatMap((term) => policy.byTerm.get(term) ?? NO_PORTS)]);
      if (portSetKey(ports) !== portSetKey(policy.others)) own.set(termSet.content, note(ports));
    }
    cells.set(content, own);
  }
  return { rows: new Map([...rows].sort(([a], [b]) => (a < b ? -1 : 1))), cells };
}

function numberClasses(rows: readonly PortSet[], previous: Numbering) {
  const found: PortClass[] = classesOf(rows);
  const numbers = assign("classes", found.map(({ spans }) => portSetKey(spans)).sort(), previous);
  return { numbers, list: found.map((each) => ({ ...each, number: numbers.get(portSetKey(each.spans)) as number })) };
}

function rowBits(
  rows: readonly PortSet[],
  classes: readonly (PortClass & { readonly number: number })[],
  rowNumber: (set: PortSet) => number,
): Map<number, number[]> {
  const bits = new Map<number, number[]>(rows.map((set) => [rowNumber(set), []]));
  for (const each of classes) {
    for (const index of each.sets) bits.get(rowNumber(rows[index] as PortSet))?.push(each.number);
  }
  for (const list of bits.values()) list.sort((a, b) => a - b);
  return bits;
}

const endpointContent = (local: LocalEndpoint): string => endpointKey(local.ifindex, ownAddresses(local.pod));

const ownAddresses = (pod: Pod): string[] => [...pod.ips].sort(compareAddresses).map((address) => address.text);

interface EndpointNumbers {
  readonly endpoints: ReadonlyMap<string, number>;
  readonly policies: ReadonlyMap<string, number>;
  readonly termNumbers: ReadonlyMap<string, number>;
}

function endpointOf(entry: EndpointSides, numbers: EndpointNumbers): Endpoint {
  const policyOf = (direction: Direction): number => {
    const side = entry.sides[direction];
    if (side === undefined) return POLICY_NONE;
    return numbers.policies.get(compilePolicy(side, numbers.termNumbers).content) as number;
  };
  return {
    id: numbers.endpoints.get(endpointContent(entry.local)) as number,
    addresses: ownAddresses(entry.local.pod),
    policy: { ingress: policyOf("ingress"), egress: policyOf("egress") },
  };
}
