// What is to be enforced, deduplicated by content: the policies of this node's endpoints, their peers, rows and Services.

import { present } from "../base/assert.ts";
import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { openKeep, openKeptStage, openStage, sameEntries, sameItems } from "../base/stage.ts";
import { openLayers, overlaid } from "../base/versioned-map.ts";
import { type Cluster, namespaceLabels } from "../model/cluster.ts";
import { MODE_KEY } from "../model/enforcement-mode.ts";
import {
  FRONTEND_CAPACITIES,
  type FrontendCapacities,
  type FrontendExcess,
} from "../model/frontend-shares.ts";
import {
  type ClosedAddresses,
  type Frontend,
  frontendKey,
  NOTHING_CLOSED,
  openFrontends,
} from "../model/frontends.ts";
import type { TermSet } from "./identities.ts";
import type { Numbering } from "./identity-allocation.ts";
import { addressesOfLocal, type LocalEndpoint, podsOf, sendsAsItself } from "./local-endpoints.ts";
import { numbersOf, type Term } from "./peer-selectors.ts";
import { classesOf, type PortClass, type PortSet, portSetKey } from "./port-classes.ts";
import {
  type CompiledPolicy,
  compilePolicy,
  type Limits,
  openPlan,
  openSetsByTerm,
  type Plan,
} from "./rows.ts";
import {
  type Behind,
  behindWith,
  type EgressPolicy,
  guardsOf,
  hasGuards,
  nodesOf,
  openBehind,
  openGroups,
  openSelves,
  openSenders,
  ownTermSets,
  type Self,
  type Sender,
  withTermSets,
} from "./service-groups.ts";
import {
  allClauses,
  closingTerms,
  egressPortNames,
  isAuditedForAny,
  policiesIn,
  type Side,
  sideOfAll,
  tierPoliciesOf,
} from "./subjects.ts";
import { domainsIn, egressPortNamesOf, namesNodes } from "./tiers.ts";
import {
  type Classification,
  type Classified,
  type Matches,
  type NumberedTerms,
  openWorkloads,
} from "./workloads.ts";

export interface EndpointSides {
  readonly local: LocalEndpoint;
  readonly sides: { readonly [direction in Direction]: Side | undefined };
}

/** Only terms have numbers yet. What each policy allows each term set is not computed yet either: it may be too much. */
export interface Draft {
  readonly sides: readonly EndpointSides[];
  readonly terms: readonly Term[];
  readonly termNumbers: ReadonlyMap<string, number>;
  readonly nextTerm: number;
  readonly classified: Classified;
  readonly termSets: ReadonlyMap<string, TermSet>;
  /** The compiled policies of each endpoint, by interface index, and the distinct ones by content. */
  readonly policiesOf: ReadonlyMap<number, CompiledSides>;
  readonly policies: ReadonlyMap<string, CompiledPolicy>;
  /** The domain names of all rules, sorted. */
  readonly domains: readonly string[];
  /** The term sets that hold each term. */
  readonly byTerm: ReadonlyMap<number, readonly TermSet[]>;
  /** By the frontend's key. */
  readonly behind: ReadonlyMap<string, Behind>;
  /** Addresses of Services that are denied as a whole. */
  readonly closed: ClosedAddresses;
  /** Services whose frontends, or the backends of these, are beyond their namespace's share. */
  readonly excessServices: readonly FrontendExcess[];
  /** The terms by which guards recognize senders, and pods allow themselves, with the namespaces of these pods. */
  readonly senders: ReadonlyMap<number, ReadonlySet<string>>;
  /** Set where there is too much to classify: then no address has any terms. */
  readonly excess?: Matches;
}

/** With the rows that policies need. */
export interface Planned extends Draft {
  readonly plan: Plan;
}

/** With the port classes that rows distinguish, too. */
export interface Contents extends Planned {
  readonly classes: ReadonlyMap<string, PortClass>;
}

/** What is left out of a compile if the tables cannot hold it: see policy/limits. Each of these only denies more. */
export interface Restrictions {
  /** Addresses that are treated as if no pod had them. */
  readonly leftOut: ReadonlySet<string>;
  /** Namespaces whose pods may send to a Service only if all of its backends are allowed. */
  readonly unguarded: ReadonlySet<string>;
}

export const NOTHING_LEFT_OUT: Restrictions = { leftOut: new Set(), unguarded: new Set() };

type CompiledSides = { readonly [direction in Direction]: CompiledPolicy | undefined };

export interface DraftInput {
  readonly cluster: Cluster;
  readonly locals: readonly LocalEndpoint[];
  readonly previous: Numbering;
}

export interface DraftLimits extends FrontendCapacities {
  /** How much may be classified, in all. */
  readonly matches: number;
}

const ALL_CLASSIFIED: DraftLimits = { ...FRONTEND_CAPACITIES, matches: Number.POSITIVE_INFINITY };

/** The stages from subjects to policies and term sets. They keep their results: what has not changed is not computed again. */
export interface DraftStages {
  sides(input: Pick<DraftInput, "cluster" | "locals">): readonly EndpointSides[];
  draft(input: DraftInput, restrictions?: Restrictions, limits?: DraftLimits): Draft;
  /** Computes what each policy allows each term set. */
  plan(draft: Draft): Planned;
  contents(planned: Planned): Contents;
}

export function openDraftStages(): DraftStages {
  const subjects = openSubjects();
  // Equal terms of another version of a policy are the same terms.
  const live = openKeptStage<readonly Term[]>(
    (a, b) => a.length === b.length && a.every(({ key }, index) => key === b[index]?.key),
  );
  const terms = openTermNumbers();
  const closing = openKeptStage<ReadonlySet<number>>((a, b) => a.symmetricDifference(b).size === 0);
  const workloads = openWorkloads();
  const known = openKeptStage<readonly boolean[]>(sameItems);
  const names = openKeptStage<readonly string[]>(sameItems);
  const plainPolicies = openStage<Draft["policiesOf"]>();
  const compileSides = openSideCompiler();
  const services = openServices(compileSides);
  const owned = openStage<Draft["termSets"]>();
  const ownSets = openStage<OwnSets>();
  let lastOwn: OwnSets = { sets: new Map(), more: new Map(), replaced: new Map() };
  const ownAddresses = openStage<ReadonlySet<string>>();
  const allAddresses = openLayers<string, TermSet>();
  const touched = openToken();
  const policies = openStage<Draft["policies"]>();
  const byTerm = openSetsByTerm();
  const planned = openStage<Plan>();
  const plans = openPlan();
  const classified = openStage<Contents["classes"]>();
  return {
    sides: ({ cluster, locals }) => subjects(cluster, locals),
    draft({ cluster, locals, previous }, restrictions = NOTHING_LEFT_OUT, limits = ALL_CLASSIFIED) {
      const sides = subjects(cluster, locals);
      const plainTerms = terms(
        live([sides], () => termsIn(sides)),
        previous,
      );
      const numbers = {
        ...plainTerms,
        closing: closing([sides, plainTerms.termNumbers], () =>
          closingTerms(sidesIn(sides), plainTerms.termNumbers),
        ),
      };
      const base = workloads(cluster, numbers, { leftOut: restrictions.leftOut, capacity: limits.matches });
      const own = ownAddresses([locals], () => addressTexts(locals));
      const ofLocals = touched(base, own);
      const isKnown = known([locals, ofLocals, namesText(restrictions.unguarded)], () =>
        locals.map((local) => isKnownSender(local, base, restrictions)),
      );
      const domains = names([cluster.clusterPolicies], () => domainsIn(cluster.clusterPolicies ?? new Map()));
      const plain = plainPolicies([sides, numbers.termNumbers, isKnown, domains], () =>
        compileSides(sides, { termNumbers: numbers.termNumbers, isKnown, domains }),
      );
      const found = services({
        cluster,
        locals,
        previous,
        restrictions,
        capacities: limits,
        sides,
        isKnown,
        domains,
        plain,
        numbers,
        base,
        own,
        ofLocals,
      });
      const { behind, closed, senders, policiesOf, ownTerms, termNumbers, nextTerm } = found;
      const { sets, more, replaced } = ownSets([ownTerms, termNumbers, ofLocals], () => {
        lastOwn = setsOfOwn(base, ownTerms, { termNumbers, known: lastOwn.more });
        return lastOwn;
      });
      const classes = withTermSets(base, sets, allAddresses(base.addresses, sets));
      // Sets that only addresses with terms of their own would have without these.
      const lost = [...replaced].flatMap(([content, count]) =>
        base.uses(content) === count && !more.has(content) ? content : [],
      );
      const termSets = owned([base.termSets, more, lost.join(" ")], () =>
        overlaid(
          base.termSets,
          new Map<string, TermSet | undefined>([
            ...lost.map((content) => [content, undefined] as const),
            ...more,
          ]),
        ),
      );
      return {
        sides,
        terms: found.terms,
        termNumbers,
        nextTerm,
        classified: classes,
        termSets,
        policiesOf,
        domains,
        policies: policies(
          [policiesOf],
          () => new Map(compiledPoliciesIn(policiesOf).map((policy) => [policy.content, policy])),
        ),
        byTerm: byTerm(termSets),
        behind,
        closed,
        excessServices: found.excessServices,
        senders,
        ...(base.excess && { excess: base.excess }),
      };
    },
    plan(draft) {
      const { policies: all, termSets, byTerm: sets } = draft;
      return { ...draft, plan: planned([all, termSets, sets], () => plans(all, termSets, sets)) };
    },
    contents(all) {
      const { rows } = all.plan;
      const classes = classified(
        [rows],
        () => new Map(classesOf([...rows.values()]).map((each) => [portSetKey(each.spans), each])),
      );
      return { ...all, classes };
    },
  };
}

/** The sides of each endpoint, by the policies of their namespaces and the numbers of port names on other pods. */
function openSubjects(): (cluster: Cluster, locals: readonly LocalEndpoint[]) => readonly EndpointSides[] {
  const stage = openStage<readonly EndpointSides[]>();
  const spaces = openStage<readonly string[]>();
  const names = openStage<ReturnType<typeof egressPortNames>>();
  const whole = openStage<readonly EndpointSides[]>();
  let last: readonly EndpointSides[] = [];
  return (cluster, locals) => {
    const namespaces = spaces([locals], () => [
      ...new Set(locals.flatMap((local) => podsOf(local).map(({ namespace }) => namespace))),
    ]);
    const asked = names([last], () =>
      distinctNames(
        sidesIn(last).flatMap((side) =>
          side.direction === "egress"
            ? [
                ...side.policies.flatMap(egressPortNames),
                ...tierPoliciesOf(side).flatMap(({ policy }) => egressPortNamesOf(policy)),
              ]
            : [],
        ),
      ),
    );
    const numbers = asked.map(({ name, protocol }) => numbersOf(cluster, name, protocol));
    const { clusterPolicies, nodes } = cluster;
    const ofNodes = clusterPolicies !== undefined && namesNodes(clusterPolicies) ? nodes : undefined;
    // Mostly neither policies nor namespaces have changed at all.
    last = whole(
      [
        ...[locals, cluster.mode, cluster.bypassed, cluster.policies, cluster.namespaces],
        ...[clusterPolicies, ofNodes, cluster.nameless, ...numbers],
      ],
      () =>
        stage(
          [
            locals,
            cluster.mode,
            cluster.bypassed,
            ...namespaces.map((name) => policiesIn(cluster.policies, name)),
            ...namespaces.map((name) => namespaceLabels(cluster, name).get(MODE_KEY)),
            ...numbers,
            ...tierInputs(cluster, namespaces),
          ],
          () =>
            locals.map((local) => ({
              local,
              sides: {
                ingress: sideOfAll(cluster, podsOf(local), "ingress"),
                egress: sideOfAll(cluster, podsOf(local), "egress"),
              },
            })),
        ),
    );
    return last;
  };
}

/** What cluster policies on these namespaces' pods depend on. */
function tierInputs(cluster: Cluster, namespaces: readonly string[]): readonly unknown[] {
  const { clusterPolicies, nodes } = cluster;
  if (clusterPolicies === undefined || clusterPolicies.size === 0) return [];
  const labels = namespaces.map((name) => cluster.namespaces.get(name)?.labels);
  return [
    clusterPolicies,
    cluster.nameless?.join(" "),
    ...labels,
    ...(namesNodes(clusterPolicies) ? [nodes] : []),
  ];
}

const distinctNames = (names: ReturnType<typeof egressPortNames>): ReturnType<typeof egressPortNames> => [
  ...new Map(names.map((each) => [`${each.protocol} ${each.name}`, each])).values(),
];

const termsIn = (sides: readonly EndpointSides[]): readonly Term[] => [
  ...new Map(
    sidesIn(sides)
      .flatMap((side) => allClauses(side).flatMap(({ term }) => term ?? []))
      .map((term) => [term.key, term]),
  ).values(),
];

function openTermNumbers(): (
  live: readonly Term[],
  previous: Pick<Numbering, "terms" | "nextTerm">,
) => NumberedTerms & { readonly nextTerm: number } {
  const stage = openStage<ReturnType<typeof numberTerms>>();
  const keep = openKeep<ReadonlyMap<string, number>>(sameEntries);
  return (live, { terms, nextTerm }) => {
    const numbered = stage([live, terms, nextTerm], () => numberTerms(live, { known: terms, nextTerm }));
    return { ...numbered, termNumbers: keep(numbered.termNumbers) };
  };
}

/** Whether guards of other endpoints can recognize it as the sender. */
const isKnownSender = (local: LocalEndpoint, { holders }: Classified, { unguarded }: Restrictions): boolean =>
  sendsAsItself(local) &&
  addressesOfLocal(local).every(({ text }) => holders.get(text) !== undefined) &&
  !podsOf(local).some(({ namespace }) => unguarded.has(namespace));

interface OwnSets {
  /** By address. */
  readonly sets: ReadonlyMap<string, TermSet>;
  /** By content. */
  readonly more: ReadonlyMap<string, TermSet>;
  /** The contents that these addresses would have without own terms, each with the number of addresses. */
  readonly replaced: ReadonlyMap<string, number>;
}

function setsOfOwn(
  base: Classification,
  pods: readonly OwnTerm[],
  {
    termNumbers,
    known,
  }: { readonly termNumbers: ReadonlyMap<string, number>; readonly known: OwnSets["more"] },
): OwnSets {
  const found = ownTermSets(base, pods, termNumbers);
  // An equal set stays the same object.
  const sets = new Map(found.entries().map(([text, set]) => [text, known.get(set.content) ?? set]));
  const more = new Map([...sets.values()].map((terms) => [terms.content, terms]));
  const replaced = new Map<string, number>();
  for (const text of sets.keys()) {
    const content = base.addresses.get(text)?.content;
    if (content !== undefined) replaced.set(content, (replaced.get(content) ?? 0) + 1);
  }
  return { sets, more, replaced };
}

const addressTexts = (locals: readonly LocalEndpoint[]): Set<string> =>
  new Set(
    locals.flatMap((local) =>
      [...podsOf(local).map(({ ips }) => ips), addressesOfLocal(local)].flat().map(({ text }) => text),
    ),
  );

/** Another object whenever holders or terms of one of these addresses may be others than at the last call. */
function openToken(): (base: Classification, texts: ReadonlySet<string>) => object {
  let token = {};
  return ({ changed }, texts) => {
    if (changed === undefined || changed.values().some((text) => texts.has(text))) token = {};
    return token;
  };
}

interface ServiceInput extends DraftInput {
  readonly restrictions: Restrictions;
  readonly capacities: FrontendCapacities;
  readonly sides: readonly EndpointSides[];
  readonly isKnown: readonly boolean[];
  readonly domains: readonly string[];
  /** The policies without regard to Services. */
  readonly plain: Draft["policiesOf"];
  readonly numbers: NumberedTerms & { readonly nextTerm: number };
  readonly base: Classification;
  /** Addresses of this node's endpoints; and another object whenever holders or terms of one may be others than before. */
  readonly own: ReadonlySet<string>;
  readonly ofLocals: object;
}

interface ServiceOutput
  extends NumberedTerms,
    Pick<Draft, "behind" | "closed" | "senders" | "policiesOf" | "excessServices"> {
  readonly nextTerm: number;
  readonly ownTerms: readonly OwnTerm[];
}

const NOBODY: Pick<ServiceOutput, "behind" | "closed" | "excessServices" | "senders" | "ownTerms"> = {
  behind: new Map(),
  closed: NOTHING_CLOSED,
  excessServices: [],
  senders: new Map(),
  ownTerms: [],
};

/**
 * Services with their backends, and what guards need for them: only as far as one of their inputs has changed. Services matter only
 * to pods that are isolated for egress. If some backends of a Service are denied to such a pod, and guarded by endpoints of this
 * node, the pod's addresses get a term of their own, by which the guards recognize it.
 */
function openServices(compileSides: SideCompiler): (input: ServiceInput) => ServiceOutput {
  const numbersKept = openKeep<ReadonlyMap<string, number>>(sameEntries);
  let pipeline: ReturnType<typeof openServicePipeline> | undefined;
  return (input) => {
    const { cluster, numbers, plain } = input;
    const isRestricted = plain.values().some(({ egress }) => egress !== undefined);
    if (!isRestricted || cluster.services.size === 0) {
      // What it has kept would keep every later version of the maps.
      pipeline = undefined;
      return { ...numbers, ...NOBODY, policiesOf: plain };
    }
    pipeline ??= openServicePipeline(compileSides);
    const output = pipeline(input);
    return { ...output, termNumbers: numbersKept(output.termNumbers) };
  };
}

function openServicePipeline(compileSides: SideCompiler): (input: ServiceInput) => ServiceOutput {
  const frontendsIn = openFrontends();
  const behindIn = openBehind();
  /** Of frontends that lead to addresses of this node; and another object whenever they may be others. */
  const keys = openStage<readonly string[]>();
  let changedNear = {};
  const keepNear = openKeep<readonly Frontend[]>(sameItems);
  const keepGuarded = openKeep<readonly Behind[]>(sameItems);
  const nodes = openStage<ReadonlySet<string>>();
  const selvesIn = openSelves();
  const permitted = openStage<readonly Self[]>();
  const selves = openStage<ReturnType<typeof withSelves>>();
  const guarding = openStage<ReadonlyMap<string, readonly number[]>>();
  const guardsKept = openKeep<ReadonlyMap<string, readonly number[]>>(
    (a, b) =>
      a.size === b.size && a.entries().every(([text, guards]) => sameItems(guards, b.get(text) ?? [])),
  );
  const enforcing = openStage<ReturnType<typeof egressPolicies>>();
  const found = openStage<readonly Sender[]>();
  const senders = openStage<ReturnType<typeof withSenders>>();
  const guardedGroups = openGroups();
  const sendersOf = openSenders();
  const resolved = openStage<ReadonlyMap<string, Behind>>();
  return (input) => {
    const { cluster, locals, previous, restrictions, sides, isKnown, plain, numbers, base, ofLocals } = input;
    const frontends = frontendsIn(
      cluster,
      nodes([locals], () => nodesOf(locals)),
      input.capacities,
    );
    if (!input.own.isDisjointFrom(frontends.changed)) changedNear = {};
    const nearKeys = keys([input.own, changedNear], () => [...frontends.leadingTo(input.own)].sort());
    const near = keepNear(nearKeys.map((key) => present(frontends.all.get(key), "a frontend")));
    const behindOwn = selvesIn({ locals, frontends: near, classified: base, ofLocals, policiesOf: plain });
    const own = permitted([behindOwn, namesText(restrictions.unguarded)], () =>
      behindOwn.filter(({ namespaces }) => namespaces.isDisjointFrom(restrictions.unguarded)),
    );
    const { termNumbers, nextTerm } = numbers;
    const ofSelves = selves(
      [own, sides, isKnown, plain, termNumbers, nextTerm, ofLocals, previous.terms],
      () => withSelves(input, own, compileSides),
    );
    const guards = guardsKept(
      guarding([locals, sides, ofLocals], () =>
        // A guard drops by its ingress policy, so that one must be enforced.
        guardsOf(
          locals.filter((local) => !isAuditedForAny(cluster, local, "ingress")),
          base,
        ),
      ),
    );
    const direct = behindIn(frontends, { base, own: ofSelves.sets, guards });
    const guarded = keepGuarded(
      nearKeys.map((key) => present(direct.get(key), "a frontend's backends")).filter(hasGuards),
    );
    const egress = enforcing([ofSelves.policiesOf, locals, sides], () =>
      egressPolicies(
        // Guards do not drop packets of an audited pod either.
        locals.filter((local) => !isAuditedForAny(cluster, local, "egress")),
        ofSelves.policiesOf,
      ),
    );
    const sending = found([guarded, egress], () => {
      const { groups } = guardedGroups(
        new Map(guarded.map((each) => [frontendKey(each.frontend), each])),
        (place) => place,
      );
      return sendersOf(egress, groups);
    });
    const ofSenders = senders([sending, ofSelves], () =>
      withSenders(input, sending, { ...ofSelves, compileSides }),
    );
    const { sets } = ofSenders;
    const behind =
      sets === ofSelves.sets
        ? direct
        : resolved([direct, sets], () => behindWith(direct, frontends, { base, own: sets, guards }));
    return {
      ...ofSenders.output,
      behind,
      closed: frontends.closed,
      excessServices: frontends.excesses,
    };
  };
}

const namesText = (names: ReadonlySet<string>): string => [...names].sort().join(" ");

interface Numbered extends NumberedTerms {
  readonly nextTerm: number;
  /** The terms of the addresses of pods with own terms. */
  readonly sets: ReadonlyMap<string, TermSet>;
  readonly policiesOf: Draft["policiesOf"];
}

interface WithSelves extends Numbered {
  readonly selves: readonly OwnTerm[];
  /** The numbers of their terms, by interface index. */
  readonly selfOf: ReadonlyMap<number, number>;
}

/** With the terms of pods that reach themselves by a Service. */
function withSelves(
  { previous, sides, isKnown, domains, plain, numbers, base }: ServiceInput,
  selves: readonly Self[],
  compileSides: SideCompiler,
): WithSelves {
  const numbered = withTerms(numbers, selves, previous);
  const { termNumbers } = numbered;
  const selfOf = new Map(
    selves.flatMap(({ key, interfaces }) =>
      interfaces.map((ifindex) => [ifindex, termNumbers.get(key) as number] as const),
    ),
  );
  return {
    ...numbered,
    selves,
    selfOf,
    sets: ownTermSets(base, selves, termNumbers),
    policiesOf:
      selves.length === 0
        ? plain
        : compileSides(sides, { termNumbers: numbers.termNumbers, isKnown, domains, selfOf }),
  };
}

/** `senders`: the pods whose packets may go to a frontend with a backend that an endpoint of this node guards. */
function withSenders(
  { previous, sides, isKnown, domains, base, numbers }: ServiceInput,
  senders: readonly Sender[],
  { selves, selfOf, compileSides, ...direct }: WithSelves & { readonly compileSides: SideCompiler },
): {
  readonly sets: ReadonlyMap<string, TermSet>;
  readonly output: Omit<ServiceOutput, "behind" | "closed" | "excessServices">;
} {
  const ofSelves = namespacesOf(selves, direct.termNumbers);
  if (senders.length === 0) {
    const { sets, ...output } = direct;
    return { sets, output: { ...output, senders: ofSelves, ownTerms: selves } };
  }
  const numbered = withTerms(direct, senders, previous);
  const { termNumbers } = numbered;
  const limited = new Map<number, Map<number, PortSet>>();
  for (const { key, limits } of senders) {
    for (const [guard, ports] of limits) {
      const there = limited.get(guard) ?? new Map<number, PortSet>();
      limited.set(guard, there.set(termNumbers.get(key) as number, ports));
    }
  }
  const ownTerms = [...selves, ...senders];
  return {
    sets: ownTermSets(base, ownTerms, termNumbers),
    output: {
      ...numbered,
      ownTerms,
      senders: new Map([...ofSelves, ...namespacesOf(senders, termNumbers)]),
      policiesOf: compileSides(sides, {
        termNumbers: numbers.termNumbers,
        isKnown,
        domains,
        selfOf,
        limited,
      }),
    },
  };
}

/** What guards let senders reach, by the guard's interface index. */
type Limited = ReadonlyMap<number, Limits>;

/** Pods whose addresses get a term of their own. */
type OwnTerm = {
  readonly key: string;
  readonly addresses: ReadonlySet<string>;
  readonly namespaces: ReadonlySet<string>;
};

function withTerms(
  direct: NumberedTerms & { readonly nextTerm: number },
  pods: readonly OwnTerm[],
  previous: Numbering,
): NumberedTerms & { readonly nextTerm: number } {
  const { terms, termNumbers, nextTerm } = direct;
  if (pods.length === 0) return { terms, termNumbers, nextTerm };
  const own = pods.map(
    ({ key }): Term => ({ key, set: { key, namespace: "", peers: [] }, resolves: undefined }),
  );
  const more = numberTerms(own, { known: previous.terms, nextTerm });
  return {
    terms: [...terms, ...more.terms],
    termNumbers: new Map([...termNumbers, ...more.termNumbers]),
    nextTerm: more.nextTerm,
  };
}

const namespacesOf = (pods: readonly OwnTerm[], termNumbers: ReadonlyMap<string, number>): Draft["senders"] =>
  new Map(pods.map(({ key, namespaces }) => [termNumbers.get(key) as number, namespaces]));

export function egressPolicies(
  locals: readonly LocalEndpoint[],
  policiesOf: Draft["policiesOf"],
): Map<string, EgressPolicy> {
  const found = new Map<string, { policy: CompiledPolicy; locals: LocalEndpoint[] }>();
  for (const local of locals) {
    const policy = policiesOf.get(local.ifindex)?.egress;
    if (policy === undefined) continue;
    const known = found.get(policy.content);
    if (known === undefined) found.set(policy.content, { policy, locals: [local] });
    else known.locals.push(local);
  }
  return found;
}

interface SideTraits {
  /** Of the terms that sides name: the same object as long as none has another number. */
  readonly termNumbers: ReadonlyMap<string, number>;
  /** Whether guards can recognize each endpoint as the sender, in the order of the sides. */
  readonly isKnown: readonly boolean[];
  /** See Traits.domains. */
  readonly domains: readonly string[];
  /** Numbers of the terms by which pods allow themselves, by interface index. */
  readonly selfOf?: ReadonlyMap<number, number>;
  readonly limited?: Limited;
}

type SideCompiler = (sides: readonly EndpointSides[], traits: SideTraits) => Map<number, CompiledSides>;

/** Endpoints share sides, and sides outlast changes of other ones: each is compiled once. */
function openSideCompiler(): SideCompiler {
  let numbered: ReadonlyMap<string, number> | undefined;
  let named: readonly string[] = [];
  let known = new WeakMap<Side, Map<string, CompiledPolicy>>();
  const once = (side: Side, kind: string, compiled: () => CompiledPolicy): CompiledPolicy => {
    const ofSide = known.get(side) ?? new Map<string, CompiledPolicy>();
    known.set(side, ofSide);
    const policy = ofSide.get(kind) ?? compiled();
    if (ofSide.size >= KINDS_KEPT) ofSide.clear();
    ofSide.set(kind, policy);
    return policy;
  };
  return (sides, { termNumbers, isKnown, domains, selfOf, limited }) => {
    if (termNumbers !== numbered || domains !== named) known = new WeakMap();
    numbered = termNumbers;
    named = domains;
    const ingressOf = (side: Side | undefined, limits: Limits | undefined): CompiledPolicy | undefined => {
      if (limits !== undefined) return compilePolicy(side, termNumbers, { limits });
      return side && once(side, "ingress", () => compilePolicy(side, termNumbers));
    };
    const egressOf = (
      side: Side | undefined,
      { ifindex }: LocalEndpoint,
      index: number,
    ): CompiledPolicy | undefined => {
      const traits = { isKnown: isKnown[index] === true, self: selfOf?.get(ifindex), domains };
      const kind = `egress ${traits.isKnown} ${traits.self ?? ""}`;
      return side && once(side, kind, () => compilePolicy(side, termNumbers, traits));
    };
    return new Map(
      sides.map(({ local, sides: { ingress, egress } }, index) => [
        local.ifindex,
        { ingress: ingressOf(ingress, limited?.get(local.ifindex)), egress: egressOf(egress, local, index) },
      ]),
    );
  };
}

/** Compiled policies of one side: more than endpoints with one side have at a time. */
const KINDS_KEPT = 256;

/** With those that apply in the place of others. */
const compiledPoliciesIn = (compiled: Draft["policiesOf"]): CompiledPolicy[] =>
  [
    ...new Set(compiled.values().flatMap((each) => DIRECTIONS.flatMap((direction) => each[direction] ?? []))),
  ].flatMap((policy) => [policy, ...(policy.byDomain?.values() ?? [])]);

/** Without duplicates. */
export const sidesIn = (sides: readonly EndpointSides[]): readonly Side[] => [
  ...new Set(sides.flatMap((entry) => DIRECTIONS.flatMap((direction) => entry.sides[direction] ?? []))),
];

/** A term keeps its number for as long as it exists; numbers are never reused. */
function numberTerms(
  live: readonly Term[],
  { known, nextTerm: first }: { readonly known: ReadonlyMap<string, number>; readonly nextTerm: number },
): NumberedTerms & { readonly nextTerm: number } {
  const terms = new Map(live.map((term) => [term.key, term]));
  const termNumbers = new Map<string, number>();
  let nextTerm = first;
  for (const key of [...terms.keys()].sort()) {
    const number = known.get(key);
    termNumbers.set(key, number ?? nextTerm);
    if (number === undefined) nextTerm += 1;
  }
  return { terms: [...terms.values()], termNumbers, nextTerm };
}
