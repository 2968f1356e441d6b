// Policies and pods to the desired state of the datapath. The conductor: subjects, terms, identities, rows, classes.

import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { compareAddresses } from "../base/ip.ts";
import type { Cluster, Pod } from "../model/cluster.ts";
import {
  type Endpoint,
  IDENTITY_DEFAULT,
  LIMITS,
  LimitError,
  OWN_ADDRESSES_MAX,
  POLICY_NONE,
  ROW_ALL,
  ROW_NOTHING,
  type State,
} from "../state/state.ts";
import { type CompiledPolicy, compilePolicy, type Plan, planRows, rowBits } from "./contents.ts";
import { type Classified, classify, type TermSet } from "./identity.ts";
import { assign, endpointKey, NOTHING_RESERVED, type Numbering } from "./numbers.ts";
import type { Term } from "./peers.ts";
import { classesOf, classSpans, isAll, type PortSet, portSetKey } from "./ports.ts";
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
  readonly rows: ReadonlyMap<number, PortSet>;
  readonly classes: ReadonlyMap<number, PortSet>;
  readonly classified: Classified;
}

export interface EndpointSides {
  readonly local: LocalEndpoint;
  readonly sides: { readonly [direction in Direction]: Side | undefined };
}

/** What is to be enforced, told apart by content; only terms have numbers yet. */
interface Contents {
  readonly sides: readonly EndpointSides[];
  readonly terms: readonly Term[];
  readonly termNumbers: ReadonlyMap<string, number>;
  readonly nextTerm: number;
  readonly classified: Classified;
  readonly termSets: ReadonlyMap<string, TermSet>;
  /** The compiled policy of each side, and the distinct ones by content. */
  readonly policyOf: ReadonlyMap<Side, CompiledPolicy>;
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
  readonly plan: Plan;
  readonly classes: ReadonlyMap<string, { readonly spans: PortSet; readonly sets: readonly number[] }>;
}

/**
 * Compiles what this node must enforce. Pure: the same cluster, endpoints and numbering give the same state.
 * Throws LimitError where a table cannot hold it.
 */
export function compile(cluster: Cluster, locals: readonly LocalEndpoint[], previous: Numbering): Compiled {
  const contents = contentsOf(cluster, locals, previous);
  const numbering: Numbering = {
    identities: assign("identities", contents.termSets.keys(), previous),
    policies: assign("policies", contents.policies.keys(), previous),
    rows: assign("rows", contents.plan.rows.keys(), previous),
    classes: assign("classes", contents.classes.keys(), previous),
    endpoints: assign("endpoints", locals.map(endpointContent), previous),
    terms: contents.termNumbers,
    nextTerm: contents.nextTerm,
    reserved: NOTHING_RESERVED,
  };
  return { state: stateOf(contents, numbering), numbering, meaning: meaningOf(contents, numbering) };
}

function contentsOf(cluster: Cluster, locals: readonly LocalEndpoint[], previous: Numbering): Contents {
  const sides = locals.map((local) => ({
    local,
    sides: {
      ingress: sideOf(cluster, local.pod, "ingress"),
      egress: sideOf(cluster, local.pod, "egress"),
    },
  }));
  const { terms, termNumbers, nextTerm } = numberTerms(sides, previous);
  const classified = classify(cluster, terms, termNumbers);
  checkSizes(classified);
  const termSets = distinctTermSets(classified);
  const policyOf = new Map(sidesIn(sides).map((side) => [side, compilePolicy(side, termNumbers)]));
  const policies = new Map([...policyOf.values()].map((policy) => [policy.content, policy]));
  const plan = planRows(policies, termSets);
  const classes = new Map(classesOf([...plan.rows.values()]).map((each) => [portSetKey(each.spans), each]));
  return { sides, terms, termNumbers, nextTerm, classified, termSets, policyOf, policies, plan, classes };
}

const sidesIn = (sides: readonly EndpointSides[]): Side[] =>
  sides.flatMap((entry) => DIRECTIONS.flatMap((direction) => entry.sides[direction] ?? []));

/** A term keeps its number for as long as it lives; numbers are never given again. */
function numberTerms(sides: readonly EndpointSides[], previous: Numbering) {
  const live = sidesIn(sides).flatMap(({ clauses }) => clauses.flatMap(({ term }) => term ?? []));
  const terms = new Map(live.map((term) => [term.key, term]));
  const termNumbers = new Map<string, number>();
  let nextTerm = previous.nextTerm;
  for (const key of [...terms.keys()].sort()) {
    const known = previous.terms.get(key);
    termNumbers.set(key, known ?? nextTerm);
    if (known === undefined) nextTerm += 1;
  }
  return { terms: [...terms.values()], termNumbers, nextTerm };
}

function checkSizes(classified: Classified): void {
  const sizes = { addresses: classified.addresses.size, cidrs: classified.cidrs.size };
  for (const name of ["addresses", "cidrs"] as const) {
    if (sizes[name] > LIMITS[name]) throw new LimitError(name, sizes[name]);
  }
}

function distinctTermSets(classified: Classified): Map<string, TermSet> {
  const all = [...classified.cidrs.values(), ...classified.addresses.values()].map(({ terms }) => terms);
  return new Map(all.filter(({ content }) => content !== "").map((terms) => [terms.content, terms]));
}

function stateOf(contents: Contents, numbering: Numbering): State {
  const { classified, plan, policyOf } = contents;
  const identity = (content: string): number =>
    content === "" ? IDENTITY_DEFAULT : (numbering.identities.get(content) as number);
  const row = (set: PortSet): number => {
    if (set.length === 0) return ROW_NOTHING;
    return isAll(set) ? ROW_ALL : (numbering.rows.get(portSetKey(set)) as number);
  };
  const policy = (side: Side | undefined): number =>
    side === undefined
      ? POLICY_NONE
      : (numbering.policies.get((policyOf.get(side) as CompiledPolicy).content) as number);
  const endpoint = ({ local, sides }: EndpointSides): Endpoint => ({
    id: numbering.endpoints.get(endpointContent(local)) as number,
    addresses: ownAddresses(local.pod),
    policy: { ingress: policy(sides.ingress), egress: policy(sides.egress) },
  });
  const numbered = [...contents.classes].map(([content, each]) => ({
    ...each,
    number: numbering.classes.get(content) as number,
  }));
  return {
    endpoints: new Map(contents.sides.map((entry) => [entry.local.ifindex, endpoint(entry)])),
    addresses: mapValues(classified.addresses, ({ terms }) => identity(terms.content)),
    cidrs: mapValues(classified.cidrs, ({ terms }) => identity(terms.content)),
    ports: classSpans(numbered),
    rows: rowBits([...plan.rows.values()], numbered, row),
    policies: new Map(
      [...plan.cells].map(([content, cells]) => [
        numbering.policies.get(content) as number,
        new Map([...cells].map(([termSet, set]) => [identity(termSet), row(set)])),
      ]),
    ),
  };
}

function mapValues<V, W>(map: ReadonlyMap<string, V>, to: (value: V) => W): Map<string, W> {
  return new Map([...map].map(([key, value]) => [key, to(value)]));
}

function meaningOf(contents: Contents, numbering: Numbering): Meaning {
  const byNumber = <V>(
    numbers: ReadonlyMap<string, number>,
    values: ReadonlyMap<string, V>,
  ): Map<number, V> => new Map([...numbers].map(([content, number]) => [number, values.get(content) as V]));
  return {
    sides: contents.sides,
    terms: new Map(contents.terms.map((term) => [numbering.terms.get(term.key) as number, term])),
    identities: byNumber(numbering.identities, contents.termSets),
    rows: byNumber(numbering.rows, contents.plan.rows),
    classes: byNumber(
      numbering.classes,
      mapValues(contents.classes, ({ spans }) => spans),
    ),
    classified: contents.classified,
  };
}

const endpointContent = (local: LocalEndpoint): string => endpointKey(local.ifindex, ownAddresses(local.pod));

/** Sorted; at most as many of each family as an endpoint may have, the first ones of the pod. */
function ownAddresses(pod: Pod): string[] {
  const first = ([4, 6] as const).flatMap((family) =>
    pod.ips.filter((address) => address.family === family).slice(0, OWN_ADDRESSES_MAX),
  );
  return first.sort(compareAddresses).map(({ text }) => text);
}
