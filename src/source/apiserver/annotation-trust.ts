// Which pods' annotations count: permission to write a pod must not grant a choice of the node's interfaces or of
// source addresses.

import { follow, overlaid } from "../../base/versioned-map.ts";
import type { Namespace, Pod } from "../../model/cluster.ts";
import type { Problem } from "../../model/problem.ts";

/** Namespaces with this label are trusted: tenants cannot write their namespace's labels. */
const LABEL = "weir.dev/pod-annotations";
const TRUSTED = "trusted";

export interface Trusted {
  readonly pods: ReadonlyMap<string, Pod>;
  /** One for each namespace, however many of its pods it is about. */
  readonly problems: readonly Problem[];
}

type Pods = ReadonlyMap<string, Pod>;
type Namespaces = ReadonlyMap<string, Namespace>;

/** Caches its last result, so that callers that compare by identity see unchanged pods unchanged. */
export function openTrust(): (pods: Pods, namespaces: Namespaces) => Trusted {
  const made = new WeakMap<Pod, Pod>();
  let last: { readonly pods: Pods; readonly namespaces: Namespaces; readonly answer: Trusted } | undefined;
  return (pods, namespaces) => {
    if (last?.pods !== pods || last.namespaces !== namespaces)
      last = { pods, namespaces, answer: trustedOf(pods, namespaces, made) };
    return last.answer;
  };
}

function trustedOf(pods: Pods, namespaces: Namespaces, made: WeakMap<Pod, Pod>): Trusted {
  const untrusted = [...annotatedIn(pods)].filter(
    ([, pod]) => namespaces.get(pod.namespace)?.labels.get(LABEL) !== TRUSTED,
  );
  if (untrusted.length === 0) return { pods, problems: [] };
  const kept = new Map<string, Pod>();
  for (const [key, pod] of untrusted) {
    const plain = made.get(pod) ?? withoutAnnotations(pod);
    made.set(pod, plain);
    kept.set(key, plain);
  }
  const byNamespace = Map.groupBy(untrusted, ([, { namespace }]) => namespace);
  const problems = [...byNamespace].map(([namespace, [first, ...others]]): Problem => {
    const more = others.length === 0 ? "" : ` and ${others.length} more`;
    return {
      severity: "warning",
      object: `Namespace ${namespace}`,
      reason: `annotations of pod ${first?.[1].name}${more} that name an interface, sources or MAC addresses count only with the label ${LABEL}: ${TRUSTED}`,
      effect: "they are ignored",
    };
  });
  return { pods: overlaid(pods, kept), problems };
}

/** The few pods with annotations that must be trusted. */
const annotatedIn = follow<string, Pod, Map<string, Pod>>(
  () => new Map(),
  (annotated, { key, after }) => {
    if ((after?.attachment ?? after?.sources ?? after?.macs) === undefined) annotated.delete(key);
    else annotated.set(key, after as Pod);
  },
);

function withoutAnnotations({ attachment: _, sources: __, macs: ___, ...pod }: Pod): Pod {
  return pod;
}
