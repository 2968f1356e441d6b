// The endpoints of a conformance step: every selectable pod is one of this node, on an interface of its own.

import { isSelectable, keyOf } from "../model/cluster.ts";
import type { LocalEndpoint } from "../policy/compile.ts";
import type { Step } from "../source/conformance/case-types.ts";

/** Gives every pod key an interface index and keeps it as long as the engine lives. */
export function localsOf(step: Step, interfaces: Map<string, number>, next: () => number): LocalEndpoint[] {
  return [...step.cluster.pods.values()].filter(isSelectable).map((pod) => {
    const key = keyOf(pod);
    const ifindex = interfaces.get(key) ?? next();
    interfaces.set(key, ifindex);
    return { pod, ifindex };
  });
}
