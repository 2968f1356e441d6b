// What is followed: each kind with the paths that serve it, the newest first.

/** In the order of their weight: without the first ones the others say little. */
export const KINDS = ["Namespace", "NetworkPolicy", "Pod", "Service", "EndpointSlice", "Node"] as const;
export type Kind = (typeof KINDS)[number];

export interface Served {
  readonly apiVersion: string;
  /** Without a query. */
  readonly path: string;
}

const CORE = { apiVersion: "v1", path: "/api/v1" };
const of = (group: { readonly apiVersion: string; readonly path: string }, plural: string): Served => ({
  apiVersion: group.apiVersion,
  path: `${group.path}/${plural}`,
});
const group = (apiVersion: string) => ({ apiVersion, path: `/apis/${apiVersion}` });

export const SERVED: Readonly<Record<Kind, readonly [Served, ...Served[]]>> = {
  Namespace: [of(CORE, "namespaces")],
  NetworkPolicy: [of(group("networking.k8s.io/v1"), "networkpolicies")],
  Pod: [of(CORE, "pods")],
  Service: [of(CORE, "services")],
  // Servers before 1.21 have only the beta, which 1.25 no longer has.
  EndpointSlice: [
    of(group("discovery.k8s.io/v1"), "endpointslices"),
    of(group("discovery.k8s.io/v1beta1"), "endpointslices"),
  ],
  Node: [of(CORE, "nodes")],
};
