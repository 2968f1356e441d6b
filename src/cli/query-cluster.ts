// The cluster of a query: the agent's or that of manifests, and a change to it.

import { type Address, addressOf } from "../base/ip.ts";
import { type Cluster, clusterFromWire, keyOf, type Pod } from "../model/cluster.ts";
import type { ClusterView, EndpointView, KnownNamesView } from "../observe/api-views.ts";
import { domainsIn } from "../policy/tiers.ts";
import { askAgentOrFail } from "./agent-client.ts";
import type { Context } from "./environment.ts";
import type { Live, Source } from "./query-manifests.ts";

export interface Situation extends Pick<Source, "live" | "where"> {
  readonly before: Cluster;
  /** With the change as an overlay; `before` itself without one. */
  readonly after: Cluster;
}

export interface SituationOptions {
  readonly manifests?: string;
  readonly filename?: readonly string[];
  /** The change has all policies there are. */
  readonly prune?: true;
}

/** @throws CommandError where there is no agent, no such directory, or a mistake in the change */
export async function situationOf(context: Context, options: SituationOptions): Promise<Situation> {
  const [base, change] = [await baseOf(context, options), await changeOf(context, options)];
  const merge = options.prune === true ? withPoliciesOf : overlaid;
  const clusters =
    change === undefined ? [base.cluster] : [base.cluster, merge(base.cluster, change.cluster)];
  // A running pod without an address cannot be reached; one that exists only as a manifest gets an address.
  const running = base.live === undefined ? undefined : base.cluster.pods;
  const [before = base.cluster, after = before] = addressed(clusters, (key) => running?.has(key) !== true);
  return {
    before,
    after,
    live: base.live,
    where: (policy, path) => change?.where(policy, path) ?? base.where(policy, path),
  };
}

// Queries of the agent need not load the YAML parser.

/** As it is: pods may be without an address. @throws CommandError where there is no agent, or no such directory */
export async function baseOf(context: Context, { manifests }: SituationOptions): Promise<Source> {
  if (manifests === undefined) return baseOfAgent(context);
  const { readBase } = await import("./query-manifests.ts");
  return readBase(context.env, manifests);
}

const hasDomains = ({ clusterPolicies }: Cluster): boolean =>
  clusterPolicies !== undefined && domainsIn(clusterPolicies).length > 0;

async function namesOfAgent(context: Context, instead: string): Promise<Live["namesOf"]> {
  const { names } = await askAgentOrFail<KnownNamesView>(context, "known-names", instead);
  const byKey = Map.groupBy(
    names.filter(({ expiresMs }) => expiresMs > 0),
    ({ ifindex, address }) => `${ifindex} ${address}`,
  );
  return (ifindex, address) => byKey.get(`${ifindex} ${address}`)?.map(({ name }) => name) ?? [];
}

async function changeOf({ env }: Context, { filename }: SituationOptions): Promise<Source | undefined> {
  if (filename === undefined) return undefined;
  const { readChange } = await import("./query-manifests.ts");
  return readChange(env, filename);
}

async function baseOfAgent(context: Context): Promise<Source> {
  const instead = "use --manifests DIR without one";
  const { generation, cluster } = await askAgentOrFail<ClusterView>(context, "cluster", instead);
  const endpoints = await askAgentOrFail<readonly EndpointView[]>(context, "endpoints", instead);
  const read = clusterFromWire(cluster);
  const namesOf = hasDomains(read) ? await namesOfAgent(context, instead) : () => [];
  return { cluster: read, live: { generation, endpoints, namesOf }, where: () => undefined };
}

/** Where pods without an address are put: 198.18.0.0/15 is for benchmarks (RFC 2544), so that hardly a block means it. */
const STAND_IN = 0xc612_0000n;

/** Gives pods without an address one, the same in all the clusters, so that they can be evaluated. */
function addressed(clusters: readonly Cluster[], isWanted: (key: string) => boolean): readonly Cluster[] {
  const lacking = clusters
    .flatMap(({ pods }) => [...pods.values()].filter(lacksAddress).map(keyOf))
    .filter(isWanted);
  const given = new Map(
    [...new Set(lacking)]
      .sort()
      .map((key, index): [string, Address] => [key, addressOf(4, STAND_IN + BigInt(index + 1))]),
  );
  const withAddress = (pod: Pod): Pod => {
    const address = given.get(keyOf(pod));
    return address === undefined || !lacksAddress(pod) ? pod : { ...pod, ips: [address] };
  };
  return clusters.map((cluster) => ({
    ...cluster,
    pods: new Map([...cluster.pods].map(([key, pod]) => [key, withAddress(pod)])),
  }));
}

const lacksAddress = ({ ips }: Pod): boolean => ips.length === 0;

// A cluster with changes merged into it, as `kubectl apply` would bring them.

/** What is in `change` is added, or takes the place of what has its name; the rest stays. */
export const overlaid = (base: Cluster, change: Cluster): Cluster => ({
  namespaces: new Map([...base.namespaces, ...change.namespaces]),
  pods: new Map([...base.pods, ...change.pods]),
  policies: new Map([...base.policies, ...change.policies]),
  ...joined("clusterPolicies", base, change),
  ...joined("nodes", base, change),
  services: new Map([...base.services, ...change.services]),
  slices: new Map([...base.slices, ...change.slices]),
});

const joined = <K extends "clusterPolicies" | "nodes">(key: K, base: Cluster, change: Cluster) =>
  base[key] === undefined && change[key] === undefined
    ? {}
    : { [key]: new Map<string, unknown>([...(base[key] ?? []), ...(change[key] ?? [])]) };

/** The same, but the policies of `change` are all there are. */
export const withPoliciesOf = (base: Cluster, change: Cluster): Cluster => ({
  ...overlaid(base, change),
  policies: change.policies,
  clusterPolicies: change.clusterPolicies ?? new Map(),
});
