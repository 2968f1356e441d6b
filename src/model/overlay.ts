// A cluster with changes laid over it, as `kubectl apply` would bring them.

import type { Cluster } from "./cluster.ts";

/** What is in `change` is added, or takes the place of what has its name; the rest stays. */
export const overlaid = (base: Cluster, change: Cluster): Cluster => ({
  namespaces: new Map([...base.namespaces, ...change.namespaces]),
  pods: new Map([...base.pods, ...change.pods]),
  policies: new Map([...base.policies, ...change.policies]),
  services: new Map([...base.services, ...change.services]),
  slices: new Map([...base.slices, ...change.slices]),
});

/** The same, but the policies of `change` are all there are. */
export const withPoliciesOf = (base: Cluster, change: Cluster): Cluster => ({
  ...overlaid(base, change),
  policies: change.policies,
});
