// The API server as a source: each kind is watched on its own, and all are assembled into one cluster.

import type { Log } from "../../base/log.ts";
import {
  type Cluster,
  type ClusterNode,
  EMPTY_CLUSTER,
  type Namespace,
  type Pod,
} from "../../model/cluster.ts";
import type { ClusterPolicy } from "../../model/cluster-network-policy.ts";
import type { ClusterSnapshot, SourceHealth } from "../../model/cluster-snapshot.ts";
import type { Policy } from "../../model/network-policy.ts";
import { type Problem, problemText } from "../../model/problem.ts";
import type { EndpointSlice, Service } from "../../model/service.ts";
import { openTrust } from "./annotation-trust.ts";
import { type CredentialOptions, openCredentials } from "./credentials.ts";
import { openClient } from "./http-client.ts";
import {
  isLimited,
  type LimitedKind,
  MEMORY,
  type Memory,
  memoryFor,
  policyWeight,
} from "./object-memory.ts";
import { openStore, type Store } from "./object-store.ts";
import { type Observer, openObserver, runReflector, type Shared } from "./reflector.ts";
import { TIMING, type Timing } from "./request-timing.ts";
import { KINDS, type Kind, POLICY_KINDS } from "./resource-kinds.ts";

export interface ApiServerOptions {
  readonly credentials: CredentialOptions;
  /** Name of this node, as pods have it in spec.nodeName. */
  readonly node: string;
  readonly timing?: Partial<Timing>;
  /** For all objects of a kind together, in bytes; absent: what the limit of the heap leaves. */
  readonly memory?: { readonly [kind in LimitedKind]?: number };
}

export interface ApiServerEnv {
  /** Whether cluster policies that an earlier agent has read may be in force; assumed where it is absent. */
  readonly mayEnforceEarlier?: () => boolean;
  readonly log: Log;
  readonly now: () => Date;
  readonly version: string;
}

export interface ApiServer {
  readonly text: string;
  health(): SourceHealth;
  /** As of Source in source.ts. */
  watch(onReading: (reading: ClusterSnapshot) => void, signal: AbortSignal): Promise<void>;
  read(signal: AbortSignal): Promise<ClusterSnapshot>;
}

interface Followed {
  readonly store: Store;
  readonly observer: Observer;
}

const NOT_KNOWN_YET = "the kernel keeps the last applied state";
const LAST_STAYS = "the last known good state stays in force";
const NODE_UNKNOWN = `its pods cannot be distinguished from those of other nodes; ${NOT_KNOWN_YET}`;

/** Errors: OperationError where the credentials name no server. */
export function openApiServer(options: ApiServerOptions, env: ApiServerEnv): ApiServer {
  const timing = { ...TIMING, ...options.timing };
  const memory = (kind: LimitedKind): number => options.memory?.[kind] ?? memoryFor(kind);
  const credentials = openCredentials(options.credentials);
  /** Of the watch that was begun last. */
  let kinds = openKinds(env.now, memory, () => undefined);
  const watch = async (onReading: (reading: ClusterSnapshot) => void, signal: AbortSignal): Promise<void> => {
    const client = openClient(credentials, timing, `weir/${env.version}`);
    const nodes = () => mine.get("Node")?.store.size() ?? 0;
    const { node } = options;
    const nothingInForce = (): boolean => env.mayEnforceEarlier?.() === false;
    const shared: Shared = { client, timing, node, log: env.log, nodes, nothingInForce, streaming: true };
    const snapshotInput = {
      ...options,
      timing,
      server: credentials.text,
      trust: openTrust(),
      known: openKnown(options.node),
    };
    const mine = openKinds(env.now, memory, () => reporter.schedule());
    const reporter = openReporter(() => readingOf(mine, snapshotInput), onReading);
    kinds = mine;
    // Trouble becomes a problem once it has lasted, which no event reports.
    const look = setInterval(reporter.schedule, timing.troubleMs / 2);
    try {
      await Promise.all([...mine].map(([kind, followed]) => runReflector(kind, shared, followed, signal)));
    } finally {
      clearInterval(look);
      reporter.close();
      client.close();
    }
  };
  return {
    text: credentials.text,
    health: () => ({
      server: credentials.text,
      synced: isSynced(kinds),
      kinds: [...kinds.values()].map(({ store, observer }) => observer.health(store.size())),
    }),
    watch,
    read: (signal) => readOnce(watch, { signal, onceMs: timing.onceMs }),
  };
}

type Kinds = ReadonlyMap<Kind, Followed>;

function openKinds(now: () => Date, memory: (kind: LimitedKind) => number, onChange: () => void): Kinds {
  /** Cluster policies are the administrator's: they are always kept whole, and come first. */
  let ofCluster = 0;
  const storeOf = (kind: Kind): Store => {
    if (!isLimited(kind)) return openStore(POLICY_KINDS.has(kind), onChange);
    const all = memory(kind);
    const capacity = kind === "NetworkPolicy" ? () => all - ofCluster : () => all;
    return openStore(POLICY_KINDS.has(kind), onChange, { memory: MEMORY[kind] as Memory, capacity });
  };
  const policies = storeOf("NetworkPolicy");
  const clusterPolicies = openStore(true, () => {
    ofCluster = clusterPolicies
      .values()
      .values()
      .reduce((sum, policy) => sum + policyWeight(policy as ClusterPolicy), 0);
    policies.fit();
    onChange();
  });
  const stores: Partial<Record<Kind, Store>> = {
    NetworkPolicy: policies,
    ClusterNetworkPolicy: clusterPolicies,
  };
  return new Map(
    KINDS.map((kind) => [
      kind,
      { store: stores[kind] ?? storeOf(kind), observer: openObserver(kind, now, onChange) },
    ]),
  );
}

/** The first complete snapshot, or the last one within the time. */
async function readOnce(
  watch: ApiServer["watch"],
  { signal, onceMs }: { readonly signal: AbortSignal; readonly onceMs: number },
): Promise<ClusterSnapshot> {
  const done = new AbortController();
  const timer = setTimeout(() => done.abort(), onceMs);
  const stop = () => done.abort();
  signal.addEventListener("abort", stop, { once: true });
  let last: ClusterSnapshot = { cluster: EMPTY_CLUSTER, problems: [], readable: false };
  try {
    await watch((reading) => {
      last = reading;
      if (reading.readable) stop();
    }, done.signal);
  } finally {
    clearTimeout(timer);
    signal.removeEventListener("abort", stop);
  }
  return last;
}

/** Emits one snapshot for all changes that came together, and none where it is equal to the last one. */
function openReporter(make: () => ClusterSnapshot, onReading: (reading: ClusterSnapshot) => void) {
  let scheduled: NodeJS.Immediate | undefined;
  let reported: ClusterSnapshot | undefined;
  const report = (): void => {
    scheduled = undefined;
    const reading = make();
    if (reported !== undefined && isSame(reported, reading)) return;
    if (reported === undefined && !reading.readable && reading.problems.length === 0) return;
    reported = reading;
    onReading(reading);
  };
  return {
    schedule() {
      scheduled ??= setImmediate(report);
    },
    close: () => clearImmediate(scheduled),
  };
}

const isSame = (a: ClusterSnapshot, b: ClusterSnapshot): boolean =>
  a.readable === b.readable &&
  a.cluster.namespaces === b.cluster.namespaces &&
  a.cluster.pods === b.cluster.pods &&
  a.cluster.policies === b.cluster.policies &&
  a.cluster.clusterPolicies === b.cluster.clusterPolicies &&
  a.cluster.services === b.cluster.services &&
  a.cluster.slices === b.cluster.slices &&
  a.cluster.nodes === b.cluster.nodes &&
  a.problems.length === b.problems.length &&
  a.problems.every((problem, index) => problemText(problem) === problemText(b.problems[index] as Problem));

const isSynced = (kinds: Kinds): boolean => kinds.values().every(({ observer }) => observer.isListed());

interface SnapshotInput {
  readonly node: string;
  readonly server: string;
  readonly timing: Timing;
  readonly trust: ReturnType<typeof openTrust>;
  readonly known: ReturnType<typeof openKnown>;
}

/**
 * Whether the API server has ever had an object of the node. Under a wrong name every pod would be another node's, and
 * all that an earlier agent enforces would be removed; a node whose object goes while its pods stay is still the one
 * that they name.
 */
function openKnown(node: string) {
  let ever = false;
  return (stores: ReadonlyMap<Kind, Store>) => {
    const now = stores.get("Node")?.values().has(node) ?? false;
    ever ||= now;
    return { now, ever };
  };
}

function readingOf(kinds: Kinds, snapshotInput: SnapshotInput): ClusterSnapshot {
  const isListed = isSynced(kinds);
  const troubles = troublesOf(kinds, snapshotInput, isListed);
  if (!isListed) return { cluster: EMPTY_CLUSTER, problems: troubles, readable: false };
  const stores = new Map([...kinds].map(([kind, { store }]) => [kind, store]));
  const known = snapshotInput.known(stores);
  if (!known.now) troubles.push(nodeProblem(snapshotInput.node, known.ever));
  if (!known.ever) return { cluster: EMPTY_CLUSTER, problems: troubles, readable: false };
  const values = <T>(kind: Kind) => (stores.get(kind)?.values() ?? new Map()) as ReadonlyMap<string, T>;
  const namespaces = values<Namespace>("Namespace");
  const trusted = snapshotInput.trust(values<Pod>("Pod"), namespaces);
  const cluster: Cluster = {
    namespaces,
    pods: trusted.pods,
    policies: values<Policy>("NetworkPolicy"),
    clusterPolicies: values<ClusterPolicy>("ClusterNetworkPolicy"),
    services: values<Service>("Service"),
    slices: values<EndpointSlice>("EndpointSlice"),
    nodes: values<ClusterNode>("Node"),
  };
  const ofObjects = listed([...stores.values()].flatMap((store) => store.problems()));
  const problems = [...troubles, ...ofObjects, ...trusted.problems];
  return { cluster, problems, readable: true };
}

/** The limit of listed problems of objects; a last one has the number of the others. */
const PROBLEMS_MAX = 1_000;

function listed(problems: readonly Problem[]): readonly Problem[] {
  const more = problems.length - PROBLEMS_MAX;
  if (more <= 0) return problems;
  const reason = `there are ${more} more problems that are not listed`;
  return [...problems.slice(0, PROBLEMS_MAX), { severity: "error", reason }];
}

/** One problem for all kinds that have the same one: a server that is down is reported once, not six times. */
function troublesOf(kinds: Kinds, { server, timing }: SnapshotInput, readable: boolean): Problem[] {
  const byReason = Map.groupBy(
    [...kinds].flatMap(([kind, { observer }]) => {
      const reason = observer.trouble(timing.troubleMs);
      return reason === undefined ? [] : [{ kind, reason }];
    }),
    ({ reason }) => reason,
  );
  return [...byReason].map(([reason, of]) => ({
    severity: "error",
    object: `API server ${server}`,
    reason: `${of.map(({ kind }) => kind).join(", ")} cannot be followed: ${reason}`,
    effect: readable ? LAST_STAYS : NOT_KNOWN_YET,
  }));
}

const nodeProblem = (node: string, wasKnown: boolean): Problem => ({
  severity: "error",
  object: `Node ${node}`,
  reason: "is unknown to the API server; expected --node-name to be a name that `kubectl get nodes` shows",
  effect: wasKnown ? LAST_STAYS : NODE_UNKNOWN,
});
